"""A server whose experiments stay QUEUED: what callers meet, without what runs behind it.

    [BENCH_DATABASE=URL] python -m benchmarks.held DATA_DIR

It is the server that `subgrpc up` starts, with the public fake driver, which holds every
experiment before it is prepared. It prints its address when it is ready.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from subgrpc.config import ClusterSettings, ServerConfig
from subgrpc.plugins import PluginManager
from subgrpc.rpc.logging import configure_logging
from subgrpc.rpc.server import Server, run
from subgrpc.testing.fake import FakeBackend


def _plugins() -> PluginManager:
    backend = FakeBackend()
    backend.holding = True
    plugins = PluginManager()
    plugins.register(backend.plugin())
    return plugins


def _say(server: Server) -> None:
    print(server.addresses[0], flush=True)


if __name__ == "__main__":
    configure_logging()
    config = ServerConfig(
        data_dir=Path(sys.argv[1]),
        database=os.environ.get("BENCH_DATABASE", ""),
        listen=("127.0.0.1:0",),
        clusters={"fake": ClusterSettings("fake")},
    )
    run(config, _say, plugins=_plugins())
