"""Heartbeats: how a step's code says that it lives, and the watch that ends a call which has fallen silent."""

import asyncio
import time
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Self

from workflow_engine.models.step import StepError
from workflow_engine.steps.output import details_of


class Silent(Exception):
    """A watched call gave no sign of life for longer than its heartbeat."""

    def __init__(self, heartbeat_s: float, silence_s: float, details: Any) -> None:
        super().__init__(f"gave no sign of life for {silence_s:.3g} s, longer than its heartbeat of {heartbeat_s:g} s")
        self.heartbeat_s = heartbeat_s
        self.silence_s = silence_s
        self.details = details

    def error(self, who: str, hint: str = "", *, no_effect: bool = False) -> StepError:
        """The step's error: `timeout`, with `{heartbeat_s, silence_s, details}`, the details of the last beat."""
        details = {"heartbeat_s": self.heartbeat_s, "silence_s": round(self.silence_s, 3), "details": self.details}
        return StepError("timeout", f"{who} {self}{hint}", details, no_effect=no_effect)


class Watch:
    """`async with Watch(heartbeat_s)`: cancels its block once `heartbeat` was not called for so long; raises Silent.

    The first beat starts the clock: whoever serves a node calls `heartbeat` when the work begins, so that a call which
    stands in a line is not silent. Without a heartbeat nothing is watched.
    """

    def __init__(self, heartbeat_s: float | None) -> None:
        self._heartbeat_s = heartbeat_s
        self._last_s: float | None = None
        self._details: Any = None
        self._silence_s = 0.0
        self._end = asyncio.timeout(None)
        self._timer: asyncio.TimerHandle | None = None
        self._token: Token[Watch | None] | None = None

    def beat(self, details: Any) -> None:
        """A sign of life, from any thread. The loop hears of it when it looks next, so a beat costs no wake-up."""
        if details is not None:
            self._details = details_of(details)
        self._last_s = time.monotonic()

    async def __aenter__(self) -> Self:
        await self._end.__aenter__()
        if self._heartbeat_s is not None:
            self._token = _watch.set(self)
            self._look_after(self._heartbeat_s)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._token is not None:
            _watch.reset(self._token)
        try:
            await self._end.__aexit__(kind, error, trace)
        except TimeoutError:  # this watch has ended the block: what its code raises is not raised here
            assert self._heartbeat_s is not None
            raise Silent(self._heartbeat_s, self._silence_s, self._details) from None

    def _look_after(self, delay_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._look)

    def _look(self) -> None:
        assert self._heartbeat_s is not None
        self._silence_s = 0.0 if self._last_s is None else time.monotonic() - self._last_s
        left_s = self._heartbeat_s - self._silence_s
        if left_s > 0:
            self._look_after(left_s)
        else:
            self._end.reschedule(asyncio.get_running_loop().time())


_watch: ContextVar[Watch | None] = ContextVar("workflow_engine_watch", default=None)


def heartbeat(details: Any = None) -> None:
    """Say that the step which this code works for is alive; its node's `heartbeat` counts the silence anew from here.

    For plain and `async` functions, also from threads and tasks that run in a copy of the function's context (those of
    `asyncio.to_thread` and `create_task` do). Without a `heartbeat` on the node, and outside a step, it does nothing.

    Args:
        details: how far the work has come, as JSON; the last ones are readable as `error.details.details` if the
            step falls silent.
    """
    watch = _watch.get()
    if watch is not None:
        watch.beat(details)
