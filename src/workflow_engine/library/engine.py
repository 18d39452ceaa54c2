"""The engine in a program's own process."""

import asyncio
import importlib
import os
import re
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, get_args

from workflow_engine.config.logging import pass_logs_on
from workflow_engine.config.settings import PREFIX, Settings, SettingsInvalid, load_settings
from workflow_engine.library.door import PAGE, Door
from workflow_engine.library.execution import Execution
from workflow_engine.library.published import Published, Source, read_document
from workflow_engine.library.start_request import read_start
from workflow_engine.main import Parts
from workflow_engine.models.errors import (
    DatabaseInUse,
    DefinitionInvalid,
    InputInvalid,
    LimitExceeded,
    WorkflowEngineError,
)
from workflow_engine.models.instant import instant_of
from workflow_engine.models.json_value import decode_json
from workflow_engine.models.problem import Problem
from workflow_engine.models.step import StepError
from workflow_engine.models.tenant import DEFAULT_TENANT, TENANT_ID
from workflow_engine.services.attributes import NAME_CHARS_MAX, REASON_CHARS_MAX, check_text
from workflow_engine.services.bulk import Action, steering_command
from workflow_engine.services.engine_services import EngineServices
from workflow_engine.services.people_tasks import WAITING
from workflow_engine.services.rehearsal.suite import seeds_of
from workflow_engine.services.starts import BATCH_MAX, Wanted
from workflow_engine.services.workflow_resource import WorkflowView
from workflow_engine.steps.function_registry import FunctionRegistry
from workflow_engine.steps.function_registry import functions as registered_functions
from workflow_engine.store import Store

NO_ACTION: Final = f"must be one of {', '.join(get_args(Action))}"

MESSAGE_CHARS_MAX: Final = 10_000
"""Of a task's error."""


class Engine:
    """The engine in this process, on one database.

    ```python
    async with Engine("sqlite:///orders.db") as engine:
        await engine.publish(Path("order.yaml"))
        execution = await engine.start("order", {"amount": 12})
        print(await execution.result())
    ```

    Executions that an earlier process left behind go on as soon as the engine is open. It serves the event loop that it
    was opened in, and any number of tasks there. Two engines in one process, each on a database of its own, are two
    engines: nothing is shared but the functions that `@function` registered, unless `functions` says otherwise.

    All methods raise EngineClosed outside of `async with`, and StoreUnavailable while the database does not answer.
    """

    def __init__(
        self,
        database_url: str | None = None,
        *,
        tenant_id: str = DEFAULT_TENANT,
        functions: FunctionRegistry | None = None,
        settings: Settings | None = None,
    ) -> None:
        """
        Args:
            database_url: as SQLAlchemy writes it (`sqlite:////abs/path.db`); None: what the settings say.
            tenant_id: whose workflows and executions this object deals with.
            functions: what `function` nodes may call; None: everything that `@function` registered.
            settings: None: from the environment.

        Raises:
            SettingsInvalid: an environment variable has a value that can't be used.
            ValueError: the tenant's id is malformed.
        """
        if re.fullmatch(TENANT_ID, tenant_id) is None:
            raise ValueError(f"tenant_id must be 1 to 128 of A-Z a-z 0-9 _ . -, not {tenant_id!r}")
        self.settings = settings if settings is not None else load_settings()
        self._database_url = database_url or self.settings.database_url
        self._functions = functions if functions is not None else registered_functions
        self._door = Door(tenant_id)
        self._parts: Parts | None = None

    def __repr__(self) -> str:
        return f"<Engine of tenant {self.tenant_id!r}, {'open' if self._door.is_open else 'not open'}>"

    async def __aenter__(self) -> Self:
        """Open the database, making it or bringing it up to date, and go on with what is there.

        Raises:
            DatabaseInUse: another process, or another Engine of this one, writes to it.
            StoreUnavailable: it can't be opened. SettingsInvalid: a module of functions, or a host, can't be used.
        """
        if self._door.is_open:
            raise WorkflowEngineError("this engine is open already; it serves any number of tasks, share it")
        pass_logs_on()
        _import_functions(self.settings.functions)
        try:
            parts = await _or_closed(Parts.open(self._database_url, self.settings, self._functions))
        except DatabaseInUse as error:
            raise _in_use_here(error) from None
        self._parts = parts
        self._door.open(parts.services)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Begin no step any more, give running ones `settings.shutdown_grace` seconds (none after an exception), and
        let go of the database. What is not finished goes on when it is opened next.
        """
        parts, self._parts = self._parts, None
        self._door.close()
        if parts is not None:
            await parts.close(grace_s=self.settings.shutdown_grace if kind is None else 0.0)

    @property
    def tenant_id(self) -> str:
        """Whose workflows and executions this object deals with."""
        return self._door.tenant_id

    @property
    def services(self) -> EngineServices:
        """Everything behind the doors, for whoever builds another door. No part of the stable interface."""
        return self._door.services

    @property
    def store(self) -> Store:
        """The database. No part of the stable interface."""
        return self.services.store

    # --- workflows

    async def publish(self, definition: Source) -> Published:
        """Publish a definition as the first or the next version of its workflow; an archived one comes back to life.

        Raises:
            DefinitionInvalid: with every problem found. OSError: the file can't be read.
        """
        document = read_document(definition)
        published, is_new = await self._door.ask(lambda services: services.workflows.publish(self.tenant_id, document))
        return Published(published.workflow_id, published.version, is_new)

    async def validate(self, definition: Source, *, strict: bool = False) -> dict[str, Any]:
        """What is wrong with a definition: `{valid, problems}`, each problem with its place (a JSON pointer), as the
        API shows them.

        Args:
            strict: warnings count as errors.
        """
        try:
            document = read_document(definition)
        except DefinitionInvalid as error:
            return {"valid": False, "problems": [problem.to_dict() for problem in error.problems]}
        found = await self._door.ask(lambda services: services.workflows.validate(document, strict=strict))
        return {"valid": found.valid, "problems": [problem.to_dict() for problem in found.problems]}

    async def test(self, definition: Source, *, name: str | None = None, seeds: int | None = None) -> dict[str, Any]:
        """Run the tests that a definition carries, on a virtual clock and without calling anything; it need not be
        published.

        `{passed, tests: [{name, passed, seed, runs, status, problems, path, last_events, virtual_s, duration_ms}],
        coverage}`; all tests together get ten seconds.

        Args:
            name: only tests whose name holds this text.
            seeds: run each under so many seeds, from which the order of what is simultaneous is drawn.

        Raises:
            DefinitionInvalid.
        """
        document = read_document(definition)
        return await self._door.ask(
            lambda services: services.rehearsals.run(self.tenant_id, document, seeds=seeds_of(seeds, None), name=name)
        )

    async def workflow(self, workflow_id: str, version: int | None = None) -> dict[str, Any]:
        """A version of a workflow, the latest for None: `{id, version, name, labels, definition, archived,
        created_at}`; raises NotFound.
        """
        view = await self._door.ask(
            lambda services: (
                services.workflows.latest(self.tenant_id, workflow_id)
                if version is None
                else services.workflows.one(self.tenant_id, workflow_id, version)
            )
        )
        return _shown(view)

    async def workflows(self, *, labels: Mapping[str, str] | None = None) -> AsyncIterator[dict[str, Any]]:
        """The latest versions of the workflows that are not archived, by id, as `workflow` gives them.

        Args:
            labels: only those with all of these.
        """
        wanted = dict(labels or {})
        views = self._door.each(
            lambda services, after: services.workflows.page(
                self.tenant_id, after=after or "", labels=wanted, limit=PAGE
            )
        )
        async for view in views:
            yield _shown(view)

    async def versions(self, workflow_id: str) -> AsyncIterator[dict[str, Any]]:
        """The versions of a workflow, newest first, as `workflow` gives them; raises NotFound."""
        views = self._door.each(
            lambda services, before: services.workflows.versions(self.tenant_id, workflow_id, before=before, limit=PAGE)
        )
        async for view in views:
            yield _shown(view)

    async def archive(self, workflow_id: str) -> None:
        """Take no new executions for a workflow; running ones finish, and publishing revives it. Raises NotFound."""
        await self._door.ask(lambda services: services.workflows.archive(self.tenant_id, workflow_id))

    # --- executions

    async def start(
        self,
        workflow_id: str,
        input: Any = None,  # noqa: A002 - the contract's word
        *,
        version: int | None = None,
        execution_id: str | None = None,
        variables: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        labels: Mapping[str, Any] | None = None,
        priority: int = 5,
        delay: str | None = None,
    ) -> Execution:
        """Start an execution of a published workflow; returns once that is durable.

        Args:
            input: any JSON that fits the workflow's schema.
            version: None: the latest.
            execution_id: None: a new one. An id that is taken is refused, so a start can be repeated safely.
            variables: first values beside, and before, the definition's own.
            metadata: scalars that stay with the execution; lists filter by them.
            labels: beside those of the workflow; lists filter by them.
            priority: 0 to 9, 9 goes first.
            delay: begin only after this duration, such as `5m`; until then the execution is `pending`.

        Raises:
            NotFound: no such workflow or version. Conflict: it is archived. AlreadyExists: the id is taken.
            InputInvalid: the input does not fit the schema, or a field is not valid.
            LimitExceeded: a value is too large, or no JSON.
        """
        wanted = read_start(
            {
                "input": input,
                "version": version,
                "execution_id": execution_id,
                "variables": variables or {},
                "metadata": metadata or {},
                "labels": labels or {},
                "priority": priority,
                "delay": delay,
            }
        )
        started = await self._door.ask(lambda services: services.executions.begin(self.tenant_id, workflow_id, wanted))
        return Execution(self._door, started)

    async def start_many(
        self, workflow_id: str, starts: Iterable[Mapping[str, Any]]
    ) -> list[Execution | WorkflowEngineError]:
        """Start up to 1,000 executions of one workflow in one commit; gives of each, in order, its handle, or why it
        was refused. One that is refused does not stop the others.

        Args:
            starts: the arguments of `start` by name, such as `{"input": {"amount": 1}, "execution_id": "order-1"}`.

        Raises:
            NotFound: no such workflow. Conflict: it is archived. LimitExceeded: more than 1,000.
        """
        read = [_read_or_refused(start) for start in starts]
        if len(read) > BATCH_MAX:
            raise LimitExceeded(f"{len(read):,} starts are more than {BATCH_MAX:,}; start them in portions")
        wanted = [one for one in read if isinstance(one, Wanted)]
        started = iter(
            await self._door.ask(lambda services: services.executions.start_all(self.tenant_id, workflow_id, wanted))
        )
        results = [next(started) if isinstance(one, Wanted) else one for one in read]
        return [Execution(self._door, one["execution_id"]) if isinstance(one, dict) else one for one in results]

    def execution(self, execution_id: str) -> Execution:
        """The handle of an execution that exists; whether it does is looked up with the first call."""
        if not isinstance(execution_id, str):
            raise TypeError(f"an execution's id is text, not {type(execution_id).__name__}")
        return Execution(self._door, execution_id)

    def executions(
        self,
        *,
        workflow_id: str | None = None,
        status: str | None = None,
        labels: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> AsyncIterator[dict[str, Any]]:
        """Executions, newest first, as `Execution.get` gives them, without their payloads (`input`, `output`, `error`,
        `variables`, `active_nodes`). They are read page by page.

        Args:
            status: `pending`, `running`, `paused`, `completed`, `failed` or `cancelled`.
            labels: with all of these; values are compared as text, so do those of `metadata`.
            since: created at or after this; aware, as is `until`.
            until: created before this.
        """
        chosen = {
            "workflow_id": workflow_id,
            "status": status,
            "labels": dict(labels or {}),
            "metadata": dict(metadata or {}),
            "since": instant_of(since) if since is not None else None,
            "until": instant_of(until) if until is not None else None,
        }
        return self._door.each(
            lambda services, before: services.executions.page(self.tenant_id, before=before, limit=PAGE, **chosen)
        )

    async def steer(
        self, action: Action, execution_ids: Iterable[str], *, reason: str | None = None, compensate: bool = False
    ) -> dict[str, Any]:
        """`pause`, `resume`, `cancel`, `terminate` or `retry` many executions, each in a commit of its own.

        `{matched, succeeded, failed: [{execution_id, code, detail}]}`.

        Args:
            reason: of `cancel` and `terminate`: for people.
            compensate: of `cancel`: undo what was completed.

        Raises:
            InputInvalid: there is no such action, or the reason is not 1 to 1,000 characters.
        """
        if reason is not None:
            check_text(reason, "/reason", chars_max=REASON_CHARS_MAX)
        if action not in get_args(Action):
            raise InputInvalid(
                [Problem(severity="error", code="invalid_field", path="/action", message=NO_ACTION)], "request"
            )
        command = steering_command(action, reason, compensate=compensate)
        chosen = list(dict.fromkeys(execution_ids))
        outcome = await self._door.ask(lambda services: services.bulk.give(self.tenant_id, chosen, command))
        failed = [{"execution_id": one.execution_id, "code": one.code, "detail": one.detail} for one in outcome.failed]
        return {"matched": len(chosen), "succeeded": outcome.succeeded, "failed": failed}

    # --- tasks of people

    def tasks(
        self,
        *,
        status: str = WAITING,
        assignee: str | None = None,
        workflow_id: str | None = None,
        due_before: datetime | None = None,
    ) -> AsyncIterator[dict[str, Any]]:
        """What `human` steps ask of people, oldest first.

        `{task_id, execution_id, workflow_id, node_id, step_id, status, title, instructions, form, assignees, due,
        created_at, completed_at, completed_by}`.

        Args:
            status: `waiting`, `completed`, `failed` or `cancelled`.
            assignee: where this is one of the assignees.
            due_before: aware.
        """
        due = instant_of(due_before) if due_before is not None else None
        return self._door.each(
            lambda services, after: services.people_tasks.page(
                self.tenant_id,
                status=status,
                assignee=assignee,
                workflow_id=workflow_id,
                due_before=due,
                after=after,
                limit=PAGE,
            )
        )

    async def task(self, task_id: str) -> dict[str, Any]:
        """One task, waiting or over, as `tasks` gives it; raises NotFound."""
        return await self._door.ask(lambda services: services.people_tasks.get(self.tenant_id, task_id))

    async def complete_task(self, task_id: str, output: Any = None, *, by: str | None = None) -> dict[str, Any]:
        """A person's answer; gives the task as it is then.

        Args:
            by: who answered, for the record.

        Raises:
            InputInvalid: the answer does not fit the form. Conflict: the task does not wait any more. NotFound.
            LimitExceeded: the answer is too large, or no JSON.
        """
        _check_person(by)
        return await self._door.ask(
            lambda services: services.people_tasks.complete(self.tenant_id, task_id, output, by=by)
        )

    async def fail_task(
        self,
        task_id: str,
        *,
        type: str = "failed",  # noqa: A002 - the contract's word
        message: str = "",
        details: Any = None,
        by: str | None = None,
    ) -> dict[str, Any]:
        """A person could not do it: the step fails with this error, which an error connection may catch; gives the task
        as it is then.

        Args:
            type: what error connections look at.
            details: any JSON.
            by: who said so, for the record.

        Raises:
            Conflict: the task does not wait any more. NotFound. LimitExceeded: the details are too large, or no JSON.
        """
        check_text(type, "/type", chars_max=NAME_CHARS_MAX)
        if message:
            check_text(message, "/message", chars_max=MESSAGE_CHARS_MAX)
        _check_person(by)
        error = StepError(type, message, self.services.executions.checked(details, "details"))
        return await self._door.ask(lambda services: services.people_tasks.fail(self.tenant_id, task_id, error, by=by))

    # --- operation

    async def backup(self, path: Path | str) -> None:
        """Copy the database as it stands to a new file, while it is in use.

        Raises:
            AlreadyExists: there is a file of that name. StoreUnavailable: the copy could not be written.
        """
        await self._door.ask(lambda services: services.store.backup(path))


def _shown(view: WorkflowView) -> dict[str, Any]:
    """A version with its definition as a value, where other doors pass on the text that is stored."""
    return {**view.resource, "definition": decode_json(bytes(view.resource["definition"]))}


def _import_functions(modules: Sequence[str]) -> None:
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise SettingsInvalid(f"{PREFIX}FUNCTIONS: {module!r} can't be imported: {error}") from error


async def _or_closed(opening: Coroutine[Any, Any, Parts]) -> Parts:
    """The parts once they are open. Files are opened in a thread, which can't be called back: whoever is cancelled
    meanwhile closes what it gives.
    """
    task = asyncio.ensure_future(opening)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await (await task).close(grace_s=0.0)
        raise


def _in_use_here(error: DatabaseInUse) -> DatabaseInUse:
    """A message that helps where it is this very process that has the database open."""
    if error.data.get("pid") != os.getpid():
        return error
    return DatabaseInUse(
        "another Engine of this process has this database open; share that one, it serves any number of tasks, "
        "or close it first",
        pid=os.getpid(),
    )


def _read_or_refused(start: Mapping[str, Any]) -> Wanted | InputInvalid:
    try:
        return read_start(start)
    except InputInvalid as error:
        return error


def _check_person(by: str | None) -> None:
    if by is not None:
        check_text(by, "/by", chars_max=NAME_CHARS_MAX)
