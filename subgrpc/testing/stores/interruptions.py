"""A process that is killed while it puts leaves nothing that looks like an object."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

from subgrpc.artifacts import ArtifactStore, StoreSettings
from subgrpc.testing.stores.suite import Begun, NewStore, Source, Sources, Suite, content, put, same

PROGRAM = """
import json, sys
from importlib import import_module
from pathlib import Path
from subgrpc.artifacts import StoreSettings
module, name, settings, key, path, size, sha256 = json.loads(sys.argv[1])
store = getattr(import_module(module), name).from_settings(StoreSettings(*settings))
sys.stdout.write("now\\n")
sys.stdout.flush()
store.put(key, Path(path), size, bytes.fromhex(sha256))
sys.stdout.write("done\\n")
"""
FOREVER = timedelta(days=1000)


class Interruptions(Suite):
    """Puts that come to no end."""

    def test_a_put_that_is_killed(
        self, settings: StoreSettings, new_store: NewStore, sources: Sources
    ) -> None:
        """Afterwards the object is there, whole, or not at all; and it can be put again."""
        store, source = new_store(), sources(self.big)
        start = time.monotonic()
        put(store, "whole", source)
        took = time.monotonic() - start
        for n in range(self.kills):
            key = f"killed/{n}"
            said = self._killed(store, settings, key, source, took * (n + 1) / (self.kills + 1))
            found = store.stat(key)
            assert found is None or found.size == source.size, f"a killed put has left {found}"
            assert found is not None or not said, "what was said to be put is not there"
            listed = [each for each in store.list("killed/") if each.key == key]
            assert listed == ([found] if found else []), f"stat() knows {found}, list() {listed}"
            put(store, key, source)
            same(content(store, key), source.data, "what was put again after it was killed")
        self._tidied(settings, store, self.kills + 1)

    def test_what_is_abandoned(
        self, settings: StoreSettings, store: ArtifactStore, sources: Sources
    ) -> None:
        """Tidying up removes no object, and nothing in a store where nothing was abandoned."""
        source = sources(self.part_size + 1)
        put(store, "kept", source)
        for age in (FOREVER, timedelta()):
            count = store.abandoned(age)
            assert count == 0, f"abandoned() has removed {count}, and nothing was abandoned"
        same(content(store, "kept"), source.data, "an object after abandoned()")

    def test_tidying_up_during_a_put(self, new_store: NewStore, sources: Sources) -> None:
        """What is being put is not abandoned."""
        one, other, source = new_store(), new_store(), sources(self.big)
        done = threading.Event()

        def tidy() -> None:
            while not done.is_set():
                other.abandoned(timedelta(hours=1))

        tidying = Begun(tidy)
        try:
            put(one, "kept", source)
        finally:
            done.set()
            tidying.result(self.patience, "abandoned()")
        same(content(one, "kept"), source.data, "an object that was put during abandoned()")

    def _killed(
        self, store: ArtifactStore, settings: StoreSettings, key: str, source: Source, after: float
    ) -> bool:
        """Kills a process some seconds after it began to put; whether it said that it was done."""
        kind = type(store)
        what = (
            kind.__module__, kind.__qualname__,
            (settings.name, settings.url, dict(settings.options)),
            key, str(source.path), source.size, source.sha256.hex(),
        )  # fmt: skip
        child = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, json.dumps(what)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path.cwd(),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert child.stdout is not None
        with child.stdout:
            assert child.stdout.readline() == "now\n", "a process cannot make this store"
            time.sleep(after)
            child.kill()
            said = child.stdout.read()
        child.wait(self.patience)
        return "done" in said

    def _tidied(self, settings: StoreSettings, store: ArtifactStore, objects: int) -> None:
        store.abandoned(timedelta())
        left = self.leftovers(settings)
        assert not left, f"abandoned() has left {left}"
        assert len(list(store.list())) == objects, "abandoned() has removed objects"
