"""What is done, and what waits, while a cluster's driver is not there."""

from __future__ import annotations

import asyncio

from subgrpc.driver import ClusterConfig, Driver, Workload
from subgrpc.errors import FailedPrecondition, Unavailable
from subgrpc.testing.fake import FakeBackend, FakeDriver
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.cluster_service_pb2 import Cluster, ClusterHealth
from subgrpc.v1.experiment_service_pb2 import Experiment

from .conftest import World, now, reason, retrying, until

CANCELLING, DELETING = api.EXPERIMENT_STATE_CANCELLING, api.EXPERIMENT_STATE_DELETING


class BrokenBackend(FakeBackend):
    """A backend whose driver cannot be started while `broken`."""

    broken = False

    def driver_class(self) -> type[FakeDriver]:
        backend = self

        class BreakableDriver(super().driver_class()):  # type: ignore[misc]
            """Refuses to start."""

            @classmethod
            def from_config(cls, config: ClusterConfig) -> Driver:
                if backend.broken:
                    raise FailedPrecondition("no licence", reason="NO_LICENCE")
                return cls()

        return BreakableDriver


async def broken(world: World) -> BrokenBackend:
    """Starts the server again, with a driver that does not start."""
    await world.stop()
    backend = BrokenBackend()
    backend.obedient, backend.broken = True, True
    backend.runs = world.backend.runs
    world.backend = backend
    await world.start()
    return backend


async def test_what_never_ran_is_deleted_without_a_driver(world: World) -> None:
    """A cluster whose driver does not start keeps nobody from deleting what waits for it."""
    await broken(world)
    uid = await world.create()
    await until(lambda: reason(world, uid) == "ClusterUnhealthy")
    await world.change(uid, DELETING)
    await world.reaches(uid, "GONE")


async def test_a_cancel_between_attempts_needs_no_driver(world: World) -> None:
    """An experiment in its backoff has nothing in the backend: CANCELLED at once."""
    uid = await world.create(retrying(1, 60_000))
    await world.submitted(uid)
    world.set(uid, "FAILED", reason="ExitCode", exit_code=1)
    await until(lambda: reason(world, uid) == "Backoff")
    await until(lambda: all(row.settled for row in now(world.store.attempts(uid))))
    await broken(world)
    await world.change(uid, CANCELLING)
    await world.reaches(uid, "CANCELLED")


async def test_a_queue_timeout_needs_no_driver(world: World) -> None:
    """Also a cluster that never works ends the wait of what has a queue_timeout."""
    await broken(world)
    experiment = Experiment()
    experiment.spec.queue_timeout.FromMilliseconds(50)
    uid = await world.create(experiment)
    await world.reaches(uid, "FAILED")
    assert reason(world, uid) == "QueueTimeout"


async def test_what_may_run_waits_for_its_driver(world: World) -> None:
    """Without its driver a running experiment is neither gone nor cancelled, whatever is asked."""
    uid, other = await world.create(), await world.create()
    for each in (uid, other):
        await world.submitted(each)
        world.set(each, "RUNNING")
        await world.reaches(each, "RUNNING")
    backend = await broken(world)
    await world.change(uid, DELETING)
    await world.change(other, CANCELLING)
    await asyncio.sleep(1.5)
    assert (world.state(uid), world.state(other)) == ("DELETING", "CANCELLING")
    backend.broken = False
    await world.reaches(uid, "GONE")
    await world.reaches(other, "CANCELLED")
    await until(lambda: not backend.runs)


async def test_a_cluster_that_is_configured_no_more(world: World) -> None:
    """Its experiments say so and can be deleted; its record goes with the last that waits."""
    ended = await world.create()
    await world.submitted(ended)
    world.set(ended, "SUCCEEDED")
    await until(lambda: all(row.settled for row in now(world.store.attempts(ended))))
    world.backend.holding = True
    uid = await world.create()
    await world.stop()
    world.clusters = ("two",)
    await world.start()
    await until(lambda: "not configured" in (world.get(uid) or Experiment()).message)
    raw = now(world.store.get_cluster("clusters/one"))
    assert raw is not None
    assert Cluster.FromString(raw).health == ClusterHealth.CLUSTER_HEALTH_UNHEALTHY
    await world.change(uid, DELETING)
    await world.reaches(uid, "GONE")
    await world.restart()
    assert now(world.store.get_cluster("clusters/one")) is None
    await world.change(ended, DELETING)
    await world.reaches(ended, "GONE")


async def test_an_outage_does_not_hide_why_an_attempt_is_stopped(world: World) -> None:
    """A queue timeout stays the reason, though the cluster becomes unhealthy before the end."""
    world.backend.obedient = False
    experiment = Experiment()
    experiment.spec.queue_timeout.FromMilliseconds(50)
    uid = await world.create(experiment)
    await until(lambda: reason(world, uid) == "QueueTimeout")
    world.backend.outage = "away"
    waiting = await world.create()
    await until(lambda: reason(world, waiting) == "ClusterUnhealthy")
    assert reason(world, uid) == "QueueTimeout"
    world.backend.outage = ""
    world.set(uid, "CANCELLED")
    await world.reaches(uid, "FAILED")
    assert "queue_timeout" in (world.get(uid) or Experiment()).message


async def test_a_create_does_not_need_the_driver(world: World) -> None:
    """While the backend is away its driver cannot check a spec: that is done at the start."""
    await world.stop()
    world.backend = AwayBackend()
    await world.start()
    await world.engine.validate("one", Experiment(name="teams/default/experiments/e"))


class AwayBackend(FakeBackend):
    """A backend that is asked by `validate`, and away then."""

    def driver_class(self) -> type[FakeDriver]:
        class AwayDriver(super().driver_class()):  # type: ignore[misc]
            """Cannot validate."""

            async def validate(self, workload: Workload) -> None:
                raise Unavailable("away", reason="AWAY")

        return AwayDriver
