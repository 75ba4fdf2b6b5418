"""The suite that every artifact store passes: subclass it, give it one fixture, run it with pytest.

::

    from subgrpc.artifacts import StoreSettings
    from subgrpc.testing.stores import ArtifactStoreContract

    class TestTape(ArtifactStoreContract):
        @pytest.fixture
        def settings(self, tmp_path: Path) -> StoreSettings:
            return StoreSettings("archive", f"tape://{tmp_path}", {"drive": "2"})

`settings` describes an empty place for each test: the contract makes stores of it as the server
does, by the scheme's entry point, and deletes all objects at the end.

What may be overridden:

- `open`: how a store is made, for one whose package is not installed.
- `patience`: seconds within which every call has to end, also in an outage; 60.
- `part_size`: from how many bytes on the store does things differently.
- `big`, `memory`, `many`, `kills`: how large and long some tests are.
- `outage`, `denied`, `missing`, `full`: how to get into such trouble; else its tests are skipped.
- `leftovers`: what the place has of puts that did not end.

A store that signs no URLs has the tests of them skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from subgrpc.artifacts import ArtifactStore, StoreSettings
from subgrpc.testing.stores.interruptions import Interruptions
from subgrpc.testing.stores.listing import Listing
from subgrpc.testing.stores.putting import Putting
from subgrpc.testing.stores.reading import Reading
from subgrpc.testing.stores.signing import Signing
from subgrpc.testing.stores.suite import NewStore, Source, Sources, Suite
from subgrpc.testing.stores.troubles import Troubles

__all__ = ["ArtifactStoreContract", "NewStore", "Source", "Sources", "Suite"]


class ArtifactStoreContract(Putting, Reading, Listing, Interruptions, Signing, Troubles):
    """Every promise of the SPI (`subgrpc.artifacts.ArtifactStore`), a test each."""

    @pytest.fixture
    def settings(self) -> StoreSettings:
        """Describes an empty place: override it."""
        raise NotImplementedError("a subclass of ArtifactStoreContract has a fixture `settings`")

    @pytest.fixture
    def new_store(self, settings: StoreSettings) -> Iterator[NewStore]:
        """Makes stores of one place; at the end it is empty, and they are closed."""
        made: list[ArtifactStore] = []

        def make() -> ArtifactStore:
            made.append(self.open(settings))
            return made[-1]

        first = make()
        assert not list(first.list()), "the contract wants an empty place: it deletes what is there"
        yield make
        for each in list(first.list()):
            first.delete(each.key)
        first.abandoned(timedelta())
        for store in made:
            store.close()

    @pytest.fixture
    def store(self, new_store: NewStore) -> ArtifactStore:
        """A store of an empty place."""
        return new_store()

    @pytest.fixture
    def sources(self, tmp_path_factory: pytest.TempPathFactory) -> Sources:
        """Makes files that are to be put. `tmp_path` is the author's."""
        return Sources(tmp_path_factory.mktemp("sources"))
