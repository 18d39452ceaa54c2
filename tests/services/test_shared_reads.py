import asyncio

import pytest

from workflow_engine.models.errors import NotFound
from workflow_engine.services.shared_reads import SharedReads


class Shelf:
    """A value that changes, and reads of it that end when they are told to."""

    def __init__(self) -> None:
        self.value = 1
        self.reads = 0
        self.gate = asyncio.Event()

    async def read(self, key: str) -> int:
        self.reads += 1
        seen = self.value
        await self.gate.wait()
        if key == "missing":
            raise NotFound("there is none")
        return seen


async def turns() -> None:
    """Let everything run that can run."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_thousand_who_ask_at_once_share_one_read() -> None:
    shelf = Shelf()
    shared = SharedReads(shelf.read)
    shelf.gate.set()
    assert await asyncio.gather(*(shared.get("a") for _ in range(1_000))) == [1] * 1_000
    assert shelf.reads == 1


async def test_who_asks_while_a_read_is_under_way_sees_what_is_newer() -> None:
    shelf = Shelf()
    shared = SharedReads(shelf.read)
    first = asyncio.ensure_future(shared.get("a"))
    await turns()
    shelf.value = 2  # committed after the first read has looked
    later = [asyncio.ensure_future(shared.get("a")) for _ in range(3)]
    await turns()
    shelf.gate.set()
    assert await first == 1
    assert await asyncio.gather(*later) == [2, 2, 2]
    assert shelf.reads == 2


async def test_an_error_reaches_everybody_and_is_not_kept() -> None:
    shelf = Shelf()
    shared = SharedReads(shelf.read)
    shelf.gate.set()
    answers = await asyncio.gather(*(shared.get("missing") for _ in range(3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [NotFound] * 3
    with pytest.raises(NotFound):
        await shared.get("missing")
    assert shelf.reads == 2


async def test_one_who_gives_up_takes_nothing_from_the_others() -> None:
    shelf = Shelf()
    shared = SharedReads(shelf.read)
    impatient = asyncio.ensure_future(shared.get("a"))
    patient = asyncio.ensure_future(shared.get("a"))
    await turns()
    impatient.cancel()
    await turns()
    shelf.gate.set()
    assert await patient == 1
    assert impatient.cancelled()
