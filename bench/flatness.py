"""What a durable step costs late in a long execution, beside what it costs early in a fresh one at the same moment.

The machine has moods, and a long execution takes half a minute. So the two take turns: a block of steps of the old
execution, a block of a fresh one, and again; each on an engine and a database of its own, the other held meanwhile.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.definitions import CYCLE
from workflow_engine import Engine
from workflow_engine.steps.function_registry import FunctionRegistry

EARLY = 100
"""Where a fresh execution is measured; what comes before warms up."""

BLOCK = 250
"""Steps measured at a time. A snapshot falls due about every 220 of them, so that each block has its share."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one step, on average over a block."""

    ms: float
    cpu_ms: float
    """Of the processor, all threads together."""


class HeldCycle:
    """One execution of `CYCLE` that goes so far as it is told, and is held inside its function there."""

    def __init__(self, engine: Engine, functions: FunctionRegistry) -> None:
        self._engine = engine
        self._calls = 0
        self._stop_at = 0
        self._reached = asyncio.Event()
        self._go = asyncio.Event()

        @functions.function("bench.next")
        async def next_number(n: int) -> int:
            self._calls += 1
            if self._calls == self._stop_at:
                self._go.clear()
                self._reached.set()
                await self._go.wait()
            return n + 1

    async def begin(self, steps: int) -> None:
        """Start an execution of so many steps."""
        self._calls, self._stop_at = 0, 1
        self._reached.clear()
        self._execution = await self._engine.start("cycle", steps)
        await self._reached.wait()

    async def run_to(self, step: int) -> None:
        """Go on until this step is in its function."""
        self._stop_at = step
        self._reached.clear()
        self._go.set()
        await self._reached.wait()

    async def block(self) -> Cost:
        """What each of the next steps costs."""
        begun, cpu_s = time.perf_counter(), time.process_time()
        await self.run_to(self._calls + BLOCK)
        spent, cpu_spent = time.perf_counter() - begun, time.process_time() - cpu_s
        return Cost(spent / BLOCK * 1000, cpu_spent / BLOCK * 1000)

    async def finish(self) -> None:
        """Let it go to its end, and check its result."""
        self._go.set()
        result = await self._execution.result()
        assert result == self._calls, result


@asynccontextmanager
async def held_cycle(database: Path) -> AsyncIterator[tuple[HeldCycle, Engine]]:
    """An engine on a database of its own, for one execution after another."""
    functions = FunctionRegistry()
    async with Engine(f"sqlite:///{database}", functions=functions) as engine:
        held = HeldCycle(engine, functions)
        await engine.publish(CYCLE)
        yield held, engine


@dataclass(frozen=True, slots=True)
class Comparison:
    """Blocks of an old execution, each with that of a fresh one which came right after it."""

    old: list[Cost]
    fresh: list[Cost]

    @property
    def ratio(self) -> float:
        """Old over fresh, by the clock: the median of the pairs."""
        return median(old.ms / fresh.ms for old, fresh in zip(self.old, self.fresh, strict=True))

    @property
    def cpu_ratio(self) -> float:
        """Old over fresh, by the processor: the least of each, which no other process has disturbed."""
        return min(one.cpu_ms for one in self.old) / min(one.cpu_ms for one in self.fresh)


async def compare_at(old: HeldCycle, fresh: HeldCycle, pairs: int) -> Comparison:
    """From the step at which the old one is held: blocks in turn."""
    comparison = Comparison([], [])
    for _ in range(pairs):
        comparison.old.append(await old.block())
        await fresh.begin(EARLY + BLOCK)
        await fresh.run_to(EARLY)
        comparison.fresh.append(await fresh.block())
        await fresh.finish()
    return comparison
