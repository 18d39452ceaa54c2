"""`validate`: everything that is wrong with definitions, each problem with its place and the way out."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflow_engine.cli.failure import EXIT_COMPLETED, EXIT_REFUSED
from workflow_engine.cli.options import Json, output_of

if TYPE_CHECKING:
    from workflow_engine.cli.definition import DefinitionFile

HELP = """
Check definitions: all problems at once, with file, place (a JSON pointer), code, and what to do about it.

Exit code 0 if all of them can be published, else 2. Warnings do not count, except with --strict. --json prints
{file, valid, problems}, or for several files {files: [...]} with one of these for each.

\b
Examples:
  workflow-engine validate order.yaml
  workflow-engine validate flows/*.yaml --strict
  workflow-engine validate order.yaml --json | jq '.problems[].path'
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("validate", help=HELP)(validate)


def validate(
    ctx: typer.Context,
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Definitions, YAML or JSON; - reads stdin.")],
    json_: Json = False,
    strict: Annotated[bool, typer.Option("--strict", help="Take warnings for errors.")] = False,
) -> None:
    from workflow_engine.cli.definition import problem_lines, read_definition

    output = output_of(ctx, json_)
    checked = [read_definition(name) for name in files]
    if output.is_json:
        documents = [_document(one, strict) for one in checked]
        output.json(documents[0] if len(documents) == 1 else {"files": documents})
    else:
        for one in checked:
            for line in problem_lines(one.name, one.problems):
                output.text(line)
            output.text(_verdict(one, strict))
    raise typer.Exit(EXIT_COMPLETED if all(_is_valid(one, strict) for one in checked) else EXIT_REFUSED)


def _is_valid(file: "DefinitionFile", strict: bool) -> bool:
    return file.is_valid and not (strict and file.problems)


def _document(file: "DefinitionFile", strict: bool) -> dict[str, Any]:
    problems = [problem.to_dict() for problem in file.problems]
    return {"file": file.name, "valid": _is_valid(file, strict), "problems": problems}


def _verdict(file: "DefinitionFile", strict: bool) -> str:
    errors = sum(problem.severity == "error" for problem in file.problems)
    warnings = len(file.problems) - errors
    counts = [f"{n} {word}{'s' if n > 1 else ''}" for n, word in ((errors, "error"), (warnings, "warning")) if n]
    verdict = "valid" if _is_valid(file, strict) else "not valid"
    return f"{file.name}: {verdict}" + (f" ({', '.join(counts)})" if counts else "")
