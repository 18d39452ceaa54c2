"""`record`: a finished execution as a test of its definition."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflow_engine.cli import arguments
from workflow_engine.cli.failure import CommandFailed
from workflow_engine.cli.options import ExecutionId, output_of, prepared_settings
from workflow_engine.cli.remote import Server, Tenant, Token, Url

if TYPE_CHECKING:
    from workflow_engine.client import Client
    from workflow_engine.models.workflow import Definition
    from workflow_engine.services.rehearsal.recording import Event, Recording

HELP = """
Write a finished execution as a test of its definition, YAML on stdout.

The definition is written with the test among its `tests`, so `workflow-engine test` runs it as it stands; --only gives
the test alone, to be put under `tests` of a file with comments. What the calls gave becomes stubs; signals, answers and
control come when they came. The test is run once before it is written, and what does not hold is told on stderr.

\b
Examples:
  workflow-engine record order-7 --db order.db -o order-7.yaml
  workflow-engine record order-7 --url http://127.0.0.1:8000 --only
"""

Db = Annotated[str | None, typer.Option("--db", metavar="FILE", help="Ask no server: read this file or database URL.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("record", help=HELP)(record)


def record(
    ctx: typer.Context,
    execution: ExecutionId,
    db: Db = None,
    file: Annotated[str | None, typer.Option("-o", "--output", metavar="FILE", help="Write it to this file.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="The test's name. Default: recorded EXECUTION.")] = None,
    only: Annotated[bool, typer.Option("--only", help="Write the test alone, as a list of one.")] = False,
    url: Url = None,
    token: Token = None,
    tenant: Tenant = None,
) -> None:
    from workflow_engine.cli.yaml_text import yaml_text

    output = output_of(ctx, False)
    id_ = arguments.execution_id(execution)
    server = Server(url, token, tenant)
    if db is not None and server.is_given:
        raise CommandFailed("--db reads a database, --url and --token ask a server", hint="leave one of them out")
    definition, recording = (
        _local(db, tenant, id_, name) if db is not None else server.call(lambda client: _remote(client, id_, name))
    )
    for note in recording.notes:
        output.note(f"warning: {note}")
    document = definition.document()
    tests = [*document.pop("tests", []), recording.test]
    text = yaml_text([recording.test] if only else {**document, "tests": tests})
    if file is None:
        output.text(text.rstrip("\n"))
        return
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandFailed(f"{file} can't be written: {error.strerror}", code="unwritable") from None
    output.note(f"{file}: the test {recording.test['name']!r}, run it by: workflow-engine test {file}")


def _recording(
    execution: dict[str, Any],
    definition: "Definition",
    events: "list[Event]",
    name: str | None,
    variables: dict[str, Any] | None,
) -> "Recording":
    from workflow_engine.services.rehearsal.recording import named, recorded_test

    chosen = named(definition, name or f"recorded {execution['execution_id']}")
    return recorded_test(execution, definition, events, name=chosen, variables=variables)


def _local(db: str, tenant: str | None, execution_id: str, name: str | None) -> "tuple[Definition, Recording]":
    from workflow_engine.cli.databases import existing_database
    from workflow_engine.cli.looking import find_execution
    from workflow_engine.cli.session import run_on_loop
    from workflow_engine.models.event import ExecutionCreated, decode_facts
    from workflow_engine.models.json_value import decode_json
    from workflow_engine.models.tenant import DEFAULT_TENANT
    from workflow_engine.services.event_log import EventLog
    from workflow_engine.store import Store

    prepared_settings()
    url = existing_database(db)

    async def looked() -> "tuple[Definition, Recording]":
        store = await Store.open(url, read_only=True)
        try:
            found = await find_execution(store, tenant or DEFAULT_TENANT, execution_id)
            events: list[Any] = []
            log = EventLog(store)
            while batch := await log.read(found.row, len(events)):
                events += [decode_json(event.encoded) for event in batch]
            first, _ = await store.first_and_last(found.row.tenant_id, execution_id)
        finally:
            await store.close()
        created = [fact for fact in decode_facts(first.events) if isinstance(fact, ExecutionCreated)]
        variables = created[0].variables if created else None
        return found.definition, _recording(found.resource, found.definition, events, name, variables)

    return run_on_loop(looked)


async def _remote(client: "Client", execution_id: str, name: str | None) -> "tuple[Definition, Recording]":
    from workflow_engine.models.execution import TERMINAL
    from workflow_engine.models.workflow import Definition

    execution = await client.execution(execution_id)
    definition = Definition.model_validate(await client.definition(execution["workflow_id"], execution["version"]))
    events: list[Any] = []
    # A stream ends at a terminal event; an execution that was retried after one goes on behind it.
    while execution["status"] in TERMINAL and len(events) < execution["sequence"]:
        async for event in client.follow(execution_id, after=len(events), on_lost=lambda *_: None):
            events.append(event)
    return definition, _recording(execution, definition, events, name, None)
