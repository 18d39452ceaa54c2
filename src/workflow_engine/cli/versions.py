"""`executions fork|migrate`: go on from another point, or with another version."""

from typing import Annotated, Any

import typer

from workflow_engine.cli import arguments
from workflow_engine.cli.control import tell_status
from workflow_engine.cli.failure import EXIT_COMPLETED, EXIT_REFUSED
from workflow_engine.cli.options import ExecutionId, Json, output_of
from workflow_engine.cli.output import Output
from workflow_engine.cli.remote import PAYLOAD_BYTES_MAX, Server, Tenant, Token, Url

FORK_HELP = """
Start a new execution that goes on from an event of this one, which stays as it is.

What was under way there begins anew: calls are made again, waits begin again, people are asked again. Without
--sequence it goes on from the latest event. The new execution's id is printed, alone on stdout. --json prints the new
execution.

\b
Examples:
  workflow-engine executions fork order-7 --sequence 12 --set limit=800
  workflow-engine executions fork order-7 --sequence 12 --version 3
"""

MIGRATE_HELP = """
Let an execution go on with another version of its definition.

It is refused where a token or an active step has no place in that version; --node says where a node went. --dry-run
changes nothing and tells everything that is in the way (exit code 2 if anything is). --json prints the execution or, of
a dry run, {possible, problems, steps}.

\b
Examples:
  workflow-engine executions migrate order-7 --version 3 --dry-run
  workflow-engine executions migrate order-7 --version 3 --node approve=approve-again
"""

Version = Annotated[int, typer.Option("--version", min=1, metavar="N", help="The version to go on with.")]


def register(group: typer.Typer) -> None:
    """Add the commands to the group `executions`."""
    group.command("fork", help=FORK_HELP)(fork)
    group.command("migrate", help=MIGRATE_HELP)(migrate)


def fork(
    ctx: typer.Context,
    execution: ExecutionId,
    sequence: Annotated[
        int | None, typer.Option("--sequence", min=1, metavar="N", help="The event after which to go on.")
    ] = None,
    version: Annotated[
        int | None, typer.Option("--version", min=1, metavar="N", help="Default: the one that it had then.")
    ] = None,
    variables: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=JSON|@FILE", help="Change a variable. Repeatable.")
    ] = None,
    url: Url = None,
    token: Token = None,
    tenant: Tenant = None,
    json_: Json = False,
) -> None:
    output = output_of(ctx, json_)
    id_ = arguments.execution_id(execution)
    body: dict[str, Any] = {"variables": arguments.assignments(variables or [], "--set", bytes_max=PAYLOAD_BYTES_MAX)}
    body |= {name: value for name, value in (("sequence", sequence), ("version", version)) if value is not None}
    server = Server(url, token, tenant)
    forked = server.call(lambda client: client.fork(id_, body))
    if output.is_json:
        output.json(forked)
    else:
        output.note(f"forked {id_} as {forked['workflow_id']} version {forked['version']}; follow it with:")
        output.note(f"  {server.command('executions watch', forked['execution_id'])}")
        output.text(forked["execution_id"])
    raise typer.Exit(EXIT_COMPLETED)


def migrate(
    ctx: typer.Context,
    execution: ExecutionId,
    version: Version,
    nodes: Annotated[
        list[str] | None, typer.Option("--node", metavar="OLD=NEW", help="What a node is called there. Repeatable.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; tell what would happen.")] = False,
    url: Url = None,
    token: Token = None,
    tenant: Tenant = None,
    json_: Json = False,
) -> None:
    output = output_of(ctx, json_)
    id_ = arguments.execution_id(execution)
    body = {
        "version": version,
        "nodes": dict(arguments.pair(text, "--node") for text in nodes or []),
        "dry_run": dry_run,
    }
    found = Server(url, token, tenant).call(lambda client: client.migrate(id_, body))
    if not dry_run:
        tell_status(output, found)
    _tell_rehearsal(output, id_, version, found)


def _tell_rehearsal(output: Output, execution_id: str, version: int, found: dict[str, Any]) -> None:
    if output.is_json:
        output.json(found)
    else:
        for step in found["steps"]:
            output.text(f"{step['step_id']}: {step['from']} -> {step['to'] or '-'}")
        for problem in found["problems"]:
            output.text(f"{problem['path'] or '/'}: {problem['severity']} {problem['code']}: {problem['message']}")
        can = "can" if found["possible"] else "can't"
        output.text(f"{execution_id} {can} go on with version {version}")
    raise typer.Exit(EXIT_COMPLETED if found["possible"] else EXIT_REFUSED)
