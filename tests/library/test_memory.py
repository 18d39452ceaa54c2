"""What an execution takes is free again at once: nothing waits for the garbage collector."""

import gc
from pathlib import Path
from typing import Any

from workflow_engine import Engine
from workflow_engine.steps.function_registry import FunctionRegistry

DEFINITION: dict[str, Any] = {
    "id": "varied",
    "variables": {"n": 0},
    "nodes": [
        {"id": "first", "type": "function", "with": {"name": "next", "arguments": {"n": "${ input }"}}},
        {"id": "which", "type": "decision"},
        {"id": "never", "type": "set", "output": "${ now }"},
        {
            "id": "group",
            "type": "group",
            "variables": {"m": "${ steps.first.output }"},
            "nodes": [
                {
                    "id": "each",
                    "type": "function",
                    "foreach": {"items": [1, 2, 3]},
                    "with": {"name": "next", "arguments": {"n": "${ item + vars.m }"}},
                },
                {"id": "failing", "type": "fail", "with": {"message": "${ execution.id }"}},
            ],
            "connections": [{"from": "each", "to": "failing"}],
        },
        {"id": "handled", "type": "set", "output": "${ error.type }", "assign": {"n": "${ vars.n + 1 }"}},
    ],
    "connections": [
        {"from": "first", "to": "which"},
        {"from": "which", "to": "never", "when": "input > 10"},
        {"from": "which", "to": "group", "otherwise": True},
        {"from": "group", "to": "handled", "on": "error"},
    ],
}


async def test_executions_leave_nothing_to_the_garbage_collector(tmp_path: Path) -> None:
    functions = FunctionRegistry()

    @functions.function("next")
    async def next_number(n: int) -> int:
        return n + 1

    async with Engine(f"sqlite:///{tmp_path}/memory.db", functions=functions) as engine:
        await engine.publish(DEFINITION)

        async def run(count: int) -> None:
            for _ in range(count):
                assert await (await engine.start("varied", 1)).result() == "failed"

        await run(3)
        gc.collect()
        gc.disable()
        try:
            await run(20)
            assert gc.collect() < 20  # one cycle in each execution would leave more
        finally:
            gc.enable()
