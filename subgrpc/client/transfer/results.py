"""What transfers are asked for, and what they come to. Imports nothing that takes time."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from subgrpc import names
from subgrpc.client.patience import PATIENCE
from subgrpc.v1.artifact_service_pb2 import Artifact

STREAMS = 4
"""How many streams send, or receive, at once, each over a connection of its own."""


@dataclass(frozen=True)
class PushOptions:
    """What is pushed, and how.

    Attributes:
        sources: files and folders.
        artifact_id: the last part of its name; empty: the server makes one.
        parent: the team.
        exclude: patterns of what is left out, as in .gitignore.
        labels: of the artifact.
        display_name: of the artifact.
        description: of the artifact.
        direct: whether the store itself is sent to, where it can be reached.
        patience: seconds after which a server that cannot be reached is an error.
        streams: how many send at once.
        touch: seconds after which the server is asked about everything again: it keeps for an hour
            what nothing refers to yet.
    """

    sources: Sequence[str | os.PathLike[str]]
    artifact_id: str = ""
    parent: str = names.team_name(names.DEFAULT_TEAM)
    exclude: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    display_name: str = ""
    description: str = ""
    direct: bool = True
    patience: float = PATIENCE
    streams: int = STREAMS
    touch: float = 900.0


@dataclass(frozen=True)
class Pushed:
    """What a push came to.

    Attributes:
        artifact: the artifact.
        sent_bytes: how many bytes of files had to be sent.
        existed: there was an artifact of that name with the same files already.
    """

    artifact: Artifact
    sent_bytes: int
    existed: bool = False


@dataclass(frozen=True)
class PullOptions:
    """What is pulled, and where to.

    Attributes:
        artifact: its full name.
        target: the folder to make; with `path` of a file, the file, or a folder that is there.
        path: only this file, or what is in this folder.
        force: whether what is at the target is replaced.
        direct: whether the store itself is read from, where it can be reached.
        patience: seconds after which a server that cannot be reached is an error.
        streams: how many receive at once.
    """

    artifact: str
    target: str | os.PathLike[str]
    path: str = ""
    force: bool = False
    direct: bool = True
    patience: float = PATIENCE
    streams: int = STREAMS


@dataclass(frozen=True)
class Pulled:
    """What a pull came to.

    Attributes:
        artifact: the artifact.
        target: where the files are.
        file_count: how many.
        received_bytes: how many bytes of files had to be received.
        existed: they were all there already.
    """

    artifact: Artifact
    target: str
    file_count: int
    received_bytes: int
    existed: bool = False


class Difference(NamedTuple):
    """A file that is not as in the artifact.

    Attributes:
        path: its path in the artifact.
        message: what is different, for a person.
    """

    path: str
    message: str
