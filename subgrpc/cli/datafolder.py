"""The option `--data-dir`'s kind of value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


class DataFolder(click.Path):
    """The path of a data folder; an empty one is not taken for the current folder."""

    def __init__(self) -> None:
        """Makes it: no file, and a `Path` in the end."""
        super().__init__(path_type=Path, file_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path of what was written."""
        if value == "":
            self.fail("It is empty: name a folder.", param, ctx)
        return super().convert(value, param, ctx)
