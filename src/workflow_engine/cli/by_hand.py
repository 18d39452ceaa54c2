"""`steps complete|skip|add-items`: an operator does what a step can't do by itself."""

from typing import Annotated

import typer

from workflow_engine.cli import arguments
from workflow_engine.cli.control import tell_status
from workflow_engine.cli.failure import EXIT_COMPLETED, CommandFailed
from workflow_engine.cli.options import ExecutionId, Json, output_of
from workflow_engine.cli.remote import PAYLOAD_BYTES_MAX, Server, Tenant, Token, Url

HELP = """
Do by hand what a step can't do by itself, on a server.

A step is named by its id, as `executions show` prints it: fetch.1, an item each.1:3, inside a group g.1~fetch.1.

\b
Examples:
  workflow-engine steps complete order-7 pay.1 --output '{"status": 201}'
  workflow-engine steps skip order-7 notify.1
  workflow-engine steps add-items order-7 each.1 --items '[4, 5]'
"""

COMPLETE_HELP = """
Complete a step with a value, as if its work had given it.

The step is active, or it failed its execution, which then goes on. A call that is under way is withdrawn. --json prints
the execution.

\b
Examples:
  workflow-engine steps complete order-7 pay.1 --output '{"status": 201}'
  workflow-engine steps complete order-7 each.1:3 --output @result.json
"""

SKIP_HELP = """
Pass over a step: its output is null, and what follows its success follows.

The step is active, or it failed its execution, which then goes on. --json prints the execution.

\b
Examples:
  workflow-engine steps skip order-7 notify.1
"""

ADD_ITEMS_HELP = """
Give a `foreach` step that is under way more items; its list of results grows with them. --json prints the step.

\b
Examples:
  workflow-engine steps add-items order-7 each.1 --items '[4, 5]'
  workflow-engine steps add-items order-7 each.1 --items @more.json
"""

StepId = Annotated[str, typer.Argument(metavar="STEP", help="The step's id.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode=None)
    group.command("complete", help=COMPLETE_HELP)(complete)
    group.command("skip", help=SKIP_HELP)(skip)
    group.command("add-items", help=ADD_ITEMS_HELP)(add_items)
    app.add_typer(group, name="steps")


def complete(
    ctx: typer.Context,
    execution: ExecutionId,
    step: StepId,
    given: Annotated[
        str | None, typer.Option("--output", metavar="JSON|@FILE", help="What it gives; null without it.")
    ] = None,
    url: Url = None,
    token: Token = None,
    tenant: Tenant = None,
    json_: Json = False,
) -> None:
    output = output_of(ctx, json_)
    id_ = arguments.execution_id(execution)
    value = arguments.json_value(given, "--output", bytes_max=PAYLOAD_BYTES_MAX) if given is not None else None
    tell_status(output, Server(url, token, tenant).call(lambda client: client.complete_step(id_, step, value)))


def skip(
    ctx: typer.Context,
    execution: ExecutionId,
    step: StepId,
    url: Url = None,
    token: Token = None,
    tenant: Tenant = None,
    json_: Json = False,
) -> None:
    output = output_of(ctx, json_)
    id_ = arguments.execution_id(execution)
    tell_status(output, Server(url, token, tenant).call(lambda client: client.skip_step(id_, step)))


def add_items(
    ctx: typer.Context,
    execution: ExecutionId,
    step: StepId,
    items: Annotated[str, typer.Option("--items", metavar="JSON|@FILE", help="A list.")],
    url: Url = None,
    token: Token = None,
    tenant: Tenant = None,
    json_: Json = False,
) -> None:
    output = output_of(ctx, json_)
    id_ = arguments.execution_id(execution)
    values = arguments.json_value(items, "--items", bytes_max=PAYLOAD_BYTES_MAX)
    if not isinstance(values, list) or not values:
        raise CommandFailed("--items: must be a list with something in it", hint="write --items '[4, 5]'")
    found = Server(url, token, tenant).call(lambda client: client.add_items(id_, step, values))
    if output.is_json:
        output.json(found)
    else:
        output.text(f"{step} of {id_} has {len(found['input']['items'])} items")
    raise typer.Exit(EXIT_COMPLETED)
