"""`executions`: what a database holds, read beside whoever writes to it."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflow_engine.cli import arguments
from workflow_engine.cli.failure import CommandFailed
from workflow_engine.cli.options import Db, ExecutionId, Json, output_of, prepared_settings
from workflow_engine.cli.text import duration, table, visible

if TYPE_CHECKING:
    from workflow_engine.store import ExecutionRow

HELP = """
Look at the executions of a database, also while another process works on it.

\b
Examples:
  workflow-engine executions list --db order.db --status failed
  workflow-engine executions show order-7 --db order.db
"""

LIST_HELP = """
List executions, newest first.

Without --db the configured database (WORKFLOW_ENGINE_DATABASE_URL) is read. --json prints {items, next_cursor}.

\b
Examples:
  workflow-engine executions list --db order.db
  workflow-engine executions list --workflow order --status paused --label team=finance --json
"""

SHOW_HELP = """
Show one execution with its steps so far.

--db may be left out where `run` chose the database. --json prints the execution with `steps` and, where people or
signals must come, `waiting_for`.

\b
Examples:
  workflow-engine executions show order-7 --db order.db
  workflow-engine executions show order-7 --db order.db --json | jq '.steps[] | select(.status == "failed")'
"""

STATUSES = ("pending", "running", "paused", "completed", "failed", "cancelled")
STEPS_SHOWN_MAX = 100
"""Steps that the table for people shows; JSON has them all."""

Tenant = Annotated[str, typer.Option("--tenant", metavar="T", help="Whose executions.")]
TENANT = "default"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode=None)
    group.command("list", help=LIST_HELP)(list_)
    group.command("show", help=SHOW_HELP)(show)
    app.add_typer(group, name="executions")


def list_(
    ctx: typer.Context,
    db: Db = None,
    workflow: Annotated[str | None, typer.Option("--workflow", metavar="ID", help="Of this workflow only.")] = None,
    status: Annotated[str | None, typer.Option("--status", help=f"One of {', '.join(STATUSES)}.")] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="With this label only. Repeatable.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="At most so many.")] = 50,
    cursor: Annotated[str | None, typer.Option("--cursor", help="The next_cursor of the page before.")] = None,
    tenant: Tenant = TENANT,
    json_: Json = False,
) -> None:
    from workflow_engine.cli.databases import existing_database
    from workflow_engine.cli.session import run_on_loop
    from workflow_engine.store import Store

    output, settings = output_of(ctx, json_), prepared_settings()
    if status is not None and status not in STATUSES:
        raise CommandFailed(f"--status {status}: there is no such status", hint=f"one of {', '.join(STATUSES)}")
    labels = dict(arguments.pair(text, "--label") for text in label or [])
    before = _cursor_read(cursor) if cursor is not None else None
    url = existing_database(db) if db is not None else settings.database_url

    async def rows() -> "list[ExecutionRow]":
        store = await Store.open(url, read_only=True)
        try:
            return await store.executions(
                tenant, workflow_id=workflow, status=status, labels=labels, limit=limit, before=before
            )
        finally:
            await store.close()

    found = run_on_loop(rows)
    next_cursor = _cursor(found[-1]) if len(found) == limit else None
    if output.is_json:
        output.json({"items": [_item(row) for row in found], "next_cursor": next_cursor})
        return
    output.text(table(["EXECUTION", "WORKFLOW", "STATUS", "PROGRESS", "CREATED"], [_line(row) for row in found]))
    if next_cursor is not None:
        output.note(f"there may be more: --cursor {next_cursor}")


def _item(row: "ExecutionRow") -> dict[str, Any]:
    from workflow_engine.models.instant import rfc3339

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
        "created_at": rfc3339(row.created_at),
        "started_at": rfc3339(row.started_at) if row.started_at is not None else None,
        "finished_at": rfc3339(row.finished_at) if row.finished_at is not None else None,
    }


def _line(row: "ExecutionRow") -> list[str]:
    item = _item(row)
    status = f"{row.status} ({row.reason})" if row.reason else row.status
    version = f"{row.workflow_id} v{row.version}"
    return [row.execution_id, version, status, f"{row.progress} %", item["created_at"][:19].replace("T", " ")]


def _cursor(row: "ExecutionRow") -> str:
    return urlsafe_b64encode(f"{row.created_at}/{row.execution_id}".encode()).decode().rstrip("=")


def _cursor_read(cursor: str) -> tuple[int, str]:
    try:
        created_at, _, execution_id = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().partition("/")
        return int(created_at), execution_id
    except ValueError:
        raise CommandFailed(f"--cursor {visible(cursor)} is no cursor", hint="take next_cursor of a list") from None


def show(
    ctx: typer.Context,
    execution: ExecutionId,
    db: Db = None,
    tenant: Tenant = TENANT,
    json_: Json = False,
) -> None:
    from workflow_engine.cli.databases import database_of, existing_database
    from workflow_engine.cli.looking import find_execution
    from workflow_engine.cli.session import run_on_loop
    from workflow_engine.cli.steps import steps_of
    from workflow_engine.store import Store

    output = output_of(ctx, json_)
    prepared_settings()
    id_ = arguments.execution_id(execution)
    url = existing_database(db or database_of(id_))

    async def shown() -> dict[str, Any]:
        store = await Store.open(url, read_only=True)
        try:
            found = await find_execution(store, tenant, id_)
            steps = await steps_of(store, tenant, id_, {node.id: node.type for node in found.definition.nodes})
            return {**found.resource, "waiting_for": found.waiting_for, "steps": steps}
        finally:
            await store.close()

    resource = run_on_loop(shown)
    if not output.is_json:
        _print(output.text, resource)
        return
    if not resource["waiting_for"]:
        del resource["waiting_for"]
    output.json(resource)


def _print(say: Any, resource: dict[str, Any]) -> None:
    import msgspec

    status = f"{resource['status']} ({resource['reason']})" if resource["reason"] else resource["status"]
    lines = {
        "execution": resource["execution_id"],
        "workflow": f"{resource['workflow_id']} version {resource['version']}",
        "status": f"{status}, {resource['progress_percentage']} %",
        "started": resource["started_at"],
        "finished": resource["finished_at"],
    }
    for name in ("labels", "metadata", "input", "variables", "output", "error"):
        if resource[name] not in (None, {}):
            lines[name] = visible(msgspec.json.encode(resource[name]).decode(), 500)
    for name, value in lines.items():
        if value is not None:
            say(f"{name:<10} {value}")
    steps = resource["steps"]
    if len(steps) > STEPS_SHOWN_MAX:
        say(f"\nthe last {STEPS_SHOWN_MAX} of {len(steps)} steps (--json has all):")
    else:
        say("")
    say(table(["STEP", "TYPE", "STATUS", "ATTEMPTS", "TOOK", "ERROR"], [_row(s) for s in steps[-STEPS_SHOWN_MAX:]]))


def _row(step: dict[str, Any]) -> list[object]:
    from datetime import datetime

    took = ""
    if step["started_at"] and step["finished_at"]:
        started, finished = (datetime.fromisoformat(step[name]) for name in ("started_at", "finished_at"))
        took = duration((finished - started).total_seconds())
    error = f"{step['error'].get('type')}: {step['error'].get('message')}" if step["error"] else ""
    return [step["step_id"], step["type"], step["status"], step["attempts"], took, error]
