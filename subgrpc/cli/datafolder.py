"""The option `--data-dir`, and its kind of value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from subgrpc.cli import defaults

F = TypeVar("F", bound=Callable[..., Any])


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


def data_dir_option(text: str) -> Callable[[F], F]:
    """The option `--data-dir` of the commands that work on one."""
    return click.option(
        "--data-dir",
        type=DataFolder(),
        default=defaults.data_dir,
        envvar="SUBGRPC_DATA_DIR",
        show_envvar=True,
        metavar="FOLDER",
        help=f"{text}  [default: ~/.local/share/subgrpc]",
    )
