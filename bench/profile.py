"""`make bench-profile`: where the processor time of a step goes, by part of the engine.

The loop's thread is looked at every few milliseconds that it works; what it has spent since the last look counts for
the part whose code it is in. The garbage collector's work is measured from its begin to its end. The writer's thread is
measured by its own clock, around each statement and in all. Nothing is added to the calls themselves, so that shares
stay true.
"""

import asyncio
import gc
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from types import FrameType
from typing import Any

import uvloop

import workflow_engine
from bench.check import functions
from bench.definitions import chain, pure_chain
from bench.engine import result_of
from bench.workplace import workplace
from workflow_engine import Engine
from workflow_engine.store import sqlite

EVERY_S = 0.001
"""Of the processor. The system looks at such timers at its own ticks only, every one to ten milliseconds."""
WRITER = "workflow-engine-writer"

LOOP, FUNCTION, COLLECTOR, BENCH = "event loop and tasks", "the function itself", "garbage collector", "benchmark"
PARTS = (
    ("engine/expressions", "expressions"),
    ("engine/conditions", "expressions"),
    ("engine/variables", "expressions"),
    ("engine/apply", "apply (the fold)"),
    ("engine/", "decide"),
    ("models/", "encode and decode"),
    ("services/state_manager", "rows of a transition"),
    ("services/workflow_executor", "executor"),
    ("services/step_processor", "step processor, queue, handlers"),
    ("queue/", "step processor, queue, handlers"),
    ("steps/", "step processor, queue, handlers"),
    ("services/", "live events, endings, other services"),
    ("store/", "store, in the loop's thread"),
    ("", "library and rest"),
)
"""By the beginning of a file's path in the package; the first that fits."""

SOURCES = f"{Path(workflow_engine.__file__).parent}/"
HERE = str(Path(__file__).parent)


class Sampler:
    """Processor time of this thread, by part."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._last_s = 0.0
        self._thread = threading.get_ident()
        self._parts: dict[str, str | None] = {}

    def __enter__(self) -> "Sampler":
        gc.collect()
        gc.callbacks.append(self._on_collection)
        self._last_s = time.thread_time()
        signal.signal(signal.SIGPROF, lambda _, frame: self._look(frame))
        signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        gc.callbacks.remove(self._on_collection)

    def _look(self, frame: FrameType | None) -> None:
        self._add(self._part_of(frame))

    def _on_collection(self, phase: str, _: dict[str, int]) -> None:
        if threading.get_ident() == self._thread:
            self._add(COLLECTOR if phase == "stop" else self._part_of(sys._getframe(1)))

    def _add(self, part: str) -> None:
        now = time.thread_time()
        self.seconds[part] += now - self._last_s
        self._last_s = now

    def _part_of(self, frame: FrameType | None) -> str:
        """The innermost code that is ours; what it calls of others counts for it."""
        if frame is not None and frame.f_code is Sampler._on_collection.__code__ and frame.f_locals["phase"] == "stop":
            return COLLECTOR
        while frame is not None:
            path = frame.f_code.co_filename
            if path not in self._parts:
                self._parts[path] = part_of(path)
            part = self._parts[path]
            if part == BENCH and frame.f_code.co_name == "main":
                break  # the loop runs inside of it
            if part is not None and path != __file__:
                return FUNCTION if frame.f_code.co_name == "next_number" else part
            frame = frame.f_back
        return LOOP


def part_of(path: str) -> str | None:
    """The part that a source file belongs to; None: nobody's, so that it counts for its caller."""
    if path.startswith(SOURCES):
        inside = path.removeprefix(SOURCES)
        return next(part for beginning, part in PARTS if inside.startswith(beginning))
    return BENCH if path.startswith(HERE) else None


@dataclass
class WriterTimes:
    """Seconds of the writer's thread in the driver: of the processor, and waiting for the disk."""

    sql_s: float = 0.0
    commit_s: float = 0.0
    waiting_s: float = 0.0
    commits: int = 0


class TimedConnection:
    """The connection that writes, with a clock around each statement."""

    def __init__(self, connection: Any, times: WriterTimes) -> None:
        self._connection = connection
        self._times = times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, *arguments: Any) -> Any:
        """As the driver does it."""
        with self._sql():
            return self._connection.execute(*arguments)

    def executemany(self, *arguments: Any) -> Any:
        """As the driver does it."""
        with self._sql():
            return self._connection.executemany(*arguments)

    def commit(self) -> None:
        """As the driver does it."""
        cpu_s, wall_s = time.thread_time(), time.perf_counter()
        try:
            self._connection.commit()
        finally:
            cpu_s, wall_s = time.thread_time() - cpu_s, time.perf_counter() - wall_s
            self._times.commits += 1
            self._times.commit_s += cpu_s
            self._times.waiting_s += wall_s - cpu_s

    @contextmanager
    def _sql(self) -> Iterator[None]:
        cpu_s = time.thread_time()
        try:
            yield
        finally:
            self._times.sql_s += time.thread_time() - cpu_s


@contextmanager
def timed_writer() -> Iterator[WriterTimes]:
    """The times of the engine that is opened in this block."""
    times = WriterTimes()
    connect = sqlite.connect_writer
    sqlite.connect_writer = lambda path: TimedConnection(connect(path), times)
    try:
        yield times
    finally:
        sqlite.connect_writer = connect


def writer_cpu_s() -> float:
    """Processor time of the thread that writes, so far."""
    (ident,) = (thread.ident for thread in threading.enumerate() if thread.name == WRITER)
    assert ident is not None
    return time.clock_gettime(time.pthread_getcpuclockid(ident))


async def profile(
    folder: Path, name: str, definition: dict[str, Any], work: Callable[[Engine], Awaitable[Any]], steps: int
) -> None:
    """Print the table of a piece of work of so many steps; once before, to fill caches."""
    with timed_writer() as times:
        async with Engine(f"sqlite:///{folder / definition['id']}.db", functions=functions) as engine:
            await engine.publish(definition)
            await work(engine)
            before, writer_s, cpu_s = WriterTimes(**vars(times)), writer_cpu_s(), time.process_time()
            begun = time.perf_counter()
            with Sampler() as sampler:
                await work(engine)
            wall_s, cpu_s = time.perf_counter() - begun, time.process_time() - cpu_s
            writer_s = writer_cpu_s() - writer_s
    sql_s, commit_s = times.sql_s - before.sql_s, times.commit_s - before.commit_s
    rows = [
        (f"loop: {part}", seconds) for part, seconds in sorted(sampler.seconds.items(), key=itemgetter(1), reverse=True)
    ]
    rows += [
        ("writer: SQL", sql_s),
        ("writer: COMMIT", commit_s),
        ("writer: Python around it", writer_s - sql_s - commit_s),
        ("other threads", max(0.0, cpu_s - writer_s - sum(sampler.seconds.values()))),
    ]
    commits = times.commits - before.commits
    print(f"\n{name}: {wall_s / steps * 1e6:.0f} microseconds a step by the clock; {commits} commits, which waited")
    print(f"{(times.waiting_s - before.waiting_s) / commits * 1e3:.2f} ms each for the disk and for the interpreter\n")
    print("| part | microseconds of the processor, a step | share |\n| --- | --- | --- |")
    for part, seconds in rows:
        print(f"| {part} | {seconds / steps * 1e6:.1f} | {seconds / cpu_s:.1%} |")
    print(f"| all | {cpu_s / steps * 1e6:.1f} | 100% |", flush=True)


async def run(folder: Path) -> None:
    """Four pieces of work."""

    async def many(engine: Engine) -> None:
        for _ in range(3):
            await asyncio.gather(*(result_of(engine, "chain-10", 0) for _ in range(1_000)))

    def alone(name: str, times: int) -> Callable[[Engine], Awaitable[None]]:
        async def run_them(engine: Engine) -> None:
            for _ in range(times):
                await result_of(engine, name, 0)

        return run_them

    await profile(folder, "1,000 executions of 10 function steps at once", chain(10), many, 30_000)
    await profile(folder, "a chain of 40 function steps, alone", chain(40), alone("chain-40", 100), 4_000)
    await profile(folder, "a chain of 40 `set` nodes, alone", pure_chain(40), alone("pure-40", 500), 20_000)
    await profile(folder, "one function step, start to result, alone", chain(1), alone("chain-1", 2_000), 2_000)


def main() -> None:
    """The tables, as Markdown."""
    with workplace() as folder:
        uvloop.run(run(folder))


if __name__ == "__main__":
    main()
