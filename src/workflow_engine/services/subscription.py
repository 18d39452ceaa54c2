"""Following events: of one execution from any place on, gapless, or of many from now on.

Joined to the live events first, then the log is read, then what is live: whatever is committed in between is seen, and
seen once, because a reader takes only what follows on its position.
"""

import asyncio
from types import TracebackType
from typing import Protocol, Self

from workflow_engine.models.errors import Conflict
from workflow_engine.models.execution import TERMINAL
from workflow_engine.services.event_log import EventLog
from workflow_engine.services.event_stream import REOPENING_EVENT, TERMINAL_EVENTS, Batch, StreamEvent
from workflow_engine.services.tail import Reader, Tail
from workflow_engine.store import ExecutionRow, Store

Topic = tuple[str, ...]
"""What is followed: the kind, the tenant and, where there is one, the id."""


def execution_topic(tenant_id: str, execution_id: str) -> Topic:
    """The events of one execution."""
    return "execution", tenant_id, execution_id


def workflow_topic(tenant_id: str, workflow_id: str) -> Topic:
    """The events of all executions of one workflow."""
    return "workflow", tenant_id, workflow_id


def tenant_topic(tenant_id: str) -> Topic:
    """All events of one tenant."""
    return "tenant", tenant_id


class CursorAhead(Conflict):
    """The execution has not come as far as the given sequence."""

    code = "cursor_ahead"

    def __init__(self, last: int) -> None:
        self.last = last
        super().__init__(f"the execution's last event is {last}; follow it from there or from before", last=last)


class ResyncRequired(Conflict):
    """The events after the given sequence are not kept any more."""

    code = "resync_required"

    def __init__(self, first_available: int) -> None:
        self.first_available = first_available
        super().__init__(
            f"the events before {first_available} are not kept any more; read the execution, then follow it from there",
            first_available=first_available,
        )


class FellBehind(Conflict):
    """The reader of a feed was too slow: events it had not read yet are no longer held."""

    code = "fell_behind"


class Tails(Protocol):
    """Who hands out tails."""

    def join(self, topic: Topic) -> Tail:
        """The topic's tail, which is fed until as many have left it as have joined it."""

    def leave(self, topic: Topic) -> None:
        """The counterpart of `join`."""


class Follower:
    """One reader of one topic. Close it, or use it as a context."""

    def __init__(self, tails: Tails, topic: Topic, reader: Reader) -> None:
        self._reader = reader
        self._tails = tails
        self._topic = topic
        self._tail = tails.join(topic)
        self._is_closed = False
        self._is_stopped = False
        self._woken: asyncio.Future[None] | None = None

    def stop(self) -> None:
        """Let `next` give None from now on, and whoever waits in it go."""
        self._is_stopped = True
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def _wait(self) -> None:
        if self._is_stopped:
            return
        self._woken = self._tail.wait(self._reader)
        try:
            await self._woken
        finally:
            self._tail.forget(self._woken)
            self._woken = None

    def close(self) -> None:
        """Read no more. Safe to call twice."""
        if not self._is_closed:
            self._is_closed = True
            self._tails.leave(self._topic)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Subscription(Follower):
    """Follows one execution."""

    def __init__(
        self, tails: Tails, log: EventLog, tenant_id: str, execution_id: str, *, after: int, reader: Reader
    ) -> None:
        super().__init__(tails, execution_topic(tenant_id, execution_id), reader)
        self._log = log
        self._row: ExecutionRow
        self._progress: int | None = None
        self._log_read_at: int | None = None
        self.last = after
        """The sequence of the last event that was handed out, or the one that was asked for."""
        self.has_ended = False
        """Whether the execution had ended with that event."""
        self.log_batches = 0
        """Batches that came from the log."""

    async def start(self, store: Store) -> None:
        """Look at the execution.

        Raises:
            NotFound, CursorAhead, ResyncRequired.
        """
        _, tenant_id, execution_id = self._topic
        self._row = row = await store.execution(tenant_id, execution_id)
        if self.last > row.sequence:
            raise CursorAhead(row.sequence)
        if self.last == row.sequence:
            self.has_ended = row.status in TERMINAL
            return
        first, _ = await store.first_and_last(tenant_id, execution_id)
        if first.first_sequence > self.last + 1:
            raise ResyncRequired(first.first_sequence)

    async def next(self) -> Batch | None:
        """The next events, as soon as there are any; None once the execution has ended and all of them were handed
        out. A failed one that is reopened later goes on for those who subscribe then.
        """
        while not self._is_stopped:
            batch = self._tail.after(self.last) if self._tail.covers(self.last) else await self._from_log()
            if batch is not None:
                for event in batch.events:
                    self._take(event)
                return batch
            if self.has_ended:
                return None
            if self._tail.last is None or self._tail.last <= self.last:
                await self._wait()
        return None

    async def _from_log(self) -> Batch | None:
        """What the log has next. Once it had nothing more since we joined, the tail has what comes."""
        doubts = self._tail.doubts
        if self._tail.last is None and self._log_read_at == doubts:
            return None
        batch = await self._log.after(self._row, self.last, progress=self._progress)
        self._log_read_at = doubts if batch is None else None
        self.log_batches += batch is not None
        return batch

    def _take(self, event: StreamEvent) -> None:
        self.last = event.sequence
        self._progress = event.progress
        if event.sequence == self._row.sequence:
            self.has_ended = self._row.status in TERMINAL
        elif event.name in TERMINAL_EVENTS:
            self.has_ended = True
        elif event.name == REOPENING_EVENT:
            self.has_ended = False


class Feed(Follower):
    """Follows the events of many executions, from now on: each execution's in order."""

    def __init__(self, tails: Tails, topic: Topic, reader: Reader) -> None:
        super().__init__(tails, topic, reader)
        self._position = self._tail.last or 0

    async def next(self) -> Batch | None:
        """The next events, as soon as there are any; None once it was stopped.

        Raises:
            FellBehind: more came than are held while the reader was elsewhere. It may go on with what comes.
        """
        while not self._is_stopped:
            if not self._tail.covers(self._position):
                self._position = self._tail.last or 0
                raise FellBehind
            batch = self._tail.after(self._position)
            if batch is not None:
                self._position = batch.last
                return batch
            await self._wait()
        return None


async def subscribe(
    store: Store, tails: Tails, log: EventLog, tenant_id: str, execution_id: str, *, after: int, reader: Reader
) -> Subscription:
    """A subscription that has started; raises NotFound, CursorAhead, ResyncRequired."""
    subscription = Subscription(tails, log, tenant_id, execution_id, after=after, reader=reader)
    try:
        await subscription.start(store)
    except BaseException:
        subscription.close()
        raise
    return subscription
