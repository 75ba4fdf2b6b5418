"""A store that cannot do its work says why, by its name, and never that there is no object."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from subgrpc.artifacts import ArtifactStore, StoreSettings
from subgrpc.errors import FailedPrecondition, ResourceExhausted, SubgrpcError, Unavailable
from subgrpc.testing.stores.suite import (
    Begun,
    Sources,
    Suite,
    absent,
    calls_of,
    content,
    pieces,
    put,
    refused,
    same,
)


class Troubles(Suite):
    """Outages, wrong credentials, places that are not there, and full ones.

    Each test needs a hook of the same name, and is skipped where it is not overridden.
    """

    def test_an_outage(self, store: ArtifactStore, sources: Sources) -> None:
        """Every call says in time that the store cannot be reached; later it works."""
        kept, fresh = sources(1000), sources(self.part_size + 1)
        put(store, "kept", kept)
        calls = calls_of(store, "kept", fresh)
        with self.outage():
            errors = self._errors(calls)
        for name, error in errors.items():
            shown = f"{type(error).__name__}: {error}"
            assert isinstance(error, Unavailable), f"{name} in an outage: {shown}"
            assert error.reason == "STORE_UNAVAILABLE", f"{name} in an outage: {error.reason}"
            assert store.name in error.message, f"{name} does not name the store: {shown}"
            assert error.retry_after is not None, f"{name} does not say when to try again"
        same(content(store, "kept"), kept.data, "an object after an outage")
        put(store, "kept.new", fresh)
        same(content(store, "kept.new"), fresh.data, "an object put again after an outage")
        listed = [each.key for each in store.list()]
        assert sorted(listed) == ["kept", "kept.new"], f"after an outage there is {listed}"

    def test_an_outage_during_a_put(self, store: ArtifactStore, sources: Sources) -> None:
        """It says so, or is done; what is put again after it is there."""
        source = sources(self.big)
        begun = Begun(lambda: put(store, "object", source))
        time.sleep(0.05)
        with self.outage():
            error = self._error("put()", begun)
        assert error is None or isinstance(error, Unavailable), f"put() in an outage: {error!r}"
        found = store.stat("object")
        assert found is None or found.size == source.size, f"an outage has left {found}"
        assert found is not None or error is not None, "put() succeeded, and nothing is there"
        put(store, "object", source)
        same(content(store, "object"), source.data, "an object put again after an outage")

    def test_an_outage_during_a_get(self, store: ArtifactStore, sources: Sources) -> None:
        """What has come is right, then comes an error; one goes on where it broke."""
        source = sources(self.big)
        put(store, "object", source)
        found: list[bytes] = []

        def read() -> None:
            found.extend(reader)

        reader = pieces(store.get("object"))
        found.append(next(reader))
        with self.outage():
            error = self._error("get()", Begun(read))
        data = b"".join(found)
        same(data, source.data[: len(data)], "what came before an outage")
        if error is None:
            assert len(data) == source.size, f"get() ended at byte {len(data)} of {source.size}"
        else:
            assert isinstance(error, Unavailable), f"get() in an outage: {error!r}"
        rest = content(store, "object", len(data))
        same(data + rest, source.data, "an object of which the rest came after an outage")

    def test_denied(self, settings: StoreSettings, store: ArtifactStore, sources: Sources) -> None:
        """Without permission nothing is written, and the error is no outage and no NotFound."""
        source = sources(1000)
        put(store, "kept", source)
        stranger = self.open(self.denied(settings))
        try:
            with refused(stranger, FailedPrecondition, "STORE_ACCESS_DENIED", "check() succeeds"):
                stranger.check()
            for size in (10, self.part_size + 1):
                with refused(stranger, FailedPrecondition, "STORE_ACCESS_DENIED", "put() succeeds"):
                    put(stranger, "other", sources(size))
            with refused(stranger, FailedPrecondition, "STORE_ACCESS_DENIED", "delete() succeeds"):
                stranger.delete("kept")
        finally:
            stranger.close()
        same(content(store, "kept"), source.data, "what a stranger was not to touch")
        absent(store, "other", "which a stranger has put")

    def test_missing(self, settings: StoreSettings, sources: Sources) -> None:
        """Where the bucket or folder is not there, nobody knows whether objects are."""
        store = self.open(self.missing(settings))
        try:
            for name, call in calls_of(store, "object", sources(self.part_size + 1)).items():
                with refused(
                    store, FailedPrecondition, "STORE_MISCONFIGURED", f"{name} without a place"
                ):
                    call()
        finally:
            store.close()

    def test_full(self, settings: StoreSettings, sources: Sources) -> None:
        """What has no room is refused and leaves nothing; what has room is still put."""
        small, large = sources(1 << 20), sources(16 << 20)
        with self.full(settings) as place:
            store = self.open(place)
            put(store, "small", small)
            with refused(store, ResourceExhausted, "STORE_FULL", "put() into a full store"):
                put(store, "large", large)
            absent(store, "large", "which had no room")
            same(content(store, "small"), small.data, "an object in a full store")
            tiny = sources(1000)
            put(store, "tiny", tiny)
            same(content(store, "tiny"), tiny.data, "what had room again")
            store.close()

    def _errors(self, calls: dict[str, Callable[[], Any]]) -> dict[str, SubgrpcError]:
        """Makes all calls at the same time; returns their errors."""
        begun = {name: Begun(call) for name, call in calls.items()}
        found = {}
        for name, each in begun.items():
            error = self._error(name, each)
            assert error is not None, f"{name} succeeds in an outage"
            found[name] = error
        return found

    def _error(self, name: str, begun: Begun[Any]) -> SubgrpcError | None:
        try:
            begun.result(self.patience, f"{name} in an outage")
        except SubgrpcError as error:
            return error
        return None
