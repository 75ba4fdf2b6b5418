"""Filters and orders of list and watch requests: the part of AIP-160 and AIP-132 that we take.

A filter is comparisons (`=` `!=` `<` `<=` `>` `>=`, and `labels.KEY:*` for "has it") joined by AND,
OR, NOT (or `-`) and parentheses. As in AIP-160, OR binds tighter than AND. Strings compare by code
point and are never patterns; times are RFC 3339 and compare by microsecond. What is not there
(an absent label, the end_time of what runs) matches no comparison, and `a != b` is exactly
`NOT a = b`, so it matches what is not there.

A `Filter` is judged in two ways that must agree: by `Filter.matches`, and by the SQL that
`subgrpc.metastore.queries` makes of it.
"""

from __future__ import annotations

from subgrpc.filters.fields import (
    ARTIFACT_FIELDS,
    EXPERIMENT_FIELDS,
    TASK_FIELDS,
    FilterField,
    Kind,
    micros,
)
from subgrpc.filters.model_fields import (
    EVENT_FIELDS,
    MODEL_FIELDS,
    STAGES,
    VERSION_FIELDS,
    WATCH_FIELDS,
    stage_name,
)
from subgrpc.filters.order import ORDER_COLUMNS, OrderBy, parse_order
from subgrpc.filters.parser import parse_filter
from subgrpc.filters.tree import And, Comparison, Filter, Has, Node, Not, Or

__all__ = [
    "ARTIFACT_FIELDS",
    "EVENT_FIELDS",
    "EXPERIMENT_FIELDS",
    "MODEL_FIELDS",
    "ORDER_COLUMNS",
    "STAGES",
    "TASK_FIELDS",
    "VERSION_FIELDS",
    "WATCH_FIELDS",
    "And",
    "Comparison",
    "Filter",
    "FilterField",
    "Has",
    "Kind",
    "Node",
    "Not",
    "Or",
    "OrderBy",
    "micros",
    "parse_filter",
    "parse_order",
    "stage_name",
]
