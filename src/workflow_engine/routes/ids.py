"""Ids in paths. One that no object can have is answered like one that no object has, without asking the database."""

import re
from typing import Annotated, Final

from fastapi import Depends, Path

from workflow_engine.models.errors import NotFound
from workflow_engine.services.attributes import EXECUTION_ID

_WORKFLOW = re.compile(r"[a-z0-9][a-z0-9_-]{0,127}")
_EXECUTION = re.compile(EXECUTION_ID)
_TASK = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SHOWN_CHARS_MAX: Final = 128


def _require(pattern: re.Pattern[str], kind: str, given: str) -> str:
    if pattern.fullmatch(given) is None:
        raise NotFound(f"there is no {kind} {given[:SHOWN_CHARS_MAX]!r}")
    return given


# Coroutines, because FastAPI runs plain functions in threads.
async def _workflow_id(workflow_id: Annotated[str, Path(examples=["expense-approval"])]) -> str:
    return _require(_WORKFLOW, "workflow", workflow_id)


async def _execution_id(
    execution_id: Annotated[str, Path(examples=["0197a2c4-5e0a-7c31-9d55-3f0b8f2f6f10"])],
) -> str:
    return _require(_EXECUTION, "execution", execution_id)


async def _task_id(task_id: Annotated[str, Path(examples=["5f0c1b1e-8d2a-4c1f-9b1e-2f6d1c0a9e77"])]) -> str:
    return _require(_TASK, "task", task_id)


WorkflowId = Annotated[str, Depends(_workflow_id)]
ExecutionId = Annotated[str, Depends(_execution_id)]
TaskId = Annotated[str, Depends(_task_id)]
