import asyncio

from workflow_engine.services.event_stream import StreamEvent
from workflow_engine.services.tail import LATE_WAKES_MIN, WAKES_MAX, Reader, Tail

KEEN, LATE = Reader(), Reader(is_keen=False)


def event(sequence: int) -> StreamEvent:
    return StreamEvent(sequence, "tick", b"{}", 0)


class Turns:
    """Readers that wait on a tail, and the order in which they are woken."""

    def __init__(self, tail: Tail) -> None:
        self.tail = tail
        self.order: list[Reader] = []
        self.woken: list[asyncio.Future[None]] = []

    def wait(self, reader: Reader, count: int) -> None:
        for _ in range(count):
            self.tail.readers += 1
            woken = self.tail.wait(reader)
            woken.add_done_callback(lambda _: self.order.append(reader))
            self.woken.append(woken)

    async def all(self) -> list[Reader]:
        async with asyncio.timeout(30):
            await asyncio.gather(*self.woken)
        return self.order


async def test_keen_readers_are_woken_first_whoever_waited_first() -> None:
    turns = Turns(Tail(0))
    turns.wait(LATE, 3 * LATE_WAKES_MIN)
    turns.wait(KEEN, 3 * WAKES_MAX)
    turns.tail.append([event(1)], 1)
    assert await turns.all() == [KEEN] * 3 * WAKES_MAX + [LATE] * 3 * LATE_WAKES_MIN


async def test_late_readers_get_what_came_meanwhile_together() -> None:
    turns = Turns(Tail(0))
    turns.wait(LATE, 1)
    for sequence in (1, 2, 3):
        turns.tail.append([event(sequence)], sequence)
    await turns.all()
    batch = turns.tail.after(0)
    assert batch is not None
    assert [found.sequence for found in batch.events] == [1, 2, 3]


async def test_reader_that_proves_keen_before_the_next_event_is_woken_with_the_keen() -> None:
    turns, doubted = Turns(Tail(0)), Reader(is_keen=False)
    turns.wait(LATE, 1)
    turns.wait(doubted, 1)
    doubted.is_keen = True
    turns.tail.append([event(1)], 1)
    assert await turns.all() == [doubted, LATE]
