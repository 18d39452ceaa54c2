from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from own_door import Door, served


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with served(tmp_path) as opened:
        yield opened
