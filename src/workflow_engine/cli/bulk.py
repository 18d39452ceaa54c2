"""`executions bulk`: one action for many executions on a server."""

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from workflow_engine.cli import arguments
from workflow_engine.cli.control import Reason, reason_body
from workflow_engine.cli.failure import EXIT_COMPLETED, EXIT_REFUSED, CommandFailed
from workflow_engine.cli.options import Json, output_of
from workflow_engine.cli.remote import Server, Tenant, Token, Url
from workflow_engine.cli.text import visible

if TYPE_CHECKING:
    from workflow_engine.client import Client

HELP = """
Pause, resume, cancel, terminate or retry many executions.

Which ones: their ids, or filters as of `executions list`, or --all. Each takes the action for itself; those whose
status does not allow it are listed, and the others have it (exit code 2 if there are any). --dry-run only prints ids.
--json prints {matched, succeeded, failed}, of a dry run {matched, execution_ids}.

\b
Examples:
  workflow-engine executions bulk retry --workflow order --status failed --since 2026-01-01T00:00:00Z
  workflow-engine executions bulk cancel order-7 order-8 --reason 'ordered twice'
  workflow-engine executions bulk pause --all --dry-run
"""

ACTIONS: Final = ("pause", "resume", "cancel", "terminate", "retry")
REFUSED_SHOWN_MAX: Final = 100


def register(group: typer.Typer) -> None:
    """Add the command to the group `executions`."""
    group.command("bulk", help=HELP)(bulk)


def bulk(
    ctx: typer.Context,
    action: Annotated[str, typer.Argument(metavar="ACTION", help=f"One of {', '.join(ACTIONS)}.")],
    executions: Annotated[list[str] | None, typer.Argument(metavar="EXECUTION", help="Ids.")] = None,
    workflow: Annotated[str | None, typer.Option("--workflow", metavar="ID", help="Of this workflow.")] = None,
    status: Annotated[str | None, typer.Option("--status", help="With this status.")] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="With this label. Repeatable.")
    ] = None,
    metadata: Annotated[
        list[str] | None, typer.Option("--metadata", metavar="KEY=VALUE", help="With this metadata. Repeatable.")
    ] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="INSTANT", help="Created at or after this.")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="INSTANT", help="Created before this.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every execution of the tenant.")] = False,
    reason: Reason = None,
    compensate: Annotated[bool, typer.Option("--compensate", help="Of cancel: undo what was completed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the ids.")] = False,
    url: Url = None,
    token: Token = None,
    tenant: Tenant = None,
    json_: Json = False,
) -> None:
    output = output_of(ctx, json_)
    if action not in ACTIONS:
        raise CommandFailed(f"{visible(action)}: there is no such action", hint=f"one of {', '.join(ACTIONS)}")
    filters = {
        "workflow_id": workflow,
        "status": status,
        "label": [":".join(arguments.pair(text, "--label")) for text in label or []],
        "metadata": dict(arguments.pair(text, "--metadata") for text in metadata or []),
        "since": since,
        "until": until,
    }
    given = {name: value for name, value in filters.items() if value}
    chosen: list[dict[str, Any]] = [{"ids": [arguments.execution_id(one) for one in executions]}] if executions else []
    chosen += ([{"filter": given}] if given else []) + ([{"all": True}] if all_ else [])
    if len(chosen) != 1:
        raise CommandFailed("say which executions: ids, or filters such as --status, or --all")
    body = {"action": action, **chosen[0], **reason_body(reason), "compensate": compensate, "dry_run": dry_run}
    found = Server(url, token, tenant).call(lambda client: _all_pages(client, body))
    if output.is_json:
        output.json(found)
    elif dry_run:
        output.text("\n".join(found["execution_ids"]) if found["execution_ids"] else "no execution matches")
    else:
        for refused in found["failed"][:REFUSED_SHOWN_MAX]:
            output.note(f"{refused['execution_id']}: {refused['code']}: {refused['detail']}")
        output.text(f"{action}: {found['succeeded']} of {found['matched']} executions")
    raise typer.Exit(EXIT_REFUSED if found.get("failed") else EXIT_COMPLETED)


async def _all_pages(client: "Client", body: dict[str, Any]) -> dict[str, Any]:
    """What became of all of them, request after request."""
    page = await client.bulk(body)
    found = page
    while page["next_cursor"] is not None:
        page = await client.bulk({**body, "cursor": page["next_cursor"]})
        for name in ("matched", "succeeded", "failed", "execution_ids"):
            if found[name] is not None:
                found[name] += page[name]
    names = ("matched", "execution_ids") if body["dry_run"] else ("matched", "succeeded", "failed")
    return {name: found[name] for name in names}
