"""`run` and `resume`: an execution in this process, on a database file."""

from typing import Annotated

import typer

from workflow_engine.cli import arguments
from workflow_engine.cli.options import Db, ExecutionId, Functions, Json, output_of, prepared_settings

RUN_HELP = """
Run a definition in this process, to its end.

The execution lives in a database file, a new one under the user's data folder unless --db says which; the path is
named at the start. Whatever happens to this process, `workflow-engine resume` goes on where it stood. Timers are
waited for. When people or signals must come, the command ends with exit code 3 and says how to go on.

A Python file beside FILE that has its name (order.py for order.yaml) is loaded like one named by --functions.

Exit codes: 0 completed, 1 failed or cancelled, 2 refused (definition, input, option, setting, database), 3 waits for
people or signals, 130 interrupted.

\b
Examples:
  workflow-engine run order.yaml --input '{"amount": 12}'
  workflow-engine run order.yaml --input @order.json --json | jq .output
  workflow-engine run order.yaml --db order.db --functions shop.py --set limit=500
"""

RESUME_HELP = """
Go on with an execution that was interrupted, killed, or waits for people or signals.

Same display and exit codes as `run`. An execution that has ended shows its result again. Signals are sent first,
then answers are given. --db may be left out where `run` chose the database.

\b
Examples:
  workflow-engine resume 0198c0de-1111-7000-8000-000000000001
  workflow-engine resume order-7 --db order.db --answer 'approve={"approved": true}'
  workflow-engine resume order-7 --db order.db --signal 'paid={"amount": 12}'
"""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("run", help=RUN_HELP)(run)
    app.command("resume", help=RESUME_HELP)(resume)


def run(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The definition, YAML or JSON; - for standard input.")],
    input_: Annotated[
        str | None, typer.Option("--input", "-i", metavar="JSON|@FILE", help="The input; @- reads standard input.")
    ] = None,
    db: Db = None,
    json_: Json = False,
    execution_id: Annotated[
        str | None, typer.Option("--execution-id", metavar="ID", help="The execution's id; default: a new UUID.")
    ] = None,
    functions: Functions = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=JSON", help="First value of a variable. Repeatable.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="Label of the execution. Repeatable.")
    ] = None,
) -> None:
    from workflow_engine.cli import local
    from workflow_engine.cli.definition import problem_lines, read_definition

    output, settings = output_of(ctx, json_), prepared_settings()
    bytes_max = settings.payload_max_bytes
    definition_file = read_definition(file)
    start = local.Start(
        definition_file,
        arguments.json_value(input_, "--input", bytes_max=bytes_max) if input_ is not None else None,
        arguments.assignments(set_ or [], "--set", bytes_max=bytes_max),
        dict(arguments.pair(text, "--label") for text in label or []),
        arguments.execution_id(execution_id) if execution_id is not None else None,
        functions or [],
    )
    if definition_file.is_valid:
        for line in problem_lines(file, definition_file.problems):
            output.note(line)
    local.run(start, db, settings, output)


def resume(
    ctx: typer.Context,
    execution: ExecutionId,
    db: Db = None,
    signal: Annotated[
        list[str] | None, typer.Option("--signal", metavar="NAME=JSON", help="Send a signal first. Repeatable.")
    ] = None,
    answer: Annotated[
        list[str] | None,
        typer.Option("--answer", metavar="NODE=JSON", help="Answer a person's step (node or step id). Repeatable."),
    ] = None,
    json_: Json = False,
    functions: Functions = None,
) -> None:
    from workflow_engine.cli import local
    from workflow_engine.cli.databases import database_of

    output, settings = output_of(ctx, json_), prepared_settings()
    id_ = arguments.execution_id(execution)
    bytes_max = settings.payload_max_bytes
    local.resume(
        id_,
        local.Place(db or database_of(id_), settings, output),
        signals=[arguments.assignment(text, "--signal", bytes_max=bytes_max) for text in signal or []],
        answers=[arguments.assignment(text, "--answer", bytes_max=bytes_max) for text in answer or []],
        functions_given=functions or [],
    )
