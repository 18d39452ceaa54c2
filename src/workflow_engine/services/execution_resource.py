"""An execution as the API shows it: whole, or as a line of a list."""

from typing import Any

import msgspec

from workflow_engine.models.execution import ExecutionState
from workflow_engine.models.instant import rfc3339
from workflow_engine.store import ExecutionRow


def shown_instant(at: int | None) -> str | None:
    """An instant as text, null where there is none."""
    return rfc3339(at) if at is not None else None


def active_nodes(state: ExecutionState) -> list[str]:
    """The nodes with an active step, in the order in which they were activated."""
    return list(dict.fromkeys(step.node for step in state.steps.values() if step.parent is None))


def execution_resource(row: ExecutionRow, state: ExecutionState) -> dict[str, Any]:
    """An execution with everything that the API shows. It stays as it is when the state goes on."""
    return {
        "execution_id": row.execution_id,
        "workflow_id": row.workflow_id,
        "version": state.version,
        "status": state.status,
        "reason": state.reason,
        "input": state.input,
        "output": state.output,
        "error": state.error,
        "variables": dict(state.variables),
        "progress_percentage": state.progress,
        "sequence": state.sequence,
        "active_nodes": active_nodes(state),
        "priority": row.priority,
        "metadata": row.metadata,
        "labels": row.labels,
        "created_at": shown_instant(row.created_at),
        "started_at": shown_instant(state.started_at),
        "finished_at": shown_instant(state.finished_at),
    }


def new_execution_summary(row: ExecutionRow, state: ExecutionState) -> dict[str, Any]:
    """An execution in a list, as it stands after a transition that its row does not tell of yet."""
    return execution_summary(
        msgspec.structs.replace(
            row,
            status=state.status,
            reason=state.reason,
            progress=state.progress,
            sequence=state.sequence,
            started_at=state.started_at,
            finished_at=state.finished_at,
        )
    )


def execution_summary(row: ExecutionRow) -> dict[str, Any]:
    """An execution in a list: what its row holds, without payloads."""
    return {
        "execution_id": row.execution_id,
        "workflow_id": row.workflow_id,
        "version": row.version,
        "status": row.status,
        "reason": row.reason,
        "progress_percentage": row.progress,
        "sequence": row.sequence,
        "priority": row.priority,
        "metadata": row.metadata,
        "labels": row.labels,
        "created_at": shown_instant(row.created_at),
        "started_at": shown_instant(row.started_at),
        "finished_at": shown_instant(row.finished_at),
    }
