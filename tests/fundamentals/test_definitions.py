"""The definition language: what a definition says is what the model holds, and the schema says the same."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from workflow_engine.engine.validation import validate
from workflow_engine.models.document import parse_document
from workflow_engine.models.duration import DurationInvalid, TimestampInvalid, parse_duration, parse_timestamp
from workflow_engine.models.node import NODE_CLASSES, HttpNode, WaitNode, effective_retry
from workflow_engine.models.node_input import parse_expected_statuses
from workflow_engine.models.schema import generate_schema, workflow_schema, workflow_schema_bytes
from workflow_engine.models.workflow import Definition

EXPENSE_APPROVAL = b"""
id: expense-approval
name: Expense approval
description: Somebody looks at what is expensive
labels: {team: finance}
input: {type: object, required: [amount], properties: {amount: {type: number}}}
variables: {limit: 500}
timeout: 7d
output: "${ {'paid': steps.pay.output.status == 201} }"
on_failure: none
callbacks:
  - {url: "https://example.org/hook", events: [workflow_completed, workflow_failed], secret: billing}
start: [policy]
budget: {tokens: 100000, cost: 5.0, calls: 200, time: 2h}
nodes:
  - {id: policy, type: set, assign: {over: "${ input.amount > vars.limit }"}}
  - id: approve
    type: human
    with:
      title: "Approve ${ input.amount } EUR?"
      form: {type: object, required: [approved], properties: {approved: {type: boolean}}}
      assignees: ["role:finance"]
    timeout: 48h
  - id: pay
    type: http
    with: {method: POST, url: "https://bank.example/pay", json: {amount: "${ input.amount }"}}
    retry: {max_attempts: 5, initial: 1s, factor: 2, max: 1m, jitter: 0.2, on: [timeout, unavailable]}
  - {id: rejected, type: end, with: {status: failed, message: "not approved"}}
connections:
  - {from: policy, to: approve, when: vars.over}
  - {from: policy, to: pay, otherwise: true}
  - {from: approve, to: pay, when: steps.approve.output.approved}
  - {from: approve, to: rejected, otherwise: true}
  - {from: approve, to: rejected, on: error, when: error.type == 'timeout'}
"""

ATTRIBUTES: dict[str, Any] = {
    "name": "A node",
    "description": "with everything",
    "assign": {"total": "${ output.total }", "list": [1, {"a": None}]},
    "output": {"kept": "${ output }"},
    "join": {"count": 2},
    "foreach": {
        "items": "${ input.items }",
        "as": "order",
        "index_as": "position",
        "concurrency": 10_000,
        "on_error": "continue",
        "complete_after": 3,
        "complete_when": "completed > 2",
        "rest": "continue",
        "wait": False,
    },
    "repeat": {"while": "vars.n < 3", "max": "${ input.max }", "delay": "250ms"},
    "retry": {
        "max_attempts": 5,
        "initial": "1s",
        "factor": 2,
        "max": "PT1M",
        "jitter": 0.2,
        "on": ["timeout"],
        "not_on": ["http_404"],
    },
    "delivery": "at_most_once",
    "timeout": "1h30m",
    "heartbeat": "30s",
    "cancel": ["other"],
    "compensate": "other",
    "lock": "account-${ input.account }",
    "limit": {"key": "bank-${ input.bank }", "concurrency": 4},
    "priority": 9,
    "labels": {"team": "finance"},
    "ui": {"x": 10, "y": -2.5},
}

INPUTS: dict[str, list[dict[str, Any] | None]] = {
    "set": [None, {}],
    "decision": [None],
    "join": [None],
    "end": [None, {"status": "failed", "message": "${ vars.why }", "terminate": True}],
    "fail": [None, {"type": "refused", "message": "no", "details": {"a": [1]}}],
    "wait": [
        {"for": "5m"},
        {"until": "2026-01-31T08:00:00+01:00"},
        {"until": "${ vars.deadline }"},
        {"signal": "go-${ input.id }", "when": "signal.payload.ok", "durable": False},
        {"condition": "vars.ready"},
        {"any": [{"for": "1h"}, {"signal": "go", "when": "signal.payload > 1"}, {"condition": "vars.x"}]},
    ],
    "human": [
        None,
        {
            "title": "T",
            "instructions": "I",
            "form": {"type": "object"},
            "assignees": ["user:ada", "group:x"],
            "due": "48h",
        },
        {"form": "${ vars.form }", "assignees": "${ vars.who }", "due": "2026-01-31T08:00:00Z"},
    ],
    "http": [
        {"url": "https://example.org"},
        {"url": "${ vars.url }", "method": "PATCH", "json": None, "expect": [200, 404, "300-303"]},
        {"url": "https://example.org", "method": "POST", "form": {"a": 1, "b": ["x", True]}, "expect": "200-299"},
        {
            "url": "https://example.org",
            "headers": {"Accept": "text/plain", "X-Count": 1},
            "query": {"q": ["a", "b"], "n": None},
            "body": "text",
            "auth": {"basic": {"user": "u", "password": "p"}},
            "response": "text",
        },
        {"url": "https://example.org", "headers": "${ vars.headers }", "auth": {"bearer": "${ vars.token }"}},
    ],
    "function": [{"name": "charge", "arguments": {"amount": "${ input.amount }"}}, {"name": "f"}],
    "emit": [{"event": "charged", "data": {"amount": 1}}, {"event": "seen"}],
    "worker": [{"queue": "gpu", "input": {"a": 1}}],
    "tool": [{"tool": "search", "arguments": {"q": "x"}}],
    "agent": [{"agent_id": "writer", "input": "text"}],
    "query": [{"collection": "docs", "query": "text"}],
    "conversation": [{"conversation_id": "c1", "message": "hello"}],
    "workflow": [{"workflow_id": "child", "version": 3, "input": {}, "mode": "detach"}],
    "group": [None],
}


def a_node(kind: str, given: dict[str, Any] | None = None, **attributes: Any) -> dict[str, Any]:
    node = {"id": "n1", "type": kind, **attributes}
    return node if given is None else {**node, "with": given}


def every_node() -> list[dict[str, Any]]:
    nodes = [a_node(kind, given) for kind, inputs in INPUTS.items() for given in inputs]
    nodes += [a_node(kind, inputs[0], **ATTRIBUTES) for kind, inputs in INPUTS.items()]
    body = {
        "nodes": [{"id": "inner", "type": "set"}],
        "connections": [{"from": "inner", "to": "inner", "when": "vars.n < 3"}],
        "start": ["inner"],
        "variables": {"n": 0},
        "finish": "first",
    }
    return [{**node, **body} if node["type"] == "group" else node for node in nodes]


def definition_of(*nodes: dict[str, Any], **fields: Any) -> Definition:
    return Definition.model_validate({"id": "example", "nodes": list(nodes), **fields})


def test_every_node_type_of_the_language_has_a_model() -> None:
    assert set(INPUTS) == set(NODE_CLASSES)


@pytest.mark.parametrize("node", every_node(), ids=lambda node: f"{node['type']}-{len(node)}")
def test_a_definition_holds_exactly_what_its_author_wrote(node: dict[str, Any]) -> None:
    definition = definition_of(node)
    assert definition.document() == {"id": "example", "nodes": [node]}
    assert type(definition.nodes[0]) is NODE_CLASSES[node["type"]]
    assert not list(Draft202012Validator(workflow_schema()).iter_errors(definition.document()))


def test_every_attribute_of_a_node_is_covered_by_the_round_trip() -> None:
    base = {info.alias or name for name, info in NODE_CLASSES["set"].model_fields.items()}
    assert base == ATTRIBUTES.keys() | {"id", "type", "with"}


def test_the_example_of_the_documentation_is_a_definition_and_fits_the_schema() -> None:
    document = parse_document(EXPENSE_APPROVAL, kind="yaml")
    definition = Definition.model_validate(document)
    assert definition.document() == document
    assert not list(Draft202012Validator(workflow_schema()).iter_errors(document))
    assert definition.connections[4].on == "error"
    pay = definition.nodes[2]
    assert isinstance(pay, HttpNode)
    assert (pay.with_.method, pay.with_.body_kind, pay.with_.expect) == ("POST", "json", "200-299")


def test_defaults_can_be_read_although_nobody_wrote_them() -> None:
    node = definition_of(a_node("set", foreach={"items": [1]})).nodes[0]
    assert node.foreach is not None
    assert (node.foreach.concurrency, node.foreach.item_name, node.foreach.on_error) == (16, "item", "fail")
    assert (node.join, node.priority, node.has_output, node.is_io) == ("auto", None, False, False)


def test_output_null_is_told_apart_from_no_output() -> None:
    assert definition_of(a_node("set", output=None)).nodes[0].has_output
    assert definition_of(a_node("set"), output=None).has_output


def test_the_hash_depends_on_the_content_and_not_on_the_order_of_keys() -> None:
    first = Definition.model_validate(
        {"id": "a", "nodes": [{"id": "n", "type": "set"}], "labels": {"x": "1", "y": "2"}}
    )
    second = Definition.model_validate(
        {"labels": {"y": "2", "x": "1"}, "nodes": [{"type": "set", "id": "n"}], "id": "a"}
    )
    third = Definition.model_validate({"id": "a", "nodes": [{"id": "n", "type": "set"}], "labels": {"x": "1"}})
    assert first.content_hash() == second.content_hash() != third.content_hash()
    assert first.canonical() == b'{"id":"a","labels":{"x":"1","y":"2"},"nodes":[{"id":"n","type":"set"}]}'


def test_a_definition_can_not_be_changed() -> None:
    definition = definition_of(a_node("set"))
    with pytest.raises(ValidationError):
        definition.id = "other"  # type: ignore[misc]


@pytest.mark.parametrize("value", ["5", 5.0, True])
def test_values_are_not_coerced(value: object) -> None:
    with pytest.raises(ValidationError):
        definition_of(a_node("set", priority=value))


@pytest.mark.parametrize(
    ("given", "kind"),
    [({"for": "1s"}, "for"), ({"signal": "go"}, "signal"), ({"any": [{"for": "1s"}]}, "any")],
)
def test_a_wait_knows_what_it_waits_for(given: dict[str, Any], kind: str) -> None:
    node = definition_of(a_node("wait", given)).nodes[0]
    assert isinstance(node, WaitNode)
    assert node.with_.kind == kind


class TestRetries:
    def test_io_nodes_repeat_what_passes_by_itself(self) -> None:
        policy = effective_retry(definition_of(a_node("function", {"name": "f"})).nodes[0])
        assert policy is not None
        assert (policy.max_attempts, policy.initial_s, policy.factor, policy.max_s, policy.jitter) == (
            3,
            1.0,
            2.0,
            60.0,
            0.2,
        )
        assert [
            error for error in ("timeout", "unavailable", "rate_limited", "http_500", "Refused") if policy.covers(error)
        ] == [
            "timeout",
            "unavailable",
            "rate_limited",
        ]

    @pytest.mark.parametrize(
        ("method", "is_safe_only"),
        [("GET", False), ("PUT", False), ("post", True), ("PATCH", True), ("${ vars.m }", True)],
    )
    def test_a_post_without_a_retry_of_its_own_repeats_only_what_surely_had_no_effect(
        self, method: str, is_safe_only: bool
    ) -> None:
        node = a_node("http", {"url": "https://example.org", "method": method})
        policy = effective_retry(definition_of(node).nodes[0])
        assert policy is not None
        assert policy.safe_only is is_safe_only
        own = effective_retry(definition_of({**node, "retry": {}}).nodes[0])
        assert own is not None
        assert own.safe_only is False

    def test_a_retry_of_ones_own_without_on_leaves_errors_alone_that_would_come_again(self) -> None:
        policy = effective_retry(
            definition_of(a_node("function", {"name": "f"}, retry={"not_on": ["Refused"]})).nodes[0]
        )
        assert policy is not None
        assert [policy.covers(error) for error in ("Broken", "timeout", "http_500")] == [True, True, True]
        assert [policy.covers(error) for error in ("Refused", "http_404", "invalid_input", "forbidden")] == [False] * 4

    def test_what_may_not_be_called_is_never_repeated(self) -> None:
        policy = effective_retry(definition_of(a_node("set", retry={"on": ["forbidden", "x"]})).nodes[0])
        assert policy is not None
        assert (policy.covers("forbidden"), policy.covers("x"), policy.covers("timeout")) == (False, True, False)

    def test_other_nodes_and_at_most_once_deliveries_are_not_repeated(self) -> None:
        assert effective_retry(definition_of(a_node("set")).nodes[0]) is None
        once = a_node("function", {"name": "f"}, delivery="at_most_once")
        assert effective_retry(definition_of(once).nodes[0]) is None


class TestDurations:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("250ms", 0.25),
            ("30s", 30.0),
            ("5m", 300.0),
            ("2h", 7200.0),
            ("7d", 604800.0),
            ("1h30m", 5400.0),
            ("1.5s", 1.5),
            ("0s", 0.0),
            ("5m250ms", 300.25),
            ("PT1H30M", 5400.0),
            ("P7D", 604800.0),
            ("P1W", 604800.0),
            ("P1DT0.5S", 86400.5),
        ],
    )
    def test_a_duration_is_its_seconds(self, text: str, seconds: float) -> None:
        assert parse_duration(text) == seconds

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("-5m", "negative"),
            ("PT-5M", "negative"),
            ("30", "no unit"),
            ("1M", "no duration"),
            ("P1Y", "years or months"),
            ("36526d", "100 years"),
            ("9" * 63 + "d", "100 years"),
            ("9" * 70 + "d", "no duration"),
            ("", "no duration"),
            ("P", "no duration"),
            ("PT", "no duration"),
            ("1h 30m", "no duration"),
            ("30m1h", "no duration"),
            ("٣s", "no duration"),
            ("5s\n", "no duration"),
        ],
    )
    def test_what_is_no_duration_is_told_why(self, text: str, reason: str) -> None:
        with pytest.raises(DurationInvalid, match=reason):
            parse_duration(text)

    def test_zero_is_refused_where_it_makes_no_sense(self) -> None:
        with pytest.raises(DurationInvalid, match="zero"):
            parse_duration("0ms", positive=True)

    @given(st.text(alphabet="PT0123456789.dhmsuDHMSW-+ ", max_size=80))
    def test_any_text_is_a_duration_or_a_clear_refusal(self, text: str) -> None:
        try:
            seconds = parse_duration(text)
        except DurationInvalid as error:
            seconds = 0.0
            refusal = str(error)
        else:
            refusal = ""
        assert seconds >= 0
        assert len(refusal) < 250


class TestTimestamps:
    @pytest.mark.parametrize(
        ("text", "micros"),
        [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T01:00:00+01:00", 0),
            ("1970-01-01T00:00:01.123456789Z", 1_123_456),
            ("2026-01-31t08:00:00z", 1_769_846_400_000_000),
            ("1969-12-31T23:59:59.5Z", -500_000),
            ("0001-01-01T05:00:00+05:00", -62_135_596_800_000_000),
            ("9999-12-31T23:59:59.999999999Z", 253_402_300_799_999_999),
        ],
    )
    def test_a_timestamp_is_its_microseconds(self, text: str, micros: int) -> None:
        assert parse_timestamp(text) == micros

    @pytest.mark.parametrize(
        "text",
        [
            "2026-01-31T08:00:00",
            "2026-01-31",
            "2026-02-30T08:00:00Z",
            "2026-01-31T08:00:00+25:00",
            "soon",
            "0001-01-01T00:00:00+23:59",
            "9999-12-31T23:59:59-00:01",
        ],
    )
    def test_what_names_no_instant_is_refused(self, text: str) -> None:
        with pytest.raises(TimestampInvalid):
            parse_timestamp(text)

    @pytest.mark.parametrize(
        ("node_type", "given", "path"),
        [
            ("wait", {"until": "9999-12-31T23:59:59-05:00"}, "/nodes/0/with/until"),
            ("human", {"title": "t", "due": "0001-01-01T00:00:00+05:00"}, "/nodes/0/with/due"),
        ],
    )
    def test_a_constant_instant_outside_of_the_years_is_refused_at_its_place(
        self, node_type: str, given: dict[str, Any], path: str
    ) -> None:
        (problem,) = validate({"id": "x", "nodes": [{"id": "a", "type": node_type, "with": given}]}).problems
        assert (problem.code, problem.path) == ("invalid_timestamp", path)
        assert "names no instant" in problem.message


def test_expected_statuses_are_ranges() -> None:
    assert parse_expected_statuses("200-299") == [range(200, 300)]
    assert parse_expected_statuses([200, "404"]) == [range(200, 201), range(404, 405)]
    for wrong in ("299-200", "2xx", [99], [600]):
        with pytest.raises(ValueError, match="no HTTP status"):
            parse_expected_statuses(wrong)  # type: ignore[arg-type]


class TestSchema:
    def test_the_schema_in_the_package_is_up_to_date(self) -> None:
        assert workflow_schema() == generate_schema(), "run: python -m workflow_engine.models.schema"
        assert json.loads(workflow_schema_bytes()) == workflow_schema()

    def test_the_schema_is_a_schema(self) -> None:
        Draft202012Validator.check_schema(workflow_schema())

    def test_every_description_stands_in_the_schema(self) -> None:
        assert workflow_schema()["$defs"]["WaitInput"]["properties"]["for"]["description"] == "Wait this long."

    @pytest.mark.parametrize(
        "wrong",
        [
            {"id": "X Y", "nodes": []},
            {"id": "x", "nodes": [{"id": "a", "type": "sett"}]},
            {"id": "x", "nodes": [{"id": "a", "type": "set", "priorty": 1}]},
            {"id": "x", "nodes": [{"id": "a", "type": "http", "with": {}}]},
            {"id": "x", "nodes": [{"id": "a", "type": "set", "foreach": {"items": "text"}}]},
        ],
    )
    def test_an_editor_sees_what_is_wrong(self, wrong: dict[str, Any]) -> None:
        assert list(Draft202012Validator(workflow_schema()).iter_errors(wrong))


def test_the_model_is_imported_without_the_engine() -> None:
    """The models are data only: loading them must not load the rooms above them."""
    code = "import sys, workflow_engine.models.workflow as _; print([m for m in sys.modules if '_engine.engine' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert done.stdout.strip() == "[]"
