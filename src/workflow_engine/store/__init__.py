"""What must last: definitions, the log of every execution, and what is outstanding. See `docs/storage.md`."""

from workflow_engine.store.committer import OnDone
from workflow_engine.store.records import (
    DefinitionRow,
    Delivery,
    ExecutionRow,
    Grant,
    IdempotencyRow,
    LatestDefinition,
    LogRow,
    NewsRow,
    OutstandingTask,
    Publishing,
    SlotRow,
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
    "Delivery",
    "ExecutionRow",
    "Grant",
    "IdempotencyRow",
    "LatestDefinition",
    "LogRow",
    "NewsRow",
    "OnDone",
    "OutstandingTask",
    "Publishing",
    "SlotRow",
    "Store",
    "Summary",
    "TaskRow",
    "TransitionWrite",
    "WorkflowRow",
    "backup_database",
    "require_unused",
]
