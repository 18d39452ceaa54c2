"""`signal`: a message to an execution on a server."""

from typing import Annotated

import typer

from workflow_engine.cli import arguments
from workflow_engine.cli.failure import EXIT_COMPLETED
from workflow_engine.cli.options import ExecutionId, Json, output_of
from workflow_engine.cli.remote import PAYLOAD_BYTES_MAX, Server, Tenant, Token, Url

HELP = """
Send a signal to an execution on a server. It is kept until a wait takes it.

A connection that is lost on the way does not send it twice. --json prints the execution.

Exit codes: 0 accepted, 1 the server can't be reached, 2 refused (unknown, or it has ended).

\b
Examples:
  workflow-engine signal order-7 paid --payload '{"amount": 12}'
  workflow-engine signal order-7 shipped
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("signal", help=HELP)(signal)


def signal(
    ctx: typer.Context,
    execution: ExecutionId,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The signal's name.")],
    payload: Annotated[
        str | None, typer.Option("--payload", metavar="JSON|@FILE", help="What it says; @- reads standard input.")
    ] = None,
    url: Url = None,
    token: Token = None,
    tenant: Tenant = None,
    json_: Json = False,
) -> None:
    output = output_of(ctx, json_)
    id_ = arguments.execution_id(execution)
    value = arguments.json_value(payload, "--payload", bytes_max=PAYLOAD_BYTES_MAX) if payload is not None else None
    found = Server(url, token, tenant).call(lambda client: client.signal(id_, name, value))
    if output.is_json:
        output.json(found)
    else:
        output.text(f"{id_} has the signal {name}")
    raise typer.Exit(EXIT_COMPLETED)
