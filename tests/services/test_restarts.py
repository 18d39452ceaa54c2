"""An engine that is closed and opened again: snapshots, timers, pauses and signals are where they were."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workflow_engine import Engine, Execution
from workflow_engine.models.errors import StoreUnavailable
from workflow_engine.store import TransitionWrite

LOOP_THEN_WAIT: dict[str, Any] = {
    "id": "loop",
    "start": ["step"],
    "variables": {"n": 0, "ballast": "x" * 200},
    "nodes": [
        {
            "id": "step",
            "type": "set",
            "assign": {"n": "${ vars.n + 1 }"},
            "output": "${ vars.ballast + string(vars.n) }",
        },
        {"id": "go", "type": "wait", "with": {"signal": "go"}},
        {"id": "last", "type": "set", "output": "${ {'n': vars.n, 'payload': steps.go.output} }"},
    ],
    "connections": [
        {"from": "step", "to": "step", "when": "vars.n % 500 != 0"},
        {"from": "step", "to": "go", "otherwise": True},
        {"from": "go", "to": "step", "when": "vars.n < input"},
        {"from": "go", "to": "last", "otherwise": True},
    ],
}


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'engine.db'}"


async def paused(engine: Engine, execution_id: str) -> dict[str, Any]:
    """The execution once it waits."""
    async for event in engine.execution(execution_id).events():
        if event["event"] == "workflow_paused":
            return await engine.execution(execution_id).get()
    raise AssertionError("it ended without a pause")


async def test_a_long_execution_goes_on_from_its_snapshot(tmp_path: Path) -> None:
    async with Engine(url(tmp_path)) as engine:
        await engine.publish(LOOP_THEN_WAIT)
        execution = await engine.start("loop", 1000)
        await paused(engine, execution.id)
        row, snapshot, log = await engine.store.load("default", execution.id)
        before = await execution.get()
    assert snapshot is not None, "a log of 500 rounds outweighs the first snapshot"
    assert len(log) < row.transition
    async with Engine(url(tmp_path)) as engine:
        execution = engine.execution(execution.id)
        assert await execution.get() == before
        await execution.signal("go", 1)
        await execution.signal("go", 2)
        assert await execution.result() == {"n": 1000, "payload": 2}


async def test_a_timer_that_came_due_while_nobody_ran_fires_at_the_next_start(tmp_path: Path) -> None:
    definition = {"id": "nap", "nodes": [{"id": "nap", "type": "wait", "with": {"for": "1500ms"}}], "output": "awake"}
    async with Engine(url(tmp_path)) as engine:
        await engine.publish(definition)
        execution = await engine.start("nap")
        waiting = await paused(engine, execution.id)
    assert waiting["reason"] == "timer"
    async with Engine(url(tmp_path)) as engine:
        assert await engine.execution(execution.id).result() == "awake"


async def test_an_operators_pause_and_an_unread_signal_outlive_the_process(tmp_path: Path) -> None:
    definition = {"id": "gate", "nodes": [{"id": "go", "type": "wait", "with": {"signal": "go"}}]}
    async with Engine(url(tmp_path)) as engine:
        await engine.publish(definition)
        execution = await engine.start("gate", delay="1ms")
        await paused(engine, execution.id)
        await execution.pause()
        await execution.signal("other", {"kept": True})
    async with Engine(url(tmp_path)) as engine:
        execution = engine.execution(execution.id)
        shown = await execution.get()
        assert (shown["status"], shown["reason"]) == ("paused", "operator")
        await execution.signal("go", "now")
        await execution.resume()
        assert await execution.result() == "now"


async def test_waiting_executions_are_not_held_in_memory(tmp_path: Path) -> None:
    definition = {"id": "gate", "nodes": [{"id": "go", "type": "wait", "with": {"signal": "go"}}]}
    async with Engine(url(tmp_path)) as engine:
        await engine.publish(definition)
        started = [await engine.start("gate") for _ in range(50)]
        assert engine.services.executor.residents == 0
    async with Engine(url(tmp_path)) as engine:
        assert engine.services.executor.residents == 0
        await engine.execution(started[7].id).signal("go")
        await engine.execution(started[7].id).result()


async def test_a_commit_that_landed_without_an_answer_is_heard_of_all_the_same(tmp_path: Path) -> None:
    definition = {"id": "gate", "nodes": [{"id": "go", "type": "wait", "with": {"signal": "go"}}]}
    async with Engine(url(tmp_path)) as engine:
        await engine.publish(definition)
        execution = await engine.start("gate")
        submit = engine.store.submit
        lost = []

        def lose_the_answer(write: TransitionWrite, on_done: Callable[[Exception | None], None]) -> None:
            engine.store.submit = submit  # type: ignore[method-assign]
            lost.append(write.number)
            submit(write, lambda _landed: on_done(StoreUnavailable("the connection was lost")))

        ended = asyncio.create_task(execution.wait())
        events = asyncio.create_task(names_of(execution))
        await paused(engine, execution.id)
        engine.store.submit = lose_the_answer  # type: ignore[method-assign]
        with pytest.raises(StoreUnavailable):
            await execution.signal("go", "now")
        assert lost
        assert (await ended)["output"] == "now"
        assert (await events)[-1] == "workflow_completed"


async def names_of(execution: Execution) -> list[str]:
    """The names of all events up to the end."""
    return [event["event"] async for event in execution.events()]
