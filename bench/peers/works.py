"""What every engine is given to do, and what an engine has to offer to be measured. Standard library alone: this
module is imported under each engine's own interpreter.

W1  a chain of 40 trivial function steps, each durable before the next, one execution at a time
W2  1,000 executions of 10 such steps, all at once
W3  one-step executions, one after another, from start to result
W4  a fan-out of 1,000 and of 10,000 steps, and a join
W5  5,000 steps in a row in one execution (this engine: 50,000): what a step costs around the 100th, and further on
W6  kill -9 half-way through W2: from the start of the next process to its first step
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of each work."""

    chain_steps: int = 40
    chain_repeats: int = 9
    many: int = 1_000
    many_steps: int = 10
    singles: int = 500
    fan_out_small: int = 1_000
    fan_out_large: int = 10_000
    row_steps: int = 5_000
    long_row_steps: int = 50_000
    """W5 of this engine; the others would need too long for as many."""
    window: int = 250
    """W5: as many steps are timed from the 100th on, and up to each later milestone."""


FULL = Sizes()
QUICK = Sizes(
    chain_repeats=3, many=100, singles=50, fan_out_small=100, fan_out_large=1_000, row_steps=1_000, long_row_steps=2_000
)  # to see that all of it works; no figure of it means anything


MILESTONES = (1_000, 5_000, 20_000, 50_000)
"""W5: a step is timed up to each of these that the row is long enough for."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an engine keeps what it must not lose."""

    folder: Path
    """On the disk that is measured; for SQLite files."""
    postgres_url: str
    """An empty database of its own (empty text where the engine asked for none)."""


class Peer(Protocol):
    """An engine, opened on a place as a context manager. Its steps call `step`; each result is checked."""

    def __init__(self, place: Place) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def settings(self) -> dict[str, str]:
        """Version and durability as the open engine itself reports them."""
        ...

    def chains(self, length: int, repeats: int) -> list[float]:
        """Executions of `length` steps, one after another: seconds from start to result, of each."""
        ...

    def many(self, length: int, ids: Sequence[str]) -> None:
        """Executions of `length` steps under these ids, all at once; returns when each has its result."""
        ...

    def fan_out(self, count: int) -> None:
        """One execution of `count` steps side by side, then their sum."""
        ...

    def row(self, count: int) -> None:
        """One execution of `count` steps one after another."""
        ...

    def recover(self, length: int, ids: Sequence[str]) -> None:
        """Go on with what a killed process left of `many`; returns when each has its result."""
        ...


STAMPS: list[float] = []
"""When each step of this process ran, in seconds of the performance counter."""


class _Milestone:
    """Says on standard output that so many steps have run."""

    steps = -1


MILESTONE = _Milestone()


def step(number: int) -> int:
    """The smallest step that there is."""
    STAMPS.append(time.perf_counter())
    if len(STAMPS) == MILESTONE.steps:
        print("reached", flush=True)
    return number + 1


def check(result: object, expected: object) -> None:
    """An engine that gives another result is not measured."""
    if result != expected:
        raise AssertionError(f"the result is {result!r}, not {expected!r}")
