"""How an execution ended, as the commands against a server tell it."""

from datetime import datetime
from typing import Any

from workflow_engine.cli.failure import EXIT_COMPLETED, EXIT_FAILED, EXIT_WAITING
from workflow_engine.cli.output import Output
from workflow_engine.cli.text import duration, visible
from workflow_engine.models.execution import COMPLETED, TERMINAL


def exit_code_of(status: str) -> int:
    """0 for completed, 1 for failed and cancelled, 3 for what has not ended."""
    if status not in TERMINAL:
        return EXIT_WAITING
    return EXIT_COMPLETED if status == COMPLETED else EXIT_FAILED


def tell_ending(output: Output, execution: dict[str, Any]) -> None:
    """Say on stderr how it ended, and print the output of one that completed."""
    output.note(f"{execution['status']}{_in_time(execution)}, {execution['sequence']} events")
    error = execution["error"]
    if error:
        where = f" (node {error['node']})" if error.get("node") else ""
        output.note(f"{error.get('type')}: {visible(error.get('message'), 2000)}{where}")
    if execution["status"] == COMPLETED:
        output.json(execution["output"])


def status_text(execution: dict[str, Any]) -> str:
    """Status and reason in one word or two.

    >>> status_text({"status": "paused", "reason": "input"})
    'paused (input)'
    """
    return f"{execution['status']} ({execution['reason']})" if execution["reason"] else str(execution["status"])


def _in_time(execution: dict[str, Any]) -> str:
    if not execution["started_at"] or not execution["finished_at"]:
        return ""
    started, finished = (datetime.fromisoformat(execution[name]) for name in ("started_at", "finished_at"))
    return f" in {duration((finished - started).total_seconds())}"
