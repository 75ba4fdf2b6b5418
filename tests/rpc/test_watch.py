"""WatchExperiments: nothing is lost, nothing comes twice, and a watcher costs next to nothing."""

from __future__ import annotations

import asyncio
import gc
import resource
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from subgrpc.metastore import Metastore
from subgrpc.v1 import experiment_service_pb2 as pb

ADDED, MODIFIED, REMOVED = (
    pb.CHANGE_TYPE_ADDED,
    pb.CHANGE_TYPE_MODIFIED,
    pb.CHANGE_TYPE_REMOVED,
)
COMPLETE = pb.BOOKMARK_TYPE_INITIAL_STATE_COMPLETE


@pytest.fixture
def quiet(backend: Any) -> None:
    """The backend is slow: experiments stay as the test makes them."""
    backend.hold()


async def initial(watch: Any) -> list[pb.WatchExperimentsResponse]:
    """Reads up to the bookmark that ends the initial state."""
    frames = [await watch.read()]
    while frames[-1].bookmark.type != COMPLETE:
        frames.append(await watch.read())
    return frames


def short(frame: pb.WatchExperimentsResponse) -> tuple[int, str]:
    """What a change did, to which experiment."""
    assert frame.WhichOneof("frame") == "change", frame
    return frame.change.type, frame.change.experiment.name.rpartition("/")[2]


async def rename(api: Any, name: str, text: str) -> None:
    await api.stub.UpdateExperiment(
        pb.UpdateExperimentRequest(
            experiment={"name": f"teams/default/experiments/{name}", "display_name": text},
            update_mask={"paths": ["display_name"]},
        )
    )


async def relabel(api: Any, name: str, **labels: str) -> None:
    await api.stub.UpdateExperiment(
        pb.UpdateExperimentRequest(
            experiment={"name": f"teams/default/experiments/{name}", "labels": labels},
            update_mask={"paths": ["labels"]},
        )
    )


@pytest.mark.usefixtures("quiet")
async def test_what_is_there_comes_first_then_what_happens(api: Any) -> None:
    for name in ("a", "b"):
        await api.create(name)
    watch = api.watch()
    frames = await initial(watch)
    assert [short(frame) for frame in frames[:-1]] == [(ADDED, "a"), (ADDED, "b")]
    assert all(frame.resume_token for frame in frames)
    await rename(api, "a", "A")
    await api.create("c")
    assert [short(await watch.read()) for _ in range(2)] == [(MODIFIED, "a"), (ADDED, "c")]


async def test_every_state_of_a_run_is_seen_in_order(api: Any, finish: Any) -> None:
    watch = api.watch()
    await initial(watch)
    made = await api.create()
    await finish(made.uid)
    states, revisions = [], []
    while not states or states[-1] != pb.EXPERIMENT_STATE_SUCCEEDED:
        frame = await watch.read()
        states.append(frame.change.experiment.state)
        revisions.append(frame.change.revision)
    assert revisions == sorted(set(revisions))
    assert states == sorted(states)
    assert states[0] == pb.EXPERIMENT_STATE_QUEUED


@pytest.mark.usefixtures("quiet")
async def test_one_that_leaves_the_filter_is_removed(api: Any) -> None:
    watch = api.watch(filter="labels.on = yes")
    await initial(watch)
    await api.create("a")
    await relabel(api, "a", on="yes")
    await rename(api, "a", "A")
    await relabel(api, "a", on="no")
    await rename(api, "a", "B")
    await relabel(api, "a", on="yes")
    frames = [await watch.read() for _ in range(4)]
    assert [frame.change.type for frame in frames] == [ADDED, MODIFIED, REMOVED, ADDED]
    # As it was last, while it still matched.
    assert frames[2].change.experiment.labels["on"] == "yes"


async def test_one_that_is_deleted_is_removed(api: Any, backend: Any) -> None:
    made = await api.create("a")
    watch = api.watch()
    await initial(watch)
    await api.stub.DeleteExperiment(pb.DeleteExperimentRequest(name=made.name, force=True))
    stopped = asyncio.ensure_future(backend.stopped(made.uid))
    last = await watch.read()
    while last.change.type != REMOVED:
        last = await watch.read()
    assert short(last) == (REMOVED, "a")
    stopped.cancel()


@pytest.mark.usefixtures("quiet")
async def test_any_token_leads_on_from_its_frame(api: Any) -> None:
    """Whichever frame a watcher got last, it misses nothing and gets nothing twice."""
    for name in ("a", "b", "c"):
        await api.create(name)
    watch = api.watch()
    frames = await initial(watch)
    for number in range(3):
        await rename(api, "b", str(number))
        frames.append(await watch.read())
    watch.cancel()
    for position, frame in enumerate(frames):
        if position < 3:
            continue  # within the initial state: the next test
        again = api.watch(resume_token=frame.resume_token)
        rest = [await again.read() for _ in frames[position + 1 :]]
        assert [short(each) for each in rest] == [short(f) for f in frames[position + 1 :]]
        assert [f.change.revision for f in rest] == [
            f.change.revision for f in frames[position + 1 :]
        ]
        again.cancel()


@pytest.mark.usefixtures("quiet")
async def test_a_token_from_within_the_initial_state_leads_on_too(api: Any) -> None:
    names = [f"e{number}" for number in range(10)]
    for name in names:
        await api.create(name)
    watch = api.watch()
    token = [await watch.read() for _ in range(4)][-1].resume_token
    watch.cancel()
    await rename(api, "e1", "known")
    await rename(api, "e8", "not known yet")
    await api.create("new")
    frames = await initial(api.watch(resume_token=token))
    assert [short(frame) for frame in frames[:-1]] == [
        (MODIFIED, "e1"),
        *((ADDED, name) for name in names[4:]),
        (ADDED, "new"),
    ]
    changed = next(f.change.experiment for f in frames if f.change.experiment.name.endswith("e8"))
    assert changed.display_name == "not known yet"


@pytest.mark.usefixtures("quiet")
async def test_a_token_outlives_the_server(running: Any, server: Any, api: Any) -> None:
    watch = api.watch()
    token = (await initial(watch))[-1].resume_token
    await api.create("a")
    await running.stop(server)
    api = running.api(await running.server())
    await rename(api, "a", "A")
    watch = api.watch(resume_token=token)
    assert [short(await watch.read()) for _ in range(2)] == [(ADDED, "a"), (MODIFIED, "a")]


@pytest.mark.parametrize("kind", ["forged", "other filter", "other kind", "garbage"])
async def test_a_token_that_was_not_made_for_this_watch_is_refused(
    api: Any, refused: Any, kind: Any
) -> None:
    watch = api.watch(filter="state = RUNNING")
    token = (await initial(watch))[-1].resume_token
    await api.create()
    await api.create()
    page = await api.stub.ListExperiments(
        pb.ListExperimentsRequest(parent="teams/default", page_size=1)
    )
    asked = {
        "forged": (
            ("B" if token[-5] == "A" else "A").join((token[:-5], token[-4:])),
            "state = RUNNING",
        ),
        "other filter": (token, "state = QUEUED"),
        "other kind": (page.next_page_token, "state = RUNNING"),
        "garbage": ("!!", "state = RUNNING"),
    }
    sent, text = asked[kind]
    failure = await refused(api.watch(filter=text, resume_token=sent).read())
    assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
    assert failure.reason == "RESUME_TOKEN_INVALID"


async def test_the_same_filter_in_other_words_is_the_same(api: Any) -> None:
    token = (await initial(api.watch(filter="state=RUNNING")))[-1].resume_token
    watch = api.watch(filter="  state  =  RUNNING ", resume_token=token)
    await asyncio.wait_for(watch.wait_for_connection(), 5)
    watch.cancel()


@pytest.mark.usefixtures("quiet")
async def test_a_token_whose_changes_are_gone_is_out_of_range(
    running: Any, server: Any, api: Any, refused: Any, tmp_path: Path
) -> None:
    token = (await initial(api.watch()))[-1].resume_token
    await api.create("a")
    await running.stop(server)
    database = running.databases.of(running.data_dir)
    store = await Metastore.open(running.data_dir, database=database, change_retention=timedelta(0))
    await store.prune()
    await store.close()
    api = running.api(await running.server())
    failure = await refused(api.watch(resume_token=token).read())
    assert failure.code == grpc.StatusCode.OUT_OF_RANGE
    assert failure.reason == "RESUME_TOKEN_EXPIRED"
    assert len(await initial(api.watch())) == 2


@pytest.mark.usefixtures("quiet")
async def test_silence_is_broken_by_heartbeats_that_move_on(running: Any) -> None:
    """Their tokens do not grow old though nothing that matches ever happens."""
    api = running.api(await running.server(heartbeat=0.05))
    watch = api.watch(filter="state = FAILED")
    await initial(watch)
    await api.create("a")
    beats = [await watch.read() for _ in range(3)]
    assert {beat.bookmark.type for beat in beats} == {pb.BOOKMARK_TYPE_HEARTBEAT}
    newest = api.watch(filter="state = FAILED", resume_token=beats[-1].resume_token)
    assert (await newest.read()).bookmark.type == pb.BOOKMARK_TYPE_HEARTBEAT


async def read_all(watch: Any) -> list[pb.WatchExperimentsResponse]:
    return [frame async for frame in watch]


async def test_until_terminal_ends_with_the_last_change(api: Any, finish: Any) -> None:
    made = [await api.create(kind="x") for _ in range(2)]
    other = await api.create()
    watch = aiter(api.watch(filter="labels.kind = x", until_terminal=True))
    for _ in range(3):  # both, and that this was all: what comes now are changes
        await asyncio.wait_for(anext(watch), 10)
    frames = asyncio.ensure_future(read_all(watch))
    for each in made:
        await finish(each.uid)
    last = (await asyncio.wait_for(frames, 10))[-1]
    assert last.change.experiment.state == pb.EXPERIMENT_STATE_SUCCEEDED
    again = await asyncio.wait_for(
        read_all(
            api.watch(filter="labels.kind = x", until_terminal=True, resume_token=last.resume_token)
        ),
        10,
    )
    assert again == []
    assert other.name


async def test_until_terminal_of_what_has_ended_is_its_state(api: Any, finish: Any) -> None:
    made = await api.create()
    await finish(made.uid)
    await api.until_state(made.name, "SUCCEEDED")
    frames = await asyncio.wait_for(read_all(api.watch(until_terminal=True)), 10)
    assert short(frames[0])[0] == ADDED
    assert frames[-1].bookmark.type == COMPLETE
    assert len(frames) == 2


@pytest.mark.usefixtures("quiet")
async def test_until_terminal_waits_for_the_first_that_matches(api: Any) -> None:
    frames = asyncio.ensure_future(read_all(api.watch(until_terminal=True)))
    made = await api.create()
    await api.stub.CancelExperiment(pb.CancelExperimentRequest(name=made.name))
    done = await asyncio.wait_for(frames, 10)
    assert done[-1].change.experiment.state == pb.EXPERIMENT_STATE_CANCELLED


@pytest.mark.usefixtures("quiet")
async def test_a_server_that_stops_says_so_and_the_token_leads_on(
    running: Any, server: Any, api: Any
) -> None:
    watches = [api.watch() for _ in range(5)]
    for watch in watches:
        await initial(watch)
    began = asyncio.get_running_loop().time()
    await running.stop(server)
    assert asyncio.get_running_loop().time() - began < 0.9, "waited for the grace period"
    last = [await watch.read() for watch in watches]
    assert {await watch.read() for watch in watches} == {grpc.aio.EOF}
    assert {each.bookmark.type for each in last} == {pb.BOOKMARK_TYPE_SERVER_DRAINING}
    api = running.api(await running.server())
    await api.create("after")
    watch = api.watch(resume_token=last[0].resume_token)
    assert short(await watch.read()) == (ADDED, "after")


@pytest.mark.usefixtures("quiet")
async def test_a_watcher_that_never_reads_costs_nothing_and_loses_nothing(running: Any) -> None:
    """60 MB of changes pass by; then it reads every one of them, in order."""
    api = running.api(await running.server(feed_size=20))
    request = api.request("big")
    request.experiment.spec.task_groups[0].command = "x" * 60_000
    del request.experiment.spec.task_groups[0].args[:]
    request.experiment.spec.task_groups[0].env.add(name="PAD", value="y" * 32_000)
    await api.stub.CreateExperiment(request)
    lazy = api.watch()
    await initial(lazy)
    for number in range(100):
        await rename(api, "big", f"warm {number}")
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(600):
        await rename(api, "big", str(number))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 25_000, f"{grown} KiB more for changes that nobody reads"
    names = [(await lazy.read()).change.experiment.display_name for _ in range(700)]
    assert names[100:] == [str(number) for number in range(600)]


@pytest.mark.usefixtures("quiet")
async def test_many_watchers_see_the_same(api: Any) -> None:
    watches = [api.watch(filter="labels.on = yes") for _ in range(100)]
    for watch in watches:
        await initial(watch)
    for number in range(20):
        await api.create(f"e{number}", on="yes" if number % 2 else "no")
    wanted = [(ADDED, f"e{number}") for number in range(1, 20, 2)]
    for watch in watches:
        assert [short(await watch.read()) for _ in wanted] == wanted
