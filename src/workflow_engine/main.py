"""The composition root: the one place where adapters are named."""

import asyncio
from functools import partial
from typing import Self

from workflow_engine.config.settings import PREFIX, Settings, SettingsInvalid
from workflow_engine.models.execution import ExecutionState
from workflow_engine.models.limits import Limits
from workflow_engine.services.bulk import Bulk
from workflow_engine.services.endings import Endings
from workflow_engine.services.engine_services import EngineServices
from workflow_engine.services.executions import Executions
from workflow_engine.services.forks import Forks
from workflow_engine.services.live_events import LiveEvents
from workflow_engine.services.migrations import Migrations
from workflow_engine.services.people_tasks import PeopleTasks
from workflow_engine.services.rehearsal.rehearsals import Rehearsals
from workflow_engine.services.retention import Retention
from workflow_engine.services.starts import Starts
from workflow_engine.services.state_manager import StateManager
from workflow_engine.services.steps_view import StepsView
from workflow_engine.services.workflow_executor import Committed, WorkflowExecutor
from workflow_engine.services.workflow_manager import WorkflowManager
from workflow_engine.steps.addresses import AddressRules
from workflow_engine.steps.deferred import DeferredHandler
from workflow_engine.steps.function import FunctionHandler
from workflow_engine.steps.function_registry import FunctionRegistry
from workflow_engine.steps.handler import Handler
from workflow_engine.steps.registry import Handlers
from workflow_engine.store import ExecutionRow, Store


class Parts:
    """What an open engine is made of."""

    def __init__(self, services: EngineServices, handlers: Handlers) -> None:
        self.services = services
        self._handlers = handlers

    @classmethod
    async def open(cls, database_url: str, settings: Settings, functions: FunctionRegistry) -> Self:
        """Open the database and go on with what an earlier process left; close what is returned.

        Raises:
            SettingsInvalid, DatabaseInUse, StoreUnavailable: nothing is left open.
        """
        handlers = _handlers(settings, functions)
        store = await Store.open(database_url)
        parts = cls(_services(store, handlers, settings), handlers)
        try:
            await parts.services.executor.open()
        except (Exception, asyncio.CancelledError):
            await parts.close(grace_s=0.0)
            raise
        parts.services.retention.start()
        return parts

    async def close(self, *, grace_s: float) -> None:
        """Begin no step any more, give those that run so many seconds, and let go of the database.

        Every part is closed, also if one of them fails to, or if the caller is cancelled meanwhile.
        """
        services = self.services
        failure: BaseException | None = None
        for close in (
            partial(self._close_executor, grace_s),
            services.retention.close,
            self._close_services,
            self._handlers.close,
            services.store.close,
        ):
            try:
                await close()
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - raised in the end
                failure = failure or error
        if failure is not None:
            raise failure

    async def _close_services(self) -> None:
        self.services.executions.stop_waiting()
        self.services.rehearsals.close()

    async def _close_executor(self, grace_s: float) -> None:
        try:
            await self.services.executor.close(grace_s=grace_s)
        except asyncio.CancelledError:
            await self.services.executor.close(grace_s=0.0)  # whoever waits has no more time
            raise


def _handlers(settings: Settings, functions: FunctionRegistry) -> Handlers:
    try:
        AddressRules(settings.http_allow)  # whoever opens the engine hears of a wrong entry, not the first call
    except ValueError as error:
        raise SettingsInvalid(f"{PREFIX}HTTP_ALLOW: {error}") from None
    function = FunctionHandler(
        functions, threads=settings.function_threads, payload_max_bytes=settings.payload_max_bytes
    )
    return Handlers({"http": DeferredHandler(partial(http_handler, settings)), "function": function})


def http_handler(settings: Settings) -> Handler:
    """What serves `http` nodes."""
    from workflow_engine.steps.http import HttpHandler  # its client takes as long to import as all of our own code

    return HttpHandler(settings.http_allow, body_max_bytes=settings.payload_max_bytes)


def _services(store: Store, handlers: Handlers, settings: Settings) -> EngineServices:
    limits = Limits(max_steps=settings.max_steps, payload_bytes_max=settings.payload_max_bytes)
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
    return EngineServices(
        store=store,
        workflows=workflows,
        executor=executor,
        executions=executions,
        forks=Forks(store, workflows, executor),
        migrations=Migrations(store, workflows, states, executor),
        bulk=Bulk(store, executor),
        steps=StepsView(store, workflows, states),
        people_tasks=PeopleTasks(store, executions),
        rehearsals=Rehearsals(workflows),
        live=live,
        limits=limits,
        retention=Retention(
            store,
            executions_s=settings.retention,
            by_workflow_s=settings.retention_by_workflow,
            idempotency_s=settings.idempotency_retention,
        ),
    )
