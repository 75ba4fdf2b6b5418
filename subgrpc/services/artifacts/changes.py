"""What happens to one artifact when it is created, filled or finished: without any I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from subgrpc import names
from subgrpc.errors import Aborted, FailedPrecondition, InvalidArgument
from subgrpc.names import ArtifactName
from subgrpc.services import wire
from subgrpc.v1.artifact_service_pb2 import (
    ARTIFACT_STATE_OPEN,
    Artifact,
    ArtifactSource,
    ArtifactState,
)

CHANGEABLE: Final = ("display_name", "description", "labels")


@dataclass(frozen=True, slots=True)
class Wanted:
    """An artifact that is to be made.

    Attributes:
        team: whose.
        creator: who wants it; for an experiment's output, who created the experiment.
        artifact_id: the last segment of its name; empty: one is made.
        display_name: for people.
        description: for people.
        labels: to find it by.
        source: the experiment's output that it is; None: it is none.
    """

    team: str
    creator: str
    artifact_id: str = ""
    display_name: str = ""
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    source: ArtifactSource | None = None


def new_artifact(wanted: Wanted) -> Artifact:
    """An artifact without files, OPEN."""
    uid = names.new_uid()
    # The uid's random end: two artifacts of one millisecond share its beginning.
    name = ArtifactName(wanted.team, wanted.artifact_id or f"art-{uid[-12:]}")
    return Artifact(
        name=str(name),
        uid=uid,
        display_name=wanted.display_name,
        description=wanted.description,
        labels=wanted.labels,
        state=ARTIFACT_STATE_OPEN,
        creator=wanted.creator,
        source=wanted.source,
    )


def check_open(artifact: Artifact) -> None:
    """Sees to it that files can be added.

    Raises:
        FailedPrecondition: ARTIFACT_NOT_OPEN.
    """
    if artifact.state != ARTIFACT_STATE_OPEN:
        state = ArtifactState.Name(artifact.state).removeprefix("ARTIFACT_STATE_")
        text = f"{artifact.name} is {state}: its files never change"
        metadata = {"subject": artifact.name}
        raise FailedPrecondition(text, reason="ARTIFACT_NOT_OPEN", metadata=metadata)


def check_digest(artifact: Artifact, digest: str, expected: str) -> None:
    """Sees to it that an artifact is what its maker thinks.

    Raises:
        InvalidArgument: DIGEST_MISMATCH; an empty `expected` is any.
    """
    if expected and digest != expected:
        text = f"{artifact.name} has the digest {digest}, not {expected}"
        metadata = {"digest": digest, "fileCount": str(artifact.file_count)}
        raise InvalidArgument(text, reason="DIGEST_MISMATCH", metadata=metadata)


def wrong_offset(artifact: Artifact, offset: int) -> Aborted:
    """Files are not those that come next."""
    text = f"{artifact.name} has {artifact.file_count} files; the next are not those from {offset}"
    metadata = {"fileCount": str(artifact.file_count)}
    return Aborted(text, reason="FILES_OFFSET", metadata=metadata)


def response(artifact: Artifact) -> bytes:
    """Every response that holds one artifact holds it in field 1."""
    return wire.length_delimited(1, artifact.SerializeToString())
