"""The latest events of one topic, kept once for all who read them.

A reader keeps nothing but its position. Events are held only while somebody has yet to read them, and never more than a
few; whoever is further behind than that reads the log. So a slow reader costs neither memory nor anybody's time.
"""

import asyncio
from collections import deque
from typing import Final

from workflow_engine.services.event_stream import Batch, StreamEvent, count_within

TAIL_EVENTS_MAX: Final = 2_048
TAIL_BYTES_MAX: Final = 1024 * 1024
"""What is held for all readers of a topic together; the latest event always is."""

WAKES_MAX: Final = 32
"""Readers woken in one turn of the loop: a thousand at once would hold everything else up for as long as it takes to
write to their sockets."""

LATE_PAUSE_S: Final = 0.01
LATE_WAKES_MIN: Final = 8
LATE_SHARE: Final = 16
"""Readers that are not keen are woken so many at a time, or that part of those who wait to be, with a pause before each
time: 200 within about 0.25 s, 1,000 within about 0.5 s. An event finds the loop, and the processor, busy with few of
them, and what came meanwhile each gets with one write."""

SHARED_BATCHES_MAX: Final = 8
"""Positions whose batch is remembered between two events; readers that keep up are all at one or two."""


class Reader:
    """Who reads, through one follower or many. A reader is keen unless its door has reason to doubt that it takes what
    it is sent; then it has its turn later than those that do.
    """

    __slots__ = ("is_keen",)

    def __init__(self, *, is_keen: bool = True) -> None:
        self.is_keen = is_keen


class Tail:
    """Events by position: `first` to `last`, without a gap. `last` is None until the first event has come."""

    __slots__ = ("_batches", "_events", "_late", "_waiting", "_waking", "bytes", "doubts", "first", "last", "readers")

    def __init__(self, last: int | None) -> None:
        self.last = last
        self.first = 1 if last is None else last + 1
        self.bytes = 0
        self.readers = 0
        self.doubts = 0
        """How often it was told to doubt."""
        self._events: list[StreamEvent] = []
        self._batches: dict[int, Batch] = {}
        self._waiting: dict[asyncio.Future[None], Reader] = {}
        self._waking: deque[asyncio.Future[None]] = deque()
        self._late: deque[asyncio.Future[None]] = deque()

    def append(self, events: list[StreamEvent], position: int) -> None:
        """Add events, the first at `position`. After a gap what was held before it is of no use."""
        if self.last is None or position != self.last + 1:
            self.drop()
            self.first = position
        self._events += events
        self.last = position + len(events) - 1
        self.bytes += sum(len(event.encoded) for event in events)
        self._batches.clear()
        self._trim()
        self._wake()

    def _trim(self) -> None:
        excess = max(0, len(self._events) - TAIL_EVENTS_MAX)
        size_bytes = self.bytes - sum(len(event.encoded) for event in self._events[:excess])
        while size_bytes > TAIL_BYTES_MAX and excess < len(self._events) - 1:
            size_bytes -= len(self._events[excess].encoded)
            excess += 1
        if excess:
            del self._events[:excess]
            self.first += excess
            self.bytes = size_bytes

    def drop(self) -> None:
        """Hold nothing of what has been: readers that have not had it find it in the log."""
        self._events.clear()
        self._batches.clear()
        self.bytes = 0
        self.first = (self.last or 0) + 1

    def doubt(self) -> None:
        """Something may have been committed that never came here: all readers look at the log again."""
        self.drop()
        self.first, self.last = 1, None
        self.doubts += 1
        self._wake()

    def covers(self, position: int) -> bool:
        """Whether what follows on a position is here or yet to come; False: it may be in the log."""
        return self.last is not None and position + 1 >= self.first

    def after(self, position: int) -> Batch | None:
        """What follows on a position that is covered, or None where nothing does yet."""
        if self.last is None or position >= self.last:
            return None
        batch = self._batches.get(position)
        if batch is None:
            start = position + 1 - self.first
            count = count_within(self._events, start)
            batch = Batch(self._events[start : start + count], position + count)
            if len(self._batches) < SHARED_BATCHES_MAX:
                self._batches[position] = batch
        return batch

    def wait(self, reader: Reader) -> asyncio.Future[None]:
        """Done once the next event has come. For a reader that has had all there is; it calls `forget` afterwards."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[woken] = reader
        if len(self._waiting) == self.readers:
            self.drop()
        return woken

    def forget(self, woken: asyncio.Future[None]) -> None:
        """Wake a reader no more, whether it was woken or not."""
        self._waiting.pop(woken, None)

    def _wake(self) -> None:
        if not self._waiting:
            return
        is_under_way, is_late_under_way = bool(self._waking), bool(self._late)
        for woken, reader in self._waiting.items():
            (self._waking if reader.is_keen else self._late).append(woken)
        self._waiting.clear()
        if not is_under_way:
            self._wake_some()
        if self._late and not is_late_under_way:
            asyncio.get_running_loop().call_later(LATE_PAUSE_S, self._wake_late)

    def _wake_some(self) -> None:
        _wake_first(self._waking, WAKES_MAX)
        if self._waking:
            asyncio.get_running_loop().call_soon(self._wake_some)

    def _wake_late(self) -> None:
        _wake_first(self._late, max(LATE_WAKES_MIN, len(self._late) // LATE_SHARE))
        if self._late:
            asyncio.get_running_loop().call_later(LATE_PAUSE_S, self._wake_late)


def _wake_first(readers: deque[asyncio.Future[None]], count: int) -> None:
    for _ in range(min(count, len(readers))):
        woken = readers.popleft()
        if not woken.done():
            woken.set_result(None)
