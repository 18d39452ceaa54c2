"""Executions that really ran, written down as tests: what is written passes, and says what the execution did."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from workflow_engine import Engine, Execution, StepFailed, function
from workflow_engine.models.command import Cancel, Pause, Resume, Retry
from workflow_engine.models.errors import Conflict
from workflow_engine.models.workflow import Definition
from workflow_engine.services.rehearsal import Suite
from workflow_engine.services.rehearsal.raw_output import RawOutputUnknown, raw_output
from workflow_engine.services.rehearsal.recording import Recording, named, recorded_test

TRIES: dict[str, int] = {}


@function("recording.double")
async def double(n: int, pause_ms: int = 0) -> dict[str, Any]:
    """Takes a while."""
    await asyncio.sleep(pause_ms / 1000)
    return {"result": 2 * n, "unread": True}


@function("recording.flaky")
async def flaky(name: str, fails: int) -> int:
    """Fails so many times, then succeeds."""
    TRIES[name] = TRIES.get(name, 0) + 1
    if TRIES[name] <= fails:
        raise StepFailed("busy", f"try {TRIES[name]}", details={"try": TRIES[name]})
    return TRIES[name]


def call(name: str, target: str, arguments: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"id": name, "type": "function", "with": {"name": f"recording.{target}", "arguments": arguments}, **fields}


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    TRIES.clear()
    async with Engine(f"sqlite:///{tmp_path / 'engine.db'}") as opened:
        yield opened


Reaction = Callable[[Execution, dict[str, Any]], Coroutine[Any, Any, object]]


async def record(
    engine: Engine,
    document: dict[str, Any],
    input: Any = None,  # noqa: A002 - the contract's word
    *,
    react: dict[str, Reaction] | None = None,
    variables: dict[str, Any] | None = None,
) -> Recording:
    """Run a definition to its end, react to its events, and write it down."""
    definition = Definition.model_validate({"id": "flow", **document})
    await engine.publish(definition.document())
    execution = await engine.start("flow", input, variables=variables)
    last = 0
    while (await execution.get())["status"] not in ("completed", "cancelled") and not (last and not react):
        async for event in execution.events(after=last):
            last = event["sequence"]
            reaction = (react or {}).pop(event["event"], None)
            if reaction is not None:
                await reaction(execution, event)
    events = [event async for event in execution.events(follow=False)]
    return recorded_test(await execution.get(), definition, events, name="recorded", variables=variables)


def passes(document: dict[str, Any], recording: Recording) -> bool:
    suite = Suite(Definition.model_validate({"id": "flow", **document, "tests": [recording.test]}))
    return suite.run(suite.tests[0], [None, 1, 2, 3]).passed


async def test_calls_become_stubs_in_the_order_in_which_they_were_made(engine: Engine) -> None:
    document = {
        "nodes": [
            call("first", "double", {"n": "${ input.n }", "pause_ms": 5}),
            call(
                "each",
                "double",
                {"n": "${ item }", "pause_ms": "${ 40 - item * 10 }"},
                foreach={"items": [1, 2, 3], "concurrency": 3},
            ),
        ],
        "connections": [{"from": "first", "to": "each"}],
        "input": {"type": "object", "required": ["n"]},
    }
    recording = await record(engine, document, {"n": 4})
    assert recording.notes == []
    test = recording.test
    assert (test["name"], test["input"]) == ("recorded", {"n": 4})
    assert test["stubs"]["first"]["output"] == {"result": 8, "unread": True}
    assert [stub["output"]["result"] for stub in test["stubs"]["each"]] == [2, 4, 6]
    assert test["expect"]["path"] == ["first", "each", "each", "each"]
    assert passes(document, recording)


async def test_attempts_that_failed_are_stubs_too(engine: Engine) -> None:
    retry = {"max_attempts": 3, "initial": "5ms", "jitter": 0}
    document = {"nodes": [call("a", "flaky", {"name": "a", "fails": 2}, retry=retry)]}
    recording = await record(engine, document)
    outcomes = [stub.get("error", stub.get("output")) for stub in recording.test["stubs"]["a"]]
    assert outcomes == [
        {"type": "busy", "message": "try 1", "details": {"try": 1}},
        {"type": "busy", "message": "try 2", "details": {"try": 2}},
        3,
    ]
    assert recording.notes == []
    assert passes(document, recording)


async def test_a_failed_execution_is_written_down_with_its_error(engine: Engine) -> None:
    document = {"nodes": [call("a", "flaky", {"name": "a", "fails": 9}, retry={"max_attempts": 1})]}
    recording = await record(engine, document)
    assert recording.test["expect"] == {
        "status": "failed",
        "error": {"type": "busy", "message": "try 1"},
        "path": [],
    }
    assert recording.notes == []
    assert passes(document, recording)


async def test_a_call_that_was_never_made_has_no_stub(engine: Engine) -> None:
    document = {"nodes": [call("a", "double", {"n": "${ input.missing }"})]}
    recording = await record(engine, document, {})
    assert "stubs" not in recording.test
    assert recording.test["expect"]["error"]["type"] == "expression_error"
    assert passes(document, recording)


async def test_people_signals_and_variables_come_when_they_came(engine: Engine) -> None:
    document = {
        "variables": {"x": 1, "y": 1},
        "nodes": [
            {"id": "ask", "type": "human", "with": {"form": {"type": "object"}}},
            {"id": "paid", "type": "wait", "with": {"signal": "paid", "when": "signal.payload > vars.x"}},
            {"id": "done", "type": "emit", "with": {"event": "done"}, "assign": {"z": 3}},
        ],
        "connections": [{"from": "ask", "to": "paid"}, {"from": "paid", "to": "done"}],
    }

    async def answer(execution: Execution, event: dict[str, Any]) -> None:
        await execution.answer("ask", {"approved": True})
        await engine.services.executions.set_variables("default", execution.id, {"x": 5})
        await execution.signal("paid", 4)
        await execution.signal("paid", 6)

    recording = await record(engine, document, react={"workflow_paused": answer}, variables={"y": 2})
    assert [{key: entry[key] for key in entry if key != "after"} for entry in recording.test["script"]] == [
        {"answer": "ask.1", "output": {"approved": True}},
        {"variables": {"x": 5}},
        {"signal": "paid", "payload": 4},
        {"signal": "paid", "payload": 6},
    ]
    assert recording.test["variables"] == {"y": 2}
    assert recording.test["expect"]["events"] == ["custom:done"]
    assert recording.notes == []
    assert passes(document, recording)


async def test_control_is_written_down(engine: Engine) -> None:
    document = {
        "nodes": [
            call("a", "flaky", {"name": "a", "fails": 1}, retry={"max_attempts": 1}),
            {"id": "b", "type": "human"},
        ]
    }
    document["connections"] = [{"from": "a", "to": "b"}]

    async def again(execution: Execution, event: dict[str, Any]) -> None:
        await engine.services.executions.give("default", execution.id, Retry())

    async def stop(execution: Execution, event: dict[str, Any]) -> None:
        for command in (Pause(), Resume(), Cancel()):
            await engine.services.executions.give("default", execution.id, command)

    recording = await record(engine, document, react={"workflow_failed": again, "workflow_paused": stop})
    assert [next(iter(entry)) for entry in recording.test["script"]] == ["retry", "pause", "resume", "cancel"]
    assert recording.test["expect"] == {"status": "cancelled", "path": ["a"]}
    assert recording.notes == []
    assert passes(document, recording)


async def test_a_call_that_was_withdrawn_keeps_its_place_in_the_order(engine: Engine) -> None:
    document = {
        "nodes": [
            call(
                "race",
                "double",
                {"n": "${ item }", "pause_ms": "${ item * 400 }"},
                foreach={"items": [1, 0], "complete_after": 1},
            ),
        ]
    }
    recording = await record(engine, document)
    assert [stub["output"] for stub in recording.test["stubs"]["race"]] == [None, {"result": 0, "unread": True}]
    assert recording.notes == []
    assert passes(document, recording)


async def test_groups_and_loops_are_told_apart_from_their_parts(engine: Engine) -> None:
    document = {
        "nodes": [
            {
                "id": "group",
                "type": "group",
                "repeat": {"max": 2},
                "nodes": [call("inner", "double", {"n": "${ iteration }"})],
            }
        ]
    }
    recording = await record(engine, document)
    assert recording.test["expect"]["path"] == ["inner", "group", "inner", "group"]
    assert [stub["output"]["result"] for stub in recording.test["stubs"]["inner"]] == [0, 2]
    assert recording.notes == []
    assert passes(document, recording)


async def test_what_a_node_made_of_its_output_is_taken_back_where_it_can_be(engine: Engine) -> None:
    document = {
        "nodes": [call("a", "double", {"n": 2}, output={"n": "${ output.result }", "who": "${ execution.id }"})]
    }
    recording = await record(engine, document)
    assert recording.test["stubs"]["a"]["output"] == {"result": 4}


async def test_what_can_not_be_taken_back_is_told(engine: Engine) -> None:
    document = {"nodes": [call("a", "double", {"n": 2}, output="${ output.result + 1 }")]}
    recording = await record(engine, document)
    assert "what a.1 got is not in the log" in recording.notes[0]
    assert "does not pass as it stands" in recording.notes[1]


async def test_only_what_has_ended_is_written_down(engine: Engine) -> None:
    definition = Definition.model_validate({"id": "flow", "nodes": [{"id": "a", "type": "human"}]})
    await engine.publish(definition.document())
    execution = await engine.start("flow")
    async for event in execution.events():
        if event["event"] == "workflow_paused":
            break
    with pytest.raises(Conflict, match="is paused; only one that has ended"):
        recorded_test(await execution.get(), definition, [], name="a")


async def test_variables_of_the_start_are_guessed_where_the_events_alone_are_known(engine: Engine) -> None:
    document = {
        "variables": {"same": 1, "given": 1, "moved": 1},
        "nodes": [{"id": "a", "type": "set", "assign": {"moved": 2}}],
    }
    definition = Definition.model_validate({"id": "flow", **document})
    await engine.publish(definition.document())
    execution = await engine.start("flow", variables={"given": 5, "other": 6})
    await execution.result()
    events = [event async for event in execution.events(follow=False)]
    recording = recorded_test(await execution.get(), definition, events, name="a")
    assert recording.test["variables"] == {"given": 5, "other": 6}
    assert recording.notes == ["the first value of the variable moved is not in the events: set it if it was given"]


@pytest.mark.parametrize(
    ("template", "output", "raw"),
    [
        ("${ output }", 7, 7),
        ("${ output.body.id }", 7, {"body": {"id": 7}}),
        (["${ output.a }", "${ output.b.c }", "${ vars.x }"], [1, 2, 3], {"a": 1, "b": {"c": 2}}),
        ("${ vars.x }", 7, None),
        ({"all": "${ output }", "part": "${ output.a }"}, {"all": {"a": 1}, "part": 1}, {"a": 1}),
    ],
)
def test_a_raw_output_gives_what_the_node_made_of_it(template: Any, output: Any, raw: Any) -> None:
    node = Definition.model_validate({"id": "f", "nodes": [{"id": "a", "type": "set", "output": template}]}).nodes[0]
    assert raw_output(node, output) == raw


@pytest.mark.parametrize("template", ["${ output + 1 }", "a ${ output.b }", ["${ output.a }", "${ output.a.b }"]])
def test_a_computed_output_is_not_taken_back(template: Any) -> None:
    node = Definition.model_validate({"id": "f", "nodes": [{"id": "a", "type": "set", "output": template}]}).nodes[0]
    with pytest.raises(RawOutputUnknown):
        raw_output(node, [1, 2] if isinstance(template, list) else 1)


def test_a_recorded_test_has_a_name_of_its_own() -> None:
    tests = [{"name": "recorded e"}, {"name": "recorded e 2"}]
    definition = Definition.model_validate({"id": "f", "nodes": [{"id": "a", "type": "set"}], "tests": tests})
    assert named(definition, "recorded e") == "recorded e 3"
    assert named(definition, "other") == "other"
