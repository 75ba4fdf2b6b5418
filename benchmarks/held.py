"""A server whose experiments stay QUEUED: what callers meet, without what runs behind it.

    python -m benchmarks.held DATA_DIR

It is the server that `subgrpc up` starts, with the public fake driver, which holds every
experiment before it is prepared. It prints its address when it is ready.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import uvloop

from subgrpc.config import ClusterSettings, ServerConfig
from subgrpc.plugins import PluginManager
from subgrpc.rpc.logging import configure_logging
from subgrpc.rpc.server import Server
from subgrpc.testing.fake import FakeBackend


async def _serve(data_dir: Path) -> None:
    backend = FakeBackend()
    backend.holding = True
    plugins = PluginManager()
    plugins.register(backend.plugin())
    config = ServerConfig(
        data_dir=data_dir,
        listen=("127.0.0.1:0",),
        clusters={"fake": ClusterSettings("fake")},
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = Server(config, plugins=plugins)
    await server.start()
    print(server.addresses[0], flush=True)
    await stop.wait()
    await server.stop()


if __name__ == "__main__":
    configure_logging()
    uvloop.run(_serve(Path(sys.argv[1])))
