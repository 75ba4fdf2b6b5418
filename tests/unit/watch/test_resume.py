"""A watcher that breaks off behind any frame of the initial state goes on without a hole."""

from __future__ import annotations

import asyncio
from pathlib import Path

from subgrpc import names
from subgrpc.metastore import Metastore
from subgrpc.services.watch import Watches
from subgrpc.tokens import TokenCodec
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.experiment_service_pb2 import Experiment

TEAM = "teams/default"


def made(number: int, created: int) -> Experiment:
    """An experiment whose uid came before those with a greater number."""
    experiment = Experiment(uid=f"{number:026d}", name=f"{TEAM}/experiments/e-{number}")
    experiment.cluster = names.cluster_name("one")
    experiment.state = api.EXPERIMENT_STATE_QUEUED
    experiment.create_time.seconds = created
    return experiment


async def next_frame(watches: Watches, token: str) -> api.WatchExperimentsResponse:
    """The frame behind a token."""
    request = api.WatchExperimentsRequest(parent=TEAM, resume_token=token)
    frames = watches.watch(request)
    try:
        return api.WatchExperimentsResponse.FromString(await frames.__anext__())
    finally:
        await frames.aclose()


async def test_uids_need_not_come_in_the_order_of_creation(tmp_path: Path) -> None:
    """A uid is made before its experiment is stored: another may overtake it in between."""
    store = await Metastore.open(tmp_path)
    for number, created in ((1, 40), (2, 30), (3, 20), (4, 50)):
        experiment = made(number, created)
        await store.write(lambda tx, new=experiment: tx.insert_experiment(new))
    tokens = TokenCodec(store.identity.token_key, store.identity.history_id)
    watches = Watches(store, tokens, asyncio.Event(), 60)
    seen, token = [], ""
    for step in range(6):
        if step == 2:  # one that the watcher would be past, and one that comes later
            for number in (0, 5):
                experiment = made(number, 60)
                await store.write(lambda tx, new=experiment: tx.insert_experiment(new))
        frame = await next_frame(watches, token)
        token = frame.resume_token
        seen.append((frame.change.type, frame.change.experiment.uid[-1]))
    added = api.CHANGE_TYPE_ADDED
    assert seen == [(added, each) for each in "120345"]
    bookmark = (await next_frame(watches, token)).bookmark
    assert bookmark.type == api.BOOKMARK_TYPE_INITIAL_STATE_COMPLETE
    await store.close()
