"""The tests that a definition may carry: what their form is, and what is told of a wrong one."""

from typing import Any

import pytest

from workflow_engine.engine.validation import validate
from workflow_engine.models.problem import Problem
from workflow_engine.models.workflow import Definition

NODES = [
    {"id": "call", "type": "function", "with": {"name": "work"}},
    {"id": "ask", "type": "human"},
    {"id": "each", "type": "function", "with": {"name": "work"}, "foreach": {"items": [1, 2]}},
]
FULL = {
    "name": "all words",
    "description": "every word once",
    "input": {"amount": 1},
    "variables": {"limit": 2},
    "now": "2026-01-31T08:00:00+01:00",
    "stubs": {
        "call": {"output": {"a": 1}},
        "each": [
            {"error": {"type": "rate_limited", "message": "slow", "details": [1], "retry_after": "3s"}},
            {"error": {"type": "unavailable", "no_effect": True}, "after": "1m"},
            {"output": None, "after": "PT5S"},
        ],
    },
    "script": [
        {"signal": "go", "payload": 1, "after": "2d"},
        {"answer": "ask.1", "output": True},
        {"decline": "ask", "error": {"type": "refused"}},
        {"variables": {"x": 1}},
        {"complete": "g.1~call.2", "output": 1},
        {"skip": "each.1:3"},
        {"items": "each", "values": [4]},
        {"pause": True},
        {"resume": True},
        {"retry": True},
        {"terminate": True},
        {"cancel": True},
        {"cancel": {"compensate": True}},
    ],
    "expect": {
        "status": "paused",
        "reason": "input",
        "output": None,
        "error": {"type": "timeout", "message": "late", "details": None, "node": "ask"},
        "variables": {"x": 1},
        "path": ["call", ["ask", "each"]],
        "visited": ["call"],
        "not_visited": ["each"],
        "counts": {"each": 0},
        "events": ["custom:seen"],
    },
}


def document(*tests: Any) -> dict[str, Any]:
    return {"id": "flow", "nodes": NODES, "tests": list(tests)}


def errors(*tests: Any) -> list[Problem]:
    return [problem for problem in validate(document(*tests)).problems if problem.severity == "error"]


def test_every_word_of_a_test_is_taken_and_shown_back_as_it_was_written() -> None:
    definition = validate(document(FULL, {"name": "bare"})).definition
    assert definition is not None
    assert definition.document()["tests"] == [FULL, {"name": "bare"}]
    assert [entry.action for entry in definition.tests[0].script[:3]] == ["signal", "answer", "decline"]
    assert definition.tests[1].expect.status == "completed"


def test_tests_are_part_of_what_a_version_is() -> None:
    with_test, without = (Definition.model_validate(document(*tests)) for tests in ([{"name": "a"}], []))
    assert with_test.content_hash() != without.content_hash()


@pytest.mark.parametrize(
    ("test", "code", "path"),
    [
        ({}, "missing_field", "/tests/0"),
        ({"name": ""}, "out_of_range", "/tests/0/name"),
        ({"name": "a", "expects": {}}, "unknown_field", "/tests/0/expects"),
        ({"name": "a", "now": "tomorrow"}, "invalid_timestamp", "/tests/0/now"),
        ({"name": "a", "stubs": {"cal": {"output": 1}}}, "unknown_node", "/tests/0/stubs/cal"),
        ({"name": "a", "stubs": {"ask": {"output": 1}}}, "stub_without_call", "/tests/0/stubs/ask"),
        ({"name": "a", "stubs": {"call": {}}}, "stub_outcome", "/tests/0/stubs/call"),
        ({"name": "a", "stubs": {"call": [{"output": 1}, {"after": "1s"}]}}, "stub_outcome", "/tests/0/stubs/call/1"),
        (
            {"name": "a", "stubs": {"call": {"output": 1, "error": {"type": "x"}}}},
            "stub_outcome",
            "/tests/0/stubs/call",
        ),
        ({"name": "a", "stubs": {"call": []}}, "out_of_range", "/tests/0/stubs/call"),
        (
            {"name": "a", "stubs": {"call": {"output": 1, "after": "1"}}},
            "invalid_duration",
            "/tests/0/stubs/call/after",
        ),
        ({"name": "a", "script": [{}]}, "script_action", "/tests/0/script/0"),
        ({"name": "a", "script": [{"signal": None}]}, "script_action", "/tests/0/script/0/signal"),
        ({"name": "a", "script": [{"pause": True, "resume": True}]}, "script_action", "/tests/0/script/0"),
        ({"name": "a", "script": [{"signal": "go", "output": 1}]}, "script_action", "/tests/0/script/0/output"),
        ({"name": "a", "script": [{"decline": "ask"}]}, "missing_field", "/tests/0/script/0"),
        ({"name": "a", "script": [{"items": "each"}]}, "missing_field", "/tests/0/script/0"),
        ({"name": "a", "script": [{"answer": "asc"}]}, "unknown_node", "/tests/0/script/0/answer"),
        ({"name": "a", "script": [{"answer": "call"}]}, "script_target", "/tests/0/script/0/answer"),
        ({"name": "a", "script": [{"items": "call", "values": []}]}, "script_target", "/tests/0/script/0/items"),
        ({"name": "a", "script": [{"pause": False}]}, "wrong_value", "/tests/0/script/0/pause"),
        ({"name": "a", "expect": {"status": "done"}}, "wrong_value", "/tests/0/expect/status"),
        ({"name": "a", "expect": {"reason": "input"}}, "contradiction", "/tests/0/expect/reason"),
        ({"name": "a", "expect": {"path": ["call", ["x"]]}}, "unknown_node", "/tests/0/expect/path/1/0"),
        ({"name": "a", "expect": {"visited": ["x"]}}, "unknown_node", "/tests/0/expect/visited/0"),
        ({"name": "a", "expect": {"not_visited": ["x"]}}, "unknown_node", "/tests/0/expect/not_visited/0"),
        ({"name": "a", "expect": {"counts": {"x": 1}}}, "unknown_node", "/tests/0/expect/counts/x"),
        ({"name": "a", "expect": {"counts": {"call": -1}}}, "out_of_range", "/tests/0/expect/counts/call"),
        ("text", "wrong_type", "/tests/0"),
    ],
)
def test_a_wrong_test_is_an_error_with_its_place(test: Any, code: str, path: str) -> None:
    assert [(problem.code, problem.path) for problem in errors(test)] == [(code, path)]


def test_misspelt_nodes_get_a_suggestion() -> None:
    (problem,) = errors({"name": "a", "expect": {"visited": ["cal"]}})
    assert problem.hint == "did you mean `call`?"


def test_a_name_stands_once() -> None:
    (problem,) = errors({"name": "a"}, {"name": "a"})
    assert (problem.code, problem.path, "/tests/0" in problem.message) == ("duplicate_test_name", "/tests/1/name", True)


def test_nodes_inside_groups_can_be_named_by_node_and_by_step() -> None:
    group = {"id": "g", "type": "group", "nodes": [{"id": "inner", "type": "human"}]}
    test = {"name": "a", "script": [{"answer": "inner"}, {"answer": "g.1~inner.2"}], "expect": {"visited": ["inner"]}}
    found = validate({"id": "flow", "nodes": [group], "tests": [test]}).problems
    assert {problem.code for problem in found} <= {"not_supported_yet"}
