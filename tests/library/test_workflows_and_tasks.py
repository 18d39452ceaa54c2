"""Workflows, the inbox of people, tests of definitions and backups, through the door of the library."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from library_engines import GATE, opened

from workflow_engine import AlreadyExists, Conflict, DefinitionInvalid, Engine, ExecutionEnded, InputInvalid, NotFound

FORM = {"type": "object", "required": ["approved"], "properties": {"approved": {"type": "boolean"}}}
ASK: dict[str, Any] = {
    "id": "ask",
    "labels": {"team": "finance"},
    "nodes": [{"id": "ask", "type": "human", "with": {"title": "Well?", "form": FORM, "assignees": ["user:ada"]}}],
}


async def test_the_same_content_keeps_its_version(engine: Engine) -> None:
    assert await engine.publish(GATE) == ("gate", 1, True)
    assert await engine.publish(dict(reversed(GATE.items()))) == ("gate", 1, False)
    assert await engine.publish({**GATE, "name": "Gate"}) == ("gate", 2, True)
    assert [shown["version"] async for shown in engine.versions("gate")] == [2, 1]
    assert (await engine.workflow("gate"))["name"] == "Gate"
    assert (await engine.workflow("gate", 1))["definition"]["id"] == "gate"


async def test_an_archived_workflow_takes_no_starts_until_it_is_published_again(engine: Engine) -> None:
    await engine.publish(GATE)
    await engine.publish(ASK)
    assert [shown["id"] async for shown in engine.workflows()] == ["ask", "gate"]
    assert [shown["id"] async for shown in engine.workflows(labels={"team": "finance"})] == ["ask"]
    await engine.archive("gate")
    assert [shown["id"] async for shown in engine.workflows()] == ["ask"]
    with pytest.raises(Conflict, match="archived"):
        await engine.start("gate")
    await engine.publish(GATE)
    await engine.start("gate")


async def test_a_definition_is_checked_without_being_published(engine: Engine) -> None:
    assert await engine.validate(GATE) == {"valid": True, "problems": []}
    for wrong in ({**GATE, "nodes": []}, "a: ["):
        found = await engine.validate(wrong)
        assert not found["valid"]
        assert found["problems"][0]["message"]
    with pytest.raises(NotFound):
        await engine.workflow("gate")


async def test_the_tests_of_a_definition_are_run_without_publishing_it(engine: Engine) -> None:
    tested = {
        "id": "tested",
        "nodes": [{"id": "a", "type": "set", "output": "${ input + 1 }"}],
        "tests": [
            {"name": "right", "input": 1, "expect": {"output": 2}},
            {"name": "wrong", "input": 1, "expect": {"output": 3}},
        ],
    }
    found = await engine.test(tested)
    assert [(test["name"], test["passed"]) for test in found["tests"]] == [("right", True), ("wrong", False)]
    assert (await engine.test(tested, name="right", seeds=3))["tests"][0]["runs"] == 3
    with pytest.raises(DefinitionInvalid):
        await engine.test({"id": "tested"})


async def test_a_person_answers_from_the_inbox(engine: Engine) -> None:
    await engine.publish(ASK)
    execution = await engine.start("ask")
    (task,) = [task async for task in engine.tasks(assignee="user:ada")]
    assert (task["title"], task["execution_id"]) == ("Well?", execution.id)
    assert [task async for task in engine.tasks(assignee="user:bob")] == []
    with pytest.raises(InputInvalid, match="answer"):
        await engine.complete_task(task["task_id"], {"approved": "perhaps"})
    closed = await engine.complete_task(task["task_id"], {"approved": True}, by="ada")
    assert (closed["status"], closed["completed_by"]) == ("completed", "ada")
    assert await execution.result() == {"approved": True}
    assert (await engine.task(task["task_id"]))["status"] == "completed"
    with pytest.raises(Conflict):
        await engine.complete_task(task["task_id"], {"approved": True})


async def test_a_person_who_cannot_answer_fails_the_step(engine: Engine) -> None:
    await engine.publish(ASK)
    execution = await engine.start("ask")
    (task,) = [task async for task in engine.tasks()]
    await engine.fail_task(task["task_id"], type="declined", message="not my department")
    with pytest.raises(ExecutionEnded, match="declined: not my department"):
        await execution.result()


async def test_executions_are_listed_by_when_they_were_made(engine: Engine) -> None:
    await engine.publish(GATE)
    before = datetime.now(UTC)
    await engine.start("gate", metadata={"order": 7})
    hour = timedelta(hours=1)
    assert len([1 async for _ in engine.executions(since=before - hour, metadata={"order": "7"})]) == 1
    assert [1 async for _ in engine.executions(until=before - hour)] == []
    with pytest.raises(ValueError, match="no zone"):
        engine.executions(since=before.replace(tzinfo=None))


async def test_a_backup_is_a_database_of_its_own(engine: Engine, tmp_path: Path) -> None:
    await engine.publish(GATE)
    execution = await engine.start("gate")
    await engine.backup(tmp_path / "copy.db")
    with pytest.raises(AlreadyExists):
        await engine.backup(tmp_path / "copy.db")
    async with opened(tmp_path / "copy.db") as copy:
        await copy.execution(execution.id).signal("go", "in the copy")
        assert await copy.execution(execution.id).result() == "in the copy"
    assert (await execution.get())["status"] == "paused"
