"""From the measures of every round to the two tables: medians, and how many times as fast this engine is."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.peers.machine import QUIET

OURS = "ours"


@dataclass(frozen=True, slots=True)
class Row:
    """One line: which measure of which work, and whether more of it is better."""

    work: str
    measure: str
    title: str
    form: str
    is_rate: bool = False
    is_compared: bool = True


ROWS = (
    Row("w1", "ms", "W1 chain of 40 steps, ms", "{:.1f}"),
    Row("w1-pure", "ms", "W1 the same of `set` nodes, ms", "{:.1f}", is_compared=False),
    Row("w2", "per_s", "W2 1,000 x 10 steps, executions/s", "{:.0f}", is_rate=True),
    Row("w3", "p50_ms", "W3 one step, p50 ms", "{:.2f}"),
    Row("w3", "p99_ms", "W3 one step, p99 ms", "{:.2f}"),
    Row("w4-small", "s", "W4 fan-out of 1,000, s", "{:.3f}"),
    Row("w4-large", "s", "W4 fan-out of 10,000, s", "{:.2f}"),
    Row("w5", "at_100", "W5 ms per step, from the 100th on", "{:.2f}"),
    Row("w5", "at_1000", "W5 ms per step, up to the 1,000th", "{:.2f}"),
    Row("w5", "at_5000", "W5 ms per step, up to the 5,000th", "{:.2f}"),
    Row("w5", "at_20000", "W5 ms per step, up to the 20,000th", "{:.2f}", is_compared=False),
    Row("w5", "at_50000", "W5 ms per step, up to the 50,000th", "{:.2f}", is_compared=False),
    Row("w5", "flat", "W5 the last against the 100th", "{:.2f} x", is_compared=False),
    Row("w6", "first_s", "W6 first step after the restart, s", "{:.2f}"),
    Row("w6", "imports_s", "W6 of it: interpreter and imports, s", "{:.2f}", is_compared=False),
    Row("w6", "open_s", "W6 of it: opening, s", "{:.2f}", is_compared=False),
    Row("w6", "step_s", "W6 of it: from there to the step, s", "{:.2f}", is_compared=False),
    Row("w6", "all_s", "W6 all completed, s", "{:.1f}"),
)


@dataclass(frozen=True, slots=True)
class Round:
    """One run: its measures (none: too slow), and the share of the processors that others had meanwhile."""

    measures: dict[str, float]
    others: float


@dataclass
class Results:
    """What was measured, by engine and work: one entry for each round."""

    peers: list[str]
    runs: dict[tuple[str, str], list[Round]] = field(default_factory=dict)
    scaled: dict[tuple[str, str], int] = field(default_factory=dict)
    """Works of which an engine was given fewer steps than it should, with their number: its time is multiplied."""

    def add(self, peer: str, work: str, measures: dict[str, float], others: float) -> None:
        """One round."""
        self.runs.setdefault((peer, work), []).append(Round(measures, others))

    def counted(self, peer: str, work: str) -> list[Round]:
        """The quiet rounds; all of them where none was quiet."""
        rounds = self.runs.get((peer, work), [])
        return [each for each in rounds if each.others < QUIET] or rounds

    def disturbed(self) -> str:
        """Which medians do not stand on as many quiet rounds as there were, with how many they have."""
        parts = []
        for (peer, work), rounds in self.runs.items():
            quiet = sum(each.others < QUIET for each in rounds)
            if quiet < len(rounds):
                parts.append(f"{peer} {work} {quiet}")
        return ", ".join(parts)

    def median(self, peer: str, work: str, measure: str) -> float | None:
        """None: not measured, or too slow in half of the rounds."""
        rounds = self.counted(peer, work)
        values = [each.measures[measure] for each in rounds if measure in each.measures]
        return statistics.median(values) if len(values) * 2 > len(rounds) else None

    def spread(self, peer: str, work: str, measure: str) -> tuple[float, float] | None:
        """Least and greatest."""
        values = [each.measures[measure] for each in self.counted(peer, work) if measure in each.measures]
        return (min(values), max(values)) if values else None

    def medians(self) -> str:
        """The table of medians, with the range of the rounds, as Markdown."""
        return self._table(self._cell, self.peers, ROWS)

    def ratios(self) -> str:
        """How many times as fast as each other engine, as Markdown."""
        others = [peer for peer in self.peers if peer != OURS]
        return self._table(self._ratio, others, [row for row in ROWS if row.is_compared])

    def _cell(self, row: Row, peer: str) -> str:
        rounds = self.counted(peer, row.work)
        if not rounds or (any(each.measures for each in rounds) and self.spread(peer, row.work, row.measure) is None):
            return "-"
        median, spread = self.median(peer, row.work, row.measure), self.spread(peer, row.work, row.measure)
        if median is None or spread is None:
            return "too slow"
        mark = " *" if (peer, row.work) in self.scaled else ""
        low, high = (row.form.removesuffix(" x").format(value) for value in spread)
        return f"{row.form.format(median)}{mark} ({low} to {high})"

    def _ratio(self, row: Row, peer: str) -> str:
        ours, other = (self.median(name, row.work, row.measure) for name in (OURS, peer))
        if ours is None or other is None:
            return "-"
        return f"{ours / other if row.is_rate else other / ours:.1f} x"

    def _table(self, cell: Callable[[Row, str], str], peers: Sequence[str], rows: Sequence[Row]) -> str:
        lines = [f"| work | {' | '.join(peers)} |", "| --- |" + " --- |" * len(peers)]
        for row in rows:
            if any((peer, row.work) in self.runs for peer in peers):
                lines.append(f"| {row.title} | {' | '.join(cell(row, peer) for peer in peers)} |")
        return "\n".join(lines)
