"""Logs of attempts that have ended are in the artifact store: nobody who reads them notices."""

from __future__ import annotations

import hashlib
import random
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from subgrpc.v1 import experiment_service_pb2 as pb

from .conftest import _refused, _until
from .pair import Pair, finished, output, read

NOISE = random.Random(7).randbytes(5_000_000)
"""More than a piece of a blob, and no text."""


def journal(data_dir: Path, made: pb.Experiment) -> Path:
    return data_dir / "journals" / made.uid / "1"


async def noisy(running: Any, api: Any) -> pb.Experiment:
    """An experiment that has ended, and whose output was followed to its end."""
    made = await api.create()
    await running.backend.run(made.uid)
    await running.backend.observe(made.uid, "RUNNING")
    for start in range(0, len(NOISE), 100_000):
        running.backend.backend.write((made.uid, 1), "main", 0, NOISE[start : start + 100_000])
    await running.backend.observe(made.uid, "SUCCEEDED", exit_code=0)
    await api.until_state(made.name, "SUCCEEDED")
    return made


async def test_large_binary_output_comes_back_from_the_store(running: Any) -> None:
    """With the same hash, the same frames and the same tokens as from the disk."""
    server = await running.server()
    api = running.api(server)
    made = await noisy(running, api)
    before = await read(api, made, follow=True, format=pb.LOG_FORMAT_BYTES)
    assert hashlib.sha256(output(before, "main-0")).digest() == hashlib.sha256(NOISE).digest()
    await running.stop(server)
    api = running.api(await running.server(log_cache=0))
    await _until(lambda: not journal(running.data_dir, made).exists())
    assert await read(api, made, follow=True, format=pb.LOG_FORMAT_BYTES) == before
    middle = len(before) // 2
    token = before[middle].resume_token
    rest = await read(api, made, follow=True, format=pb.LOG_FORMAT_BYTES, resume_token=token)
    assert rest == before[middle + 1 :]
    assert (await read(api, made, tail_lines=1))[-1].HasField("end")


async def test_a_store_that_is_not_there_holds_up_no_experiment(
    running: Any, tmp_path: Path
) -> None:
    """Logs are read from the disk meanwhile, and go to the store once it is there."""
    store = tmp_path / "mounted-later"
    api = running.api(await running.server(artifacts=store.as_uri(), log_cache=0))
    made = await noisy(running, api)
    frames = await read(api, made, follow=True, format=pb.LOG_FORMAT_BYTES)
    assert output(frames, "main-0") == NOISE
    assert journal(running.data_dir, made).exists()
    store.mkdir()
    await _until(lambda: not journal(running.data_dir, made).exists(), timeout=40)
    assert await read(api, made, follow=True, format=pb.LOG_FORMAT_BYTES) == frames


async def test_expired_output_is_a_gap_and_the_end(running: Any) -> None:
    """The experiment stays, and says what became of it."""
    api = running.api(await running.server(log_retention=timedelta(seconds=1)))
    made = await noisy(running, api)
    await _until(lambda: not journal(running.data_dir, made).exists(), timeout=30)
    gap, end = await read(api, made, follow=True)
    assert (gap.gap.attempt, gap.gap.reason) == (1, "LOGS_EXPIRED")
    assert end.end.state == pb.EXPERIMENT_STATE_SUCCEEDED
    assert (await api.get(made.name)).uid == made.uid


async def test_an_experiment_is_deleted_with_its_archived_logs(running: Any) -> None:
    """Nothing of them stays on the disk."""
    api = running.api(await running.server(log_cache=0))
    made = await noisy(running, api)
    await _until(lambda: not journal(running.data_dir, made).exists())
    await read(api, made, follow=True)
    assert list((running.data_dir / "journals").rglob("*.seg"))
    await api.stub.DeleteExperiment(pb.DeleteExperimentRequest(name=made.name))
    await api.until_gone(made.name)
    assert list((running.data_dir / "journals").rglob("*.seg")) == []
    failure = await _refused(read(api, made))
    assert failure.reason == "EXPERIMENT_NOT_FOUND"


@pytest.fixture
async def sharing(running: Any, tmp_path: Path) -> Pair:
    """Two servers with one artifact store; the keeper keeps no copy."""
    store = tmp_path / "store"
    store.mkdir()
    return await Pair(running, artifacts=store.as_uri(), log_cache=0).both()


@pytest.mark.postgres
async def test_the_server_that_collected_it_is_needed_no_more(sharing: Pair) -> None:
    """It is stopped for good, its disk is lost: another one has all of it, and takes its tokens."""
    made = await finished(sharing)
    folder = journal(sharing.folders[0], made)
    before = await read(sharing.at_keeper, made, follow=True)
    await _until(lambda: not folder.exists())
    await sharing.running.stop(sharing.keeper)
    shutil.rmtree(sharing.folders[0])
    after = await read(sharing.at_other, made, follow=True)
    for task in ("main-0", "main-1"):
        assert output(after, task) == output(before, task) != b""
    token = before[len(before) // 2].resume_token
    rest = await read(sharing.at_other, made, follow=True, resume_token=token)
    assert rest == before[len(before) // 2 + 1 :]
    assert after == before


@pytest.mark.postgres
async def test_a_server_without_the_store_asks_the_one_that_has_it(running: Any) -> None:
    """Each has a folder of its own, only the first one's is the control plane's."""
    pair = Pair(running, log_cache=0)
    pair.keeper = await pair.start(0)
    pair.at_keeper = running.api(pair.keeper)
    made = await finished(pair)
    await _until(lambda: not journal(pair.folders[0], made).exists())
    pair.other = await pair.start(1)
    before = await read(pair.at_keeper, made, follow=True)
    assert await read(running.api(pair.other), made, follow=True) == before
    await running.stop(pair.keeper)
    failure = await _refused(read(running.api(pair.other), made))
    assert failure.reason == "LOGS_UNAVAILABLE"


@pytest.mark.postgres
async def test_what_another_server_took_over_goes_from_the_disk_of_the_first(running: Any) -> None:
    """Once that has all of it: the first finds it when it is started again."""
    pair = Pair(running, lease_length=1.0)
    pair.keeper = await pair.start(0)
    pair.at_keeper = running.api(pair.keeper)
    made = await pair.run(pair.at_keeper)
    pair.write(made, 0, b"before\n")
    stream = pair.at_keeper.stub.StreamLogs(pb.StreamLogsRequest(name=made.name, follow=True))
    await stream.read()
    pair.other = await pair.start(1)
    await running.stop(pair.keeper)
    api = running.api(pair.other)
    await _until(lambda: journal(pair.folders[1], made).exists())
    pair.end(made)
    await api.until_state(made.name, "SUCCEEDED")
    assert journal(pair.folders[0], made).exists()
    await pair.start(0)
    await _until(lambda: not journal(pair.folders[0], made).exists())
    assert output(await read(api, made, follow=True), "main-0") == b"before\n"
