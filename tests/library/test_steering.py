"""What can be done with an execution through its handle: the same as over HTTP."""

from typing import Any

import pytest
from library_engines import GATE, event_of

from workflow_engine import CommandRejected, Engine, InputInvalid, LimitExceeded, NotFound

BROKEN: dict[str, Any] = {"id": "broken", "nodes": [{"id": "a", "type": "set", "output": "${ vars.missing }"}]}
EACH: dict[str, Any] = {
    "id": "each",
    "nodes": [
        {
            "id": "each",
            "type": "wait",
            "foreach": {"items": "${ input }", "as": "one"},
            "with": {"signal": "go"},
        }
    ],
}


async def test_a_failed_execution_is_retried_once_its_variables_are_right(engine: Engine) -> None:
    await engine.publish(BROKEN)
    execution = await engine.start("broken")
    assert (await execution.wait())["status"] == "failed"
    assert (await execution.set_variables({"missing": 7}))["variables"] == {"missing": 7}
    assert (await execution.retry())["execution_id"] == execution.id
    assert await execution.result() == 7


async def test_a_fork_goes_on_from_an_event_and_leaves_its_origin_as_it_is(engine: Engine) -> None:
    await engine.publish(GATE)
    origin = await engine.start("gate", labels={"team": "red"})
    waiting = await event_of(origin, "workflow_paused")
    await origin.signal("go", "first")
    assert await origin.result() == "first"
    forked = await origin.fork(sequence=waiting["sequence"], variables={"note": "again"})
    await forked.signal("go", "second")
    shown = await forked.wait()
    assert (shown["output"], shown["variables"], shown["labels"]) == ("second", {"note": "again"}, {"team": "red"})
    with pytest.raises(InputInvalid, match="/sequence"):
        await origin.fork(sequence=999)
    delayed = await engine.start("gate", delay="1h")
    with pytest.raises(CommandRejected, match="pending"):
        await delayed.fork()


async def test_a_migration_is_tried_before_it_is_made(engine: Engine) -> None:
    await engine.publish(GATE)
    execution = await engine.start("gate")
    renamed = {**GATE, "nodes": [{"id": "gone", "type": "wait", "with": {"signal": "go"}}]}
    version = (await engine.publish(renamed)).version
    tried = await execution.migrate(version, dry_run=True)
    assert (tried["possible"], tried["steps"]) == (False, [{"step_id": "go.1", "from": "go", "to": None}])
    with pytest.raises(CommandRejected):
        await execution.migrate(version)
    assert (await execution.migrate(version, nodes={"go": "gone"}))["version"] == 2
    with pytest.raises(InputInvalid, match="/version"):
        await execution.migrate(9)


async def test_steps_are_looked_at_completed_and_skipped_by_hand(engine: Engine) -> None:
    await engine.publish({**GATE, "nodes": [*GATE["nodes"], {**GATE["nodes"][0], "id": "then"}]})
    execution = await engine.start("gate")
    assert [step["step_id"] async for step in execution.steps()] == ["go.1", "then.1"]
    assert (await execution.complete_step("go.1", {"by": "hand"}))["status"] == "paused"
    assert (await execution.step("go.1"))["output"] == {"by": "hand"}
    assert (await execution.skip_step("then.1"))["status"] == "completed"
    assert (await execution.step("then.1"))["status"] == "skipped"
    with pytest.raises(CommandRejected):
        await execution.skip_step("go.1")
    with pytest.raises(NotFound, match=r"never\.1"):
        await execution.complete_step("never.1")


async def test_a_running_foreach_takes_more_items(engine: Engine) -> None:
    await engine.publish(EACH)
    execution = await engine.start("each", [1])
    await event_of(execution, "workflow_paused")
    await execution.add_items("each.1", [2, 3])
    for payload in "abc":
        await execution.signal("go", payload)
    assert sorted(await execution.result()) == ["a", "b", "c"]
    with pytest.raises(NotFound):
        await execution.add_items("never.1", [1])
    with pytest.raises(InputInvalid, match="/items"):
        await execution.add_items("each.1", [])


async def test_cancelling_undoes_what_was_completed_where_it_is_asked_to(engine: Engine) -> None:
    undone = {
        "id": "undone",
        "nodes": [
            {"id": "book", "type": "set", "output": 1, "compensate": "release"},
            {"id": "go", "type": "wait", "with": {"signal": "go"}},
            {"id": "release", "type": "set", "output": 2},
        ],
        "connections": [{"from": "book", "to": "go"}],
    }
    await engine.publish(undone)
    for compensate, status in ((False, "completed"), (True, "compensated")):
        execution = await engine.start("undone")
        await event_of(execution, "workflow_paused")
        await execution.cancel("no longer wanted", compensate=compensate)
        assert (await execution.wait())["status"] == "cancelled"
        assert (await execution.step("book.1"))["status"] == status


async def test_an_execution_explains_where_it_stands(engine: Engine) -> None:
    await engine.publish(GATE)
    execution = await engine.start("gate")
    await event_of(execution, "workflow_paused")
    explained = await execution.explain()
    assert (explained["execution_id"], explained["nodes"][0]["step_id"]) == (execution.id, "go.1")


async def test_the_history_is_what_was_followed(engine: Engine) -> None:
    await engine.publish(GATE)
    execution = await engine.start("gate")
    await execution.signal("go", 1)
    followed = [event async for event in execution.events()]
    assert [event async for event in execution.events(follow=False)] == followed
    assert [event async for event in execution.events(after=2, follow=False)] == followed[2:]


async def test_many_starts_are_answered_one_by_one(engine: Engine) -> None:
    await engine.publish(
        {"id": "echo", "input": {"type": "integer"}, "nodes": [{"id": "a", "type": "set", "output": "${ input }"}]}
    )
    first, text, unknown, same = await engine.start_many(
        "echo",
        [{"input": 1, "execution_id": "one"}, {"input": "many"}, {"inputs": 1}, {"input": 2, "execution_id": "one"}],
    )
    assert not isinstance(first, Exception)
    assert await first.result() == 1
    assert isinstance(text, InputInvalid)
    assert isinstance(unknown, InputInvalid)
    assert "unknown field `inputs`" in unknown.message
    assert getattr(same, "code", None) == "already_exists"
    with pytest.raises(LimitExceeded):
        await engine.start_many("echo", [{}] * 1_001)
    with pytest.raises(NotFound):
        await engine.start_many("nope", [{}])


async def test_many_executions_are_steered_and_those_that_cannot_be_are_named(engine: Engine) -> None:
    await engine.publish(GATE)
    started = [await engine.start("gate", labels={"team": "red" if number else "blue"}) for number in range(3)]
    red = [shown["execution_id"] async for shown in engine.executions(labels={"team": "red"})]
    assert red == [started[2].id, started[1].id]
    outcome = await engine.steer("cancel", [*red, red[0], "nope"], reason="the budget is spent")
    assert (outcome["matched"], outcome["succeeded"]) == (3, 2)
    assert [failed["execution_id"] for failed in outcome["failed"]] == ["nope"]
    assert [shown["execution_id"] async for shown in engine.executions(status="paused")] == [started[0].id]
    with pytest.raises(InputInvalid, match="/action"):
        await engine.steer("stop", red)  # type: ignore[arg-type]
