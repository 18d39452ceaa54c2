"""The engine through its library door, on SQLite with `synchronous=FULL`: each function step is on disk before the next
begins.

W1  a chain of 40 function steps, one execution at a time
W2  1,000 executions of 10 such steps, all at once
W3  one-step executions, one after another, from start to result
W4  a `foreach` over 1,000 and 10,000 items
W5  a cycle of 10,000 function steps: the last hundred steps against the second hundred (the first warms up)
W6  kill -9 in the middle of W2: from the new process's start to the first result that it records
"""

import asyncio
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import uvloop

from workflow_engine import Engine, function

STAMPS: list[float] = []


@function("bench.next")
async def next_number(n: int) -> int:
    """The smallest step that there is; notes when it ran."""
    STAMPS.append(time.perf_counter())
    return n + 1


def chain(length: int) -> dict[str, Any]:
    """Function steps in a row, each with the output of the one before."""
    nodes = []
    for number in range(length):
        before = "${ input }" if number == 0 else f"${{ steps.s{number - 1}.output }}"
        nodes.append(
            {"id": f"s{number}", "type": "function", "with": {"name": "bench.next", "arguments": {"n": before}}}
        )
    connections = [{"from": f"s{number}", "to": f"s{number + 1}"} for number in range(length - 1)]
    return {"id": f"chain-{length}", "nodes": nodes, "connections": connections}


def pure_chain(length: int) -> dict[str, Any]:
    """The same chain of `set` nodes."""
    nodes = [
        {"id": f"s{n}", "type": "set", "output": "${ input + 1 }" if n == 0 else f"${{ steps.s{n - 1}.output + 1 }}"}
        for n in range(length)
    ]
    connections = [{"from": f"s{number}", "to": f"s{number + 1}"} for number in range(length - 1)]
    return {"id": f"pure-{length}", "nodes": nodes, "connections": connections}


CYCLE: dict[str, Any] = {
    "id": "cycle",
    "start": ["step"],
    "variables": {"n": 0},
    "nodes": [
        {
            "id": "step",
            "type": "function",
            "with": {"name": "bench.next", "arguments": {"n": "${ vars.n }"}},
            "assign": {"n": "${ output }"},
        },
        {"id": "enough", "type": "set", "output": "${ vars.n }"},
    ],
    "connections": [
        {"from": "step", "to": "step", "when": "vars.n < input"},
        {"from": "step", "to": "enough", "otherwise": True},
    ],
}

FANOUT: dict[str, Any] = {
    "id": "fanout",
    "nodes": [
        {
            "id": "each",
            "type": "function",
            "foreach": {"items": "${ input }", "concurrency": 1000},
            "with": {"name": "bench.next", "arguments": {"n": "${ item }"}},
        },
        {"id": "total", "type": "set", "output": "${ sum(steps.each.output) }"},
    ],
    "connections": [{"from": "each", "to": "total"}],
}


def report(name: str, value: str) -> None:
    """One line of the table."""
    print(f"{name:<58} {value}", flush=True)


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


async def bench_cycle(engine: Engine) -> None:
    """W5."""
    await engine.publish(CYCLE)
    STAMPS.clear()
    seconds = await timed(lambda: result_of(engine, "cycle", 10_000))
    report("W5 cycle of 10,000 durable steps", f"{seconds:.2f} s")
    report("W5 last hundred steps against second hundred, per step", ratio(STAMPS, 100))


def open_engine(folder: Path, name: str) -> AbstractAsyncContextManager[Engine]:
    """An engine on a database of its own."""
    return Engine(f"sqlite:///{folder / name}.db")


async def run_all(folder: Path) -> None:
    """Every workload, each on a fresh database."""
    for work in (bench_chains, bench_many, bench_single, bench_fanout, bench_cycle):
        async with open_engine(folder, work.__name__) as engine:
            await work(engine)
    await bench_recovery(folder)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    report("peak resident memory of all of the above", f"{peak_mb:.0f} MB")


async def bench_recovery(folder: Path) -> None:
    """W6."""
    url = f"sqlite:///{folder / 'recovery.db'}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.engine", "victim", url, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    await process.stdout.readline()
    process.kill()
    await process.wait()
    STAMPS.clear()
    begun = time.perf_counter()
    rescuer = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.engine", "rescuer", url, stdout=asyncio.subprocess.PIPE
    )
    assert rescuer.stdout is not None
    await rescuer.stdout.readline()
    first_s = time.perf_counter() - begun
    await rescuer.wait()
    report("W6 kill -9 in W2: first progress after the restart", f"{first_s:.2f} s")
    report("W6 all 1,000 executions completed after", f"{time.perf_counter() - begun:.2f} s")


async def victim(url: str) -> None:
    """Runs W2 until it is killed; says when it is in the middle."""
    async with Engine(url) as engine:
        await engine.publish(chain(10))
        executions = [await engine.start("chain-10", 0, execution_id=f"e{number}") for number in range(1000)]
        while len(STAMPS) < 5_000:  # noqa: ASYNC110 - what is measured runs in between
            await asyncio.sleep(0)
        print("half-way", flush=True)
        await asyncio.gather(*(execution.result() for execution in executions))


async def rescuer(url: str) -> None:
    """Goes on; says when the first step has run, and ends when all have completed."""
    async with Engine(url) as engine:
        while not STAMPS:  # noqa: ASYNC110 - what is measured runs in between
            await asyncio.sleep(0)
        print("first step", flush=True)
        for number in range(1000):
            await engine.execution(f"e{number}").result()


def main() -> None:
    """All workloads, or one side of W6."""
    if len(sys.argv) == 3:
        uvloop.run({"victim": victim, "rescuer": rescuer}[sys.argv[1]](sys.argv[2]))
        return
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        uvloop.run(run_all(Path(folder)))


if __name__ == "__main__":
    main()
