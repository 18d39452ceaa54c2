"""Tests of the language's own tests: a definition with one test in it, run."""

from typing import Any

from workflow_engine.engine.validation import validate
from workflow_engine.services.rehearsal import Bounds, CaseReport, Coverage, Suite

Connections = list[tuple[str, str]]


def suite_of(nodes: list[dict[str, Any]], connections: Any = (), tests: Any = (), **fields: Any) -> Suite:
    """The tests of a definition; connections are maps, or pairs of nodes."""
    links = [one if isinstance(one, dict) else {"from": one[0], "to": one[1]} for one in connections]
    document = {"id": "flow", "nodes": nodes, "connections": links, "tests": list(tests), **fields}
    validation = validate(document)
    assert validation.definition is not None, validation.problems
    return Suite(validation.definition)


def run(
    nodes: list[dict[str, Any]],
    connections: Any = (),
    *,
    seeds: Any = (None,),
    bounds: Bounds | None = None,
    definition: dict[str, Any] | None = None,
    **test: Any,
) -> CaseReport:
    """Run one test; its fields are keyword arguments."""
    suite = suite_of(nodes, connections, [{"name": "only", **test}], **(definition or {}))
    return suite.run(suite.tests[0], seeds, bounds=bounds or Bounds())


def messages(report: CaseReport) -> dict[str, str]:
    """What went wrong, by what it is about."""
    return {finding.what: finding.message for finding in report.findings}


def covered(suite: Suite) -> Coverage:
    """What all tests of a suite cover together."""
    for test in suite.tests:
        suite.run(test)
    return suite.coverage


def call(name: str, **fields: Any) -> dict[str, Any]:
    """A call that is not tried again unless the fields say so."""
    return {"id": name, "type": "function", "with": {"name": "work"}, "retry": {"max_attempts": 1}, **fields}


def wait(name: str, **fields: Any) -> dict[str, Any]:
    """A wait for what the fields say; `for_` stands for `for`."""
    return {"id": name, "type": "wait", "with": {key.rstrip("_"): value for key, value in fields.items()}}
