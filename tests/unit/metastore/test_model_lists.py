"""Lists of models, versions and history walk their indexes."""

from __future__ import annotations

import re
from typing import Any

import pytest

from subgrpc.filters import EVENT_FIELDS, MODEL_FIELDS, VERSION_FIELDS, OrderBy, parse_filter
from subgrpc.metastore import MODEL_VERSIONS, MODELS, Key, Kind, Metastore
from subgrpc.metastore.kinds import MODEL_EVENTS
from subgrpc.metastore.listing import numbered

from .conftest import steps

READS_ALL = re.compile(r"SCAN|Seq Scan")
SORTS = re.compile(r"TEMP B-TREE|->  Sort")
PLANS: list[tuple[Kind, Any, str, str, tuple[str, ...], str]] = [
    (MODELS, MODEL_FIELDS, "", "create_time", ("team",), "ix_model_created"),
    (MODELS, MODEL_FIELDS, "", "model_id", ("team",), "uq_model_name"),
    (MODELS, MODEL_FIELDS, "tags.k = v", "create_time", ("team",), "ix_model_tag_value"),
    (MODELS, MODEL_FIELDS, "alias = a", "update_time", ("team",), "ix_model_updated"),
    *(
        (
            MODEL_VERSIONS,
            VERSION_FIELDS,
            text,
            "create_time",
            ("team",),
            index,
        )
        for text, index in {
            "": "ix_model_version_created",
            "metrics.x > 1": "ix_model_version_created",
            "stage = Production": "ix_model_version_stage",
            "stage = Production AND metrics.x > 1": "ix_model_version_stage",
            "alias = a AND stage = Production": "ix_model_alias_created",
            "creator = ann": "ix_model_version_creator",
            "model_id = m AND stage = Staging": "ix_model_version_created_of",
            "artifact = a": "ix_model_version_artifact",
            "experiment = e AND stage = Staging": "ix_model_version_experiment",
            "tags.k = v AND stage = Staging": "ix_model_version_tag_value",
        }.items()
    ),
    *(
        (MODEL_VERSIONS, VERSION_FIELDS, text, column, ("team", "model_id"), index)
        for text in ("", "stage = Production", "metrics.x > 1")
        for column, index in {
            "number": "uq_model_version_number",
            "create_time": "ix_model_version_created_of",
            "update_time": "ix_model_version_updated_of",
        }.items()
    ),
    (MODEL_EVENTS, EVENT_FIELDS, "alias = a", "sequence", ("model_uid",), "model_event"),
]


@pytest.mark.parametrize(("kind", "fields", "text", "column", "scope", "index"), PLANS)
async def test_every_list_walks_an_index(
    store: Metastore,
    kind: Kind,
    fields: Any,
    text: str,
    column: str,
    scope: tuple[str, ...],
    index: str,
) -> None:
    """No page sorts, and none reads a whole table."""
    chosen = parse_filter(text, fields)
    for descending in (True, False):
        plan = store._queries.resources(
            kind, chosen, OrderBy(column, descending), resumed=True, scope=scope
        )
        key: Key = [1, "u"] if column not in ("model_id",) else ["m", "u"]
        wanted = dict.fromkeys(scope, "x") | {"limit": 50}
        wanted |= numbered("a", key) | numbered("b", key)
        for query in filter(None, (plan.page, plan.window, plan.rest)):
            shown = await steps(store, query.sql, query.parameters(wanted))
            assert store.shared or index in shown, shown
            assert not READS_ALL.search(shown), shown
            assert not SORTS.search(shown), shown
