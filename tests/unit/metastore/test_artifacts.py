"""Artifacts in the metastore: what they are, what needs them, and what they keep."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from subgrpc import names
from subgrpc.errors import AlreadyExists, FailedPrecondition, NotFound
from subgrpc.filters import ARTIFACT_FIELDS, OrderBy, parse_filter
from subgrpc.metastore import (
    ARTIFACTS,
    FileBatch,
    Key,
    Metastore,
    Transaction,
    artifacts,
    blobs,
)
from subgrpc.metastore.listing import numbered
from subgrpc.v1 import artifact_service_pb2 as api
from subgrpc.v1.artifact_service_pb2 import Artifact

from .conftest import Open, steps
from .test_lists import READS_ALL, SORTS

VERSION = "teams/default/models/digits/versions/3"


def new(
    name: str = "a",
    state: api.ArtifactState.ValueType = api.ARTIFACT_STATE_READY,
    **labels: str,
) -> Artifact:
    """An artifact that is in no store yet."""
    return Artifact(
        name=f"teams/default/artifacts/{name}",
        uid=names.new_uid(),
        state=state,
        creator="ann",
        labels=labels,
    )


async def insert(store: Metastore, *those: Artifact) -> None:
    for each in those:
        await store.write_ordered(lambda tx, each=each: artifacts.insert(tx, each))


async def listed(store: Metastore, text: str) -> list[str]:
    """Ids of the artifacts that a filter finds."""
    page = await store.artifacts.page(
        "default", filter=parse_filter(text, ARTIFACT_FIELDS), order=OrderBy(), after=None, limit=50
    )
    return [Artifact.FromString(each).name.rpartition("/")[2] for each in page.items]


async def test_an_artifact_is_kept_with_its_times_and_an_etag(store: Metastore) -> None:
    """What was inserted is what is read, by name and by uid."""
    made = new(kind="model")
    await insert(store, made)
    assert made.etag
    assert made.create_time == made.update_time
    by_name = await store.artifacts.get("default", "a")
    assert by_name is not None
    assert Artifact.FromString(by_name.body) == made
    assert await store.artifacts.by_uid(made.uid) == by_name
    assert await store.artifacts.get("default", "b") is None
    with pytest.raises(AlreadyExists) as caught:
        await insert(store, new("a"))
    assert caught.value.reason == "ARTIFACT_EXISTS"


async def test_a_change_has_another_etag_and_no_change_has_the_same(store: Metastore) -> None:
    """Saving what is stored writes nothing."""
    made = new(kind="model")
    await insert(store, made)
    before = made.etag
    made.etag = "of the client"
    await store.write_ordered(lambda tx: artifacts.save(tx, made))
    assert made.etag == before
    made.labels["kind"] = "data"
    await store.write_ordered(lambda tx: artifacts.save(tx, made))
    assert made.etag != before
    assert await listed(store, "labels.kind = data") == ["a"]
    assert await listed(store, "labels.kind = model") == []
    with pytest.raises(NotFound):
        await store.write_ordered(lambda tx: artifacts.save(tx, new("other")))


async def test_lists_are_filtered_by_each_field(store: Metastore) -> None:
    """By state, digest, source and labels, newest first."""
    first, second = new("a", team="x"), new("b", api.ARTIFACT_STATE_OPEN, team="x")
    first.digest = "ab" * 32
    first.source.experiment, first.source.output = "teams/default/experiments/e", "model"
    await insert(store, first, second)
    assert await listed(store, "") == ["b", "a"]
    assert await listed(store, "labels.team = x") == ["b", "a"]
    for text in (
        "state = READY",
        f"digest = {'ab' * 32}",
        'experiment = "teams/default/experiments/e"',
        "experiment = e",
        'experiment != ""',
        "output = model",
        f"uid = {first.uid}",
        "artifact_id = a",
        "NOT state = OPEN AND creator = ann",
    ):
        assert await listed(store, text) == ["a"], text


async def test_files_are_read_by_number_and_found_by_path(store: Metastore) -> None:
    """A batch that is put again replaces the one of its number."""
    made = new()
    batches = [FileBatch(0, "a", 2, b"one"), FileBatch(1, "m/x", 1, b"two")]

    def put(tx: Transaction) -> None:
        artifacts.insert(tx, made)
        artifacts.put_files(tx, made.uid, batches)

    await store.write_ordered(put)
    longer = FileBatch(1, "m/x", 2, b"longer")
    await store.write_ordered(lambda tx: artifacts.put_files(tx, made.uid, [longer]))
    assert await store.write_ordered(lambda tx: artifacts.last_files(tx, made.uid)) == longer
    assert [each async for each in store.artifacts.batches(made.uid)] == [batches[0], longer]
    assert await store.artifacts.file_counts(made.uid) == [2, 2]
    for path, number in (("", 0), ("a", 0), ("m/w", 0), ("m/x", 1), ("z", 1), ("\U0001f600", 1)):
        assert await store.artifacts.batch_of_path(made.uid, path) == number, path


async def test_what_is_referred_to_cannot_be_deleted(store: Metastore) -> None:
    """The error names who needs it; once they let go it can be deleted."""
    made = new()
    await insert(store, made)
    for _ in range(2):
        found = await store.write_ordered(lambda tx: artifacts.refer(tx, made.name, VERSION))
        assert found == made
    assert await store.artifacts.referrers(made.uid) == [VERSION]
    with pytest.raises(FailedPrecondition) as caught:
        await store.write_ordered(lambda tx: artifacts.delete(tx, made))
    assert caught.value.reason == "ARTIFACT_IN_USE"
    assert caught.value.metadata["referrers"] == VERSION
    await store.write_ordered(lambda tx: artifacts.release(tx, VERSION))
    await store.write_ordered(lambda tx: artifacts.delete(tx, made))
    assert await store.artifacts.get("default", "a") is None


async def test_only_what_is_ready_can_be_referred_to(store: Metastore) -> None:
    """An artifact that is open, or not there, is refused."""
    opened = new("open", api.ARTIFACT_STATE_OPEN)
    await insert(store, opened)
    with pytest.raises(FailedPrecondition) as unready:
        await store.write(lambda tx: artifacts.refer(tx, opened.name, VERSION))
    assert unready.value.reason == "ARTIFACT_NOT_READY"
    with pytest.raises(NotFound) as absent:
        await store.write(lambda tx: artifacts.refer(tx, "teams/default/artifacts/no", VERSION))
    assert absent.value.reason == "ARTIFACT_NOT_FOUND"


async def test_a_deleted_artifact_lets_its_objects_go(store: Metastore) -> None:
    """They can be condemned then, and not before; its rows are gone with it."""
    made, held, data = new(x="y"), names.new_uid(), hashlib.sha256(b"data").digest()

    def make(tx: Transaction) -> None:
        blobs.reserve(tx, held, data, 4)
        blobs.publish(tx, held, [blobs.Sealed(data, 0, 4)])
        artifacts.insert(tx, made)
        artifacts.put_files(tx, made.uid, [FileBatch(0, "a", 1, b"one")])
        blobs.use(tx, made.uid, [held])

    await store.write_ordered(make)
    later = store.clock() + 1_000_000
    assert await store.write_ordered(lambda tx: blobs.condemn(tx, later)) == 0
    await store.write_ordered(lambda tx: artifacts.delete(tx, made))
    assert await store.artifacts.files(made.uid, 0) is None
    assert await store.write_ordered(lambda tx: blobs.condemn(tx, later + 1_000_000)) == 1


async def test_open_artifacts_that_nobody_touched_are_found(
    tmp_path: Path, open_store: Open
) -> None:
    """Those that are ready, or changed lately, are not."""
    now = 1_000_000
    store = await open_store(tmp_path, clock=lambda: now)
    old, ready = new("old", api.ARTIFACT_STATE_OPEN), new("ready")
    await insert(store, old, ready)
    now = 2_000_000
    await insert(store, new("young", api.ARTIFACT_STATE_OPEN))
    found = await store.write_ordered(lambda tx: artifacts.idle(tx, 2_000_000, 10))
    assert [each.name for each in found] == [old.name]
    await store.close()


PLANS = {
    ("", "create_time"): "ix_artifact_created",
    ("state = READY", "create_time"): "ix_artifact_created",
    ("creator = ann AND state = READY", "create_time"): "ix_artifact_creator",
    (f"digest = {'a' * 64}", "create_time"): "ix_artifact_digest",
    ("experiment = e AND output = model", "create_time"): "ix_artifact_experiment",
    ("labels.k = v AND creator = ann", "create_time"): "ix_artifact_label_value",
    ("", "update_time"): "ix_artifact_updated",
    ("labels.k = v", "update_time"): "ix_artifact_updated",
    ("", "artifact_id"): "uq_artifact_name",
}


@pytest.mark.parametrize(("text", "column"), PLANS)
async def test_every_list_walks_an_index(store: Metastore, text: str, column: str) -> None:
    """No page sorts, and none reads a whole table."""
    chosen = parse_filter(text, ARTIFACT_FIELDS)
    place: Key = ["a", "u"] if column == "artifact_id" else [1, "u"]
    for descending in (True, False):
        order = OrderBy(column, descending)
        plan = store._queries.resources(ARTIFACTS, chosen, order, resumed=True)
        given = {"team": "x", "limit": 50} | numbered("a", place) | numbered("b", place)
        for query in filter(None, (plan.page, plan.window, plan.rest)):
            shown = await steps(store, query.sql, query.parameters(given))
            assert store.shared or PLANS[text, column] in shown, shown
            assert not READS_ALL.search(shown), shown
            assert not SORTS.search(shown), shown
