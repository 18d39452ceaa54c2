"""`executions`: what a server has, or what a database holds, read beside whoever writes to it."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflow_engine.cli import arguments, bulk, control, versions, watch
from workflow_engine.cli.ending import status_text
from workflow_engine.cli.failure import CommandFailed
from workflow_engine.cli.options import ExecutionId, Json, output_of, prepared_settings
from workflow_engine.cli.remote import Server, Tenant, Token, Url
from workflow_engine.cli.text import duration, table, visible

if TYPE_CHECKING:
    from workflow_engine.client import Client
    from workflow_engine.store import ExecutionRow

HELP = """
Look at executions, follow and steer them.

They are those of a server (--url, WORKFLOW_ENGINE_URL, else http://127.0.0.1:8000). `list` and `show` read a database
instead with --db, also while another process works on it.

\b
Examples:
  workflow-engine executions list --status failed
  workflow-engine executions watch order-7
  workflow-engine executions cancel order-7 --reason 'ordered twice'
  workflow-engine executions fork order-7 --sequence 12
  workflow-engine executions bulk retry --status failed
  workflow-engine executions show order-7 --db order.db
"""

LIST_HELP = """
List executions, newest first: of a server, or with --db of a database.

--json prints {items, next_cursor}.

\b
Examples:
  workflow-engine executions list --workflow order --status paused --label team=finance
  workflow-engine executions list --db order.db --json | jq -r '.items[].execution_id'
"""

SHOW_HELP = """
Show one execution with its steps so far: of a server, or with --db of a database.

--json prints the execution with `steps`; of a database also, where people or signals must come, `waiting_for`.

\b
Examples:
  workflow-engine executions show order-7
  workflow-engine executions show order-7 --db order.db --json | jq '.steps[] | select(.status == "failed")'
"""

STATUSES = ("pending", "running", "paused", "completed", "failed", "cancelled")
STEPS_SHOWN_MAX = 100
"""Steps that the table for people shows; JSON has them all."""

TENANT = "default"

Db = Annotated[str | None, typer.Option("--db", metavar="FILE", help="Ask no server: read this file or database URL.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode=None)
    group.command("list", help=LIST_HELP)(list_)
    group.command("show", help=SHOW_HELP)(show)
    for commands in (watch, control, versions, bulk):
        commands.register(group)
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
    url: Url = None,
    token: Token = None,
    tenant: Tenant = None,
    json_: Json = False,
) -> None:
    output = output_of(ctx, json_)
    if status is not None and status not in STATUSES:
        raise CommandFailed(f"--status {status}: there is no such status", hint=f"one of {', '.join(STATUSES)}")
    labels = dict(arguments.pair(text, "--label") for text in label or [])
    server = _server(db, Server(url, token, tenant))
    if db is not None:
        page = _local_page(db, tenant or TENANT, workflow, status, labels, limit, cursor)
    else:
        filters = {"workflow_id": workflow, "status": status, "limit": str(limit), "cursor": cursor}
        query = [(name, value) for name, value in filters.items() if value is not None]
        query += [("label", f"{key}:{value}") for key, value in labels.items()]
        page = server.call(lambda client: client.executions(query))
    if output.is_json:
        output.json(page)
        return
    heads = ["EXECUTION", "WORKFLOW", "STATUS", "PROGRESS", "CREATED"]
    output.text(table(heads, [_line(item) for item in page["items"]]))
    if page["next_cursor"] is not None:
        output.note(f"there may be more: --cursor {page['next_cursor']}")


def _server(db: str | None, server: Server) -> Server:
    if db is not None and server.is_given:
        raise CommandFailed("--db reads a database, --url and --token ask a server", hint="leave one of them out")
    return server


def _local_page(
    db: str,
    tenant: str,
    workflow: str | None,
    status: str | None,
    labels: dict[str, str],
    limit: int,
    cursor: str | None,
) -> dict[str, Any]:
    from workflow_engine.cli.databases import existing_database
    from workflow_engine.cli.session import run_on_loop
    from workflow_engine.services.execution_resource import execution_summary
    from workflow_engine.store import Store

    prepared_settings()
    before = _cursor_read(cursor) if cursor is not None else None
    url = existing_database(db)

    async def rows() -> "list[ExecutionRow]":
        store = await Store.open(url, read_only=True)
        try:
            return await store.executions(
                tenant, workflow_id=workflow, status=status, labels=labels, limit=limit, before=before
            )
        finally:
            await store.close()

    found = run_on_loop(rows)
    return {
        "items": [execution_summary(row) for row in found],
        "next_cursor": _cursor(found[-1]) if len(found) == limit else None,
    }


def _line(item: dict[str, Any]) -> list[str]:
    version = f"{item['workflow_id']} v{item['version']}"
    created_at = item["created_at"][:19].replace("T", " ")
    return [item["execution_id"], version, status_text(item), f"{item['progress_percentage']} %", created_at]


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
    url: Url = None,
    token: Token = None,
    tenant: Tenant = None,
    json_: Json = False,
) -> None:
    output = output_of(ctx, json_)
    id_ = arguments.execution_id(execution)
    server = _server(db, Server(url, token, tenant))
    if db is not None:
        resource = _local_execution(db, tenant or TENANT, id_)
    else:
        resource = server.call(lambda client: _execution(client, id_))
    if not output.is_json:
        _print(output.text, resource)
        return
    if not resource.get("waiting_for"):
        resource.pop("waiting_for", None)
    output.json(resource)


async def _execution(client: "Client", execution_id: str) -> dict[str, Any]:
    execution = await client.execution(execution_id)
    return {**execution, "steps": [step async for step in client.steps(execution_id)]}


def _local_execution(db: str, tenant: str, execution_id: str) -> dict[str, Any]:
    from workflow_engine.cli.databases import existing_database
    from workflow_engine.cli.looking import find_execution
    from workflow_engine.cli.session import run_on_loop
    from workflow_engine.cli.steps import steps_of
    from workflow_engine.store import Store

    prepared_settings()
    url = existing_database(db)

    async def shown() -> dict[str, Any]:
        store = await Store.open(url, read_only=True)
        try:
            found = await find_execution(store, tenant, execution_id)
            steps = await steps_of(store, tenant, execution_id)
            return {**found.resource, "waiting_for": found.waiting_for, "steps": steps}
        finally:
            await store.close()

    return run_on_loop(shown)


def _print(say: Any, resource: dict[str, Any]) -> None:
    import msgspec

    lines = {
        "execution": resource["execution_id"],
        "workflow": f"{resource['workflow_id']} version {resource['version']}",
        "status": f"{status_text(resource)}, {resource['progress_percentage']} %",
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
