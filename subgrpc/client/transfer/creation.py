"""Creating an artifact of files whose blobs were sent, in one call or in several."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from subgrpc.client.transfer import manifest
from subgrpc.client.transfer.results import PushOptions
from subgrpc.client.transfer.retrying import retrying
from subgrpc.errors import Aborted, AlreadyExists, DataLoss, FailedPrecondition
from subgrpc.v1.artifact_service_pb2 import Artifact, ArtifactFile, ArtifactState

if TYPE_CHECKING:
    from subgrpc.client.calls import Calls

_MOST_RESENT = 5
_OPEN = ArtifactState.ARTIFACT_STATE_OPEN

SendAgain = Callable[[Sequence[ArtifactFile]], None]


class Created(NamedTuple):
    """An artifact, and whether it was there before."""

    artifact: Artifact
    existed: bool


def create(
    calls: Calls, options: PushOptions, entries: list[ArtifactFile], send_again: SendAgain
) -> Created:
    """Creates an artifact.

    One of that name with the same files is returned as it is; one that an interrupted push has
    begun is completed.

    Args:
        calls: the server.
        options: what the push was asked for.
        entries: the files, by path.
        send_again: sends what the server says that it lacks of some files.

    Raises:
        AlreadyExists: there is one of that name with other files.
    """
    digest = manifest.digest(entries)
    portions = list(manifest.portions(entries))
    wanted = Artifact(
        labels=options.labels,
        display_name=options.display_name,
        description=options.description,
    )
    request_id = str(uuid.uuid4())
    try:
        made = _patiently(
            lambda: calls.create_artifact(
                wanted,
                portions[0],
                parent=options.parent,
                artifact_id=options.artifact_id,
                more_follow=len(portions) > 1,
                request_id=request_id,
            ),
            portions[0],
            options,
            send_again,
        )
    except AlreadyExists:
        if not options.artifact_id:
            raise
        name = f"{options.parent}/artifacts/{options.artifact_id}"
        found = _begun(calls, name, digest, entries, options)
        if found.state != _OPEN:
            return Created(found, existed=True)
        made = found
    if made.state == _OPEN:
        made = _complete(calls, made, entries, options, send_again)
        name = made.name
        made = retrying(lambda: calls.finish_artifact(name, digest=digest), options.patience)
    if made.digest != digest:
        text = f"{made.name} has the digest {made.digest}, and not {digest}"
        raise DataLoss(text, reason="ARTIFACT_DIFFERS")
    return Created(made, existed=False)


def _begun(
    calls: Calls, name: str, digest: str, entries: list[ArtifactFile], options: PushOptions
) -> Artifact:
    """The artifact that has the name, if it is this one, or the beginning of it."""
    found = retrying(lambda: calls.get_artifact(name), options.patience)
    if found.state == _OPEN:
        there = list(calls.list_artifact_files(name, page_size=10_000))
        is_ours = [_key(each) for each in there] == [_key(each) for each in entries[: len(there)]]
    else:
        is_ours = found.digest == digest
    if not is_ours:
        text = f"{name} exists, with other files; artifacts never change: choose another name"
        raise AlreadyExists(text, reason="ARTIFACT_EXISTS")
    return found


def _key(entry: ArtifactFile) -> tuple[object, ...]:
    """What tells a file from another, however its chunks are written down."""
    return entry.path, entry.size_bytes, entry.sha256, entry.mode, entry.link_target


def _complete(
    calls: Calls,
    made: Artifact,
    entries: list[ArtifactFile],
    options: PushOptions,
    send_again: SendAgain,
) -> Artifact:
    """Adds the files that an artifact lacks."""
    for portion in manifest.portions(entries[made.file_count :]):
        if not portion:
            break
        before = made
        try:
            made = _patiently(
                lambda before=before, portion=portion: calls.add_artifact_files(  # type: ignore[misc]
                    before.name, before.file_count, portion
                ),
                portion,
                options,
                send_again,
            )
        except Aborted as error:
            text = f"{made.name} is being pushed by somebody else at the same time"
            raise Aborted(text, reason=error.reason, metadata=error.metadata) from None
    return made


def _patiently(
    call: Callable[[], Artifact],
    portion: list[ArtifactFile],
    options: PushOptions,
    send_again: SendAgain,
) -> Artifact:
    """Performs a call; what it finds missing is sent, and it is tried again."""
    for _ in range(_MOST_RESENT):
        try:
            return retrying(call, options.patience)
        except (FailedPrecondition, Aborted) as error:
            if error.reason not in ("BLOBS_MISSING", "OBJECT_CONDEMNED"):
                raise
            send_again(portion)
    return retrying(call, options.patience)
