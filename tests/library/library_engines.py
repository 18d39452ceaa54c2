"""Engines on databases of their own, and an execution that waits."""

from pathlib import Path
from typing import Any

from workflow_engine import Engine, Execution, FunctionRegistry, Settings

GATE: dict[str, Any] = {"id": "gate", "nodes": [{"id": "go", "type": "wait", "with": {"signal": "go"}}]}
"""Waits for a signal and gives its payload."""


def opened(
    path: Path, functions: FunctionRegistry | None = None, *, modules: tuple[str, ...] = (), **settings: Any
) -> Engine:
    """An engine to be opened, whatever the environment says.

    Args:
        modules: the setting `functions`.
    """
    chosen = Settings(_env_file=None, functions=modules, **settings)  # type: ignore[call-arg]
    return Engine(f"sqlite:///{path}", functions=functions or FunctionRegistry(), settings=chosen)


async def event_of(execution: Execution, name: str) -> dict[str, Any]:
    """The first event of this name."""
    async for event in execution.events():
        if event["event"] == name:
            return event
    raise AssertionError(f"it ended without {name}")
