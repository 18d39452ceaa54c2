"""Forgets what is older than it must be kept: finished executions, and the answers under `Idempotency-Key`s.

A background sweep deletes in small portions, each one write among the others, and rests three times as long as each
took, so commits of executions hardly notice. Then the space is given back to the disk in steps.
"""

import asyncio
from collections.abc import Mapping
from time import perf_counter
from typing import Final

import structlog

from workflow_engine.models.errors import DependencyUnavailable
from workflow_engine.models.instant import MICROSECONDS
from workflow_engine.store import Store

ROWS_PER_WRITE: Final = 1_000
"""Log rows deleted by one write: some 10 ms."""
KEYS_PER_WRITE: Final = 2_000
PAGES_PER_WRITE: Final = 500
"""Free pages (2 MiB) given back by one write."""
PAGE: Final = 500
REST: Final = 3.0
"""How much longer than it works a sweep rests."""
QUEUED_MAX: Final = 1_000
"""While more writes than this wait for the database, a sweep waits too."""
SWEEP_S: Final = (1.0, 600.0)
"""Between sweeps, at least and at most; in between a twentieth of the shortest period that anything is kept."""

log = structlog.get_logger(__name__)


class Retention:
    """The sweep of one engine. Nothing is deleted that no period says."""

    def __init__(
        self,
        store: Store,
        *,
        executions_s: float | None,
        by_workflow_s: Mapping[str, float | None],
        idempotency_s: float,
    ) -> None:
        """
        Args:
            executions_s: how long an execution is kept after its end; None: for ever.
            by_workflow_s: the same for single workflows, by id.
            idempotency_s: how long the answer under an `Idempotency-Key` is kept.
        """
        self._store = store
        self._executions_s = executions_s
        self._by_workflow_s = by_workflow_s
        self._idempotency_s = idempotency_s
        self._sweeper: asyncio.Task[None] | None = None
        self.removed = 0
        """Executions deleted since the start."""

    @property
    def interval_s(self) -> float:
        """Seconds between sweeps."""
        periods = [self._executions_s, self._idempotency_s, *self._by_workflow_s.values()]
        shortest_s = min(period_s for period_s in periods if period_s is not None)
        return min(max(shortest_s / 20, SWEEP_S[0]), SWEEP_S[1])

    def start(self) -> None:
        """Sweep from now on."""
        self._sweeper = asyncio.create_task(self._sweep_for_ever())

    async def close(self) -> None:
        """Stop; a sweep that is under way goes on with the next start."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self.interval_s)
            try:
                await self.sweep()
            except DependencyUnavailable as error:
                log.warning("retention.sweep_failed", error=error.message)
            except Exception:  # the loop must outlive whatever one sweep meets
                log.exception("retention.sweep_failed")

    async def sweep(self) -> int:
        """Delete what is too old; gives the number of executions deleted."""
        begun_s = perf_counter()
        keys = await self._forget_receipts()
        removed = 0
        if self._executions_s is not None or self._by_workflow_s:
            removed = await self._sweep_workflows()
        if keys or removed:
            await self._give_back()
            duration_s = round(perf_counter() - begun_s, 3)
            log.info("retention.swept", executions=removed, idempotency_keys=keys, duration_s=duration_s)
        return removed

    def _before(self, period_s: float) -> int:
        return self._store.now() - int(period_s * MICROSECONDS)

    async def _forget_receipts(self) -> int:
        before = self._before(self._idempotency_s)
        total = 0
        while True:
            begun_s = perf_counter()
            count = await self._store.forget_receipts(before=before, limit=KEYS_PER_WRITE)
            total += count
            if count < KEYS_PER_WRITE:
                return total
            await self._rest(begun_s)

    async def _sweep_workflows(self) -> int:
        removed = 0
        after = ("", "")
        while keys := await self._store.workflow_keys(after=after, limit=PAGE):
            for tenant_id, workflow_id in keys:
                period_s = self._by_workflow_s.get(workflow_id, self._executions_s)
                if period_s is not None:
                    removed += await self._sweep_workflow(tenant_id, workflow_id, self._before(period_s))
            after = keys[-1]
        return removed

    async def _sweep_workflow(self, tenant_id: str, workflow_id: str, before: int) -> int:
        removed = 0
        after = (0, "")
        while page := await self._store.created_before(tenant_id, workflow_id, before=before, after=after, limit=PAGE):
            portion: list[tuple[str, str]] = []
            rows = 0
            for _, execution_id, finished_at, transitions in page:
                if finished_at is None or finished_at >= before:
                    continue
                if portion and rows + transitions > ROWS_PER_WRITE:
                    removed += await self._remove(portion, before)
                    portion, rows = [], 0
                if transitions > ROWS_PER_WRITE:
                    await self._trim(tenant_id, execution_id)
                portion.append((tenant_id, execution_id))
                rows += transitions
            if portion:
                removed += await self._remove(portion, before)
            after = page[-1][:2]
        return removed

    async def _trim(self, tenant_id: str, execution_id: str) -> None:
        """Take a long log away portion by portion, so that what is left goes in one."""
        count = ROWS_PER_WRITE
        while count == ROWS_PER_WRITE:
            begun_s = perf_counter()
            count = await self._store.trim_log(tenant_id, execution_id, rows=ROWS_PER_WRITE)
            await self._rest(begun_s)

    async def _remove(self, portion: list[tuple[str, str]], before: int) -> int:
        begun_s = perf_counter()
        count = await self._store.remove_executions(portion, before=before)
        self.removed += count
        await self._rest(begun_s)
        return count

    async def _give_back(self) -> None:
        while True:
            begun_s = perf_counter()
            if not await self._store.give_back(pages=PAGES_PER_WRITE):
                return
            await self._rest(begun_s)

    async def _rest(self, begun_s: float) -> None:
        await asyncio.sleep(REST * (perf_counter() - begun_s))
        while self._store.queued > QUEUED_MAX:  # noqa: ASYNC110 - nothing tells when it is shorter
            await asyncio.sleep(0.1)
