"""One line of a report, the same in all of them."""

import statistics
from collections.abc import Sequence


def report(name: str, value: str) -> None:
    """What was measured, and the figure."""
    print(f"{name:<70} {value}", flush=True)


def median_s(times: Sequence[float]) -> str:
    """The median of some seconds, and how far apart they were."""
    return f"{statistics.median(times):.3f} s (median of {len(times)}, {min(times):.3f} to {max(times):.3f})"


def p50_p99(times_ms: Sequence[float]) -> str:
    """Two percentiles of some milliseconds."""
    ordered = sorted(times_ms)
    return f"p50 {statistics.median(ordered):.2f} ms, p99 {ordered[int(0.99 * len(ordered))]:.2f} ms"
