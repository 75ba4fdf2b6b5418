"""Secret values in files that the operator puts in the data folder: `secrets/TEAM/NAME`.

A value is the file's bytes without one trailing line break. Values are read when a task group is
submitted and handed to the driver; they are never stored elsewhere, echoed or logged.
"""

from __future__ import annotations

from pathlib import Path

from subgrpc.errors import FailedPrecondition, NotFound
from subgrpc.names import SEGMENT

MAX_BYTES = 64 * 1024
"""Greatest size of a secret's value."""


def parse_reference(reference: str, team: str) -> tuple[str, str]:
    """Returns (team, name) of `NAME` or `teams/TEAM/secrets/NAME`; a bare name is of `team`."""
    parts = reference.split("/")
    return (parts[1], parts[3]) if len(parts) == 4 else (team, reference)


class FileSecrets:
    """Reads secrets below one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def exists(self, team: str, name: str) -> bool:
        """Whether there is a secret of that name."""
        return self._path(team, name).is_file()

    def read(self, team: str, name: str) -> bytes:
        """Returns a secret's value.

        Raises:
            NotFound: there is none of that name, or it cannot be read.
            FailedPrecondition: it is larger than `MAX_BYTES`.
        """
        try:
            with self._path(team, name).open("rb") as file:
                value = file.read(MAX_BYTES + 2)
        except OSError as error:
            text = f"secret teams/{team}/secrets/{name} cannot be read: {error.strerror}"
            raise NotFound(text, reason="SECRET_NOT_FOUND") from error
        value = value.removesuffix(b"\n")
        if len(value) > MAX_BYTES:
            text = f"secret teams/{team}/secrets/{name} is larger than {MAX_BYTES} bytes"
            raise FailedPrecondition(text, reason="SECRET_TOO_LARGE")
        return value

    def _path(self, team: str, name: str) -> Path:
        # Both become path segments: what is no DNS label never reaches the file system.
        if not (SEGMENT.fullmatch(team) and SEGMENT.fullmatch(name)):
            raise NotFound(f"{name!r} is not a secret's name", reason="SECRET_NOT_FOUND")
        return self._root / team / name
