"""Runs the calls of I/O steps: at most so many at a time, tenants in turn, each outcome back as a command."""

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from time import perf_counter

import msgspec

from workflow_engine.models.step import Failed, Outcome, StepCall, StepError
from workflow_engine.queue import FairQueue
from workflow_engine.services.measures import StepMeasures
from workflow_engine.steps.registry import Handlers

CALLS_PER_TASK = 16
"""Calls that one task makes before it ends: a task costs as much as a short call, and calls that wait for nothing must
not keep the loop from everything else.
"""

OnOutcome = Callable[[StepCall, int, Outcome], None]
"""Gets the call, its generation and its outcome, on the loop."""


CallKey = tuple[str, str, str]
"""Tenant, execution and step."""


class Ready(msgspec.Struct, frozen=True, gc=False):
    """A call that waits for a slot."""

    key: CallKey
    call: StepCall
    generation: int
    since_s: float


class StepProcessor:
    """The slots in which calls run."""

    def __init__(self, handlers: Handlers, *, concurrency: int, on_outcome: OnOutcome) -> None:
        self._handlers = handlers
        self._concurrency = concurrency
        self._on_outcome = on_outcome
        self._queue: FairQueue[Ready] = FairQueue()
        self._queued: dict[CallKey, Ready] = {}
        self._running: dict[CallKey, Ready] = {}
        self._tasks: dict[CallKey, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._context = copy_context()
        """What every call begins with, whatever a call before it has set."""
        self._takes_calls = True
        self._is_held = False
        self._is_open = True
        self.measures = StepMeasures()

    @property
    def running(self) -> int:
        """Calls under way."""
        return len(self._running)

    @property
    def threads_kept(self) -> int:
        """Threads held by functions that were given up but have not returned."""
        return self._handlers.threads_kept

    @property
    def queued(self) -> int:
        """Calls that wait for a slot."""
        return len(self._queued)

    def has(self, call: StepCall) -> bool:
        """Whether a call of this step is under way or waits for its slot."""
        key = (call.tenant_id, call.execution_id, call.step_id)
        return key in self._running or key in self._queued

    def submit(self, call: StepCall, *, generation: int, priority: int) -> None:
        """Run a call as soon as a slot is free; one that is under way already is left alone.

        One of an earlier attempt, whose outcome came from elsewhere, is aborted: nobody waits for it any more.
        """
        key = (call.tenant_id, call.execution_id, call.step_id)
        if not self._takes_calls:
            return
        before = self._running.get(key) or self._queued.get(key)
        if before is not None:
            if (before.call.attempt, before.generation) == (call.attempt, generation):
                return
            self.withdraw(*key)
        ready = Ready(key, call, generation, perf_counter())
        if len(self._running) < self._concurrency and not self._queued and not self._is_held:
            self._running[key] = ready
            self._begin(ready)
        else:
            self._queued[key] = ready
            self._queue.put(call.tenant_id, priority, ready)

    def withdraw(self, tenant_id: str, execution_id: str, step_id: str) -> None:
        """Abort a call; its outcome, if it has one yet, is not reported."""
        key = (tenant_id, execution_id, step_id)
        self._queued.pop(key, None)
        # Gone at once, though its handler may still be cleaning up: a retry may send the same step again right away.
        if self._running.pop(key, None) is not None:
            task = self._tasks.pop(key)
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
            task.cancel()
            # The task does it only if it has begun; and not now, since what waits may be withdrawn next.
            asyncio.get_running_loop().call_soon(self._fill)

    def hold(self) -> None:
        """Begin no call until `release`: what it gives could not be recorded."""
        self._is_held = True

    def release(self) -> None:
        """Go on with what waits."""
        self._is_held = False
        self._fill()

    def stop(self) -> None:
        """Begin no call any more; what is queued is left to the next process."""
        self._takes_calls = False
        self._queued.clear()

    def _begin(self, ready: Ready) -> None:
        loop = asyncio.get_running_loop()
        self._tasks[ready.key] = loop.create_task(self._serve(ready), context=self._context.copy())

    async def _serve(self, ready: Ready) -> None:
        """Make a call, and in the slot that it leaves those that wait, as long as nothing of one can reach the next."""
        task = asyncio.current_task()
        assert task is not None
        try:
            for calls_left in reversed(range(CALLS_PER_TASK)):
                await self._call(ready, task)
                if not calls_left or task.cancelling() or copy_context() != self._context:
                    return
                following = self._take()
                if following is None:
                    return
                ready = following
                self._tasks[ready.key] = task
        finally:
            self._fill()

    async def _call(self, ready: Ready, task: asyncio.Task[None]) -> None:
        outcome: Outcome | None = None
        begun_s = perf_counter()
        self.measures.queue_wait_seconds.observe(begun_s - ready.since_s)
        try:
            outcome = await self._handlers.run(ready.call)
        except asyncio.CancelledError:
            if not task.cancelling():
                outcome = Failed(StepError("cancelled", "the call was cancelled from inside its handler"))
        finally:
            if self._running.get(ready.key) is ready:
                del self._running[ready.key], self._tasks[ready.key]
        how = "withdrawn" if outcome is None else "failed" if isinstance(outcome, Failed) else "completed"
        self.measures.ended(ready.call.type, how, perf_counter() - begun_s)
        if outcome is not None and self._is_open:
            self._on_outcome(ready.call, ready.generation, outcome)

    def _take(self) -> Ready | None:
        """The next call, if there is one and a slot for it, which it has from now on."""
        while self._takes_calls and not self._is_held and self._queue and len(self._running) < self._concurrency:
            ready = self._queue.take()
            if self._queued.get(ready.key) is ready:
                del self._queued[ready.key]
                self._running[ready.key] = ready
                return ready
        return None

    def _fill(self) -> None:
        while (ready := self._take()) is not None:
            self._begin(ready)

    async def close(self, *, grace_s: float) -> None:
        """Start nothing more; give running calls `grace_s` seconds to finish and be recorded, then abort the rest."""
        self.stop()
        if self._running and grace_s > 0:
            await asyncio.wait(self._tasks.values(), timeout=grace_s)
        self._is_open = False
        left = [*self._tasks.values(), *self._ending]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
