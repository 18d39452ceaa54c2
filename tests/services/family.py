"""Workflows that call each other, and how tests look at the executions that come of it."""

import asyncio
from typing import Any

from workflow_engine import Engine, Execution
from workflow_engine.models.execution import TERMINAL
from workflow_engine.store import ExecutionRow


def calling(workflow_id: str, called: str, **more: Any) -> dict[str, Any]:
    """A workflow with one step, `call`, that calls another one with its own input; `more` are attributes of the node.

    What stands under `arguments` in `more` goes into the node's `with`.
    """
    arguments = {"workflow_id": called, "input": "${ input }", **more.pop("arguments", {})}
    return {"id": workflow_id, "nodes": [{"id": "call", "type": "workflow", "with": arguments, **more}]}


ECHO: dict[str, Any] = {"id": "echo", "nodes": [{"id": "say", "type": "set", "output": "${ {'said': input} }"}]}

GATE: dict[str, Any] = {"id": "gate", "nodes": [{"id": "go", "type": "wait", "with": {"signal": "go"}}]}

BROKEN: dict[str, Any] = {
    "id": "broken",
    "nodes": [
        {"id": "f", "type": "fail", "with": {"type": "no_stock", "message": "none left", "details": {"left": 0}}}
    ],
}


async def publish(engine: Engine, *definitions: dict[str, Any]) -> None:
    for definition in definitions:
        await engine.publish(definition)


async def executions(engine: Engine, workflow_id: str) -> list[ExecutionRow]:
    """The executions of a workflow, oldest first."""
    return (await engine.store.executions("default", workflow_id=workflow_id, limit=500))[::-1]


async def paused(execution: Execution) -> dict[str, Any]:
    """The execution once it waits."""
    async for event in execution.events():
        if event["event"] == "workflow_paused":
            return await execution.get()
    raise AssertionError("it ended without a pause")


async def quiet(engine: Engine) -> None:
    """Returns once no news are on their way and nobody has anything to do."""
    async with asyncio.timeout(30):
        while await engine.store.news() or engine.services.executor.residents:
            await engine.store.probe()


async def end_of(engine: Engine, execution_id: str) -> dict[str, Any]:
    """The execution once it has ended."""
    ended = await asyncio.wait_for(engine.execution(execution_id).wait(), 30)
    assert ended["status"] in TERMINAL
    return ended
