from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from live_server import LiveServer, live_server


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[LiveServer]:
    async with live_server(tmp_path) as serving:
        yield serving
