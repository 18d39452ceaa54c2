"""All tests of one definition, each under one seed or many, and what they cover."""

import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from workflow_engine.engine.graph import compile_graph
from workflow_engine.models.json_value import encode_json
from workflow_engine.models.test_case import WorkflowTest
from workflow_engine.models.workflow import Definition
from workflow_engine.services.input_schema import InputSchema
from workflow_engine.services.rehearsal.coverage import Coverage
from workflow_engine.services.rehearsal.rehearsal import Bounds, Rehearsal, rehearse
from workflow_engine.services.rehearsal.verdict import Finding, shown

Seed = int | None

PATH_MAX: Final = 1_000
"""Nodes of a path that are shown."""

VALUE_BYTES_MAX: Final = 10_000
"""Of an expected or an actual value; of a larger one its beginning is shown, as text."""


class CaseReport(msgspec.Struct, frozen=True):
    """What came of one test: of its first run that failed, or of its last one."""

    name: str
    passed: bool
    seed: Seed
    """Under which the run that is told of was made; None: without one."""
    runs: int
    findings: list[Finding]
    path: list[str]
    moments: list[str]
    """The last moments of a run that failed."""
    status: str
    span_us: int
    """How far the virtual clock went."""
    duration_s: float
    """What all runs took."""

    def to_dict(self) -> dict[str, Any]:
        """As the API and `--json` show it."""
        return {
            "name": self.name,
            "passed": self.passed,
            "seed": self.seed,
            "runs": self.runs,
            "status": self.status,
            "problems": [_shown(finding) for finding in self.findings],
            "path": self.path[:PATH_MAX],
            "last_events": self.moments,
            "virtual_s": self.span_us / 1_000_000,
            "duration_ms": round(self.duration_s * 1000, 3),
        }


class Suite:
    """The tests of a valid definition. What was covered grows with each that is run."""

    def __init__(self, definition: Definition) -> None:
        self.tests = list(definition.tests)
        self.coverage = Coverage(definition)
        self._graph = compile_graph(definition)
        self._input_schema = InputSchema(definition.input)

    def run(self, test: WorkflowTest, seeds: Sequence[Seed] = (None,), *, bounds: Bounds = Bounds()) -> CaseReport:  # noqa: B008
        """Run a test under each seed until one fails.

        Each run is made twice: the same seed must give the same log.
        """
        started_s = time.perf_counter()
        runs = 0
        for seed in seeds:
            runs += 1
            rehearsal, findings = self._run(test, seed, bounds)
            if findings:
                break
        return CaseReport(
            name=test.name,
            passed=not findings,
            seed=seed,
            runs=runs,
            findings=findings,
            path=rehearsal.trace.path,
            moments=rehearsal.trace.moments() if findings else [],
            status=rehearsal.state.status,
            span_us=rehearsal.span_us,
            duration_s=time.perf_counter() - started_s,
        )

    def _run(self, test: WorkflowTest, seed: Seed, bounds: Bounds) -> tuple[Rehearsal, list[Finding]]:
        rehearsal = rehearse(self._graph, self._input_schema, test, seed=seed, bounds=bounds)
        self.coverage.add(rehearsal.trace)
        if not rehearsal.passed or seed is None:
            return rehearsal, rehearsal.findings
        again = rehearse(self._graph, self._input_schema, test, seed=seed, bounds=bounds)
        if again.digest == rehearsal.digest:
            return rehearsal, []
        return again, [Finding("run", f"seed {seed} gave another log the second time: a bug of the engine")]


def _shown(finding: Finding) -> dict[str, Any]:
    expected, actual = (
        value if len(encode_json(value)) <= VALUE_BYTES_MAX else shown(value)
        for value in (finding.expected, finding.actual)
    )
    return {"what": finding.what, "message": finding.message, "expected": expected, "actual": actual}


def seeds_of(count: int | None, first: int | None) -> Sequence[Seed]:
    """The seeds to run: `count` of them from `first` on (1 by default); `first` alone; none at all: one run without.

    >>> list(seeds_of(3, None)), list(seeds_of(None, 7)), list(seeds_of(None, None))
    ([1, 2, 3], [7], [None])
    """
    if count is None:
        return (first,)
    begin = 1 if first is None else first
    return range(begin, begin + count)


def chosen_tests(suite: Suite, name: str | None) -> Iterator[WorkflowTest]:
    """The tests whose name holds this text; all of them without one."""
    return (test for test in suite.tests if name is None or name in test.name)
