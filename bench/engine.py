"""The engine through its library door, on SQLite with `synchronous=FULL`: each function step is on disk before the next
begins.

W1  a chain of 40 function steps, one execution at a time
W2  1,000 executions of 10 such steps, all at once
W3  one-step executions, one after another, from start to result
W4  a `foreach` over 1,000 and 10,000 items
W5  a cycle of 50,000 function steps: what a step costs along the way, against one of a fresh execution at that moment
W6  kill -9 in the middle of W2: from the new process's start to its first step, and what that is made of
"""

import asyncio
import resource
import statistics
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import uvloop

from bench.definitions import FANOUT, chain, pure_chain
from bench.flatness import BLOCK, EARLY, Cost, compare_at, held_cycle
from bench.recovery import bench_recovery
from bench.report import report
from bench.workplace import workplace
from workflow_engine import Engine, function

MILESTONES = (1_000, 5_000, 20_000, 50_000)
"""W5: the steps at whose end blocks are measured."""

PAIRS = 6
"""W5: blocks at each of them, where there are steps enough before it."""

STAMPS: list[float] = []


@function("bench.next")
async def next_number(n: int) -> int:
    """The smallest step that there is; notes when it ran."""
    STAMPS.append(time.perf_counter())
    return n + 1


async def timed(work: Callable[[], Coroutine[Any, Any, Any]]) -> float:
    """Seconds that a coroutine takes."""
    begun = time.perf_counter()
    await work()
    return time.perf_counter() - begun


async def result_of(engine: Engine, workflow_id: str, value: Any) -> Any:
    """Start an execution and wait for its output."""
    return await (await engine.start(workflow_id, value)).result()


async def bench_chains(engine: Engine) -> None:
    """W1 and its pure twin."""
    for definition in (chain(40), pure_chain(40)):
        await engine.publish(definition)
        times = [await timed(lambda: result_of(engine, definition["id"], 0)) for _ in range(7)]  # noqa: B023
        report(f"W1 {definition['id']}, median of 7", f"{statistics.median(times) * 1000:.1f} ms")


async def bench_many(engine: Engine) -> None:
    """W2."""
    await engine.publish(chain(10))
    rates = []
    for _ in range(3):
        begun = time.perf_counter()
        await asyncio.gather(*(result_of(engine, "chain-10", 0) for _ in range(1000)))
        rates.append(1000 / (time.perf_counter() - begun))
    report("W2 1,000 executions x 10 steps, median of 3", f"{statistics.median(rates):.0f} executions/s")


async def bench_single(engine: Engine) -> None:
    """W3."""
    await engine.publish(chain(1))
    times = sorted([await timed(lambda: result_of(engine, "chain-1", 0)) for _ in range(500)])
    report("W3 one-step execution, p50 / p99", f"{times[250] * 1000:.2f} / {times[495] * 1000:.2f} ms")


async def bench_fanout(engine: Engine) -> None:
    """W4, and how flat the cost of an item is."""
    await engine.publish(FANOUT)
    for count in (1_000, 10_000):
        STAMPS.clear()
        seconds = await timed(lambda: result_of(engine, "fanout", list(range(count))))  # noqa: B023
        report(f"W4 foreach over {count:,} items and a join", f"{seconds:.3f} s")
    report("W4 10,000 items: last 1,000 against second 1,000, per item", ratio(STAMPS, 1000))


def ratio(stamps: list[float], window: int) -> str:
    """The time that the last steps took over that of the first ones (a warm-up of as many is passed over)."""
    first = stamps[2 * window] - stamps[window]
    last = stamps[-1] - stamps[-1 - window]
    return f"{last / first:.2f} x ({last / window * 1000:.3f} ms)"


async def bench_cycle(folder: Path) -> None:
    """W5."""
    fresh_costs = []
    async with held_cycle(folder / "old.db") as (old, _), held_cycle(folder / "fresh.db") as (fresh, _):
        await old.begin(MILESTONES[-1])
        lines = []
        for milestone in MILESTONES:
            pairs = min(PAIRS, (milestone - EARLY) // BLOCK)
            await old.run_to(milestone - pairs * BLOCK)
            at = await compare_at(old, fresh, pairs)
            fresh_costs += at.fresh
            lines.append((f"W5 one execution: a step around the {milestone:,}th", at.old, at))
        await old.finish()
    report(f"W5 one execution: a step around the {EARLY}th", cost_of(fresh_costs))
    for name, costs, at in lines:
        report(name, f"{cost_of(costs)}, {at.ratio:.2f} x one of a fresh execution ({at.cpu_ratio:.2f} x)")


def cost_of(costs: list[Cost]) -> str:
    """Medians of blocks."""
    ms, cpu_ms = statistics.median(one.ms for one in costs), statistics.median(one.cpu_ms for one in costs)
    return f"{ms:.3f} ms (processor: {cpu_ms:.3f})"


def open_engine(folder: Path, name: str) -> AbstractAsyncContextManager[Engine]:
    """An engine on a database of its own."""
    return Engine(f"sqlite:///{folder / name}.db")


async def run_all(folder: Path) -> None:
    """Every workload, each on a fresh database."""
    for work in (bench_chains, bench_many, bench_single, bench_fanout):
        async with open_engine(folder, work.__name__) as engine:
            await work(engine)
    await bench_cycle(folder)
    await bench_recovery(folder)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    report("peak resident memory of all of the above", f"{peak_mb:.0f} MB")


def main() -> None:
    """All workloads."""
    with workplace() as folder:
        uvloop.run(run_all(folder))


if __name__ == "__main__":
    main()
