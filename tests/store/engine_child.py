"""A process with an engine: `start` begins an execution and says when it waits, without it goes on with that one."""

import asyncio
import os
import sys
from pathlib import Path

from workflow_engine import Engine
from workflow_engine.steps.function_registry import FunctionRegistry

DEFINITION = {
    "id": "order",
    "nodes": [
        {"id": "reserve", "type": "function", "with": {"name": "reserve", "arguments": {"of": "${ input.amount }"}}},
        {"id": "rest", "type": "wait", "with": {"for": "50ms"}},
        {"id": "paid", "type": "wait", "with": {"signal": "paid"}},
        {"id": "ship", "type": "function", "with": {"name": "ship", "arguments": {"by": "${ steps.paid.output.by }"}}},
    ],
    "connections": [
        {"from": "reserve", "to": "rest"},
        {"from": "rest", "to": "paid"},
        {"from": "paid", "to": "ship"},
    ],
}
"""Two functions with a timer and a signal between them."""

functions = FunctionRegistry()
calls = Path(sys.argv[2])


def note(name: str) -> None:
    with calls.open("a") as file:
        file.write(f"{name}\n")


@functions.function("reserve")
def reserve(of: int) -> int:
    note("reserve")
    return of + 1


@functions.function("ship")
def ship(by: str) -> str:
    note("ship")
    return f"shipped for {by}"


async def main(url: str) -> None:
    async with Engine(url, functions=functions) as engine:
        if len(sys.argv) > 3:
            await engine.publish(DEFINITION)
            execution = await engine.start("order", {"amount": 41}, execution_id="one")
            async for event in execution.events():
                if event["event"] == "workflow_paused" and event["data"]["reason"] == "input":
                    break
            os.write(1, b"waits\n")
            await asyncio.Event().wait()
        execution = engine.execution("one")
        await execution.signal("paid", {"by": "anna"})
        os.write(1, f"{await execution.result()}\n".encode())


asyncio.run(main(sys.argv[1]))
