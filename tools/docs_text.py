"""Plain text as Markdown."""

from __future__ import annotations

import re

_CODE = re.compile(r"(`[^`]+`)")
_SPECIAL = re.compile(r"([\\*_<\[])")


def prose(text: str) -> str:
    """A comment: what stands in backquotes is code, and nothing else means anything."""
    parts = _CODE.split(text)
    return "".join(
        part if index % 2 else _SPECIAL.sub(r"\\\1", part).replace("\\<", "&lt;")
        for index, part in enumerate(parts)
    )


def paragraphs(text: str) -> str:
    """A comment of several paragraphs."""
    blocks = re.split(r"\n\s*\n", text.strip())
    return "\n\n".join(prose(" ".join(block.split())) for block in blocks)


def cell(text: str) -> str:
    """A comment in a table."""
    return prose(" ".join(text.split())).replace("|", "\\|")


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table; its cells are Markdown. Nothing without rows."""
    if not rows:
        return ""
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
