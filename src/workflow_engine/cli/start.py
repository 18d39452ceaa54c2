"""`start`: an execution on a server."""

from typing import Annotated, Any

import typer

from workflow_engine.cli import arguments
from workflow_engine.cli.batch import start_batch
from workflow_engine.cli.ending import exit_code_of, status_text, tell_ending
from workflow_engine.cli.failure import EXIT_COMPLETED, CommandFailed
from workflow_engine.cli.options import Json, output_of
from workflow_engine.cli.output import Output
from workflow_engine.cli.remote import PAYLOAD_BYTES_MAX, Server, Tenant, Token, Url

HELP = """
Start an execution on a server; prints its id once the server has made it durable.

A connection that is lost on the way does not start it twice. With --wait the command waits for the end and prints the
output. --json prints the execution.

Exit codes: 0 started, or with --wait completed; 1 failed or cancelled, or the server can't be reached; 2 refused;
3 it has not ended within --wait.

\b
Examples:
  workflow-engine start order --input '{"amount": 12}'
  workflow-engine start order --input @order.json --wait 30s | jq .paid
  id=$(workflow-engine start order --label team=shop) && workflow-engine executions watch $id
  workflow-engine start order --batch orders.jsonl > ids.txt

--batch FILE starts many: JSON lines or a JSON list, each as the API takes it: {"input": ..., "execution_id": ...}. The
ids are printed line by line, in the order of the file; what is refused is told, and the others start (exit code 2).
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("start", help=HELP)(start)


def start(
    ctx: typer.Context,
    workflow: Annotated[str, typer.Argument(metavar="ID", help="The workflow's id.")],
    input_: Annotated[
        str | None, typer.Option("--input", "-i", metavar="JSON|@FILE", help="The input; @- reads standard input.")
    ] = None,
    version: Annotated[
        int | None, typer.Option("--version", metavar="N", min=1, help="Of this version; default: the latest.")
    ] = None,
    wait: Annotated[
        str | None, typer.Option("--wait", metavar="DURATION", help="Wait so long for the end, as in 30s or 5m.")
    ] = None,
    execution_id: Annotated[
        str | None, typer.Option("--execution-id", metavar="ID", help="The execution's id; default: a new UUID.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="Label of the execution. Repeatable.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=JSON", help="First value of a variable. Repeatable.")
    ] = None,
    delay: Annotated[
        str | None, typer.Option("--delay", metavar="DURATION", help="Begin after this time, as in 5m.")
    ] = None,
    batch: Annotated[
        str | None, typer.Option("--batch", metavar="FILE", help="Start what this file lists; - reads standard input.")
    ] = None,
    url: Url = None,
    token: Token = None,
    tenant: Tenant = None,
    json_: Json = False,
) -> None:
    output, server = output_of(ctx, json_), Server(url, token, tenant)
    if batch is not None:
        if any((input_, version, wait, execution_id, label, set_, delay)):
            raise CommandFailed("--batch says everything in its file; leave the other options out")
        raise typer.Exit(start_batch(output, server, workflow, batch))
    wait_s = _seconds(wait, "--wait") if wait is not None else 0.0
    body: dict[str, Any] = {
        "input": arguments.json_value(input_, "--input", bytes_max=PAYLOAD_BYTES_MAX) if input_ is not None else None,
        "variables": arguments.assignments(set_ or [], "--set", bytes_max=PAYLOAD_BYTES_MAX),
        "labels": dict(arguments.pair(text, "--label") for text in label or []),
    }
    chosen = {
        "version": version,
        "execution_id": arguments.execution_id(execution_id) if execution_id is not None else None,
        "delay": delay,
    }
    body |= {name: value for name, value in chosen.items() if value is not None}
    execution = server.call(lambda client: client.start(workflow, body, wait_s=wait_s))
    code = exit_code_of(execution["status"]) if wait is not None else EXIT_COMPLETED
    if output.is_json:
        output.json(execution)
    elif wait is None:
        _tell_start(output, server, execution)
        output.text(execution["execution_id"])
    else:
        _tell_wait(output, server, execution)
    raise typer.Exit(code)


def _seconds(text: str, option: str) -> float:
    from workflow_engine.models.duration import DurationInvalid, parse_duration

    try:
        return parse_duration(text)
    except DurationInvalid as error:
        raise CommandFailed(f"{option}: {error}") from None


def _tell_start(output: Output, server: Server, execution: dict[str, Any]) -> None:
    output.note(f"started {execution['workflow_id']} version {execution['version']}; follow it with:")
    output.note(f"  {server.command('executions watch', execution['execution_id'])}")


def _tell_wait(output: Output, server: Server, execution: dict[str, Any]) -> None:
    output.note(f"execution  {execution['execution_id']} of {execution['workflow_id']} version {execution['version']}")
    if execution["finished_at"] is not None:
        tell_ending(output, execution)
        return
    output.note(f"not ended yet: {status_text(execution)}, {execution['progress_percentage']} %; follow it with:")
    output.note(f"  {server.command('executions watch', execution['execution_id'])}")
