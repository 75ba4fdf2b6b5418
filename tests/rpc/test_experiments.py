"""ExperimentService against a real server: what its protos promise."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from subgrpc.v1 import experiment_service_pb2 as pb

TEAM = "teams/default"


async def test_a_created_experiment_is_there(api: Any) -> None:
    """Create returns the experiment as Get does afterwards, apart from what the engine did."""
    made = await api.create("first", purpose="test")
    assert made.name == "teams/default/experiments/first"
    assert len(made.uid) == 26
    assert made.creator == "anonymous"
    assert made.cluster == "clusters/fake"
    assert made.state == pb.EXPERIMENT_STATE_QUEUED
    assert made.etag
    assert made.create_time.seconds
    assert [(r.role, r.replicas, r.pending) for r in made.roles] == [("main", 1, 1)]
    read = await api.get(made.name)
    assert (read.uid, read.labels, read.spec) == (made.uid, made.labels, made.spec)


async def test_it_runs_to_its_end(api: Any, finish: Any) -> None:
    made = await api.create()
    await finish(made.uid)
    done = await api.until_state(made.name, "SUCCEEDED")
    tasks = await api.stub.ListTasks(pb.ListTasksRequest(parent=made.name))
    assert [task.name for task in tasks.tasks] == [f"{made.name}/attempts/1/tasks/main-0"]
    events = await api.stub.ListExperimentEvents(pb.ListExperimentEventsRequest(parent=made.name))
    assert [event.sequence for event in events.events] == list(range(1, len(events.events) + 1))
    assert events.events[0].type == "Created"
    assert events.events[-1].state == done.state


async def test_the_server_names_what_the_client_does_not(api: Any) -> None:
    names = {(await api.create()).name for _ in range(20)}
    assert len(names) == 20


async def test_a_name_is_given_once(api: Any, refused: Any) -> None:
    await api.create("taken")
    failure = await refused(api.create("taken"))
    assert failure.code == grpc.StatusCode.ALREADY_EXISTS
    assert failure.reason == "EXPERIMENT_EXISTS"


async def test_validate_only_creates_nothing(api: Any, refused: Any) -> None:
    request = api.request("ghost", validate_only=True)
    would = (await api.stub.CreateExperiment(request)).experiment
    assert (would.name, would.cluster) == ("teams/default/experiments/ghost", "clusters/fake")
    assert (await refused(api.get(would.name))).reason == "EXPERIMENT_NOT_FOUND"


async def test_the_driver_may_refuse_a_spec(api: Any, backend: Any, refused: Any) -> None:
    """Its violations come back as paths of the request."""
    backend.refuse("more than there is")
    failure = await refused(api.create())
    assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
    assert failure.violations == {
        "experiment.spec.task_groups[0].resources.cpu": "more than there is"
    }


async def test_a_missing_experiment_is_not_found(api: Any, refused: Any) -> None:
    name = "teams/default/experiments/nobody"
    for call in (
        api.get(name),
        api.stub.CancelExperiment(pb.CancelExperimentRequest(name=name)),
        api.stub.DeleteExperiment(pb.DeleteExperimentRequest(name=name)),
        api.stub.UpdateExperiment(pb.UpdateExperimentRequest(experiment={"name": name})),
        api.stub.ListTasks(pb.ListTasksRequest(parent=name)),
        api.stub.ListExperimentEvents(pb.ListExperimentEventsRequest(parent=name)),
    ):
        failure = await refused(call)
        assert failure.code == grpc.StatusCode.NOT_FOUND
        assert failure.reason == "EXPERIMENT_NOT_FOUND"
        assert name in failure.message


async def test_batch_get_keeps_the_order_and_names_all_that_is_missing(
    api: Any, refused: Any
) -> None:
    a, b = await api.create("a"), await api.create("b")
    asked = pb.BatchGetExperimentsRequest(parent=TEAM, names=[b.name, a.name, b.name])
    found = await api.stub.BatchGetExperiments(asked)
    assert [each.name for each in found.experiments] == [b.name, a.name, b.name]
    gone = [f"{TEAM}/experiments/{each}" for each in ("x", "y")]
    failure = await refused(
        api.stub.BatchGetExperiments(
            pb.BatchGetExperimentsRequest(parent=TEAM, names=[a.name, *gone])
        )
    )
    assert failure.code == grpc.StatusCode.NOT_FOUND
    assert failure.metadata["name"] == ", ".join(gone)


async def test_pages_show_every_experiment_once_newest_first(api: Any) -> None:
    made = [(await api.create()).name for _ in range(7)]
    seen, token = [], ""
    while True:
        page = await api.stub.ListExperiments(
            pb.ListExperimentsRequest(parent=TEAM, page_size=3, page_token=token)
        )
        seen += [each.name for each in page.experiments]
        token = page.next_page_token
        if not token:
            break
    assert seen == made[::-1]


async def test_lists_are_filtered_and_ordered(api: Any) -> None:
    for name, kind in (("a", "x"), ("b", "y"), ("c", "x")):
        await api.create(name, kind=kind)
    page = await api.stub.ListExperiments(
        pb.ListExperimentsRequest(parent=TEAM, filter='labels.kind = "x"', order_by="experiment_id")
    )
    assert [each.name[-1] for each in page.experiments] == ["a", "c"]


@pytest.mark.parametrize(
    "other", [{"filter": "state = FAILED"}, {"order_by": "create_time"}, {"page_token": "x" * 30}]
)
async def test_a_page_token_is_good_for_its_own_list_only(
    api: Any, refused: Any, other: Any
) -> None:
    for _ in range(3):
        await api.create()
    page = await api.stub.ListExperiments(pb.ListExperimentsRequest(parent=TEAM, page_size=1))
    asked = {"page_token": page.next_page_token, **other}
    failure = await refused(
        api.stub.ListExperiments(pb.ListExperimentsRequest(parent=TEAM, **asked))
    )
    assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
    assert failure.reason == "PAGE_TOKEN_INVALID"


async def test_an_update_changes_what_its_mask_says(api: Any) -> None:
    made = await api.create("x", a="1")

    async def update(experiment: pb.Experiment, *paths: str) -> pb.Experiment:
        experiment.name = made.name
        request = pb.UpdateExperimentRequest(
            experiment=experiment, update_mask=FieldMask(paths=paths)
        )
        return (await api.stub.UpdateExperiment(request)).experiment

    one = await update(pb.Experiment(display_name="X", labels={"b": "2"}), "display_name")
    assert (one.display_name, dict(one.labels)) == ("X", {"a": "1"})
    two = await update(pb.Experiment(labels={"b": "2"}), "labels")
    assert (two.display_name, dict(two.labels)) == ("X", {"b": "2"})
    both = await update(pb.Experiment(display_name="Y"))
    assert (both.display_name, dict(both.labels)) == ("Y", {})
    page = await api.stub.ListExperiments(
        pb.ListExperimentsRequest(parent=TEAM, filter="labels.b:*")
    )
    assert not page.experiments


async def test_a_mask_may_name_nothing_else(api: Any, refused: Any) -> None:
    made = await api.create()
    request = pb.UpdateExperimentRequest(
        experiment=made, update_mask=FieldMask(paths=["labels", "spec.timeout"])
    )
    failure = await refused(api.stub.UpdateExperiment(request))
    assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
    assert "spec.timeout" in failure.violations["update_mask"]


async def test_an_old_etag_is_refused(api: Any, refused: Any) -> None:
    made = await api.create()
    request = pb.UpdateExperimentRequest(experiment={"name": made.name, "display_name": "one"})
    fresh = (await api.stub.UpdateExperiment(request)).experiment
    request.experiment.etag = made.etag
    failure = await refused(api.stub.UpdateExperiment(request))
    assert (failure.code, failure.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    failure = await refused(
        api.stub.DeleteExperiment(
            pb.DeleteExperimentRequest(name=made.name, etag=made.etag, force=True)
        )
    )
    assert failure.reason == "ETAG_MISMATCH"
    request.experiment.etag = failure.metadata["etag"]
    assert request.experiment.etag != made.etag
    assert fresh.display_name == "one"
    await api.stub.UpdateExperiment(request)


async def test_what_never_started_is_cancelled_at_once(running: Any) -> None:
    running.backend.hold()
    api = running.api(await running.server())
    made = await api.create()
    request = pb.CancelExperimentRequest(name=made.name, message="not today")
    done = (await api.stub.CancelExperiment(request)).experiment
    assert done.state == pb.EXPERIMENT_STATE_CANCELLED
    assert (done.reason, done.message) == ("Cancelled", "not today")
    assert done.end_time.seconds
    again = (await api.stub.CancelExperiment(request)).experiment
    assert again == done


async def test_what_runs_is_cancelled_when_it_is_gone(api: Any, backend: Any) -> None:
    made = await api.create()
    await backend.observe(made.uid, "RUNNING")
    await api.until_state(made.name, "RUNNING")
    request = pb.CancelExperimentRequest(name=made.name)
    first = (await api.stub.CancelExperiment(request)).experiment
    assert first.state == pb.EXPERIMENT_STATE_CANCELLING
    again = (await api.stub.CancelExperiment(request)).experiment
    assert again.state == pb.EXPERIMENT_STATE_CANCELLING
    await backend.stopped(made.uid)
    done = await api.until_state(made.name, "CANCELLED")
    assert done.reason == "Cancelled"


async def test_delete_wants_an_end_or_force(api: Any, refused: Any, finish: Any) -> None:
    made = await api.create()
    failure = await refused(api.stub.DeleteExperiment(pb.DeleteExperimentRequest(name=made.name)))
    assert failure.code == grpc.StatusCode.FAILED_PRECONDITION
    assert failure.reason == "EXPERIMENT_NOT_TERMINAL"
    await finish(made.uid)
    await api.until_state(made.name, "SUCCEEDED")
    gone = await api.stub.DeleteExperiment(pb.DeleteExperimentRequest(name=made.name))
    assert gone.experiment.state == pb.EXPERIMENT_STATE_DELETING
    await api.until_gone(made.name)


async def test_a_forced_delete_ends_what_runs(api: Any, backend: Any) -> None:
    made = await api.create()
    await backend.run(made.uid)
    await api.stub.DeleteExperiment(pb.DeleteExperimentRequest(name=made.name, force=True))
    await backend.stopped(made.uid)
    await api.until_gone(made.name)
    assert not backend.backend.runs
    answer = await api.stub.DeleteExperiment(
        pb.DeleteExperimentRequest(name=made.name, allow_missing=True)
    )
    assert not answer.HasField("experiment")


async def test_a_repeat_returns_the_experiment_as_it_is_now(api: Any) -> None:
    request = api.request("once", request_id="r-1")
    first = (await api.stub.CreateExperiment(request)).experiment
    await api.stub.UpdateExperiment(
        pb.UpdateExperimentRequest(experiment={"name": first.name, "display_name": "new"})
    )
    again = (await api.stub.CreateExperiment(request)).experiment
    assert (again.uid, again.display_name) == (first.uid, "new")


async def test_repeats_at_the_same_time_create_one(api: Any) -> None:
    request = api.request(request_id="race")
    answers = await asyncio.gather(*(api.stub.CreateExperiment(request) for _ in range(20)))
    assert len({answer.experiment.uid for answer in answers}) == 1


async def test_a_request_id_is_good_for_one_body(api: Any, refused: Any) -> None:
    await api.stub.CreateExperiment(api.request("a", request_id="r"))
    failure = await refused(api.stub.CreateExperiment(api.request("b", request_id="r")))
    assert failure.code == grpc.StatusCode.ALREADY_EXISTS
    assert failure.reason == "REQUEST_ID_REUSED"
    cancel = pb.CancelExperimentRequest(name=f"{TEAM}/experiments/a", request_id="r")
    await api.stub.CancelExperiment(cancel)


async def test_a_failed_request_is_not_remembered(api: Any, refused: Any) -> None:
    await api.create("a")
    request = api.request("a", request_id="r")
    assert (await refused(api.stub.CreateExperiment(request))).reason == "EXPERIMENT_EXISTS"
    request.experiment_id = "b"
    await api.stub.CreateExperiment(request)


async def test_a_repeat_is_answered_though_the_request_would_be_refused_now(
    api: Any, backend: Any
) -> None:
    request = api.request("a", request_id="r")
    first = (await api.stub.CreateExperiment(request)).experiment
    backend.refuse("no more")
    assert (await api.stub.CreateExperiment(request)).experiment.uid == first.uid


async def test_a_delete_can_be_repeated_after_it_was_done(api: Any, finish: Any) -> None:
    made = await api.create()
    await finish(made.uid)
    request = pb.DeleteExperimentRequest(name=made.name, force=True, request_id="d")
    await api.until_state(made.name, "SUCCEEDED")
    await api.stub.DeleteExperiment(request)
    await api.until_gone(made.name)
    assert not (await api.stub.DeleteExperiment(request)).HasField("experiment")


async def test_tasks_are_listed_by_attempt(api: Any, backend: Any, refused: Any) -> None:
    request = api.request("tries")
    request.experiment.spec.retry_policy.max_retries = 1
    request.experiment.spec.retry_policy.initial_backoff.nanos = 1_000_000
    made = (await api.stub.CreateExperiment(request)).experiment
    for attempt in (1, 2):
        await backend.observe(made.uid, "FAILED", attempt=attempt, exit_code=3)
    await api.until_state(made.name, "FAILED")

    async def tasks(parent: str, **more: str) -> list[str]:
        answer = await api.stub.ListTasks(pb.ListTasksRequest(parent=parent, **more))
        return [task.name.removeprefix(made.name) for task in answer.tasks]

    assert await tasks(made.name) == ["/attempts/2/tasks/main-0"]
    assert await tasks(f"{made.name}/attempts/1") == ["/attempts/1/tasks/main-0"]
    assert len(await tasks(f"{made.name}/attempts/-")) == 2
    assert await tasks(f"{made.name}/attempts/-", filter="state = SUCCEEDED") == []
    failure = await refused(tasks(f"{made.name}/attempts/3"))
    assert failure.reason == "ATTEMPT_NOT_FOUND"
    for number in ("0", "9" * 30, "last"):
        failure = await refused(tasks(f"{made.name}/attempts/{number}"))
        assert failure.code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)


async def test_events_come_in_pages(api: Any, finish: Any) -> None:
    made = await api.create()
    await finish(made.uid)
    await api.until_state(made.name, "SUCCEEDED")
    seen, token = [], ""
    while True:
        page = await api.stub.ListExperimentEvents(
            pb.ListExperimentEventsRequest(parent=made.name, page_size=2, page_token=token)
        )
        seen += [event.sequence for event in page.events]
        token = page.next_page_token
        if not token:
            break
    assert seen == list(range(1, len(seen) + 1))
    assert len(seen) >= 3
