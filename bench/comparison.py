"""What was counted in this run beside what was recorded: the rule by which `make bench-check` passes or fails.

Standard library alone, so that a test can give it invented figures.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

OK, BETTER, WORSE = "ok", "better", "WORSE"
UNKNOWN, GONE, ELSEWHERE = "NOT RECORDED", "NOT MEASURED", "not judged"

FAILURES = frozenset({WORSE, UNKNOWN, GONE})


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that may not grow. Less of it is better."""

    name: str
    value: float
    tolerance: float
    """How much more than the baseline passes, as a share of it."""
    slack: float = 0.0
    """What is added to that, in the figure's own unit: for figures near zero."""
    depends_on: str = ""
    """`python` or `sqlite`: the figure means nothing beside one of another version of it."""


@dataclass(frozen=True, slots=True)
class Line:
    """A figure, what it may be, and what follows. The baseline is None where there is none, the value likewise."""

    name: str
    value: float | None
    baseline: float | None
    limit: float | None
    verdict: str


@dataclass(frozen=True, slots=True)
class Baseline:
    """What was recorded: figures by name, and under which versions."""

    versions: Mapping[str, str]
    figures: Mapping[str, float]

    @classmethod
    def read(cls, path: Path) -> "Baseline":
        """From its file; an empty one where there is none."""
        if not path.exists():
            return cls({}, {})
        kept = json.loads(path.read_text())
        return cls(kept["versions"], kept["figures"])

    def write(self, path: Path) -> None:
        """To its file, in an order in which changes are easy to read."""
        kept = {"versions": dict(self.versions), "figures": {name: round(one, 3) for name, one in self.figures.items()}}
        path.write_text(json.dumps(kept, indent=2) + "\n")


def compare(figures: Iterable[Figure], baseline: Baseline, versions: Mapping[str, str]) -> list[Line]:
    """Judge every figure, and name those that were recorded and are missing now."""
    lines = [_judge(figure, baseline, versions) for figure in figures]
    measured = {line.name for line in lines}
    missing = [name for name in baseline.figures if name not in measured]
    return lines + [Line(name, None, baseline.figures[name], None, GONE) for name in missing]


def _judge(figure: Figure, baseline: Baseline, versions: Mapping[str, str]) -> Line:
    recorded = baseline.figures.get(figure.name)
    if recorded is None:
        return Line(figure.name, figure.value, None, None, UNKNOWN)
    limit = recorded * (1 + figure.tolerance) + figure.slack
    if figure.depends_on and versions[figure.depends_on] != baseline.versions.get(figure.depends_on):
        verdict = ELSEWHERE
    elif figure.value > limit:
        verdict = WORSE
    else:
        verdict = BETTER if figure.value < recorded * (1 - figure.tolerance) - figure.slack else OK
    return Line(figure.name, figure.value, recorded, limit, verdict)


def has_failed(lines: Iterable[Line]) -> bool:
    """Whether one of them does not pass."""
    return any(line.verdict in FAILURES for line in lines)


def table(lines: Iterable[Line]) -> str:
    """Text with aligned columns."""
    rows: list[tuple[str, ...]] = [("figure", "now", "baseline", "change", "limit", "verdict")]
    for line in lines:
        change = f"{line.value / line.baseline - 1:+.1%}" if line.value is not None and line.baseline else ""
        rows.append((line.name, *map(_number, (line.value, line.baseline)), change, _number(line.limit), line.verdict))
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    return "\n".join(
        "  ".join(text.ljust(width) if at in (0, 5) else text.rjust(width) for at, (text, width) in places).rstrip()
        for places in ([*enumerate(zip(row, widths, strict=True))] for row in rows)
    )


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
