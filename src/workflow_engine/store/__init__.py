"""What must last: definitions, the log of every execution, and what is outstanding. See `docs/storage.md`."""

from workflow_engine.store.records import (
    DefinitionRow,
    ExecutionRow,
    IdempotencyRow,
    LogRow,
    OutstandingTask,
    Summary,
    TaskRow,
    TransitionWrite,
    WorkflowRow,
)
from workflow_engine.store.store import QUEUE_MAX, Store

__all__ = [
    "QUEUE_MAX",
    "DefinitionRow",
    "ExecutionRow",
    "IdempotencyRow",
    "LogRow",
    "OutstandingTask",
    "Store",
    "Summary",
    "TaskRow",
    "TransitionWrite",
    "WorkflowRow",
]
