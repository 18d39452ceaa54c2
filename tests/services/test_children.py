"""Sub-workflows: an execution that calls another one, waits for it, mirrors it, and takes it along when it ends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from family import BROKEN, ECHO, GATE, calling, end_of, executions, paused, publish, quiet

from workflow_engine import Engine
from workflow_engine.config.settings import Settings
from workflow_engine.models.errors import CommandRejected, StoreUnavailable
from workflow_engine.models.event import StepCancelled, decode_facts
from workflow_engine.store import TransitionWrite


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'engine.db'}"


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    """An engine that has to be at rest, with an empty inbox, when the test is over."""
    async with Engine(url(tmp_path)) as opened:
        yield opened
        await quiet(opened)


async def error_of(engine: Engine, workflow_id: str, value: Any = None) -> dict[str, Any]:
    """The error that an execution fails with."""
    ended = await end_of(engine, (await engine.start(workflow_id, value)).id)
    assert ended["status"] == "failed", ended
    error: dict[str, Any] = ended["error"]
    return error


async def test_the_childs_output_is_the_steps_output(engine: Engine) -> None:
    await publish(engine, ECHO, calling("parent", "echo"))
    execution = await engine.start(
        "parent", {"n": 2**63 - 1}, metadata={"session_id": "s"}, labels={"a": 1}, priority=7
    )
    assert await execution.result() == {"said": {"n": 2**63 - 1}}
    (child,) = await executions(engine, "echo")
    assert (child.metadata, child.labels, child.priority) == ({"session_id": "s"}, {}, 7)
    assert (child.parent_execution_id, child.parent_step_id, child.depth) == (execution.id, "call.1", 1)
    assert (child.status, child.version) == ("completed", 1)


async def test_a_failed_childs_error_becomes_the_steps_and_names_the_child(engine: Engine) -> None:
    parent = calling("parent", "broken")
    parent["nodes"].append({"id": "catch", "type": "set", "output": "${ error }"})
    parent["connections"] = [{"from": "call", "to": "catch", "on": "error"}]
    await publish(engine, BROKEN, parent)
    caught = await (await engine.start("parent")).result()
    (child,) = await executions(engine, "broken")
    assert (caught["type"], caught["message"]) == ("no_stock", "none left")
    assert caught["details"] == {"execution_id": child.execution_id, "details": {"left": 0}}
    assert (caught["node"], caught["attempt"]) == ("call", 1)


async def test_a_cancelled_child_is_the_error_cancelled(engine: Engine) -> None:
    await publish(engine, GATE, calling("parent", "gate"))
    execution = await engine.start("parent")
    await paused(execution)
    (child,) = await executions(engine, "gate")
    await engine.execution(child.execution_id).cancel()
    ended = await end_of(engine, execution.id)
    assert (ended["status"], ended["error"]["type"]) == ("failed", "cancelled")
    assert ended["error"]["details"] == {"execution_id": child.execution_id}


async def test_a_detached_child_is_left_alone(engine: Engine) -> None:
    await publish(engine, GATE, calling("parent", "gate", arguments={"mode": "detach"}))
    execution = await engine.start("parent")
    child_id = await execution.result()
    (child,) = await executions(engine, "gate")
    assert child_id == child.execution_id
    assert (child.parent_execution_id, child.depth) == (None, 1)
    handle = engine.execution(child_id)
    assert (await paused(handle))["reason"] == "input"
    await handle.signal("go", "now")
    assert await handle.result() == "now"


@pytest.mark.parametrize(
    ("called", "arguments", "message"),
    [
        ("nowhere", {}, "the workflow 'nowhere' can't be started: there is no workflow 'nowhere'"),
        ("echo", {"version": 9}, "the workflow 'echo' can't be started: there is no workflow 'echo' with a version 9"),
        ("old", {}, "the workflow 'old' can't be started: the workflow 'old' is archived"),
        ("strict", {}, "the workflow 'strict' can't be started: the input is not valid"),
        ("echo", {"version": "${ input.text }"}, "`version` must be a number or null, not 'x'"),
        ("echo", {"mode": "${ input.text }"}, "`mode` must be wait or detach, not 'x'"),
        ("${ input.n }", {}, "`workflow_id` must be the id of a workflow, not 1"),
    ],
)
async def test_a_child_that_cannot_be_started_is_the_error_invalid_input(
    engine: Engine, called: str, arguments: dict[str, Any], message: str
) -> None:
    strict = {**ECHO, "id": "strict", "input": {"type": "object", "required": ["amount"]}}
    await publish(engine, ECHO, strict, {**ECHO, "id": "old"}, calling("parent", called, arguments=arguments))
    await engine.services.workflows.archive("default", "old")
    error = await error_of(engine, "parent", {"text": "x", "n": 1})
    assert error["type"] == "invalid_input"
    assert error["message"].startswith(message), error["message"]
    if called == "strict":
        assert error["details"] == [{"path": "", "message": "`amount` is missing"}]


async def test_without_a_version_the_newest_at_the_moment_of_the_call_is_taken(engine: Engine) -> None:
    pinned = calling("pinned", "echo", arguments={"version": 1})
    await publish(engine, ECHO, calling("parent", "echo"), pinned)
    await publish(engine, {**ECHO, "output": "second"})
    assert await (await engine.start("parent")).result() == "second"
    assert await (await engine.start("pinned")).result() == {"said": None}


async def test_executions_call_each_other_only_so_deep(engine: Engine) -> None:
    await publish(engine, calling("self", "self"))
    error = await error_of(engine, "self")
    assert error["type"] == "limit_exceeded"
    assert error["message"] == "executions call each other 8 deep at most (MAX_DEPTH), not 9 deep"
    assert [row.depth for row in await executions(engine, "self")] == list(range(9))


async def test_the_depth_is_a_setting(tmp_path: Path) -> None:
    async with Engine(url(tmp_path), settings=Settings(max_depth=0)) as engine:
        await publish(engine, ECHO, calling("parent", "echo"))
        assert (await error_of(engine, "parent"))["type"] == "limit_exceeded"
        assert await executions(engine, "echo") == []


async def test_cancelling_an_execution_cancels_all_below_it(engine: Engine) -> None:
    await publish(engine, GATE, calling("middle", "gate"), calling("top", "middle"))
    execution = await engine.start("top")
    await paused(execution)
    await execution.cancel()
    (middle,) = await executions(engine, "middle")
    (gate,) = await executions(engine, "gate")
    for below in (middle, gate):
        assert (await end_of(engine, below.execution_id))["status"] == "cancelled"


async def test_terminating_an_execution_cancels_its_child(engine: Engine) -> None:
    await publish(engine, GATE, calling("parent", "gate"))
    execution = await engine.start("parent")
    await paused(execution)
    await execution.terminate()
    (child,) = await executions(engine, "gate")
    assert (await end_of(engine, child.execution_id))["status"] == "cancelled"


async def test_a_step_that_timed_out_cancels_its_child(engine: Engine) -> None:
    await publish(engine, GATE, calling("parent", "gate", timeout="300ms", retry={"max_attempts": 1}))
    assert (await error_of(engine, "parent"))["type"] == "timeout"
    (child,) = await executions(engine, "gate")
    assert (await end_of(engine, child.execution_id))["status"] == "cancelled"


async def test_each_attempt_has_a_child_of_its_own(engine: Engine) -> None:
    retry = {"max_attempts": 3, "initial": "10ms", "jitter": 0, "on": ["no_stock"]}
    await publish(engine, BROKEN, calling("parent", "broken", retry=retry))
    error = await error_of(engine, "parent")
    rows = await executions(engine, "broken")
    assert [(row.parent_attempt, row.status) for row in rows] == [(1, "failed"), (2, "failed"), (3, "failed")]
    assert error["details"]["execution_id"] == rows[-1].execution_id


async def test_a_sibling_that_fails_withdraws_the_child(engine: Engine) -> None:
    parent = calling("parent", "gate")
    parent["nodes"] += [
        {"id": "go", "type": "wait", "with": {"signal": "go"}},
        {"id": "stop", "type": "fail", "with": {"type": "enough", "message": "stop"}},
    ]
    parent["connections"] = [{"from": "go", "to": "stop"}]
    await publish(engine, GATE, parent)
    execution = await engine.start("parent")
    await paused(execution)
    (child,) = await executions(engine, "gate")
    await execution.signal("go")
    assert (await end_of(engine, execution.id))["error"]["type"] == "enough"
    assert (await end_of(engine, child.execution_id))["status"] == "cancelled"


async def test_a_parent_mirrors_the_pause_of_its_child_and_neither_stays_in_memory(engine: Engine) -> None:
    await publish(engine, GATE, calling("middle", "gate"), calling("top", "middle"))
    execution = await engine.start("top")
    assert (await paused(execution))["reason"] == "input"
    await quiet(engine)
    (gate,) = await executions(engine, "gate")
    child = engine.execution(gate.execution_id)
    await child.pause()
    await quiet(engine)
    assert (await execution.get())["status"] == "paused"
    await child.signal("go", "payload")
    await child.resume()
    assert await execution.result() == "payload"


async def test_a_parent_of_a_child_that_sleeps_waits_for_a_clock(engine: Engine) -> None:
    nap = {"id": "nap", "nodes": [{"id": "nap", "type": "wait", "with": {"for": "1500ms"}}], "output": "awake"}
    await publish(engine, nap, calling("parent", "nap"))
    execution = await engine.start("parent")
    assert (await paused(execution))["reason"] == "timer"
    assert await execution.result() == "awake"


async def test_an_operators_retry_of_a_child_is_no_news_to_a_step_that_is_over(engine: Engine) -> None:
    parent = calling("parent", "picky")
    picky = {
        "id": "picky",
        "nodes": [
            {"id": "check", "type": "decision"},
            {"id": "no", "type": "fail", "with": {"type": "no", "message": "not yet"}},
            {"id": "yes", "type": "set", "output": "yes"},
        ],
        "connections": [
            {"from": "check", "to": "yes", "when": "vars.ready"},
            {"from": "check", "to": "no", "otherwise": True},
        ],
        "variables": {"ready": False},
    }
    parent["nodes"].append({"id": "go", "type": "wait", "with": {"signal": "go"}})
    parent["connections"] = [{"from": "call", "to": "go", "on": "error"}]
    await publish(engine, picky, parent)
    execution = await engine.start("parent")
    await paused(execution)
    (row,) = await executions(engine, "picky")
    child = engine.execution(row.execution_id)
    await child.retry()
    assert (await child.wait())["status"] == "failed"
    await quiet(engine)
    assert (await execution.get())["active_nodes"] == ["go"]
    await execution.signal("go", "done")
    assert await execution.result() == "done"


async def test_an_operators_retry_of_the_parent_calls_a_new_child(engine: Engine) -> None:
    await publish(engine, GATE, calling("parent", "gate"))
    execution = await engine.start("parent")
    await paused(execution)
    (old,) = await executions(engine, "gate")
    await engine.execution(old.execution_id).cancel()
    assert (await end_of(engine, execution.id))["status"] == "failed"
    await execution.retry()
    async with asyncio.timeout(30):
        while len(rows := await executions(engine, "gate")) < 2:
            await engine.store.probe()
    new = next(row for row in rows if row.execution_id != old.execution_id)
    assert (new.parent_attempt, new.parent_generation) == (1, 1)
    await engine.execution(new.execution_id).signal("go", "second time")
    assert await execution.result() == "second time"


async def test_many_children_of_one_parent(engine: Engine) -> None:
    foreach = {"items": list(range(500)), "concurrency": 100}
    parent = calling("parent", "echo", foreach=foreach, arguments={"input": "${ item }"})
    await publish(engine, ECHO, parent)
    assert await (await engine.start("parent")).result() == [{"said": number} for number in range(500)]
    assert len(await executions(engine, "echo")) == 500


async def test_a_child_cancelled_before_it_began_is_never_started_again(engine: Engine) -> None:
    await publish(engine, GATE, calling("parent", "gate"))
    execution = await engine.start("parent")
    await execution.cancel()  # the child's start is under way
    await quiet(engine)
    assert all(row.status == "cancelled" for row in await executions(engine, "gate"))
    log = await engine.store.log("default", execution.id)
    assert any(isinstance(fact, StepCancelled) for row in log for fact in decode_facts(row.events))
    with pytest.raises(CommandRejected):
        await execution.cancel()


async def test_a_family_outlives_its_process(tmp_path: Path) -> None:
    async with Engine(url(tmp_path)) as engine:
        await publish(engine, GATE, calling("middle", "gate"), calling("top", "middle"))
        execution = await engine.start("top")
        await paused(execution)
        (gate,) = await executions(engine, "gate")
        # An operator's pause of the parent holds nobody else up.
        await execution.pause()
    async with Engine(url(tmp_path)) as engine:
        await engine.execution(gate.execution_id).signal("go", 1)
        await end_of(engine, gate.execution_id)
        await quiet(engine)
        execution = engine.execution(execution.id)
        assert (await execution.get())["status"] == "paused"
        await execution.resume()
        assert await execution.result() == 1


async def test_news_of_a_commit_that_landed_without_an_answer_arrive_all_the_same(engine: Engine) -> None:
    await publish(engine, GATE, calling("parent", "gate"))
    execution = await engine.start("parent")
    await paused(execution)
    (child,) = await executions(engine, "gate")
    submit = engine.store.submit
    lost: list[int] = []

    def lose_the_answer(write: TransitionWrite, on_done: Callable[[Exception | None], None]) -> None:
        if not write.news_put:
            submit(write, on_done)
            return
        engine.store.submit = submit  # type: ignore[method-assign]
        lost.append(write.number)
        submit(write, lambda _landed: on_done(StoreUnavailable("the connection was lost")))

    engine.store.submit = lose_the_answer  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await engine.execution(child.execution_id).signal("go", "now")
    assert lost
    assert await asyncio.wait_for(execution.result(), 20) == "now"


async def test_a_child_whose_start_met_an_outage_is_started_when_it_is_over(engine: Engine) -> None:
    await publish(engine, ECHO, calling("parent", "echo"))
    submit = engine.store.submit
    refused: list[str] = []

    def refuse(write: TransitionWrite, on_done: Callable[[Exception | None], None]) -> None:
        if write.created is None or write.created.workflow_id != "echo":
            submit(write, on_done)
            return
        engine.store.submit = submit  # type: ignore[method-assign]
        refused.append(write.execution_id)
        asyncio.get_running_loop().call_soon(on_done, StoreUnavailable("the disk is gone"))

    engine.store.submit = refuse  # type: ignore[method-assign]
    execution = await engine.start("parent", 1)
    assert await asyncio.wait_for(execution.result(), 20) == {"said": 1}
    assert [row.execution_id for row in await executions(engine, "echo")] == refused
