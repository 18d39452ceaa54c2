"""`make bench-check` fails where a figure has grown, and nowhere else. The figures here are invented."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

VERSIONS = {"python": "3.11", "sqlite": "3.50.0"}
RECORDED = {"step: instructions": 6000.0, "step: commits": 1.0, "late / early": 1.0, "kept": 0.0}


def _load() -> ModuleType:
    path = Path(__file__).parents[2] / "bench" / "comparison.py"
    spec = importlib.util.spec_from_file_location("bench_comparison", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


comparison = _load()


def figures(**changed: float) -> list[object]:
    """What a run gives: as recorded, but for what is named."""
    figure = comparison.Figure
    return [
        figure("step: instructions", changed.get("instructions", 6000.0), 0.05, depends_on="python"),
        figure("step: commits", changed.get("commits", 1.0), 0.01),
        figure("late / early", changed.get("late", 1.0), 0.5),
        figure("kept", changed.get("kept", 0.0), 0.01, slack=2),
    ]


def verdicts(
    measured: list[object], recorded: dict[str, float] = RECORDED, versions: dict[str, str] = VERSIONS
) -> dict[str, str]:
    """By figure."""
    lines = comparison.compare(measured, comparison.Baseline(VERSIONS, recorded), versions)
    assert comparison.has_failed(lines) == any(line.verdict not in ("ok", "better", "not judged") for line in lines)
    return {line.name: line.verdict for line in lines}


def test_what_is_as_recorded_passes() -> None:
    assert set(verdicts(figures()).values()) == {"ok"}


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"instructions": 12_000.0}, "step: instructions"),
        ({"instructions": 6_301.0}, "step: instructions"),
        ({"commits": 2.0}, "step: commits"),
        ({"late": 1.6}, "late / early"),
        ({"kept": 3.0}, "kept"),
    ],
)
def test_a_figure_beyond_its_tolerance_fails_alone(changed: dict[str, float], name: str) -> None:
    found = verdicts(figures(**changed))
    assert found.pop(name) == "WORSE"
    assert set(found.values()) == {"ok"}


def test_what_stays_within_its_tolerance_passes() -> None:
    assert set(verdicts(figures(instructions=6_299.0, late=1.49, kept=1.9)).values()) == {"ok"}


def test_an_improvement_is_named_and_passes() -> None:
    assert verdicts(figures(instructions=3_000.0))["step: instructions"] == "better"


def test_a_figure_without_a_baseline_fails() -> None:
    recorded = {name: value for name, value in RECORDED.items() if name != "kept"}
    assert verdicts(figures(), recorded)["kept"] == "NOT RECORDED"


def test_a_baseline_that_nobody_measures_any_more_fails() -> None:
    assert verdicts(figures()[:-1])["kept"] == "NOT MEASURED"


def test_instructions_of_another_interpreter_are_not_judged() -> None:
    found = verdicts(figures(instructions=12_000.0, commits=2.0), versions=VERSIONS | {"python": "3.12"})
    assert found["step: instructions"] == "not judged"
    assert found["step: commits"] == "WORSE"


def test_a_baseline_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    assert comparison.Baseline.read(path) == comparison.Baseline({}, {})
    kept = comparison.Baseline(VERSIONS, RECORDED)
    kept.write(path)
    assert comparison.Baseline.read(path) == kept


def test_the_table_names_every_figure_with_its_limit_and_verdict() -> None:
    lines = comparison.compare(figures(commits=2.0), comparison.Baseline(VERSIONS, RECORDED), VERSIONS)
    head, *rows = comparison.table(lines).splitlines()
    assert head.split() == ["figure", "now", "baseline", "change", "limit", "verdict"]
    assert rows[1].split() == ["step:", "commits", "2.00", "1.00", "+100.0%", "1.01", "WORSE"]
    assert len(rows) == 4
