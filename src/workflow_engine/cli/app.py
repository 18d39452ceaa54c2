"""The commands together, and the boundary at which whatever goes wrong becomes a message and an exit code."""

import traceback
from typing import Annotated, Final

import typer

from workflow_engine import __version__
from workflow_engine.cli import (
    by_hand,
    db,
    executions,
    graph,
    publish,
    recording,
    run,
    serve,
    signal,
    start,
    testing,
    validate,
)
from workflow_engine.cli.failure import EXIT_BUG, EXIT_COMPLETED, CommandFailed
from workflow_engine.cli.options import Json, output_of
from workflow_engine.cli.output import Output
from workflow_engine.models.errors import InvariantViolated, WorkflowEngineError

DEBUG: Final = "--debug"

HELP = """
A durable workflow engine: definitions as data, executions that survive any crash.

\b
First steps:
  workflow-engine validate order.yaml
  workflow-engine run order.yaml --input '{"amount": 12}'
  workflow-engine resume EXECUTION --answer 'approve={"approved": true}'
  workflow-engine graph order.yaml > order.mmd

Settings come from the environment (WORKFLOW_ENGINE_...) and from .env.
"""

# What `main` of typer raises for wrong options; its click is not always the public package.
USAGE_ERROR: Final = typer.BadParameter.__mro__[2]


def _build() -> typer.Typer:
    app = typer.Typer(
        name="workflow-engine",
        help=HELP,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for commands in (run, validate, testing, graph, serve, publish, start, signal, executions, by_hand, recording, db):
        commands.register(app)
    app.command("version", help="Print the version.")(_version)
    return app


def _options(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
    debug: Annotated[bool, typer.Option(DEBUG, help="Show the traceback of an error; taken by every command.")] = False,
) -> None:
    if show_version:
        print(f"workflow-engine {__version__}")
        raise typer.Exit


def _version(ctx: typer.Context, json_: Json = False) -> None:
    output = output_of(ctx, json_)
    if output.is_json:
        output.json({"version": __version__})
    else:
        output.text(f"workflow-engine {__version__}")


def run_command(words: list[str]) -> int:
    """Run one command; gives its exit code."""
    is_debug = DEBUG in words
    command = typer.main.get_command(_build())
    output = Output("--json" in words)
    with output.reserved():
        try:
            code = command.main(
                [word for word in words if word != DEBUG],
                prog_name="workflow-engine",
                standalone_mode=False,
                obj=output,
            )
        except Exception as error:  # noqa: BLE001 - the edge of the process
            return _report(error, output, is_debug=is_debug)
    return code if isinstance(code, int) else EXIT_COMPLETED


def _report(error: Exception, output: Output, *, is_debug: bool) -> int:
    if isinstance(error, USAGE_ERROR):
        error.show()  # type: ignore[attr-defined]
        error = CommandFailed(error.format_message(), code="usage")  # type: ignore[attr-defined]
        is_told = True
    else:
        is_told = False
    if is_debug:
        traceback.print_exception(error)
    failure = _failure_of(error)
    if not is_told:
        _tell(failure, output)
    if output.is_json:
        output.json(failure.to_dict())
    return failure.exit_code


def _failure_of(error: Exception) -> CommandFailed:
    if isinstance(error, CommandFailed):
        return error
    if isinstance(error, WorkflowEngineError) and not isinstance(error, InvariantViolated):
        return CommandFailed(error.message, code=error.code, problems=getattr(error, "problems", ()))
    return CommandFailed(
        f"an error in the workflow engine: {type(error).__name__}: {error}",
        code="internal",
        exit_code=EXIT_BUG,
        hint="the same command with --debug shows the traceback; an execution that had started can be resumed",
    )


def _tell(failure: CommandFailed, output: Output) -> None:
    output.note(f"error: {failure.message}")
    for problem in failure.problems:
        if len(failure.problems) > 1 or problem.message not in failure.message:
            output.note(f"  {problem.path or '/'}: {problem.severity} {problem.code}: {problem.message}")
        if problem.hint:
            output.note(f"      {problem.hint}")
    if failure.hint:
        output.note(f"hint: {failure.hint}")
