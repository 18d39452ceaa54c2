"""What a test expected against what came of it."""

from collections import Counter
from typing import Any, Final

import msgspec

from workflow_engine.models.execution import ExecutionState
from workflow_engine.models.json_value import encode_json
from workflow_engine.models.test_case import Expectation, ExpectedError
from workflow_engine.services.rehearsal.trace import Trace

SHOWN_CHARS_MAX: Final = 300


class Finding(msgspec.Struct, frozen=True):
    """One thing in which a test failed. `what` is the expectation's field, or `run` where the test could not go on."""

    what: str
    message: str
    expected: Any = None
    actual: Any = None


def findings_of(expect: Expectation, state: ExecutionState, trace: Trace) -> list[Finding]:
    """Everything in which the outcome differs from what was expected."""
    found: list[Finding] = []

    def compare(what: str, expected: Any, actual: Any) -> None:
        if not is_equal(expected, actual):
            found.append(Finding(what, f"expected {shown(expected)}, was {shown(actual)}", expected, actual))

    compare("status", expect.status, state.status)
    if expect.reason is not None:
        compare("reason", expect.reason, state.reason)
    if expect.is_given("output"):
        compare("output", expect.output, state.output)
    if expect.error is not None:
        for name, value in _given(expect.error).items():
            compare(f"error.{name}", value, (state.error or {}).get(name))
    for name, value in expect.variables.items():
        compare(f"variables.{name}", value, state.variables.get(name))
    found += _path_findings(expect, trace)
    if expect.events is not None:
        compare("events", expect.events, trace.events)
    return found


def _given(error: ExpectedError) -> dict[str, Any]:
    return error.model_dump(exclude_unset=True)


def _path_findings(expect: Expectation, trace: Trace) -> list[Finding]:
    found = []
    if expect.path is not None and not fits_path(expect.path, trace.path):
        message = f"expected {shown_path(expect.path)}, was {shown_path(trace.path)}"
        found.append(Finding("path", message, expect.path, trace.path))
    missed = [node for node in expect.visited if node not in trace.completed]
    if missed:
        message = f"{', '.join(missed)} not completed; the path was {shown_path(trace.path)}"
        found.append(Finding("visited", message, expect.visited, trace.path))
    touched = [node for node in expect.not_visited if node in trace.activated]
    if touched:
        found.append(Finding("not_visited", f"{', '.join(touched)} activated", expect.not_visited, touched))
    counts = Counter(trace.path)
    for node, count in expect.counts.items():
        if counts[node] != count:
            found.append(Finding(f"counts.{node}", f"expected {count}, was {counts[node]}", count, counts[node]))
    return found


def fits_path(expected: list[str | list[str]], actual: list[str]) -> bool:
    """Whether the nodes came in this order; those of a list inside in any order.

    >>> fits_path(["a", ["b", "c"], "d"], ["a", "c", "b", "d"]), fits_path(["a"], ["a", "b"])
    (True, False)
    """
    at = 0
    for part in expected:
        wanted = [part] if isinstance(part, str) else part
        if sorted(actual[at : at + len(wanted)]) != sorted(wanted):
            return False
        at += len(wanted)
    return at == len(actual)


def is_equal(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same: 1 and 1.0 are, 1 and true are not.

    >>> is_equal({"a": [1]}, {"a": [1.0]}), is_equal(1, True)
    (True, False)
    """
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_equal(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_equal, one, other))
    return bool(one == other)


def shown(value: Any) -> str:
    """A value as JSON, cut where it is long."""
    text = encode_json(value).decode()
    return text if len(text) <= SHOWN_CHARS_MAX else text[: SHOWN_CHARS_MAX - 1] + "…"


def shown_path(path: Any) -> str:
    """A path for people.

    >>> shown_path(["a", ["b", "c"]])
    'a, [b, c]'
    """
    parts = [part if isinstance(part, str) else f"[{', '.join(part)}]" for part in path[:200]]
    return (", ".join(parts) or "empty") + (f", … ({len(path)} in all)" if len(path) > len(parts) else "")
