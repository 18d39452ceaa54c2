"""A finished execution as a test of its definition: what its calls gave, what the outside did, what came of it."""

from collections import Counter
from typing import Any, Final

import msgspec

from workflow_engine.models.duration import parse_timestamp
from workflow_engine.models.errors import Conflict
from workflow_engine.models.execution import TERMINAL
from workflow_engine.models.node import IO_TYPES, GroupNode, Node, NodeBase, effective_retry
from workflow_engine.models.workflow import Definition
from workflow_engine.services.rehearsal.raw_output import RawOutputUnknown, raw_output
from workflow_engine.services.rehearsal.suite import Suite
from workflow_engine.services.rehearsal.virtual_time import duration_text

BEYOND_US: Final = 60_000_000
"""A call that was withdrawn would have answered so much later than it was."""

BEFORE_THE_CALL: Final = frozenset({"expression_error", "expression_limit", "payload_too_large"})
"""Errors of a node's own templates: of its input no call was made."""

Event = dict[str, Any]


class Recording(msgspec.Struct, frozen=True):
    """A test, as a document, and what has to be said about it."""

    test: dict[str, Any]
    notes: list[str]


class _Call(msgspec.Struct):
    began_at: int
    stub: dict[str, Any] | None = None


def recorded_test(
    execution: dict[str, Any],
    definition: Definition,
    events: list[Event],
    *,
    name: str,
    variables: dict[str, Any] | None = None,
) -> Recording:
    """The test that repeats an execution.

    Args:
        execution: as the API shows it; `events` are all of its events.
        variables: those of the start; None: unknown, so those that never changed are taken.

    Raises:
        Conflict: the execution has not ended, or did not begin and end with this definition.
    """
    if execution["status"] not in TERMINAL:
        id_, status = execution["execution_id"], execution["status"]
        raise Conflict(f"the execution {id_} is {status}; only one that has ended can be recorded", code="not_ended")
    recorder = _Recorder(definition)
    for event in events:
        recorder.take(event)
    test: dict[str, Any] = {"name": name}
    if execution["input"] is not None:
        test["input"] = execution["input"]
    known = variables if variables is not None else recorder.unchanged(execution["variables"])
    if known:
        test["variables"] = known
    test["now"] = execution["started_at"]
    stubs = recorder.stubs()
    if stubs:
        test["stubs"] = stubs
    if recorder.script:
        test["script"] = recorder.script
    test["expect"] = _expectation(execution, recorder)
    return _checked(definition, test, recorder.notes)


def _expectation(execution: dict[str, Any], recorder: "_Recorder") -> dict[str, Any]:
    expect: dict[str, Any] = {"status": execution["status"]}
    if execution["status"] == "completed":
        expect["output"] = execution["output"]
    if execution["error"] is not None:
        expect["error"] = {name: execution["error"][name] for name in ("type", "message")}
    expect["path"] = recorder.path
    if recorder.custom:
        expect["events"] = recorder.custom
    return expect


def _checked(definition: Definition, test: dict[str, Any], notes: list[str]) -> Recording:
    """The test, run once: where only the order of its path differs, it counts how often each node completed."""
    found = _findings(definition, test)
    expect = test["expect"]
    if [one.what for one in found] == ["path"] and Counter(found[0].actual) == Counter(expect["path"]):
        expect["counts"] = dict(Counter(expect.pop("path")))
        notes.append("the order of the path depends on more than the log tells; the test counts its nodes instead")
        found = _findings(definition, test)
    notes += [f"the test does not pass as it stands: {one.what}: {one.message}" for one in found]
    return Recording(test, notes)


def _findings(definition: Definition, test: dict[str, Any]) -> list[Any]:
    suite = Suite(Definition.model_validate({**definition.document(), "tests": [test]}))
    return suite.run(suite.tests[0]).findings


class _Recorder:
    """Takes the events of an execution, one after the other."""

    def __init__(self, definition: Definition) -> None:
        self.script: list[dict[str, Any]] = []
        self.path: list[str] = []
        self.custom: list[str] = []
        self.notes: list[str] = []
        self._definition = definition
        self._nodes = {node.id: node for node in _all_nodes(definition.nodes)}
        self._calls: dict[str, list[_Call]] = {}
        self._open: dict[str, _Call] = {}
        self._began_at: dict[str, int] = {}
        self._origin_at = 0
        self._assigned_at = -1
        self._is_paused = self._is_failed = False
        self._changed: set[str] = set()

    def take(self, event: Event) -> None:
        """Take the next event."""
        at = parse_timestamp(event["timestamp"])
        name, data = event["event"], event["data"]
        if name.startswith("custom:"):
            self.custom.append(name)
        elif data["step_id"] is not None:
            self._take_step(name, data, at)
        else:
            self._take_execution(name, data, at)

    # --- steps

    def _take_step(self, name: str, data: dict[str, Any], at: int) -> None:
        step_id, node = data["step_id"], self._nodes.get(data["node_id"])
        if node is None:
            return
        is_parent = _is_parent(step_id, node)
        is_call = node.type in IO_TYPES and not is_parent
        match name:
            case "workflow_step_started":
                self._began_at[step_id] = at
                if is_call:
                    self._begin(step_id, node.id, at)
            case "workflow_step_retrying":
                self._end(step_id, {"error": _stub_error(data["error"]) | _no_effect(node)}, at)
                self._begin(step_id, node.id, parse_timestamp(data["next_at"]))
            case "workflow_step_completed":
                self._assigned_at = at if node.assign else self._assigned_at
                if not is_parent:
                    self.path.append(node.id)
                    self._completed(step_id, node, data["output"], at)
            case "workflow_step_failed" if not is_parent:
                self._failed(step_id, node, data["error"], at)
            case "workflow_step_cancelled":
                self._withdraw(step_id, at)
            case "workflow_step_skipped":
                self._withdraw(step_id, at)
                self._enter({"skip": step_id}, at)
            case "workflow_items_added":
                self._enter({"items": step_id, "values": data["items"]}, at)

    def _completed(self, step_id: str, node: NodeBase, output: Any, at: int) -> None:
        if node.type not in IO_TYPES and node.type != "human":
            return
        try:
            raw = raw_output(node, output)
        except RawOutputUnknown as unknown:
            raw = None
            place = "answer" if node.type == "human" else "stub"
            self.notes.append(
                f"what {step_id} got is not in the log, only what `{unknown}` made of it: set its {place}"
            )
        if node.type == "human":
            self._enter({"answer": step_id, "output": raw}, at)
        else:
            self._end(step_id, {"output": raw}, at)

    def _failed(self, step_id: str, node: NodeBase, error: dict[str, Any], at: int) -> None:
        is_immediate = at == self._began_at.get(step_id)
        if error["type"] in BEFORE_THE_CALL and is_immediate:
            call = self._open.pop(step_id, None)
            if call is not None:
                self._calls[node.id].remove(call)
        elif node.type == "human" and error["type"] != "timeout":
            self._enter({"decline": step_id, "error": _stub_error(error)}, at)
        else:
            self._end(step_id, {"error": _stub_error(error)}, at)

    # --- calls

    def _begin(self, step_id: str, node_id: str, at: int) -> None:
        call = self._open[step_id] = _Call(at)
        self._calls.setdefault(node_id, []).append(call)

    def _end(self, step_id: str, outcome: dict[str, Any], at: int) -> None:
        call = self._open.pop(step_id, None)
        if call is not None:
            span_us = max(0, at - call.began_at)
            call.stub = outcome | ({"after": duration_text(span_us)} if span_us else {})

    def _withdraw(self, step_id: str, at: int) -> None:
        call = self._open.get(step_id)
        self._end(step_id, {"output": None}, max(at, call.began_at) + BEYOND_US if call is not None else at)

    def stubs(self) -> dict[str, Any]:
        """What the calls of each node gave, in the order in which they were made."""
        stubs: dict[str, Any] = {}
        for node, calls in self._calls.items():
            made = [call.stub for call in sorted(calls, key=lambda one: one.began_at) if call.stub is not None]
            while len(made) > 1 and made[-1] == made[-2]:
                made.pop()
            if made:
                stubs[node] = made if len(made) > 1 else made[0]
        return stubs

    # --- the execution

    def _take_execution(self, name: str, data: dict[str, Any], at: int) -> None:
        match name:
            case "workflow_started":
                if data.get("forked_from") is not None:
                    raise Conflict(
                        "the execution is a fork, which begins in the middle: record its origin", code="forked"
                    )
                self._origin_at = at
            case "workflow_migrated":
                raise Conflict("the execution went over to another version in the middle", code="migrated")
            case "workflow_signal_received":
                self._enter({"signal": data["name"], "payload": data["payload"]}, at)
            case "workflow_variables_changed":
                self._changed |= data["changed"].keys()
                if at not in (self._assigned_at, self._origin_at):
                    self._enter({"variables": data["changed"]}, at)
            case "workflow_paused" if data["reason"] == "operator":
                self._is_paused = True
                self._enter({"pause": True}, at)
            case "workflow_resumed":
                self._resumed(at)
            case "workflow_failed":
                self._is_failed = True
            case "workflow_cancelled":
                self._cancelled(data["reason"], at)

    def _resumed(self, at: int) -> None:
        if self._is_failed:
            self._enter({"retry": True}, at)
        elif self._is_paused:
            self._enter({"resume": True}, at)
        self._is_failed = self._is_paused = False

    def _cancelled(self, reason: str, at: int) -> None:
        last = self._nodes.get(self.path[-1]) if self.path else None
        if last is None or last.type != "end":
            self._enter({"terminate" if reason == "terminated" else "cancel": True}, at)

    def _enter(self, entry: dict[str, Any], at: int) -> None:
        self.script.append(entry | {"after": duration_text(max(0, at - self._origin_at))})

    def unchanged(self, variables: dict[str, Any]) -> dict[str, Any]:
        """The variables that differ from the definition's and were never changed: they were given at the start."""
        given = {}
        for name, value in variables.items():
            if name in self._changed:
                self.notes.append(
                    f"the first value of the variable {name} is not in the events: set it if it was given"
                )
            elif name not in self._definition.variables or self._definition.variables[name] != value:
                given[name] = value
        return given


def _stub_error(error: dict[str, Any]) -> dict[str, Any]:
    stub = {"type": error["type"], "message": error["message"]}
    return stub | ({"details": error["details"]} if error.get("details") is not None else {})


def _no_effect(node: NodeBase) -> dict[str, Any]:
    """A call that was tried again by a policy that asks for that surely had no effect."""
    policy = effective_retry(node)
    return {"no_effect": True} if policy is not None and policy.safe_only else {}


def _is_parent(step_id: str, node: NodeBase) -> bool:
    """Whether a step only holds items or iterations; those have a number more in their id."""
    parts = step_id.rpartition("~")[2].count(":")
    return parts < (node.foreach is not None) + (node.repeat is not None)


def _all_nodes(nodes: list[Node]) -> list[Node]:
    found: list[Node] = []
    for node in nodes:
        found.append(node)
        if isinstance(node, GroupNode):
            found += _all_nodes(node.nodes)
    return found


def named(definition: Definition, name: str) -> str:
    """The name, or one like it that no test of the definition has."""
    taken = {test.name for test in definition.tests}
    number = 1
    while (candidate := name if number == 1 else f"{name} {number}") in taken:
        number += 1
    return candidate
