"""The composition root: the one place where adapters are named. `Engine` is the same engine without a server."""

import importlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from workflow_engine.config.settings import Settings, load_settings
from workflow_engine.models.command import Cancel, Pause, Resume, Retry, Terminate
from workflow_engine.models.document import DocumentInvalid, parse_document
from workflow_engine.models.duration import parse_duration
from workflow_engine.models.errors import DefinitionInvalid, WorkflowEngineError
from workflow_engine.models.event import ErrorValue
from workflow_engine.models.execution import COMPLETED, ExecutionState
from workflow_engine.models.limits import Limits
from workflow_engine.services.bulk import Bulk
from workflow_engine.services.endings import Endings
from workflow_engine.services.engine_services import EngineServices
from workflow_engine.services.executions import Executions
from workflow_engine.services.forks import Forks
from workflow_engine.services.live_events import LiveEvents
from workflow_engine.services.migrations import Migrations
from workflow_engine.services.people_tasks import PeopleTasks
from workflow_engine.services.retention import Retention
from workflow_engine.services.starts import Starts
from workflow_engine.services.state_manager import StateManager
from workflow_engine.services.steps_view import StepsView
from workflow_engine.services.workflow_executor import Committed, WorkflowExecutor
from workflow_engine.services.workflow_manager import Published, WorkflowManager
from workflow_engine.steps.function import FunctionHandler
from workflow_engine.steps.function_registry import FunctionRegistry
from workflow_engine.steps.function_registry import functions as registered_functions
from workflow_engine.steps.http import HttpHandler
from workflow_engine.steps.registry import Handlers
from workflow_engine.store import ExecutionRow, Store

DEFAULT_TENANT = "default"

DOCUMENT_BYTES_MAX = 1024 * 1024
"""A definition's document."""


class ExecutionEnded(WorkflowEngineError):
    """The execution failed or was cancelled."""

    code = "execution_ended"

    def __init__(self, execution_id: str, status: str, error: ErrorValue | None) -> None:
        self.execution_id = execution_id
        self.status = status
        self.error = error
        reason = f": {error['type']}: {error['message']}" if error else ""
        super().__init__(f"the execution {execution_id} is {status}{reason}")


class Engine:
    """The engine in this process, on one database.

    ```python
    async with Engine("sqlite:///orders.db") as engine:
        await engine.publish(Path("order.yaml"))
        execution = await engine.start("order", {"amount": 12})
        print(await execution.result())
    ```

    Executions that an earlier process left behind go on as soon as the engine is open. Two engines in one process are
    two engines: nothing is shared but the functions that `@function` registered, unless `functions` says otherwise.
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
        """
        self.settings = settings if settings is not None else load_settings()
        self.tenant_id = tenant_id
        self._database_url = database_url or self.settings.database_url
        self._functions = functions if functions is not None else registered_functions
        self._open: _Parts | None = None

    async def __aenter__(self) -> Self:
        for module in self.settings.functions:
            importlib.import_module(module)
        self._open = await _Parts.make(self._database_url, self.settings, self._functions)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        parts, self._open = self._open, None
        if parts is not None:
            await parts.close(grace_s=self.settings.shutdown_grace if kind is None else 0.0)

    @property
    def _parts(self) -> "_Parts":
        if self._open is None:
            raise WorkflowEngineError("the engine is not open; use it in `async with Engine(...) as engine:`")
        return self._open

    @property
    def services(self) -> EngineServices:
        """Everything behind the doors, for whoever builds another door."""
        return self._parts.services

    @property
    def executions(self) -> Executions:
        """The service behind `Execution`, for all tenants."""
        return self._parts.services.executions

    @property
    def store(self) -> Store:
        """The database."""
        return self._parts.services.store

    async def publish(self, definition: Path | str | bytes | Mapping[str, Any]) -> Published:
        """Publish a definition: a file, its text (YAML or JSON), or the document itself. The same content keeps its
        version.

        Raises:
            DefinitionInvalid: with every problem found.
        """
        document = read_document(definition) if not isinstance(definition, Mapping) else dict(definition)
        published, _ = await self._parts.services.workflows.publish(self.tenant_id, document)
        return published

    async def start(
        self,
        workflow_id: str,
        input: Any = None,  # noqa: A002 - the contract's word
        *,
        version: int | None = None,
        execution_id: str | None = None,
        variables: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        labels: dict[str, Any] | None = None,
        priority: int = 5,
        delay: str | None = None,
    ) -> "Execution":
        """Start an execution of a published workflow; returns once that is durable.

        Args:
            version: None: the latest.
            execution_id: None: a new one. An id that is taken is refused, so a start can be repeated safely.
            variables: first values beside, and before, the definition's own.
            priority: 0 to 9, 9 goes first.
            delay: begin only after this duration, such as `5m`.

        Raises:
            NotFound, InputInvalid, AlreadyExists, LimitExceeded, StoreUnavailable.
        """
        started = await self.executions.start(
            self.tenant_id,
            workflow_id,
            input,
            version=version,
            execution_id=execution_id,
            variables=variables,
            metadata=metadata,
            labels=labels,
            priority=priority,
            delay_s=parse_duration(delay) if delay is not None else 0.0,
        )
        return Execution(self, started["execution_id"])

    def execution(self, execution_id: str) -> "Execution":
        """The handle of an execution that exists."""
        return Execution(self, execution_id)


class Execution:
    """A handle on one execution."""

    def __init__(self, engine: Engine, execution_id: str) -> None:
        self._engine = engine
        self.id = execution_id

    @property
    def _key(self) -> tuple[str, str]:
        return self._engine.tenant_id, self.id

    async def result(self) -> Any:
        """The output, once the execution has completed.

        Raises:
            ExecutionEnded: it failed or was cancelled.
        """
        ended = await self._engine.executions.wait(*self._key)
        if ended["status"] != COMPLETED:
            raise ExecutionEnded(self.id, ended["status"], ended["error"])
        return ended["output"]

    async def wait(self) -> dict[str, Any]:
        """The execution as the API shows it, once it has ended in whatever way."""
        return await self._engine.executions.wait(*self._key)

    async def get(self) -> dict[str, Any]:
        """The execution as the API shows it."""
        return await self._engine.executions.get(*self._key)

    def events(self, *, after: int = 0, follow: bool = True) -> AsyncIterator[dict[str, Any]]:
        """Its events after a sequence, each once; `follow` goes on live until the end."""
        return self._engine.executions.events(*self._key, after=after, follow=follow)

    async def signal(self, name: str, payload: Any = None) -> None:
        """Send a signal; it is kept until a wait takes it."""
        await self._engine.executions.signal(*self._key, name, payload)

    async def answer(self, asked: str, output: Any) -> None:
        """Answer a `human` node (or step) as a person would."""
        await self._engine.executions.answer(*self._key, asked, output)

    async def set_variables(self, changed: dict[str, Any]) -> None:
        """Merge into the variables."""
        await self._engine.executions.set_variables(*self._key, changed)

    async def pause(self) -> None:
        """Start nothing new; running steps finish and are recorded."""
        await self._engine.executions.give(*self._key, Pause())

    async def resume(self) -> None:
        """Go on after `pause`."""
        await self._engine.executions.give(*self._key, Resume())

    async def cancel(self, reason: str = "cancelled") -> None:
        """Withdraw everything."""
        await self._engine.executions.give(*self._key, Cancel(reason))

    async def terminate(self, reason: str = "terminated") -> None:
        """Stop at once."""
        await self._engine.executions.give(*self._key, Terminate(reason))

    async def retry(self) -> None:
        """Continue a failed execution at its failed steps."""
        await self._engine.executions.give(*self._key, Retry())


def read_document(source: Path | str | bytes) -> Any:
    """The document of a definition: a file (JSON by its ending, else YAML) or text.

    Raises:
        DefinitionInvalid: it is not well-formed; the problem says where.
    """
    kind = "yaml"
    if isinstance(source, Path):
        kind = "json" if source.suffix == ".json" else "yaml"
        source = source.read_bytes()
    elif isinstance(source, str):
        source = source.encode()
    if source.lstrip()[:1] == b"{":
        kind = "json"
    try:
        return parse_document(source, kind=kind, bytes_max=DOCUMENT_BYTES_MAX)  # type: ignore[arg-type]
    except DocumentInvalid as error:
        raise DefinitionInvalid([error.problem]) from None


class _Parts:
    """What an open engine is made of."""

    def __init__(self, services: EngineServices, handlers: Handlers) -> None:
        self.services = services
        self.handlers = handlers

    @classmethod
    async def make(cls, database_url: str, settings: Settings, functions: FunctionRegistry) -> "_Parts":
        store = await Store.open(database_url)
        limits = Limits(max_steps=settings.max_steps, payload_bytes_max=settings.payload_max_bytes)
        handlers = Handlers(
            {
                "http": HttpHandler(settings.http_allow, body_max_bytes=settings.payload_max_bytes),
                "function": FunctionHandler(
                    functions, threads=settings.function_threads, payload_max_bytes=settings.payload_max_bytes
                ),
            }
        )
        workflows = WorkflowManager(store)
        states = StateManager(store, workflows, limits)
        starts = Starts(store, workflows, limits)
        live = LiveEvents(store)
        endings = Endings()

        def on_committed(committed: Committed) -> None:
            live.publish(committed)
            endings.publish(committed)

        def on_doubt(row: ExecutionRow, state: ExecutionState) -> None:
            live.doubt(row.tenant_id, row.execution_id)
            endings.look_at(row, state)

        executor = WorkflowExecutor(
            store,
            states,
            starts,
            handlers,
            concurrency=settings.worker_concurrency,
            depth_max=settings.max_depth,
            on_committed=on_committed,
            on_doubt=on_doubt,
        )
        executions = Executions(store, workflows, states, starts, executor, live, endings)
        services = EngineServices(
            store=store,
            workflows=workflows,
            executor=executor,
            executions=executions,
            forks=Forks(store, workflows, executor),
            migrations=Migrations(store, workflows, states, executor),
            bulk=Bulk(store, executor),
            steps=StepsView(store, workflows, states),
            people_tasks=PeopleTasks(store, executions),
            live=live,
            limits=limits,
            retention=Retention(
                store,
                executions_s=settings.retention,
                by_workflow_s=settings.retention_by_workflow,
                idempotency_s=settings.idempotency_retention,
            ),
        )
        parts = cls(services, handlers)
        await executor.open()
        services.retention.start()
        return parts

    async def close(self, *, grace_s: float) -> None:
        await self.services.retention.close()
        await self.services.executor.close(grace_s=grace_s)
        await self.handlers.close()
        await self.services.store.close()
