"""`publish`: definitions to a server."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflow_engine.cli.failure import EXIT_COMPLETED, CommandFailed
from workflow_engine.cli.options import Json, output_of
from workflow_engine.cli.output import Output
from workflow_engine.cli.remote import Server, Tenant, Token, Url, failure_of

if TYPE_CHECKING:
    from workflow_engine.client import Client

HELP = """
Publish definitions to a server, each as the first version of its workflow or the next one.

The same content keeps its version, so publishing again does no harm. The server says what is wrong with a definition;
the other files are published all the same.

--json prints {file, id, version, name, is_new}, or for a refused file {file, error}; for several files {files: [...]}.

Exit codes: 0 all are published, 1 the server can't be reached, 2 a definition was refused.

\b
Examples:
  workflow-engine publish order.yaml
  workflow-engine publish flows/*.yaml --url https://flows.example
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("publish", help=HELP)(publish)


def publish(
    ctx: typer.Context,
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Definitions, YAML or JSON; - reads stdin.")],
    url: Url = None,
    token: Token = None,
    tenant: Tenant = None,
    json_: Json = False,
) -> None:
    output = output_of(ctx, json_)
    refused: list[CommandFailed] = []

    async def published(client: "Client") -> list[dict[str, Any]]:
        documents = []
        for name in files:
            try:
                document = await _publish(client, name)
                _tell_published(output, document)
            except CommandFailed as failure:
                refused.append(failure)
                document = {"file": name, **failure.to_dict()}
                _tell_refused(output, name, failure)
            documents.append(document)
        return documents

    documents = Server(url, token, tenant).call(published)
    if output.is_json:
        output.json(documents[0] if len(files) == 1 else {"files": documents})
    raise typer.Exit(max((failure.exit_code for failure in refused), default=EXIT_COMPLETED))


async def _publish(client: "Client", name: str) -> dict[str, Any]:
    from workflow_engine.cli.definition import read_definition
    from workflow_engine.client import RequestRefused

    # The server has the last word on a definition, so here it only has to be readable.
    file = read_definition(name)
    if file.document is None and file.problems:
        raise CommandFailed(f"{name} can't be read", code=file.problems[0].code, problems=file.problems)
    try:
        workflow, is_new = await client.publish(file.document)
    except RequestRefused as refused:
        raise failure_of(refused) from None
    return {"file": name, **{word: workflow[word] for word in ("id", "version", "name")}, "is_new": is_new}


def _tell_published(output: Output, document: dict[str, Any]) -> None:
    if not output.is_json:
        news = "" if document["is_new"] else ", as before"
        output.text(f"{document['file']}: {document['id']} version {document['version']}{news}")


def _tell_refused(output: Output, name: str, failure: CommandFailed) -> None:
    from workflow_engine.cli.definition import problem_lines

    for line in problem_lines(name, failure.problems):
        output.note(line)
    if not failure.problems:
        output.note(f"{name}: error {failure.code}: {failure.message}")
    output.note(f"{name}: not published")
