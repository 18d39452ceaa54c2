"""The history of an execution as events, read from its log a batch at a time."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Final
from weakref import WeakValueDictionary

from workflow_engine.models.event import ExecutionCreated, ProgressMade, decode_facts
from workflow_engine.services.event_stream import (
    BATCH_BYTES_MAX,
    BATCH_EVENTS_MAX,
    Batch,
    EventRenderer,
    StreamEvent,
)
from workflow_engine.store import ExecutionRow, LogRow, Store

CACHE_BYTES_MAX: Final = 8 * 1024 * 1024
"""Batches remembered for all readers: a thousand that connect again at the same place read the log once."""

LOOK_BACK: Final = 64
"""Events that are looked through at first for the progress at some place, then eight times as many, and so on."""

Place = tuple[str, str, int, int]
"""Tenant, execution, when that was created (an id may be used again once it was removed) and sequence."""


class EventLog:
    """Reads the events of executions."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._batches: OrderedDict[Place, Batch] = OrderedDict()
        self._locks: WeakValueDictionary[Place, asyncio.Lock] = WeakValueDictionary()
        self._bytes = 0
        self.reads_total = 0
        """Times that the database was asked."""

    async def after(self, row: ExecutionRow, sequence: int, *, progress: int | None = None) -> Batch | None:
        """The next batch after a sequence, or None where the log ended when this was called or later.

        Args:
            progress: the progress at that sequence, if known.
        """
        place = (row.tenant_id, row.execution_id, row.created_at, sequence)
        lock = self._locks.get(place)
        if lock is None:
            lock = self._locks[place] = asyncio.Lock()
        async with lock:
            batch = self._batches.get(place)
            if batch is not None:
                self._batches.move_to_end(place)
                return batch
            events = await self.read(row, sequence, progress=progress)
            return self._remember(place, Batch(events, events[-1].sequence)) if events else None

    def _remember(self, place: Place, batch: Batch) -> Batch:
        self._batches[place] = batch
        self._bytes += batch.bytes
        while self._bytes > CACHE_BYTES_MAX:
            _, oldest = self._batches.popitem(last=False)
            self._bytes -= oldest.bytes
        return batch

    async def read(
        self,
        row: ExecutionRow,
        after: int,
        *,
        progress: int | None = None,
        events_max: int = BATCH_EVENTS_MAX,
        bytes_max: int = BATCH_BYTES_MAX,
    ) -> list[StreamEvent]:
        """Events after a sequence, at most so many, and no more bytes unless the first event alone is larger."""
        self.reads_total += 1
        tenant_id, execution_id = row.tenant_id, row.execution_id
        rows = await self._store.log(tenant_id, execution_id, after_sequence=after, limit=events_max)
        if not rows:
            return []
        renderer = EventRenderer(tenant_id, execution_id, row.workflow_id)
        renderer.metadata = row.metadata
        renderer.progress = progress if progress is not None else await self._progress_before(row, rows[0])
        events: list[StreamEvent] = []
        size_bytes = 0
        for event in await self._encoded(row, rows, renderer):
            if event.sequence <= after:
                continue
            size_bytes += len(event.encoded)
            if events and size_bytes > bytes_max:
                break
            events.append(event)
            if len(events) == events_max:
                break
        return events

    async def _encoded(self, row: ExecutionRow, rows: list[LogRow], renderer: EventRenderer) -> Iterator[StreamEvent]:
        """The events of the rows, one by one; the input is looked up where the start stands alone."""
        if rows[0].number > 1 and any(b'"execution_started"' in entry.events for entry in rows):
            renderer.input = await self._input(row)
        return (
            event
            for entry in rows
            for event in renderer.encode(decode_facts(entry.events), first_sequence=entry.first_sequence, at=entry.at)
        )

    async def _input(self, row: ExecutionRow) -> Any:
        first, _ = await self._store.first_and_last(row.tenant_id, row.execution_id)
        return next((fact.input for fact in decode_facts(first.events) if isinstance(fact, ExecutionCreated)), None)

    async def _progress_before(self, row: ExecutionRow, entry: LogRow) -> int:
        """The progress when a transition began: what the last one that changed it says."""
        if _progress_of(entry) is not None:
            return 0  # it says so itself
        high, reach = entry.first_sequence - 1, LOOK_BACK
        while high > 0:
            low = max(0, high - reach)
            found = await self._progress_between(row, low, high)
            if found is not None:
                return found
            high, reach = low, reach * 8
        return 0

    async def _progress_between(self, row: ExecutionRow, low: int, high: int) -> int | None:
        found = None
        while low < high:
            rows = await self._store.log(row.tenant_id, row.execution_id, after_sequence=low)
            for entry in rows:
                if entry.last_sequence > high:
                    return found
                progress = _progress_of(entry)
                found = progress if progress is not None else found
            if not rows or rows[-1].last_sequence <= low:
                return found
            low = rows[-1].last_sequence
        return found


def _progress_of(entry: LogRow) -> int | None:
    """The progress that a transition says it has; it stands first in it."""
    if b'"progress_made"' not in entry.events:
        return None
    first = next(iter(decode_facts(entry.events)), None)
    return first.percent if isinstance(first, ProgressMade) else None
