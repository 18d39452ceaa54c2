"""Executions in this process, on a database file: what `run` and `resume` do once their options are read."""

import shlex
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import typer
from uuid_utils import uuid7

from workflow_engine.cli import databases, functions
from workflow_engine.cli.definition import DefinitionFile
from workflow_engine.cli.entry import EXIT_INTERRUPTED
from workflow_engine.cli.failure import EXIT_COMPLETED, EXIT_FAILED, EXIT_WAITING, CommandFailed
from workflow_engine.cli.interrupts import Interrupts
from workflow_engine.cli.looking import look, unfinished
from workflow_engine.cli.output import Output
from workflow_engine.cli.progress import waiting_text
from workflow_engine.cli.session import Outcome, Session, hurry, run_on_loop
from workflow_engine.cli.text import duration, visible
from workflow_engine.config.settings import Settings
from workflow_engine.library import Engine, Execution
from workflow_engine.models.errors import AlreadyExists, InputInvalid, StoreUnavailable
from workflow_engine.models.execution import COMPLETED, ExecutionState
from workflow_engine.models.tenant import DEFAULT_TENANT
from workflow_engine.models.workflow import Definition
from workflow_engine.services.input_schema import input_checker
from workflow_engine.store import Store

Named = Sequence[tuple[str, Any]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where executions run: the database as the user names it, and what is said on the way."""

    database: str
    settings: Settings
    output: Output

    @property
    def url(self) -> str:
        """The database's URL."""
        return databases.database_url(self.database)

    @property
    def shown(self) -> str:
        """The database as another command takes it, from any folder."""
        return self.database if "://" in self.database else str(Path(self.database).absolute())

    def command(self, name: str, execution_id: str) -> str:
        """A command to go on with."""
        return f"workflow-engine {name} {execution_id} --db {shlex.quote(self.shown)}"

    def announce(self, execution_id: str, workflow_id: str, loaded: Sequence[str]) -> None:
        """Name everything that a user needs to find the execution again."""
        self.output.note(f"execution  {execution_id} of {workflow_id}")
        self.output.note(f"database   {self.shown}")
        for name in loaded:
            self.output.note(f"functions  {name}")


@dataclass(frozen=True, slots=True)
class Start:
    """What `run` starts."""

    file: DefinitionFile
    input: Any
    variables: dict[str, Any]
    labels: dict[str, str]
    execution_id: str | None
    functions: Sequence[str]


def run(start: Start, database: str | None, settings: Settings, output: Output) -> None:
    """Start an execution and follow it; ends the command with its exit code."""
    definition = start.file.required()
    problems = input_checker(definition.input)(start.input)
    if problems:  # before a database is made for it
        raise InputInvalid(problems)
    execution_id = start.execution_id or str(uuid7())
    sibling = functions.sibling_of(start.file.name)
    loaded = functions.load([*start.functions, *([str(sibling)] if sibling is not None else [])])
    place = Place(database or databases.fresh_database(definition.id, execution_id), settings, output)
    _load_neighbours(place, is_given=bool(start.functions))
    place.announce(execution_id, definition.id, loaded)

    async def work(engine: Engine) -> Execution:
        published = await engine.publish(start.file.document)
        try:
            return await engine.start(
                definition.id,
                start.input,
                version=published.version,
                execution_id=execution_id,
                variables=start.variables,
                metadata=functions.metadata_of(start.file.name, loaded),
                labels=start.labels,
            )
        except AlreadyExists:
            raise CommandFailed(
                f"the execution {execution_id} exists already in {place.shown}",
                code="already_exists",
                hint=f"go on with it by: {place.command('resume', execution_id)}",
            ) from None

    _finish(place, _drive(place, definition, work, None))


def resume(
    execution_id: str,
    place: Place,
    *,
    signals: Named,
    answers: Named,
    functions_given: Sequence[str],
) -> None:
    """Go on with an execution and follow it; ends the command with its exit code."""
    databases.existing_database(place.database)
    found = look(place.url, execution_id)
    if found.state.is_terminal:
        if signals or answers:
            place.output.note(f"the execution is {found.state.status}; signals and answers were not delivered")
        _finish(place, Outcome(found.resource))
    loaded = functions.load(functions_given or functions.remembered(found.row.metadata))
    _load_neighbours(place, is_given=bool(functions_given))
    place.announce(execution_id, found.row.workflow_id, loaded)

    async def work(engine: Engine) -> Execution:
        execution = engine.execution(execution_id)
        if found.state.is_operator_paused:
            await execution.resume()
        for name, payload in signals:
            await execution.signal(name, payload)
        for asked, answer in answers:
            await execution.answer(asked, answer)
        return execution

    _finish(place, _drive(place, found.definition, work, found.state))


def _drive(
    place: Place, definition: Definition, begin: Callable[[Engine], Awaitable[Execution]], before: ExecutionState | None
) -> Outcome:
    """Open an engine, begin, and follow the execution to where it ends or waits."""

    async def drive() -> Outcome:
        interrupts = Interrupts()
        try:
            async with Engine(place.url, settings=place.settings) as engine:
                execution = await begin(engine)
                outcome = await Session(engine, execution, definition, interrupts).follow(before)
                if outcome.is_interrupted:
                    grace_s = hurry(engine, interrupts)
                    left = f"running steps get up to {duration(grace_s)}"
                    place.output.note(f"stopping; {left}, a second signal stops at once")
                return outcome
        finally:
            interrupts.close()

    return run_on_loop(drive)


def _load_neighbours(place: Place, *, is_given: bool) -> None:
    """Load what the other unfinished executions of a database need: the engine goes on with them, too."""
    if is_given or "://" in place.database or not Path(place.database).is_file():
        return

    async def metadata() -> list[dict[str, Any]]:
        try:
            store = await Store.open(place.url, read_only=True)
        except StoreUnavailable:
            return []  # empty, or of an older release: whoever opens it for writing says so, or makes it new
        try:
            return [row.metadata for row in await unfinished(store, DEFAULT_TENANT)]
        finally:
            await store.close()

    for one in run_on_loop(metadata):
        functions.load(functions.remembered(one))


def _finish(place: Place, outcome: Outcome) -> NoReturn:
    """Show where the execution stands, and end the command with the exit code that says so."""
    output, resource = place.output, outcome.resource
    if output.is_json:
        extra = {"waiting_for": outcome.waiting_for} if outcome.is_waiting else {}
        output.json({**resource, "database": place.shown, **extra})
    elif resource["status"] == COMPLETED:
        _summarise(place, outcome)
        output.json(resource["output"])
        raise typer.Exit(EXIT_COMPLETED)
    _summarise(place, outcome)
    raise typer.Exit(_exit_code(outcome))


def _exit_code(outcome: Outcome) -> int:
    if outcome.is_interrupted:
        return EXIT_INTERRUPTED
    if outcome.is_waiting:
        return EXIT_WAITING
    return EXIT_COMPLETED if outcome.resource["status"] == COMPLETED else EXIT_FAILED


def _summarise(place: Place, outcome: Outcome) -> None:
    note, resource = place.output.note, outcome.resource
    go_on = place.command("resume", resource["execution_id"])
    if outcome.is_interrupted:
        note(f"interrupted at {resource['progress_percentage']} %; nothing is lost. Go on with:\n  {go_on}")
    elif outcome.is_waiting:
        note("waits for people or signals:")
        for wait in outcome.waiting_for:
            note(f"  {_wait_line(wait)}")
        note("go on with:")
        for option in dict.fromkeys(filter(None, map(_wait_option, outcome.waiting_for[:10]))):
            note(f"  {go_on} {option}")
    else:
        _summarise_end(place, resource)


def _summarise_end(place: Place, resource: dict[str, Any]) -> None:
    note, error = place.output.note, resource["error"]
    note(f"{resource['status']}{_in_time(resource)}, {resource['sequence']} events")
    if error:
        where = f" (node {error['node']})" if error.get("node") else ""
        note(f"{error.get('type')}: {visible(error.get('message'), 2000)}{where}")
    if resource["status"] != COMPLETED:
        note(f"look closer with:\n  {place.command('executions show', resource['execution_id'])}")


def _wait_line(wait: dict[str, Any]) -> str:
    title = f": {visible(wait['title'])}" if wait.get("title") else ""
    return f"{wait['step_id']} {visible(waiting_text(wait))}{title}"


def _wait_option(wait: dict[str, Any]) -> str | None:
    match wait["kind"]:
        case "human":
            return f"--answer {wait['node_id']}=JSON"
        case "signal":
            return f"--signal {shlex.quote(visible(wait['name']))}=JSON"
        case _:
            return None


def _in_time(resource: dict[str, Any]) -> str:
    if not resource["started_at"] or not resource["finished_at"]:
        return ""
    started, finished = (datetime.fromisoformat(resource[name]) for name in ("started_at", "finished_at"))
    return f" in {duration((finished - started).total_seconds())}"
