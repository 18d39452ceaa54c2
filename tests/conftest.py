"""What the tests of every folder share."""

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import uvicorn.server

TICK_S = 0.005


@pytest.fixture(scope="session", autouse=True)
def servers_that_end_soon() -> Iterator[None]:
    """uvicorn looks ten times a second whether it shall end, and then rests as long again: a fifth of a second for each
    of the hundreds of servers in the tests' own process. Servers in processes of their own keep its pace.
    """
    with pytest.MonkeyPatch.context() as patch:
        brisk = SimpleNamespace(**{**vars(asyncio), "sleep": lambda _: asyncio.sleep(TICK_S)})
        patch.setattr(uvicorn.server, "asyncio", brisk)
        yield
