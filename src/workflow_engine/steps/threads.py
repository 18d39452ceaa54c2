"""Threads for calls that block, where one that hangs costs a thread but never the pool.

`concurrent.futures` has no answer to a call that does not return: its thread is gone from the pool for good, and the
process waits for it at exit. Here the threads are daemons, and a call that its caller gave up keeps its thread beside
the pool: a new thread takes its place, up to a hard cap.
"""

import asyncio
import contextvars
import threading
from collections import Counter, deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import structlog

log = structlog.get_logger(__name__)


class ThreadsExhausted(Exception):
    """Every thread up to the cap is kept by a call that was given up but has not returned."""


class ThreadsClosed(Exception):
    """The pool is closed: the process is shutting down."""


class _Job:
    """One call on its way: waiting in the queue, running, given up, or done."""

    __slots__ = ("call", "context", "future", "given_up", "label", "outcome", "ticket")

    def __init__(self, label: str, call: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        self.label = label
        self.call = call
        self.future = future
        self.context = contextvars.copy_context()
        self.ticket: list[None] = [None]
        """Whoever pops it, the worker that starts the call or the caller that withdraws it, has the job."""
        self.outcome: Any = None
        self.given_up = False

    def take(self) -> bool:
        try:
            self.ticket.pop()
        except IndexError:
            return False
        return True


class ThreadPool:
    """Runs blocking calls on daemon threads for ONE event loop.

    Args:
        name: begins the names of the threads and of the log's events (`<name>.thread_kept`).
        threads: how many calls run at once.
        threads_max: how many threads there are at most, those kept by calls that hang included. When calls that hang
            keep all of them, new calls are refused until one returns.

    All bookkeeping is done on the loop; a worker thread takes jobs, runs them and hands over many results at a time.
    """

    def __init__(self, name: str, *, threads: int, threads_max: int) -> None:
        if not 1 <= threads <= threads_max:
            raise ValueError(f"threads must lie in 1..threads_max, got threads={threads}, threads_max={threads_max}")
        self._name = name
        self._threads = threads
        self._threads_max = threads_max
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._done: deque[_Job] = deque()
        self._wake_up_sent = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._live = 0
        self._outstanding = 0
        self._kept: Counter[str] = Counter()
        self._unsettled: dict[_Job, None] = {}
        self._closed = False

    @property
    def kept(self) -> dict[str, int]:
        """Labels of the calls that were given up and still hold a thread, with how many each holds."""
        return dict(self._kept)

    async def run(self, label: str, call: Callable[[], Any]) -> Any:
        """Give what the call returns or raises. Cancelled, the call is withdrawn, or left to itself if it has started.

        Raises:
            ThreadsExhausted, ThreadsClosed: nothing was called.
        """
        self._refuse_if_exhausted()
        loop = self._bind()
        job = _Job(label, call, loop.create_future())
        self._outstanding += 1
        self._unsettled[job] = None
        self._queue.put(job)
        self._grow()
        try:
            value, raised = await job.future
        except asyncio.CancelledError:
            self._give_up(job)
            raise
        if raised is not None:
            raise raised
        return value

    def close(self) -> None:
        """Refuse what waits and let idle threads end; calls that run are left to themselves."""
        self._closed = True
        for job in list(self._unsettled):
            self._refuse(job, ThreadsClosed())
        for _ in range(self._live):
            self._queue.put(None)

    def _bind(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise RuntimeError("a thread pool serves one event loop; build a handler for each loop")
        return loop

    def _refuse_if_exhausted(self) -> None:
        if self._closed:
            raise ThreadsClosed
        if self._kept.total() >= self._threads_max:
            raise ThreadsExhausted

    def _grow(self) -> None:
        wanted = min(self._threads + self._kept.total(), self._threads_max)
        if self._live < wanted and self._live < self._outstanding + self._kept.total():
            self._start_thread()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._work, name=f"{self._name}-{self._live + 1}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system gives no more threads
            log.warning(f"{self._name}.thread_refused", threads=self._live, threads_kept=self._kept.total())
            if self._live > self._kept.total():
                return  # others will come to it
            raise
        self._live += 1

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            if not job.take():
                continue
            job.outcome = _call(job)
            self._done.append(job)
            del job
            if not self._wake_up_sent:
                self._wake_up_sent = True
                self._wake_up()

    def _wake_up(self) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._settle_done)
        except RuntimeError:
            pass  # the loop is closed: nobody waits for the result any more

    def _settle_done(self) -> None:
        self._wake_up_sent = False  # before taking: a result that comes later sends a new wake-up
        while self._done:
            self._settle(self._done.popleft())

    def _settle(self, job: _Job) -> None:
        self._unsettled.pop(job, None)
        if job.given_up:
            self._thread_returned(job)
            return
        self._outstanding -= 1
        if job.future.done():
            return
        job.future.set_result(job.outcome)  # a pair: a future takes no StopIteration as its exception

    def _give_up(self, job: _Job) -> None:
        self._unsettled.pop(job, None)
        if job.outcome is not None:
            return  # it has returned, and the thread is free: `_settle` counts it
        self._outstanding -= 1
        job.given_up = True
        if job.take():
            return  # it had not started
        self._kept[job.label] += 1
        kept = self._kept.total()
        log.warning(f"{self._name}.thread_kept", function=job.label, threads_kept=kept, threads_max=self._threads_max)
        self._make_room()

    def _make_room(self) -> None:
        if self._kept.total() < self._threads_max:
            self._grow()
            return
        for job in list(self._unsettled):
            self._refuse(job, ThreadsExhausted())

    def _refuse(self, job: _Job, reason: Exception) -> None:
        if job.take():
            del self._unsettled[job]
            self._outstanding -= 1
            if not job.future.done():
                job.future.set_result((None, reason))

    def _thread_returned(self, job: _Job) -> None:
        self._kept -= Counter([job.label])
        log.info(f"{self._name}.thread_returned", function=job.label, threads_kept=self._kept.total())
        if self._live > self._threads + self._kept.total():
            self._live -= 1
            self._queue.put(None)


def _call(job: _Job) -> tuple[Any, BaseException | None]:
    """Run it; even SystemExit is an outcome, for it must end neither the thread nor the process."""
    try:
        return job.context.run(job.call), None
    except BaseException as raised:  # noqa: BLE001 - a supervised boundary: what a user's code raises is data here
        return None, raised
