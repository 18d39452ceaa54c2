"""`graph`: a definition as a picture."""

from typing import Annotated

import typer

from workflow_engine.cli.failure import CommandFailed
from workflow_engine.cli.options import Db, output_of, prepared_settings

HELP = """
Draw a definition as a Mermaid flowchart, on stdout.

Any Mermaid viewer shows it: GitHub and GitLab (in a ```mermaid block), editors, mermaid.live. Error connections are
dashed. With --execution the nodes have the colours of their states.

\b
Examples:
  workflow-engine graph order.yaml > order.mmd
  workflow-engine graph order.yaml --execution order-7 --db order.db
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("graph", help=HELP)(graph)


def graph(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The definition, YAML or JSON; - for standard input.")],
    execution: Annotated[
        str | None, typer.Option("--execution", metavar="ID", help="Show how far this execution is.")
    ] = None,
    db: Db = None,
) -> None:
    from workflow_engine.cli.definition import problem_lines, read_definition
    from workflow_engine.cli.mermaid import flowchart

    output = output_of(ctx, False)
    definition_file = read_definition(file)
    definition = definition_file.drawable()
    if definition is None:
        definition = definition_file.required()
    for line in problem_lines(file, definition_file.problems):
        output.note(line)
    if execution is None and db is not None:
        raise CommandFailed("--db goes with --execution", hint="name the execution: --execution ID")
    states = _states(execution, db, definition.id) if execution is not None else None
    output.text(flowchart(definition, states))


def _states(execution: str, db: str | None, workflow_id: str) -> dict[str, str]:
    from workflow_engine.cli.arguments import execution_id
    from workflow_engine.cli.databases import database_of, existing_database
    from workflow_engine.cli.looking import look
    from workflow_engine.cli.progress import Progress

    prepared_settings()
    id_ = execution_id(execution)
    found = look(existing_database(db or database_of(id_)), id_)
    if found.row.workflow_id != workflow_id:
        raise CommandFailed(f"{id_} is an execution of the workflow {found.row.workflow_id}, not of {workflow_id}")
    progress = Progress.of(id_, found.definition, found.state)
    unseen = "skipped" if found.state.is_terminal else "pending"
    return {id_: unseen if node.status == "pending" else node.status for id_, node in progress.nodes.items()}
