"""Starts an experiment; follows its output and its states at the same time.

subgrpc up --detach && python examples/sdk/asynchronous.py
"""

from __future__ import annotations

import asyncio

from subgrpc.client import AsyncClient, AsyncExperimentHandle


async def states(experiment: AsyncExperimentHandle) -> None:
    async for change in experiment.watch():
        print("now", change.experiment.state)


async def output(experiment: AsyncExperimentHandle) -> None:
    async for chunk in experiment.logs(follow=True):
        print(chunk.text, end="")


async def main() -> None:
    async with AsyncClient() as client:  # $SUBGRPC_ADDRESS, else 127.0.0.1:7411
        experiment = await client.experiments.create("for i in 1 2 3; do echo $i; sleep 0.1; done")
        await asyncio.gather(states(experiment), output(experiment))


if __name__ == "__main__":
    asyncio.run(main())
