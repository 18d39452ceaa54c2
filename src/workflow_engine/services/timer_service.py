"""Wakes executions when their earliest timer is due.

The rows in the store are the truth; memory holds the next minute of them. A wake-up that comes too often does no harm:
the core looks at the clock and does what is due, or nothing.
"""

import asyncio
from collections.abc import Callable
from heapq import heappop, heappush

import structlog

from workflow_engine.models.errors import DependencyUnavailable
from workflow_engine.models.instant import MICROSECONDS
from workflow_engine.services.measures import TimerMeasures
from workflow_engine.store import Store

HORIZON_S = 60.0
"""How far ahead timers are held in memory."""
POLL_S = 30.0
"""How often the store is asked for more; well within the horizon, so that a poll may fail."""
PAGE = 5_000
"""Timers read at a time."""
BURST = 500
"""Executions woken before others get their turn, so that 20,000 timers of one second block nobody."""

Key = tuple[str, str]
"""Tenant and execution."""

log = structlog.get_logger(__name__)


class TimerService:
    """The clock's hand: `on_due(tenant_id, execution_id)` is called on the loop, not before the time."""

    def __init__(self, store: Store, on_due: Callable[[str, str], None]) -> None:
        self._store = store
        self._on_due = on_due
        self._armed: dict[Key, int] = {}
        self._heap: list[tuple[int, str, str]] = []
        self._horizon_at = 0
        self._handle: asyncio.TimerHandle | None = None
        self._poller: asyncio.Task[None] | None = None
        self.measures = TimerMeasures()

    @property
    def armed(self) -> int:
        """Timers of the next minute that are held in memory."""
        return len(self._armed)

    async def start(self) -> None:
        """Load what is due soon (or was due while nobody ran) and go on polling."""
        await self._poll()
        self._poller = asyncio.create_task(self._poll_for_ever())

    async def close(self) -> None:
        """Wake nobody any more."""
        if self._handle is not None:
            self._handle.cancel()
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)

    def arm(self, key: Key, due_at: int | None) -> None:
        """The earliest timer of an execution (tenant and id) is now `due_at`; None: it has none."""
        if due_at is None or due_at > self._horizon_at:
            self._armed.pop(key, None)
        elif self._armed.get(key) != due_at:
            self._armed[key] = due_at
            heappush(self._heap, (due_at, *key))
            if self._heap[0][0] == due_at:
                self._schedule()

    def _schedule(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._heap:
            delay_s = max(0.0, (self._heap[0][0] - self._store.now()) / MICROSECONDS)
            self._handle = asyncio.get_running_loop().call_later(delay_s, self._fire)

    def _fire(self) -> None:
        now = self._store.now()
        woken = 0
        while self._heap and self._heap[0][0] <= now and woken < BURST:
            due_at, tenant_id, execution_id = heappop(self._heap)
            if self._armed.get((tenant_id, execution_id)) == due_at:
                del self._armed[(tenant_id, execution_id)]
                self.measures.lag_seconds.observe((now - due_at) / MICROSECONDS)
                self._on_due(tenant_id, execution_id)
                woken += 1
        self._schedule()

    async def _poll_for_ever(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await self._poll()
            except DependencyUnavailable as error:
                log.warning("timers.poll_failed", error=str(error))

    async def _poll(self) -> None:
        until = self._store.now() + int(HORIZON_S * MICROSECONDS)
        self._horizon_at = max(self._horizon_at, until)
        after: tuple[int, str, str] | None = None
        while True:
            rows = await self._store.due(until=until, limit=PAGE, after=after)
            for due_at, tenant_id, execution_id in rows:
                if (tenant_id, execution_id) not in self._armed:
                    self.arm((tenant_id, execution_id), due_at)
            if len(rows) < PAGE:
                return
            after = rows[-1]
