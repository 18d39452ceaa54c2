"""Observations counted by size: plain numbers that a busy loop can afford, read only when somebody looks."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

SECONDS: Final = (
    *(0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)
"""Upper bounds for what takes time, from a decision (some 50 microseconds) to an agent's answer (minutes)."""

GROUP_SIZES: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
"""Upper bounds for how many writes share one commit."""


class Histogram:
    """How many observations were at most so large. `observe` costs a fifth of a microsecond.

    For one thread that writes; others may read meanwhile and see each number as it was at some moment.

    >>> sizes = Histogram((1.0, 10.0))
    >>> for size in (1, 3, 50):
    ...     sizes.observe(size)
    >>> sizes.cumulative(), sizes.sum
    ([1, 2, 3], 54.0)
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """One for each bound, and one for what is larger than all of them."""
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        """All observations."""
        return sum(self.counts)

    def cumulative(self) -> list[int]:
        """For each bound the number of observations up to it; last the number of all."""
        totals = []
        total = 0
        for count in self.counts:
            total += count
            totals.append(total)
        return totals
