"""What `--help` shows to type."""

from __future__ import annotations


def examples(*lines: str) -> str:
    """The examples of a command, as its epilog."""
    return "\n".join(("\b", "Examples:", *(f"  {each}" for each in lines), "", ""))
