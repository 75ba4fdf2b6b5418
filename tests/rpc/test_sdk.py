"""The SDK's groups and handles against a real server, in both flavours."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from subgrpc.client import AsyncClient, Client
from subgrpc.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
)


class Either:
    """A client of one of the flavours; the one that blocks is used from other threads."""

    def __init__(self, kind: type[Any], address: str) -> None:
        self.client = kind(address)
        self._threads = ThreadPoolExecutor(40)

    async def __call__(self, use: Callable[[Any], Any]) -> Any:
        """What `use` of the client (or of something of it) returns; of an iterator, a list."""
        if isinstance(self.client, Client):
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._blocking, use)
        found = use(self.client)
        if inspect.isawaitable(found):
            return await found
        return [each async for each in found]

    def _blocking(self, use: Callable[[Any], Any]) -> Any:
        found = use(self.client)
        return list(found) if hasattr(found, "__next__") else found


@pytest.fixture(params=[Client, AsyncClient])
async def either(request: Any, server: Any) -> AsyncIterator[Either]:
    either = Either(request.param, server.addresses[0])
    yield either
    done = either.client.close()
    if done is not None:
        await done


async def test_an_experiment_from_its_creation_to_its_end(
    either: Either, backend: Any, finish: Any
) -> None:
    """create, refresh, tasks, events, logs, wait, delete."""
    made = await either(
        lambda c: c.experiments.create(
            "python train.py", name="digits", labels={"team": "vision"}, env={"SEED": "1"}, cpu=1
        )
    )
    assert (made.id, made.state) == ("digits", "QUEUED")
    await backend.observe(made.uid, "RUNNING")
    backend.backend.write((made.uid, 1), "main", 0, b"epoch 1\n")
    await finish(made.uid)
    assert await either(lambda _: made.wait(timeout=20)) is made
    assert (made.state, made.ended, made.succeeded) == ("SUCCEEDED", True, True)
    (task,) = await either(lambda _: made.tasks())
    assert (task.status.role, task.status.exit_code) == ("main", 0)
    assert await either(lambda _: made.tasks(attempt=1)) == [task]
    events = await either(lambda _: made.events())
    assert [each.sequence for each in events] == list(range(1, len(events) + 1))
    for options in (
        {},
        {"follow": True},
        {"task": "main-0"},
        {"stream": "stdout"},
        {"since_attempt": 1},
        {"since_attempt": 1, "task": "main-0"},
    ):
        chunks = await either(lambda _, options=options: made.logs(**options))
        assert "".join(each.text for each in chunks) == "epoch 1\n"
    changes = await either(lambda _: made.watch())
    assert [(each.type, each.experiment.state) for each in changes] == [("ADDED", "SUCCEEDED")]
    await either(lambda _: made.delete())
    with contextlib.suppress(NotFound):
        await either(lambda _: made.wait())
    await either(lambda c: c.experiments.delete("no-such", allow_missing=True))


async def test_lists_go_on_over_pages(either: Either, backend: Any) -> None:
    """Newest first; batch_get in the order asked for."""
    ids = [f"x{number}" for number in range(7)]
    for each in ids:
        await either(lambda c, each=each: c.experiments.create("x", name=each, labels={"k": each}))
    found = await either(lambda c: c.experiments.list(page_size=3))
    assert [each.id for each in found] == ids[::-1]
    found = await either(lambda c: c.experiments.list(filter='labels.k = "x3"'))
    assert [each.id for each in found] == ["x3"]
    found = await either(lambda c: c.experiments.batch_get(["x5", found[0].name]))
    assert [each.id for each in found] == ["x5", "x3"]


async def test_an_update_can_be_bound_to_what_was_seen(either: Either, backend: Any) -> None:
    """By its etag; without one it is done whatever has happened meanwhile."""
    made = await either(lambda c: c.experiments.create("x", name="x"))
    other = await either(lambda c: c.experiments.get("x"))
    await backend.run(made.uid)
    await either(lambda _: other.update(labels={"a": "1"}, display_name="X"))
    assert dict(other.experiment.labels) == {"a": "1"}
    with pytest.raises(Aborted) as caught:
        await either(lambda _: made.update(labels={"a": "2"}, etag=made.experiment.etag))
    assert caught.value.reason == "ETAG_MISMATCH"
    assert (await either(lambda _: made.refresh())).experiment.display_name == "X"


async def test_a_cancelled_experiment_ends(either: Either, backend: Any) -> None:
    """The message is in its history; a running one is not deleted by mistake."""
    made = await either(lambda c: c.experiments.create("x", name="x"))
    await backend.observe(made.uid, "RUNNING")
    with pytest.raises(FailedPrecondition) as caught:
        await either(lambda _: made.delete())
    assert caught.value.reason == "EXPERIMENT_NOT_TERMINAL"
    await either(lambda _: made.cancel(message="enough"))
    await backend.stopped(made.uid)
    assert (await either(lambda c: c.experiments.wait("x", timeout=20))).state == "CANCELLED"
    assert any("enough" in each.message for each in await either(lambda _: made.events()))


async def test_mistakes_are_told_with_reason_and_fields(either: Either) -> None:
    """As classes of `subgrpc.errors`."""
    with pytest.raises(InvalidArgument) as refused:
        await either(lambda c: c.experiments.create("x", name="UPPER", cpu="many"))
    assert {each.field for each in refused.value.violations} == {
        "experiment_id",
        "experiment.spec.task_groups[0].resources.cpu",
    }
    await either(lambda c: c.experiments.create("x", name="x"))
    with pytest.raises(AlreadyExists):
        await either(lambda c: c.experiments.create("x", name="x"))
    for use in (
        lambda c: c.experiments.get("nobody"),
        lambda c: c.experiments.tasks("nobody"),
        lambda c: c.experiments.logs("nobody"),
        lambda c: c.experiments.wait("nobody", print_output=True),
        lambda c: c.clusters.get("nobody"),
    ):
        with pytest.raises(NotFound):
            await either(use)
    with pytest.raises(NotFound, match="has no attempt 9"):
        await either(lambda c: c.experiments.logs("x", since_attempt=9))
    with pytest.raises(InvalidArgument, match="either attempt or since_attempt"):
        await either(lambda c: c.experiments.logs("x", attempt=1, since_attempt=1))


async def test_what_is_only_checked_is_not_created(either: Either) -> None:
    await either(lambda c: c.experiments.create("x", name="x", validate_only=True))
    assert await either(lambda c: c.experiments.list()) == []


async def test_a_repeat_creates_nothing(either: Either) -> None:
    """The same request id, the same experiment."""
    made = [await either(lambda c: c.experiments.create("x", request_id="r")) for _ in range(2)]
    assert made[0].uid == made[1].uid


async def test_waiting_prints_output(
    either: Either, backend: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """From its beginning, while it comes; of several tasks with the task before each line."""
    made = await either(lambda c: c.experiments.create("x", name="x", replicas=2))
    await backend.run(made.uid)
    for index in range(2):
        backend.backend.write((made.uid, 1), "main", index, b"one\ntwo")
    waiting = asyncio.ensure_future(either(lambda _: made.wait(print_output=True)))
    for index in range(2):
        backend.backend.observe((made.uid, 1), "main", index, 3)
        backend.backend.observe((made.uid, 1), "main", index, 4)
    assert (await asyncio.wait_for(waiting, 20)).succeeded
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith("[main")]
    wanted = [f"[main-{index}] {word}" for index in range(2) for word in ("one", "two")]
    assert sorted(lines) == wanted


@pytest.mark.parametrize("print_output", [False, True])
async def test_waiting_has_an_end(either: Either, backend: Any, print_output: bool) -> None:
    """With a reason of its own; the experiment goes on."""
    made = await either(lambda c: c.experiments.create("x", name="x"))
    await backend.observe(made.uid, "RUNNING")
    with pytest.raises(Unavailable, match=r"has not ended within 0\.3 s") as caught:
        await either(lambda _: made.wait(timeout=0.3, print_output=print_output))
    assert caught.value.reason == "DEADLINE_EXCEEDED"
    assert (await either(lambda _: made.refresh())).state == "RUNNING"


async def test_lost_output_is_told(
    either: Either, backend: Any, finish: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """To whoever asks, else to the log: never nothing."""
    made = await either(lambda c: c.experiments.create("x", name="x"))
    await backend.run(made.uid)
    backend.backend.lose((made.uid, 1), "main", 0, 42)
    backend.backend.write((made.uid, 1), "main", 0, b"rest\n")
    await finish(made.uid)
    await either(lambda _: made.wait(timeout=20))
    gaps: list[int] = []
    chunks = await either(lambda _: made.logs(on_gap=lambda gap: gaps.append(gap.length)))
    assert ("".join(each.text for each in chunks), gaps) == ("rest\n", [42])
    await either(lambda _: made.logs())
    assert "42 bytes of main-0's stdout are lost" in caplog.text


async def test_clusters(either: Either) -> None:
    (found,) = await either(lambda c: c.clusters.list())
    assert found == await either(lambda c: c.clusters.get("fake"))
    assert (found.name, found.default) == ("clusters/fake", True)


async def test_many_followers_leave_unary_calls_alone(either: Either, backend: Any) -> None:
    """Streams have a channel of their own; threads and tasks share a client."""
    made = await either(lambda c: c.experiments.create("x", name="x"))
    await backend.observe(made.uid, "RUNNING")
    feeds = [either.client.experiments.logs("x", follow=True) for _ in range(10)]
    reading = [asyncio.ensure_future(either(lambda _, feed=feed: feed)) for feed in feeds]
    found = await asyncio.gather(*(either(lambda _: made.refresh()) for _ in range(30)))
    assert {each.uid for each in found} == {made.uid}
    backend.backend.write((made.uid, 1), "main", 0, b"text\n")
    await backend.observe(made.uid, "SUCCEEDED")
    for chunks in await asyncio.wait_for(asyncio.gather(*reading), 20):
        assert "".join(each.text for each in chunks) == "text\n"
