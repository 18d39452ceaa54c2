"""What must last: definitions, the log of every execution, and what is outstanding. See `docs/storage.md`."""

from workflow_engine.store.records import (
    DefinitionRow,
    ExecutionRow,
    IdempotencyRow,
    LatestDefinition,
    LogRow,
    OutstandingTask,
    Publishing,
    Summary,
    TaskRow,
    TransitionWrite,
    WorkflowRow,
)
from workflow_engine.store.schema import HEAD
from workflow_engine.store.store import QUEUE_MAX, Store, backup_database, require_unused

__all__ = [
    "HEAD",
    "QUEUE_MAX",
    "DefinitionRow",
    "ExecutionRow",
    "IdempotencyRow",
    "LatestDefinition",
    "LogRow",
    "OutstandingTask",
    "Publishing",
    "Store",
    "Summary",
    "TaskRow",
    "TransitionWrite",
    "WorkflowRow",
    "backup_database",
    "require_unused",
]
