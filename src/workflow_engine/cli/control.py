"""`executions pause|resume|cancel|terminate|retry`: an operator's hand on an execution on a server."""

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from workflow_engine.cli import arguments
from workflow_engine.cli.ending import status_text
from workflow_engine.cli.failure import EXIT_COMPLETED
from workflow_engine.cli.options import ExecutionId, Json, output_of
from workflow_engine.cli.remote import Server, Tenant, Token, Url

if TYPE_CHECKING:
    from workflow_engine.client.client import Control

PLAIN: "Final[dict[Control, str]]" = {
    "pause": "Start no new step until `resume`; running ones finish and are recorded.",
    "resume": "Go on with an execution that was paused.",
    "retry": "Go on with a failed execution at its failed steps.",
}
WITH_REASON: "Final[dict[Control, str]]" = {
    "cancel": "Withdraw everything that is under way.",
    "terminate": "Stop at once.",
}

Reason = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why, for people and the event.")]


def register(group: typer.Typer) -> None:
    """Add the commands to the group `executions`."""
    for action, help_ in PLAIN.items():
        group.command(action, help=help_)(_plain(action))
    for action, help_ in WITH_REASON.items():
        group.command(action, help=help_)(_with_reason(action))


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


def _with_reason(action: "Control") -> Any:
    def command(
        ctx: typer.Context,
        execution: ExecutionId,
        reason: Reason = None,
        url: Url = None,
        token: Token = None,
        tenant: Tenant = None,
        json_: Json = False,
    ) -> None:
        body = {"reason": reason} if reason is not None else {}
        _give(ctx, Server(url, token, tenant), execution, action, body, json_)

    return command


def _give(
    ctx: typer.Context, server: Server, execution: str, action: "Control", body: dict[str, Any], is_json: bool
) -> None:
    output = output_of(ctx, is_json)
    id_ = arguments.execution_id(execution)
    found = server.call(lambda client: client.control(id_, action, body))
    if output.is_json:
        output.json(found)
    else:
        output.text(f"{id_} is {status_text(found)}")
    raise typer.Exit(EXIT_COMPLETED)
