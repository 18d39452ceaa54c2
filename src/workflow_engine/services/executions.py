"""What can be done with executions, whoever asks: start, look, steer, follow, wait for the end."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from uuid_utils import uuid7

from workflow_engine.models.command import Answer, AnyCommand, SetVariables, Signal, Start
from workflow_engine.models.errors import CommandRejected, InputInvalid, LimitExceeded
from workflow_engine.models.event import decode_facts
from workflow_engine.models.execution import TERMINAL, ExecutionState
from workflow_engine.models.instant import rfc3339
from workflow_engine.models.json_value import JsonInvalid, check_json, decode_json
from workflow_engine.models.limits import Limits
from workflow_engine.services.event_stream import TERMINAL_EVENTS, EventRenderer
from workflow_engine.services.live_events import LiveEvents
from workflow_engine.services.state_manager import StateManager
from workflow_engine.services.workflow_executor import WorkflowExecutor
from workflow_engine.services.workflow_manager import WorkflowManager, input_checker
from workflow_engine.store import ExecutionRow, Store

LOG_PAGE = 500
"""Transitions read at a time."""


def _instant(at: int | None) -> str | None:
    return rfc3339(at) if at is not None else None


def active_nodes(state: ExecutionState) -> list[str]:
    """The nodes with an active step, in the order in which they were activated."""
    return list(dict.fromkeys(step.node for step in state.steps.values() if step.parent is None))


def resource(row: ExecutionRow, state: ExecutionState) -> dict[str, Any]:
    """An execution as the API shows it."""
    return {
        "execution_id": row.execution_id,
        "workflow_id": row.workflow_id,
        "version": row.version,
        "status": state.status,
        "reason": state.reason,
        "input": state.input,
        "output": state.output,
        "error": state.error,
        "variables": state.variables,
        "progress_percentage": state.progress,
        "sequence": state.sequence,
        "active_nodes": active_nodes(state),
        "priority": row.priority,
        "metadata": row.metadata,
        "labels": row.labels,
        "created_at": _instant(row.created_at),
        "started_at": _instant(state.started_at),
        "finished_at": _instant(state.finished_at),
    }


class Executions:
    """The executions of all tenants."""

    def __init__(
        self,
        store: Store,
        workflows: WorkflowManager,
        states: StateManager,
        executor: WorkflowExecutor,
        live: LiveEvents,
        limits: Limits,
    ) -> None:
        self._store = store
        self._workflows = workflows
        self._states = states
        self._executor = executor
        self._live = live
        self._limits = limits

    async def start(
        self,
        tenant_id: str,
        workflow_id: str,
        input: Any = None,  # noqa: A002 - the contract's word
        *,
        version: int | None = None,
        execution_id: str | None = None,
        variables: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        labels: dict[str, Any] | None = None,
        priority: int = 5,
        delay_s: float = 0.0,
    ) -> str:
        """Start an execution; returns its id once it is durable.

        Raises:
            NotFound: no such workflow or version. InputInvalid: the input does not fit its schema.
            AlreadyExists: the execution id is taken. LimitExceeded: a value is too large. StoreUnavailable.
        """
        published = await self._workflows.version(tenant_id, workflow_id, version)
        value = self._checked(input, "input")
        self._workflows.check_input(published, value)
        row = ExecutionRow(
            tenant_id=tenant_id,
            execution_id=execution_id or str(uuid7()),
            workflow_id=workflow_id,
            version=published.version,
            priority=priority,
            created_at=self._store.now(),
            labels={**published.definition.labels, **(labels or {})},
            metadata=self._checked(metadata or {}, "metadata"),
        )
        command = Start(
            workflow_id,
            published.version,
            value,
            {name: self._checked(value, f"variable {name}") for name, value in (variables or {}).items()},
            row.metadata,
            priority,
            delay_s,
        )
        await self._executor.start(row, published.graph, command)
        return row.execution_id

    def _checked(self, value: Any, name: str) -> Any:
        """A copy of a value from outside, within the limits and sharing nothing with the caller's."""
        try:
            return decode_json(check_json(value, bytes_max=self._limits.payload_bytes_max))
        except JsonInvalid as error:
            raise LimitExceeded(f"the {name} can't be taken: {error}", code=error.code) from None

    async def get(self, tenant_id: str, execution_id: str) -> dict[str, Any]:
        """An execution as the API shows it; raises NotFound."""
        return resource(*await self._states.state(tenant_id, execution_id))

    async def state(self, tenant_id: str, execution_id: str) -> ExecutionState:
        """The folded state of an execution; raises NotFound."""
        return (await self._states.state(tenant_id, execution_id))[1]

    async def give(self, tenant_id: str, execution_id: str, command: AnyCommand) -> None:
        """Give a command; returns once what follows is durable. Raises CommandRejected, NotFound, StoreUnavailable."""
        await self._executor.ask((tenant_id, execution_id), command)

    async def signal(self, tenant_id: str, execution_id: str, name: str, payload: Any = None) -> None:
        """Send a signal; it is kept until a wait takes it."""
        await self.give(tenant_id, execution_id, Signal(name, self._checked(payload, "payload")))

    async def set_variables(self, tenant_id: str, execution_id: str, changed: dict[str, Any]) -> None:
        """Merge into the variables."""
        checked = {name: self._checked(value, f"variable {name}") for name, value in changed.items()}
        await self.give(tenant_id, execution_id, SetVariables(checked))

    async def answer(self, tenant_id: str, execution_id: str, asked: str, output: Any) -> None:
        """A person's answer to a `human` step, named by its step id or, where only one waits, by its node.

        Raises:
            InputInvalid: the answer does not fit the form.
            CommandRejected: nobody is asked there.
        """
        state = await self.state(tenant_id, execution_id)
        waiting = [step for step in state.steps.values() if asked in (step.step_id, step.node) and step.items is None]
        if not waiting:
            raise CommandRejected(f"no person is asked by {asked}", code="not_waiting")
        if len(waiting) > 1:
            steps = ", ".join(step.step_id for step in waiting[:10])
            raise CommandRejected(f"{asked} waits {len(waiting)} times; name the step: {steps}", code="ambiguous")
        step = waiting[0]
        value = self._checked(output, "answer")
        form = step.input.get("form") if isinstance(step.input, dict) else None
        problems = input_checker(form)(value) if isinstance(form, dict) else []
        if problems:
            raise InputInvalid(problems)
        await self.give(tenant_id, execution_id, Answer(step.step_id, value))

    async def events(
        self, tenant_id: str, execution_id: str, *, after: int = 0, follow: bool = True
    ) -> AsyncIterator[dict[str, Any]]:
        """Every event after a sequence, in order, each once; `follow` goes on live until the execution has ended.

        Subscribed first, then the history is read, then what came meanwhile: nothing is lost or doubled in between.
        """
        live: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        stop = self._live.listen((tenant_id, execution_id), live.put_nowait) if follow else lambda: None
        try:
            last = after
            is_over = False
            async for event in self._history(tenant_id, execution_id, after):
                last = event["sequence"]
                is_over = event["event"] in TERMINAL_EVENTS
                yield event
            if not follow:
                return
            if last == after and after > 0:
                row = await self._store.execution(tenant_id, execution_id)
                is_over = row.status in TERMINAL
            while not is_over or not live.empty():
                event = await live.get()
                if event["sequence"] > last:
                    last = event["sequence"]
                    is_over = event["event"] in TERMINAL_EVENTS
                    yield event
        finally:
            stop()

    async def _history(self, tenant_id: str, execution_id: str, after: int) -> AsyncIterator[dict[str, Any]]:
        row = await self._store.execution(tenant_id, execution_id)
        renderer = EventRenderer(tenant_id, execution_id, row.workflow_id)
        first, _ = await self._store.first_and_last(tenant_id, execution_id)
        list(renderer.render(decode_facts(first.events), first_sequence=1, at=first.at))
        renderer.progress = 0 if after < first.last_sequence else renderer.progress
        sequence = after
        while True:
            rows = await self._store.log(tenant_id, execution_id, after_sequence=sequence, limit=LOG_PAGE)
            if not rows:
                return
            for entry in rows:
                facts = decode_facts(entry.events)
                for event in renderer.render(facts, first_sequence=entry.first_sequence, at=entry.at):
                    if event["sequence"] > after:
                        yield event
                sequence = max(sequence, entry.last_sequence)

    async def wait(self, tenant_id: str, execution_id: str) -> dict[str, Any]:
        """The execution once it has ended; raises NotFound."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def listen(event: dict[str, Any]) -> None:
            if event["event"] in TERMINAL_EVENTS and not ended.done():
                ended.set_result(None)

        stop = self._live.listen((tenant_id, execution_id), listen)
        try:
            row = await self._store.execution(tenant_id, execution_id)
            if row.status not in TERMINAL:
                await ended
        finally:
            stop()
        return await self.get(tenant_id, execution_id)
