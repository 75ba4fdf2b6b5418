"""The order of a list: the part of AIP-132 that we take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from subgrpc.errors import FieldViolation, InvalidArgument
from subgrpc.filters.text import did_you_mean, shown

ORDER_COLUMNS = ("create_time", "update_time", "end_time", "experiment_id")


@dataclass(frozen=True, slots=True)
class OrderBy:
    """The order of a list: a column, then the uid in the same direction."""

    column: str = "create_time"
    descending: bool = True

    @property
    def text(self) -> str:
        """The canonical form, such as `create_time desc`."""
        return f"{self.column} desc" if self.descending else self.column


def parse_order(
    text: str, columns: Sequence[str] = ORDER_COLUMNS, default: OrderBy | None = None
) -> OrderBy:
    """Reads an `order_by`, such as `create_time desc`.

    Args:
        text: what is asked for.
        columns: what may be asked for.
        default: what an empty text asks for; None: newest first.

    Raises:
        InvalidArgument: the violation of field `order_by` says what may stand there.
    """
    words = text.split()
    if not words:
        return default or OrderBy()
    if words[0] not in columns:
        hint = did_you_mean(words[0], columns)
        problem = f"cannot order by {shown(words[0])}{hint}; one of {', '.join(columns)}"
    elif len(words) > 2 or (len(words) == 2 and words[1] not in ("asc", "desc")):
        problem = f"after {words[0]} only asc or desc may stand, not {shown(' '.join(words[1:]))}"
    else:
        return OrderBy(words[0], words[1:] == ["desc"])
    raise InvalidArgument(violations=[FieldViolation("order_by", problem, "INVALID_ORDER")])
