"""What the local driver does beyond the contract: output, limits, the working directory."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from subgrpc.driver import ClusterConfig, LogChunk, LogGap, Run, Workload
from subgrpc.driver.local.driver import LocalDriver
from subgrpc.driver.local.folders import read_claim
from subgrpc.errors import InvalidArgument, InvalidSpec, NotFound
from subgrpc.testing.contract import MAIN, RUNNING, Suite
from subgrpc.v1.types_pb2 import LogStream, TaskState
from tests.unit.local_driver.conftest import MakeDriver

STDOUT = LogStream.LOG_STREAM_STDOUT
STDERR = LogStream.LOG_STREAM_STDERR


class TestLocalDriver(Suite):
    """Real processes of this host."""

    async def test_a_huge_line(self, driver: LocalDriver) -> None:
        """A line of 100 MB without an end arrives whole."""
        script = "import sys\nfor _ in range(100): sys.stdout.buffer.write(b'\\xff' * 1000000)"
        run = await self.submit(driver, self.workload(sys.executable, "-S", "-c", script))
        size = 0
        async for piece in driver.logs(run, MAIN, STDOUT, 0, follow=True):
            assert isinstance(piece, LogChunk)
            assert piece.offset == size
            assert piece.data.count(b"\xff") == len(piece.data)
            size += len(piece.data)
        assert size == 100_000_000
        await driver.delete(run)

    async def test_a_flood_of_lines(self, driver: LocalDriver) -> None:
        """Whoever follows a process that writes small lines all the time misses none."""
        script = "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done"
        run = await self.submit(driver, self.workload("sh", "-c", script))
        lines = (await self.output(driver, run)).split()
        assert lines == [str(n).encode() for n in range(20000)]
        await driver.delete(run)

    async def test_output_that_is_truncated(self, driver: LocalDriver) -> None:
        """A script's `> /dev/stderr` truncates the file; what follows is still read."""
        script = (
            "echo first >&2; while [ ! -e go ]; do sleep 0.02; done;"
            "echo second > /dev/stderr; echo third >&2; sleep 0.1; echo fourth >&2"
        )
        run = await self.submit(driver, self.workload("sh", "-c", script))
        logs = driver.logs(run, MAIN, STDERR, 0, follow=True)
        assert await anext(logs) == LogChunk(offset=0, data=b"first\n")
        (driver.folder_of(run) / "main-0" / "work" / "go").touch()
        rest = [piece async for piece in logs]
        data = b"".join(piece.data for piece in rest if isinstance(piece, LogChunk))
        assert data.endswith(b"third\nfourth\n")
        assert rest[0].offset == len(b"first\n")
        again = [piece async for piece in driver.logs(run, MAIN, STDERR, 0, follow=True)]
        assert again[0] == LogGap(offset=0, length=6, message="the task truncated its own output")
        assert again[1].offset == 6
        await driver.delete(run)

    async def test_working_directory(self, driver: LocalDriver, tmp_path: Path) -> None:
        """Tasks start in a folder of their own, or where the options say."""
        own = await self.submit(driver, self.workload("sh", "-c", "pwd; ls"))
        assert await self.output(driver, own) == (
            os.fsencode(driver.folder_of(own) / "main-0" / "work") + b"\n"
        )
        workload = self.workload("sh", "-c", 'pwd; echo "$PWD"')
        workload.options["working_directory"] = str(tmp_path)
        given = await self.submit(driver, workload)
        assert await self.output(driver, given) == os.fsencode(tmp_path) + b"\n" + (
            os.fsencode(tmp_path) + b"\n"
        )

    async def test_the_servers_settings_are_its_own(
        self, driver: LocalDriver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Tasks inherit the server's environment, but nothing that begins with SUBGRPC_."""
        monkeypatch.setenv("SUBGRPC_TOKEN", "t0ken")
        monkeypatch.setenv("ORDINARY", "yes")
        run = await self.submit(driver, self.workload("env", "-0"))
        variables = (await self.output(driver, run)).split(b"\0")
        assert b"ORDINARY=yes" in variables
        assert {v.split(b"=")[0] for v in variables if v.startswith(b"SUBGRPC_")} == {
            b"SUBGRPC_EXPERIMENT",
            b"SUBGRPC_ATTEMPT",
            b"SUBGRPC_ROLE",
            b"SUBGRPC_INDEX",
            b"SUBGRPC_REPLICAS",
            b"SUBGRPC_OUTPUT_DIR",
            b"SUBGRPC_TASK_UID",
        }

    async def test_secrets_are_nowhere(self, driver: LocalDriver) -> None:
        """A secret is in the task's own environment; on no disk, in no argument list."""
        workload = self.workload("sleep", "600")
        workload.groups[0].secret_env["TOKEN"] = "key"
        run = await self.submit(driver, workload, {"key": b"s3cret-value"})
        await self.until(driver, run, RUNNING)
        folder = driver.folder_of(run)
        for path in folder.rglob("*"):
            assert path.is_dir() or b"s3cret-value" not in path.read_bytes()
        supervisor = Path("/proc", str(read_claim(folder / "main-0")[0]))
        assert b"s3cret-value" not in (supervisor / "cmdline").read_bytes()
        assert b"s3cret-value" not in (supervisor / "environ").read_bytes()
        assert folder.stat().st_mode & 0o077 == 0
        await driver.delete(run)

    async def test_gpus_are_given_once(self, make_driver: MakeDriver) -> None:
        """Each task sees its own GPUs; one that asks for none sees none."""
        driver = await make_driver(gpu_ids="0,3")
        shown = []
        for gpus in (1, 1, 0):
            workload = self.workload("sh", "-c", "echo gpus:$CUDA_VISIBLE_DEVICES; sleep 600")
            workload.groups[0].resources.gpus = gpus
            run = await self.submit(driver, workload)
            shown.append(await self.first_chunk(driver, run))
        assert shown == [b"gpus:0\n", b"gpus:3\n", b"gpus:\n"]
        assert (await driver.describe()).allocated.gpus == 2
        async for item in driver.watch("contract"):
            if not hasattr(item, "run"):
                break
            await driver.delete(item.run)

    async def test_memory_limit(self, driver: LocalDriver) -> None:
        """Who asks for memory is held to it, where control groups can be made."""
        if "memory-limit" not in (await driver.describe()).capabilities:
            pytest.skip("no control groups can be made here")
        script = "b = bytearray()\nwhile len(b) < 300 << 20: b += b'x' * (1 << 20)"
        workload = self.workload(sys.executable, "-S", "-c", script)
        workload.groups[0].resources.memory = workload.groups[0].limits.memory = "100Mi"
        run = await self.submit(driver, workload)
        [task] = await self.ended(driver, run)
        assert (task.state, task.reason) == (TaskState.TASK_STATE_FAILED, "OutOfMemory")
        default = self.workload(sys.executable, "-S", "-c", script)
        default.groups[0].resources.CopyFrom((await driver.describe()).default_request)
        [task] = await self.ended(driver, await self.submit(driver, default))
        assert task.state == TaskState.TASK_STATE_SUCCEEDED

    async def test_a_supervisor_that_hangs_is_deleted_too(self, driver: LocalDriver) -> None:
        """Delete does not wait for ever for a supervisor that does not answer."""
        driver.delete_patience = 0.2
        run = await self.submit(driver, self.workload())
        await self.until(driver, run, RUNNING)
        pid, _ = read_claim(driver.folder_of(run) / "main-0")
        os.kill(pid, 19)
        await driver.delete(run)
        with pytest.raises(NotFound):
            await driver.get(run)

    async def test_read_only_leftovers_are_deleted(self, driver: LocalDriver) -> None:
        """A task that takes permissions away from its folder cannot keep it."""
        run = await self.submit(driver, self.workload("sh", "-c", "mkdir -p a/b; chmod 0 a"))
        await self.ended(driver, run)
        folder = driver.folder_of(run)
        await driver.delete(run)
        assert not folder.exists()
        assert not folder.parent.exists()

    async def test_many_tasks_at_once(self, make_driver: MakeDriver) -> None:
        """A run of 40 tasks starts and ends, each with its own output."""
        driver = await make_driver()
        workload = self.workload("sh", "-c", "echo $SUBGRPC_INDEX", replicas=40)
        run = await self.submit(driver, workload)
        tasks = await self.ended(driver, run)
        assert {task.state for task in tasks} == {TaskState.TASK_STATE_SUCCEEDED}
        folder = driver.folder_of(run)
        shown = [(folder / f"main-{n}" / "stdout").read_text() for n in range(40)]
        assert shown == [f"{n}\n" for n in range(40)]
        await driver.delete(run)

    async def test_stop_at_any_moment(self, driver: LocalDriver) -> None:
        """However soon after submit a stop comes, the task ends and nothing is left."""
        for delay in (0, 0.001, 0.003, 0.006, 0.01, 0.015, 0.02, 0.03):
            run = await self.submit(driver, self.workload())
            await asyncio.sleep(delay)
            await driver.stop(run, grace=timedelta(seconds=5))
            [task] = await self.ended(driver, run)
            assert task.state == TaskState.TASK_STATE_CANCELLED
            await driver.delete(run)


class TestRefusals(Suite):
    """Bad input is refused with a clear answer."""

    async def refused(self, driver: LocalDriver, workload: Workload) -> dict[str, str]:
        with pytest.raises(InvalidSpec) as caught:
            await driver.validate(workload)
        with pytest.raises(InvalidSpec):
            await self.submit(driver, workload)
        return {each.field: each.description for each in caught.value.violations}

    async def test_more_than_the_host_has(self, make_driver: MakeDriver) -> None:
        """A request that never fits is refused, with the figures."""
        driver = await make_driver(cpu=2, memory="1Gi")
        workload = self.workload(replicas=3)
        workload.groups[0].resources.cpu = "1"
        workload.groups[0].resources.memory = "2Gi"
        workload.groups[0].resources.gpus = 1
        assert await self.refused(driver, workload) == {
            "groups[0].resources.cpu": (
                "3 tasks of 1 cpu each, 3 in all, is more than this host has: 2"
            ),
            "groups[0].resources.memory": "2 GiB memory is more than this host has: 1 GiB",
            "groups[0].resources.gpus": "1 gpus is more than this host has: 0",
        }

    async def test_roles_that_fit_only_one_by_one(self, make_driver: MakeDriver) -> None:
        """All roles start together: together they have to fit."""
        driver = await make_driver(cpu=2)
        workload = self.workload()
        workload.groups.add(role="ps", replicas=1, args=["true"])
        for group in workload.groups:
            group.resources.cpu = "1.5"
        assert "3 cpu" in (await self.refused(driver, workload))["groups"]

    async def test_options(self, driver: LocalDriver) -> None:
        """An unknown option, and a folder that is none, are named."""
        workload = self.workload()
        workload.options["working_dir"] = "/"
        assert (
            "did you mean 'working_directory'?"
            in (await self.refused(driver, workload))["options.working_dir"]
        )
        for value in ("relative", "/no/such/folder", 7.0, "/etc/passwd", "/\0"):
            workload = self.workload()
            workload.options["working_directory"] = value
            assert list(await self.refused(driver, workload)) == ["options.working_directory"]

    async def test_names_that_are_no_names(self, driver: LocalDriver) -> None:
        """Nothing from outside becomes a path."""
        for uid in ("../x", "", "a/b", ".hidden"):
            workload = self.workload()
            workload.experiment_uid = uid
            assert "experiment_uid" in await self.refused(driver, workload)
            with pytest.raises(NotFound):
                await driver.get(Run(experiment_uid=uid, attempt=1))
            await driver.delete(Run(experiment_uid=uid, attempt=1))
        workload = self.workload(role="../../x")
        assert list(await self.refused(driver, workload)) == ["groups[0].role"]

    async def test_missing_secret(self, driver: LocalDriver) -> None:
        """A secret that was not handed over is named; so is one that fits no variable."""
        workload = self.workload()
        workload.groups[0].secret_env["TOKEN"] = "key"
        for secrets in ({}, {"key": b"a\0b"}):
            with pytest.raises(InvalidSpec, match=r"groups\[0\].secret_env\[TOKEN\]"):
                await self.submit(driver, workload, secrets)

    @pytest.mark.parametrize(
        ("options", "field"),
        [
            ({"cpus": 2}, "cpus"),
            ({"cpu": "many"}, "cpu"),
            ({"memory": "-1"}, "memory"),
            ({"gpus": "-1"}, "gpus"),
            ({"gpus": 2, "gpu_ids": ["0"]}, "gpus"),
        ],
    )
    def test_cluster_options(self, options: dict[str, object], field: str) -> None:
        """Wrong options of a cluster are named before anything starts."""
        with pytest.raises(InvalidArgument) as caught:
            LocalDriver.from_config(ClusterConfig("local", "/nowhere", options))
        assert [each.field for each in caught.value.violations] == [field]
