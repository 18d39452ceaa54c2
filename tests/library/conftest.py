"""An engine on a fresh database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from library_engines import opened

from workflow_engine import Engine


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    async with opened(tmp_path / "engine.db") as engine:
        yield engine
