"""W6: `kill -9` in the middle of W2, and where the time goes until the next process has run its first step.

Three processes: this one, the victim and the rescuer. All stamps are of the monotonic clock, which they share.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from bench.definitions import chain
from bench.report import report

EXECUTIONS = 1_000
KILL_AFTER = 5_000
"""Steps: half of them."""


async def bench_recovery(folder: Path) -> None:
    """Kill, restart, and report."""
    url = f"sqlite:///{folder / 'recovery.db'}"
    victim = await started(f"from bench.recovery import be_killed; be_killed({url!r})")
    await line_of(victim)
    victim.kill()
    await victim.wait()
    begun = time.monotonic()
    rescuer = await started(
        f"import time; interpreted = time.monotonic(); from bench.recovery import rescue; rescue({url!r}, interpreted)"
    )
    at = json.loads(await line_of(rescuer))
    all_at = float(await line_of(rescuer))
    await rescuer.wait()
    report("W6 kill -9 in W2: first step of the next process", f"{at['step'] - begun:.3f} s after its start")
    before = begun
    for name, told in (
        ("interpreted", "start of the interpreter"),
        ("imported", "imports"),
        ("stored", "store opened"),
        ("opened", "executions found, engine open"),
        ("step", "states loaded, first step"),
    ):
        report(f"W6    of it: {told}", f"{max(0.0, at[name] - before):.3f} s")
        before = max(before, at[name])
    report("W6    of it: processor time, all threads", f"{at['cpu']:.3f} s")
    report(f"W6 all {EXECUTIONS:,} executions completed", f"{all_at - begun:.2f} s after its start")


async def started(code: str) -> asyncio.subprocess.Process:
    """A process that runs this."""
    return await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)


async def line_of(process: asyncio.subprocess.Process) -> str:
    """What it says next."""
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    assert line, "the process ended without a word"
    return line


class Steps:
    """The function of the nodes: how often it was called, and when first."""

    def __init__(self) -> None:
        from workflow_engine.steps.function_registry import FunctionRegistry

        self.calls = 0
        self.functions = FunctionRegistry()
        self.first: dict[str, float] = {}

        @self.functions.function("bench.next")
        async def next_number(n: int) -> int:
            self.calls += 1
            if self.calls == 1:
                self.first = {"step": time.monotonic(), "cpu": time.process_time()}
            return n + 1


def be_killed(url: str) -> None:
    """Run W2; say when it is in the middle."""

    async def run() -> None:
        from workflow_engine import Engine

        steps = Steps()
        async with Engine(url, functions=steps.functions) as engine:
            await engine.publish(chain(10))
            starts = [engine.start("chain-10", 0, execution_id=f"e{number}") for number in range(EXECUTIONS)]
            executions = await asyncio.gather(*starts)
            while steps.calls < KILL_AFTER:  # noqa: ASYNC110 - what is measured runs in between
                await asyncio.sleep(0)
            print("half-way", flush=True)
            await asyncio.gather(*(execution.result() for execution in executions))

    uvloop.run(run())


def rescue(url: str, interpreted: float) -> None:
    """Go on; say when what was reached, and when all have completed."""
    from workflow_engine import Engine
    from workflow_engine.store import Store

    steps = Steps()
    at = {"interpreted": interpreted, "imported": time.monotonic()}
    open_store = Store.open

    async def stamped(*arguments: Any, **named: Any) -> Store:
        store = await open_store(*arguments, **named)
        at["stored"] = time.monotonic()
        return store

    Store.open = stamped  # type: ignore[method-assign]

    async def run() -> None:
        async with Engine(url, functions=steps.functions) as engine:
            at["opened"] = time.monotonic()
            while not steps.calls:  # noqa: ASYNC110 - what is measured runs in between
                await asyncio.sleep(0)
            print(json.dumps(at | steps.first), flush=True)
            for number in range(EXECUTIONS):
                assert await engine.execution(f"e{number}").result() == 10
        print(time.monotonic(), flush=True)

    uvloop.run(run())
