"""`executions pause|resume|retry|cancel|terminate`: an operator's hand on an execution on a server."""

from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

from workflow_engine.cli import arguments
from workflow_engine.cli.ending import status_text
from workflow_engine.cli.failure import EXIT_COMPLETED
from workflow_engine.cli.options import ExecutionId, Json, output_of
from workflow_engine.cli.output import Output
from workflow_engine.cli.remote import Server, Tenant, Token, Url

if TYPE_CHECKING:
    from workflow_engine.client.client import Control

PLAIN: "Final[dict[Control, str]]" = {
    "pause": "Start no new step until `resume`; running ones finish and are recorded.",
    "resume": "Go on with an execution that was paused.",
    "retry": "Go on with a failed execution at its failed steps.",
}
CANCEL_HELP = """
Withdraw everything that is under way; --compensate then undoes what was completed.

\b
Examples:
  workflow-engine executions cancel order-7 --reason 'ordered twice'
  workflow-engine executions cancel order-7 --compensate
"""

Reason = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why, for people and the event.")]


def register(group: typer.Typer) -> None:
    """Add the commands to the group `executions`."""
    for action, help_ in PLAIN.items():
        group.command(action, help=help_)(_plain(action))
    group.command("cancel", help=CANCEL_HELP)(cancel)
    group.command("terminate", help="Stop at once: nothing is compensated.")(terminate)


def _plain(action: "Control") -> Any:
    def command(
        ctx: typer.Context,
        execution: ExecutionId,
        url: Url = None,
        token: Token = None,
        tenant: Tenant = None,
        json_: Json = False,
    ) -> None:
        _give(ctx, Server(url, token, tenant), execution, action, {}, json_)

    return command


def cancel(
    ctx: typer.Context,
    execution: ExecutionId,
    reason: Reason = None,
    compensate: Annotated[
        bool, typer.Option("--compensate", help="Undo completed steps in reverse order, by their `compensate` nodes.")
    ] = False,
    url: Url = None,
    token: Token = None,
    tenant: Tenant = None,
    json_: Json = False,
) -> None:
    body = reason_body(reason) | ({"compensate": True} if compensate else {})
    _give(ctx, Server(url, token, tenant), execution, "cancel", body, json_)


def terminate(
    ctx: typer.Context,
    execution: ExecutionId,
    reason: Reason = None,
    url: Url = None,
    token: Token = None,
    tenant: Tenant = None,
    json_: Json = False,
) -> None:
    _give(ctx, Server(url, token, tenant), execution, "terminate", reason_body(reason), json_)


def reason_body(reason: str | None) -> dict[str, Any]:
    """The part of a request's body that says why."""
    return {"reason": reason} if reason is not None else {}


def _give(
    ctx: typer.Context, server: Server, execution: str, action: "Control", body: dict[str, Any], is_json: bool
) -> None:
    output = output_of(ctx, is_json)
    id_ = arguments.execution_id(execution)
    found = server.call(lambda client: client.control(id_, action, body))
    tell_status(output, found)


def tell_status(output: Output, execution: dict[str, Any]) -> NoReturn:
    """Print how an execution stands after a command; ends the process."""
    if output.is_json:
        output.json(execution)
    else:
        output.text(f"{execution['execution_id']} is {status_text(execution)}")
    raise typer.Exit(EXIT_COMPLETED)
