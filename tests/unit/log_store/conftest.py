from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from .shelf import Shelf


@pytest.fixture
async def shelf(tmp_path: Path) -> AsyncIterator[Shelf]:
    shelf = await Shelf.open(tmp_path)
    yield shelf
    await shelf.close()
