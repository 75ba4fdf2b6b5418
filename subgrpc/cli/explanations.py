"""What stands behind each reason of an error: the entries of errors.md, a page of the docs too.

The file is read only when somebody asks, and nothing is imported for it: it is small, and the
command line starts fast.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).with_name("errors.md")
"""The page, as Markdown: a heading for each reason, a paragraph, and three items below it."""

_ENTRY = re.compile(
    r"^### (\w+)\n\n(.+?)\n\n"
    r"- \*\*Cause:\*\* (.+?)\n- \*\*Do:\*\* (.+?)\n- \*\*Retry:\*\* (.+?)\n$",
    re.MULTILINE | re.DOTALL,
)
_LINK = re.compile(r"\[([^]]+)\]\((?:\.\./)*([^)]+)\)")


class Explanation(NamedTuple):
    """An entry, as plain text.

    Attributes:
        reason: the word, as it is written in errors.
        meaning: what it says, in a sentence or two.
        cause: how it comes to it.
        action: what to do.
        retry: whether the same request can work when it is sent again.
    """

    reason: str
    meaning: str
    cause: str
    action: str
    retry: str


@cache
def explanations() -> tuple[Explanation, ...]:
    """All of them, in the order of the page."""
    return tuple(
        Explanation(*(_plain(each) for each in entry))
        for entry in _ENTRY.findall(PAGE.read_text(encoding="utf-8"))
    )


def find(reason: str) -> Explanation | None:
    """The entry of a reason: as it is written, else in any case, else with or without `_`."""
    for spelling in (str, str.lower, _letters):
        for each in explanations():
            if spelling(each.reason) == spelling(reason):
                return each
    return None


def first_known(reasons: Iterable[str]) -> str:
    """The first of these reasons that has an entry, as the entry has it; empty: none has."""
    return next((each.reason for each in map(find, reasons) if each is not None), "")


def _letters(reason: str) -> str:
    """Clusters have reasons such as `DataDirLocked` for errors such as DATA_DIR_LOCKED."""
    return reason.replace("_", "").lower()


def _plain(text: str) -> str:
    return _LINK.sub(r"\1 (\2)", " ".join(text.split()))
