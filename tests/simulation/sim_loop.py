"""A machine in one thread: an event loop whose clock only moves when nothing else can, and whose order is drawn.

Everything that runs belongs to a `Process`, which can be frozen, thawed and killed between any two of its steps. What
stands outside (clients, targets, the nemesis) belongs to none.
"""

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from functools import partial
from random import Random
from typing import Any, NamedTuple

BEGINS_S = 1_000.0
"""The machine's monotonic clock when a schedule begins."""


STEPS_MAX = 60_000
"""A schedule takes one or two thousand steps, and one that waits to its very end ten thousand."""


class Killed(BaseException):
    """The process that runs this ends here. No handler of `Exception` may see it."""


class Stuck(AssertionError):
    """Nothing will ever happen again, or too much happens."""


class Process:
    """What the operating system would call one: its tasks and callbacks live and die together."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_dead = False
        self.is_frozen = False
        self.held: list[asyncio.Handle] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.on_death: list[Callable[[], None]] = []
        self.context = copy_context()
        self.context.run(_process.set, self)


_process: ContextVar[Process | None] = ContextVar("process", default=None)


class Pace(NamedTuple):
    """How one schedule runs."""

    disorder: float
    """The share of steps that are drawn from all that could run, instead of the one that has waited longest."""
    step_s: float
    """What a step takes at most."""
    disk_s: float
    """What the disk takes on average, each way."""


class SimLoop(asyncio.BaseEventLoop):
    """The event loop; `steps` counts what has run."""

    def __init__(self, random: Random, pace: Pace) -> None:
        super().__init__()
        self._ready: list[asyncio.Handle] = []  # type: ignore[assignment]  # only appended to by the base
        self._now_s = BEGINS_S
        self._random = random
        self._pace = pace
        self._doomed: list[Process] = []
        self.steps = 0
        self.before_step: Callable[[Process | None], None] = lambda _process: None
        self.failures: list[str] = []
        """Exceptions that nobody caught."""

    # --- time and order

    def time(self) -> float:
        """Seconds since some instant: the machine's monotonic clock."""
        return self._now_s

    def monotonic_ns(self) -> int:
        """The same in nanoseconds."""
        return int(self._now_s * 1_000_000_000)

    def _run_once(self) -> None:
        self._admit_due()
        if not self._ready:
            if not self._scheduled:  # type: ignore[attr-defined]
                raise Stuck("nothing will ever happen again")
            self._now_s = max(self._now_s, self._scheduled[0]._when)  # type: ignore[attr-defined]
            self._admit_due()
        handle = self._take()
        if handle.cancelled():
            return
        process = _process_of(handle._context)  # type: ignore[attr-defined]
        if process is not None and (process.is_dead or process.is_frozen):
            if not process.is_dead:
                process.held.append(handle)
            return
        self.steps += 1
        if self.steps > STEPS_MAX:
            raise Stuck("the schedule does not come to an end")
        self._now_s += self._random.random() * self._pace.step_s
        self.before_step(process)
        if process is None or not (process.is_dead or process.is_frozen):
            handle._run()
        elif process.is_frozen:
            process.held.append(handle)
        while self._doomed:
            self.kill(self._doomed.pop())

    def _admit_due(self) -> None:
        due = self._scheduled  # type: ignore[attr-defined]
        while due and due[0]._when <= self._now_s:
            handle = heapq.heappop(due)
            handle._scheduled = False
            self._ready.append(handle)

    def _take(self) -> asyncio.Handle:
        ready = self._ready
        if len(ready) > 1 and self._random.random() < self._pace.disorder:
            return ready.pop(self._random.randrange(len(ready)))
        return ready.pop(0)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass  # it is dropped when its time comes

    def _write_to_self(self) -> None:
        pass  # there is no other thread to wake it

    # --- threads

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """A thread's work, done on the loop at some time; the answer arrives at some later time."""
        future = self.create_future()
        self.call_later(self.disk_delay_s(), self._work, future, partial(func, *args))
        return future

    def _work(self, future: asyncio.Future[Any], work: Callable[[], Any]) -> None:
        try:
            deliver = partial(_give, future, work())
        except Exception as error:  # noqa: BLE001 - it belongs to whoever waits
            deliver = partial(_raise, future, error)
        self.call_later(self.disk_delay_s(), deliver)

    def disk_delay_s(self) -> float:
        """How long the disk takes this time."""
        return self._random.expovariate(1 / self._pace.disk_s) if self._random.random() < 0.7 else 0.0

    # --- processes

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> Any:
        """A task; one of a dead process never runs."""
        process = _process_of(context) if context is not None else _process.get()
        if process is not None and process.is_dead:
            coro.close()
            return self.create_future()
        task = super().create_task(coro, name=name, context=context)  # type: ignore[call-arg]
        if process is not None:
            process.tasks.append(task)
        return task

    async def call(self, process: Process, work: Coroutine[Any, Any, Any]) -> Any:
        """Let a process do something, and give what comes of it; raises ConnectionError where it dies meanwhile."""
        if process.is_dead:
            work.close()
            raise ConnectionRefusedError(f"{process.name} is dead")
        answer = self.create_future()

        def lose() -> None:
            if not answer.done():
                answer.set_exception(ConnectionResetError(f"{process.name} has died"))

        def pass_on(task: asyncio.Task[Any]) -> None:
            if answer.done() or task.cancelled():
                lose()
            elif (error := task.exception()) is not None:
                answer.set_exception(error)
            else:
                answer.set_result(task.result())

        process.on_death.append(lose)
        outside = copy_context()
        task = self.create_task(work, context=process.context.copy())
        task.add_done_callback(pass_on, context=outside)
        try:
            return await answer
        finally:
            if lose in process.on_death:
                process.on_death.remove(lose)

    def kill(self, process: Process) -> None:
        """End a process in this instant: nothing of it runs any more, not even what stands in a `finally`."""
        if process.is_dead:
            return
        process.is_dead = True
        process.held.clear()
        for task in process.tasks:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                try:
                    process.context.copy().run(task.get_coro().close)  # type: ignore[union-attr]
                except BaseException:  # noqa: BLE001 - the last words of the dead
                    pass
        for notify in list(process.on_death):
            notify()

    def doom(self, process: Process) -> None:
        """Kill a process as soon as its present step is interrupted."""
        self._doomed.append(process)

    def thaw(self, process: Process) -> None:
        """Let a frozen process go on where it stood."""
        process.is_frozen = False
        self._ready.extend(process.held)
        process.held.clear()

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Note what nobody caught."""
        error = context.get("exception")
        process = _process.get()
        handle = context.get("handle")
        if handle is not None:
            process = _process_of(handle._context)
        if isinstance(error, Killed):
            if process is not None:
                self._doomed.append(process)
            return
        if process is not None and process.is_dead:
            return
        if "never retrieved" in str(context.get("message")):
            return  # told by the garbage collector, at no instant of ours; whoever matters has asked
        self.failures.append(f"{context.get('message')}: {error!r}")


def current_process() -> Process | None:
    """Whose step this is; None: the outside's."""
    return _process.get()


def _process_of(context: Context) -> Process | None:
    return context.get(_process)


def _give(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _raise(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
