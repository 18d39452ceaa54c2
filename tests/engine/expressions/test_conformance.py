"""The public conformance suite of CEL (see conformance/README.md)."""

import base64
import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from workflow_engine.engine.expressions import (
    Duration,
    ExpressionFailed,
    ExpressionInvalid,
    Meter,
    Timestamp,
    Uint,
    compile_expression,
)
from workflow_engine.engine.expressions.values import KeyedMap, Type, type_name

CASES = [json.loads(line) for line in (Path(__file__).parent / "conformance" / "cel.jsonl").read_text().splitlines()]

# What fails, and why. Empty: nothing does.
KNOWN_FAILURES: dict[str, str] = {}

THRESHOLDS = {"core": 0.99}
THRESHOLD_ELSEWHERE = 0.95


def read_value(typed: Any) -> Any:
    """The value of CEL that a typed value of the suite stands for."""
    if isinstance(typed, list):
        return [read_value(item) for item in typed]
    if not isinstance(typed, dict):
        return typed
    if "$type" not in typed:
        return {key: read_value(item) for key, item in typed.items()}
    value = typed["value"]
    match typed["$type"]:
        case "int":
            return int(value)
        case "uint":
            return Uint(int(value))
        case "double":
            return float(value)
        case "bytes":
            return base64.b64decode(value)
        case "timestamp":
            return Timestamp.parse(value)
        case "duration":
            return Duration.parse(value)
        case "type":
            return Type(value)
    keyed = KeyedMap()
    for key, item in value:
        keyed.add(read_value(key), read_value(item))
    return keyed


def is_same(got: Any, wanted: Any) -> bool:
    """Whether two values are the same value of the same type."""
    if type_name(got) != type_name(wanted):
        return False
    if isinstance(wanted, list):
        return len(got) == len(wanted) and all(map(is_same, got, wanted))
    if isinstance(wanted, Mapping):
        return len(got) == len(wanted) and all(key in got and is_same(got[key], wanted[key]) for key in wanted)
    if isinstance(wanted, float):
        return (math.isnan(got) and math.isnan(wanted)) or (
            got == wanted and math.copysign(1, got) == math.copysign(1, wanted)
        )
    return bool(got == wanted)


def passes(case: Mapping[str, Any]) -> bool:
    expect = case["expect"]
    bindings = {name: read_value(value) for name, value in case.get("bindings", {}).items()}
    try:
        value = compile_expression(case["expr"]).evaluate(bindings, Meter())
    except (ExpressionInvalid, ExpressionFailed):
        return "error" in expect
    if "error" in expect:
        return any(is_same(value, read_value(other)) for other in case.get("relaxed_values", []))
    return is_same(value, read_value(expect["value"]))


@pytest.fixture(scope="module")
def failures() -> set[str]:
    return {case["id"] for case in CASES if not passes(case)}


def test_exactly_the_known_cases_fail(failures: set[str]) -> None:
    assert failures == set(KNOWN_FAILURES)


def test_every_group_reaches_its_threshold(failures: set[str]) -> None:
    total = Counter(case["group"] for case in CASES)
    failed = Counter(case["group"] for case in CASES if case["id"] in failures)
    for group, count in total.items():
        assert 1 - failed[group] / count >= THRESHOLDS.get(group, THRESHOLD_ELSEWHERE), group


def test_the_suite_is_complete() -> None:
    assert len(CASES) == 804
