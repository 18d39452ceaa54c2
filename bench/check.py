"""`make bench-check`: has the engine become more expensive than when the baseline was recorded?

It counts what comes out the same on a busy machine (instructions, commits, bytes, objects kept), and ratios of
processor times of this run, never a time. `--record` makes the figures of this run the baseline.
"""

import argparse
import asyncio
import gc
import json
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import uvloop
from pysqlite3 import dbapi2

from bench import orders
from bench.comparison import Baseline, Figure, compare, has_failed, table
from bench.counting import Counter, Counts, counter
from bench.definitions import FANOUT, chain, pure_chain
from bench.engine import result_of
from bench.flatness import BLOCK, EARLY, compare_at, held_cycle
from bench.workplace import workplace
from workflow_engine import Engine
from workflow_engine.steps.function_registry import FunctionRegistry

BASELINE = Path(__file__).with_name("baseline.json")
MEMORY = Path("/dev/shm")
MEMORY_BYTES = 512 * 2**20

EXACT, NEARLY, LOOSELY, ROUGHLY = 0.01, 0.05, 0.15, 0.5
"""Tolerances: of what can't vary, of instructions, of what depends on the turn of threads, of processor times."""

LATE, WINDOW, PAIRS = 10_000, 400, 4
"""Flatness: so many steps are counted from the 100th on, and as many at the end; and blocks are timed there."""


functions = FunctionRegistry()


@functions.function("bench.next")
async def next_number(n: int) -> int:
    """The smallest step that there is."""
    return n + 1


@asynccontextmanager
async def opened(
    folder: Path, name: str, functions: FunctionRegistry = functions
) -> AsyncIterator[tuple[Engine, Path]]:
    """An engine on a database of its own."""
    database = folder / f"{name}.db"
    async with Engine(f"sqlite:///{database}", functions=functions) as engine:
        yield engine, database


async def counted(count: Counter, engine: Engine, database: Path, definition: dict[str, Any], value: Any) -> Counts:
    """What the third execution of a definition takes: caches are filled by then."""
    await engine.publish(definition)
    for _ in range(2):
        await result_of(engine, definition["id"], value)
    return await count.of(engine, database, lambda: result_of(engine, definition["id"], value))


async def count_steps(folder: Path) -> list[Figure]:
    """Steps by themselves: the difference between executions of 40 and of 20; and what the frame around them costs."""
    with counter() as count:
        async with opened(folder, "steps") as (engine, database):
            pure = {n: await counted(count, engine, database, pure_chain(n), 0) for n in (1, 20, 40)}
            made = {n: await counted(count, engine, database, chain(n), 0) for n in (20, 40)}
            items = {n: await counted(count, engine, database, FANOUT, list(range(n))) for n in (100, 300)}
    one, more, whole = pure[1], made[40] - made[20], pure[40] - pure[20]
    item = items[300] - items[100]
    return [
        Figure("execution: Python instructions, loop", one.loop, NEARLY, depends_on="python"),
        Figure("execution: Python instructions, writer", one.writer, LOOSELY, depends_on="python"),
        Figure("execution: SQLite instructions", one.sqlite, NEARLY, depends_on="sqlite"),
        Figure("execution: bytes of log", one.log_bytes, NEARLY),
        Figure("pure step: Python instructions, loop", whole.loop / 20, NEARLY, depends_on="python"),
        Figure("pure step: bytes of log", whole.log_bytes / 20, NEARLY),
        Figure("pure chain of 40: commits", pure[40].commits, EXACT),
        Figure("function step: Python instructions, loop", more.loop / 20, NEARLY, depends_on="python"),
        Figure("function step: Python instructions, writer", more.writer / 20, LOOSELY, depends_on="python"),
        Figure("function step: SQLite instructions", more.sqlite / 20, NEARLY, depends_on="sqlite"),
        Figure("function step: SQL statements", more.statements / 20, EXACT),
        Figure("function step: commits", more.commits / 20, EXACT),
        Figure("function step: bytes of log", more.log_bytes / 20, NEARLY),
        Figure("function step: bytes of write-ahead log", more.wal_bytes / 20, LOOSELY),
        Figure("foreach item: Python instructions, loop", item.loop / 200, NEARLY, depends_on="python"),
        Figure("foreach item: bytes of log", item.log_bytes / 200, NEARLY),
        Figure("foreach of 300 items: commits", items[300].commits, ROUGHLY, slack=2),
    ]


async def count_orders(folder: Path) -> list[Figure]:
    """The graph of `order.yaml`, alone: card and invoice, with and without points."""
    with counter() as count:
        async with opened(folder, "orders", orders.functions) as (engine, database):
            await engine.publish(orders.DEFINITION)

            async def four() -> None:
                for number in range(4):
                    await orders.process(engine, number)

            await four()
            await four()
            taken = await count.of(engine, database, four)
    return [
        Figure("order: Python instructions, loop", taken.loop / 4, NEARLY, depends_on="python"),
        Figure("order: SQLite instructions", taken.sqlite / 4, LOOSELY, depends_on="sqlite"),
        Figure("order: bytes of log", taken.log_bytes / 4, NEARLY),
        Figure("order: commits", taken.commits / 4, LOOSELY, slack=0.5),
    ]


async def count_many(folder: Path) -> list[Figure]:
    """Many executions at once share commits and statements."""
    executions, steps = 100, 5
    with counter() as count:
        async with opened(folder, "many") as (engine, database):
            definition = chain(steps)
            await engine.publish(definition)

            async def all_of_them() -> None:
                await asyncio.gather(*(result_of(engine, definition["id"], 0) for _ in range(executions)))

            await all_of_them()
            taken = await count.of(engine, database, all_of_them)
    total = executions * steps
    return [
        Figure("a step of 100 at once: Python instructions, loop", taken.loop / total, NEARLY, depends_on="python"),
        Figure(
            "a step of 100 at once: Python instr., writer",
            taken.writer / total,
            ROUGHLY,
            slack=300,
            depends_on="python",
        ),
        Figure("a step of 100 at once: SQLite instructions", taken.sqlite / total, LOOSELY, depends_on="sqlite"),
        Figure("a step of 100 at once: commits", taken.commits / total, ROUGHLY, slack=0.4),
    ]


async def compare_late_with_early(folder: Path) -> list[Figure]:
    """One execution of 10,000 durable steps: what a step takes at its end, over what it takes at its beginning."""
    with counter() as count:
        database, other = folder / "old.db", folder / "fresh.db"
        async with held_cycle(database) as (old, engine), held_cycle(other) as (fresh, _):

            async def counted_at(step: int) -> Counts:
                await old.run_to(step)
                return await count.of(engine, database, lambda: old.run_to(step + WINDOW))

            await old.begin(LATE)
            early = await counted_at(EARLY)
            late = await counted_at(LATE - WINDOW - PAIRS * BLOCK)
            times = await compare_at(old, fresh, PAIRS)
            await old.finish()
    return [
        Figure("step 10,000 / step 100: Python instructions", late.loop / early.loop, NEARLY),
        Figure("step 10,000 / step 100: SQLite instructions", late.sqlite / early.sqlite, NEARLY),
        Figure("step 10,000 / step 100: bytes of log", late.log_bytes / early.log_bytes, NEARLY),
        Figure("step 10,000 / step 100: processor time", times.cpu_ratio, ROUGHLY),
    ]


async def compare_with_calibration(folder: Path) -> list[Figure]:
    """Processor times over that of plain Python, the best of several turns; and of a crowd over a single one."""
    executions, steps, turns = 100, 5, 5
    plain, single, crowd = [], [], []
    async with opened(folder, "ratios") as (engine, _):
        for definition in (chain(steps), chain(100)):
            await engine.publish(definition)

        async def all_of_them() -> None:
            await asyncio.gather(*(result_of(engine, f"chain-{steps}", 0) for _ in range(executions)))

        for _ in range(turns):
            plain.append(await cpu_of(calibrate))
            single.append(await cpu_of(lambda: result_of(engine, "chain-100", 0)) / 100)
            crowd.append(await cpu_of(all_of_them) / (executions * steps))
    return [
        Figure("a function step / plain Python, x 1,000: processor time", min(single) / min(plain) * 1000, ROUGHLY),
        Figure("a step of 100 at once / of one alone: processor time", min(crowd) / min(single), ROUGHLY),
    ]


async def cpu_of(work: Callable[[], Awaitable[Any]]) -> float:
    """Seconds of the processor, of all threads."""
    gc.collect()
    begun = time.process_time()
    await work()
    return time.process_time() - begun


async def calibrate() -> None:
    """What the interpreter does all day: calls, attributes, dictionaries, text, JSON. Some tens of milliseconds."""
    kept: dict[str, Figure] = {}
    for number in range(20_000):
        figure = Figure(f"figure {number % 100}", number, 0.5)
        kept[figure.name] = figure
        if number % 100 == 99:
            json.loads(json.dumps([one.name for one in kept.values()]))


async def count_kept(folder: Path) -> list[Figure]:
    """Blocks of memory that an execution leaves behind: one that has ended, and one that waits."""
    waiting = {
        "id": "waiting",
        "nodes": [{"id": "paid", "type": "wait", "with": {"signal": "paid"}, "timeout": "90d"}],
    }
    async with opened(folder, "kept") as (engine, _):
        for definition in (chain(5), waiting):
            await engine.publish(definition)

        async def ended() -> None:
            await result_of(engine, "chain-5", 0)

        async def paused() -> None:
            await engine.start("waiting", 0)

        return [
            Figure("blocks kept of an execution that has ended", await kept_by(ended), EXACT, slack=2),
            Figure("blocks kept of an execution that waits", await kept_by(paused), EXACT, slack=2),
        ]


async def count_left_to_collector(folder: Path) -> list[Figure]:
    """Objects in reference cycles, which only the garbage collector frees: it would pass over everything for them."""
    orders_made = 20
    async with opened(folder, "cycles", orders.functions) as (engine, _):
        await engine.publish(orders.DEFINITION)

        async def process() -> None:
            for number in range(orders_made):
                await orders.process(engine, number)

        await process()
        gc.collect()
        gc.disable()
        try:
            await process()
            left = gc.collect()
        finally:
            gc.enable()
    return [Figure("order: objects left to the garbage collector", left / orders_made, EXACT, slack=1)]


async def kept_by(work: Callable[[], Awaitable[None]]) -> float:
    """Allocated blocks that one of 200 more leaves."""
    blocks = []
    for _ in range(2):
        for _ in range(200):
            await work()
        gc.collect()
        blocks.append(sys.getallocatedblocks())
    return (blocks[1] - blocks[0]) / 200


WORKS = (
    count_steps,
    count_orders,
    count_many,
    count_kept,
    count_left_to_collector,
    compare_late_with_early,
    compare_with_calibration,
)


async def measure(folder: Path) -> list[Figure]:
    """Every figure."""
    figures = []
    for work in WORKS:
        figures += await work(folder)
    return figures


@contextmanager
def quick_place() -> Iterator[Path]:
    """A folder in memory where there is room for it: nothing here asks how fast the disk is."""
    with workplace() as folder:
        if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_BYTES:
            with tempfile.TemporaryDirectory(prefix="workflow-bench-", dir=MEMORY) as in_memory:
                yield Path(in_memory)
        else:
            yield folder


def main() -> int:
    """Print the table; 0: nothing has become more expensive."""
    parser = argparse.ArgumentParser(prog="make bench-check", description=__doc__)
    parser.add_argument("--record", action="store_true", help="make this run the baseline")
    asked = parser.parse_args()
    versions = {"python": ".".join(platform.python_version_tuple()[:2]), "sqlite": dbapi2.sqlite_version}
    begun = time.perf_counter()
    with quick_place() as folder:
        figures = uvloop.run(measure(folder))
    if asked.record:
        Baseline(versions, {figure.name: figure.value for figure in figures}).write(BASELINE)
    lines = compare(figures, Baseline.read(BASELINE), versions)
    print(table(lines))
    failed = has_failed(lines)
    said = "MORE EXPENSIVE than recorded; if that is meant: make bench-check ARGS=--record" if failed else "no worse"
    print(f"\n{said} ({time.perf_counter() - begun:.0f} s, Python {versions['python']}, SQLite {versions['sqlite']})")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
