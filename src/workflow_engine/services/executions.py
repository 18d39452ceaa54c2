"""What can be done with executions, whoever asks: start, look, steer, follow, wait for the end."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from workflow_engine.models.command import Answer, AnyCommand, SetVariables, Signal
from workflow_engine.models.errors import CommandRejected, StoreUnavailable, WorkflowEngineError
from workflow_engine.models.execution import TERMINAL, ExecutionState
from workflow_engine.models.problem import pointer
from workflow_engine.services.attributes import SIGNAL_NAME_CHARS_MAX, VARIABLE_NAME_CHARS_MAX, check_text
from workflow_engine.services.endings import Ending, Endings
from workflow_engine.services.event_stream import StreamEvent
from workflow_engine.services.execution_resource import execution_resource, execution_summary, new_execution_summary
from workflow_engine.services.explanation import explain
from workflow_engine.services.input_schema import check_form
from workflow_engine.services.live_events import LiveEvents
from workflow_engine.services.starts import PreparedStart, Starts, Wanted
from workflow_engine.services.state_manager import StateManager
from workflow_engine.services.subscription import Subscription
from workflow_engine.services.workflow_executor import GroupReceipt, Receipt, WorkflowExecutor
from workflow_engine.services.workflow_manager import WorkflowManager
from workflow_engine.store import ExecutionRow, Store


class Executions:
    """The executions of all tenants."""

    def __init__(
        self,
        store: Store,
        workflows: WorkflowManager,
        states: StateManager,
        starts: Starts,
        executor: WorkflowExecutor,
        live: LiveEvents,
        endings: Endings,
    ) -> None:
        self._store = store
        self._workflows = workflows
        self._states = states
        self._starts = starts
        self._executor = executor
        self._live = live
        self._endings = endings
        self._followed: set[Subscription] = set()

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
        wait_s: float = 0.0,
        receipt: Receipt | None = None,
    ) -> dict[str, Any]:
        """Start an execution; gives it as the API shows it once it is durable.

        Args:
            wait_s: give it as it ends, if it does within so many seconds; else as it is then.
            receipt: the answer to keep under the request's `Idempotency-Key`.

        Raises:
            NotFound: no such workflow or version. Conflict: the workflow is archived.
            InputInvalid: the input does not fit its schema, or a label, metadata or the id is not valid.
            AlreadyExists: the execution id is taken, or the key was used. LimitExceeded: a value is too large.
            StoreUnavailable.
        """
        row, graph, command = await self._starts.prepare(
            tenant_id,
            workflow_id,
            input,
            version=version,
            execution_id=execution_id,
            variables=variables,
            metadata=metadata,
            labels=labels,
            priority=priority,
            delay_s=delay_s,
        )
        if wait_s <= 0:
            return await self._executor.start(row, graph, command, execution_resource, receipt)
        with self._endings.expect((tenant_id, row.execution_id)) as ending:
            await self._executor.start(row, graph, command, _id_of, receipt)
            ended = await _within(ending, wait_s)
        return ended or await self.get(tenant_id, row.execution_id)

    async def begin(self, tenant_id: str, workflow_id: str, wanted: Wanted) -> str:
        """Start an execution; gives its id once it is durable. Raises what `start` does."""
        row, graph, command = await self._starts.prepare(tenant_id, workflow_id, **wanted._asdict())
        return await self._executor.start(row, graph, command, _id_of)

    async def start_all(
        self, tenant_id: str, workflow_id: str, wanted: Sequence[Wanted], receipt: GroupReceipt | None = None
    ) -> list[dict[str, Any] | WorkflowEngineError]:
        """Start many executions of one workflow in one commit; gives of each its line of a list, or why it was refused.

        Args:
            receipt: the answer to keep under the request's `Idempotency-Key`, if any is started.

        Raises:
            NotFound: no such workflow. Conflict: it is archived. AlreadyExists: the key was used. StoreUnavailable.
        """
        prepared = await self._starts.prepare_all(tenant_id, workflow_id, wanted)
        fit = [one for one in prepared if isinstance(one, PreparedStart)]

        def placed(results: Sequence[Any]) -> list[Any]:
            """In the order of the request, with those that were refused before."""
            left = iter(results)
            return [next(left) if isinstance(one, PreparedStart) else one for one in prepared]

        if receipt is not None:
            render = receipt.render
            receipt = receipt._replace(render=lambda results: render(placed(results)))
        return placed(await self._executor.start_all(fit, new_execution_summary, receipt))

    def checked(self, value: Any, name: str) -> Any:
        """A copy of a value from outside, sharing nothing with the caller's; raises LimitExceeded beyond the limits."""
        return self._starts.checked(value, name)

    def checked_variables(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """The same for variables by name; raises InputInvalid for a name too."""
        for name in variables:
            check_text(
                name, pointer("variables", str(name)[:VARIABLE_NAME_CHARS_MAX]), chars_max=VARIABLE_NAME_CHARS_MAX
            )
        return {name: self.checked(value, f"variable {name}") for name, value in variables.items()}

    async def get(self, tenant_id: str, execution_id: str) -> dict[str, Any]:
        """An execution as the API shows it; raises NotFound."""
        return execution_resource(*await self._states.state(tenant_id, execution_id))

    async def explain(self, tenant_id: str, execution_id: str) -> dict[str, Any]:
        """Why an execution is where it is; raises NotFound."""
        return await explain(self._store, self._workflows, self._states, tenant_id, execution_id)

    async def page(
        self, tenant_id: str, *, before: tuple[int, str] | None, limit: int, **chosen: Any
    ) -> tuple[list[dict[str, Any]], tuple[int, str] | None]:
        """A page of executions without their payloads, newest first, and where the next one begins, if there is one.

        Args:
            before: what the page before gave.
            chosen: the filters of `Store.executions`.
        """
        rows = await self._store.executions(tenant_id, before=before, limit=limit + 1, **chosen)
        last = rows[limit - 1] if len(rows) > limit else None
        position = (last.created_at, last.execution_id) if last is not None else None
        return [execution_summary(row) for row in rows[:limit]], position

    async def state(self, tenant_id: str, execution_id: str) -> ExecutionState:
        """The folded state of an execution; raises NotFound."""
        return (await self._states.state(tenant_id, execution_id))[1]

    async def give(
        self, tenant_id: str, execution_id: str, command: AnyCommand, receipt: Receipt | None = None
    ) -> dict[str, Any]:
        """Give a command; gives the execution as the API shows it once what follows is durable.

        Raises:
            CommandRejected: its state does not allow it. NotFound. AlreadyExists: the request's key was used.
            StoreUnavailable.
        """
        return await self._executor.ask((tenant_id, execution_id), command, execution_resource, receipt)

    async def signal(
        self, tenant_id: str, execution_id: str, name: str, payload: Any = None, receipt: Receipt | None = None
    ) -> dict[str, Any]:
        """Send a signal; it is kept until a wait takes it. Raises what `give` does, InputInvalid and LimitExceeded."""
        check_text(name, "/name", chars_max=SIGNAL_NAME_CHARS_MAX)
        return await self.give(tenant_id, execution_id, Signal(name, self.checked(payload, "payload")), receipt)

    async def set_variables(
        self, tenant_id: str, execution_id: str, changed: Mapping[str, Any], receipt: Receipt | None = None
    ) -> dict[str, Any]:
        """Merge into the variables. Raises what `give` does, InputInvalid and LimitExceeded."""
        return await self.give(tenant_id, execution_id, SetVariables(self.checked_variables(changed)), receipt)

    async def answer_form(self, form: Any, output: Any) -> Any:
        """A person's answer, ready to be given; raises InputInvalid where it does not fit the form, LimitExceeded."""
        value = self.checked(output, "answer")
        await check_form(form, value)
        return value

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
        form = step.input.get("form") if isinstance(step.input, dict) else None
        value = await self.answer_form(form, output)
        await self.give(tenant_id, execution_id, Answer(step.step_id, value))

    async def events(
        self, tenant_id: str, execution_id: str, *, after: int = 0, follow: bool = True
    ) -> AsyncIterator[dict[str, Any]]:
        """Every event after a sequence, in order, each once; `follow` goes on live until the execution has ended.

        Raises:
            NotFound; StoreUnavailable, also where the engine closes before the end; where it follows, CursorAhead,
            ResyncRequired.
        """
        if not follow:
            async for event in self._live.history(tenant_id, execution_id, after=after):
                yield _envelope(event)
            return
        with await self._live.subscribe(tenant_id, execution_id, after=after) as subscription:
            self._followed.add(subscription)
            try:
                while (batch := await subscription.next()) is not None:
                    for event in batch.events:
                        yield _envelope(event)
            finally:
                self._followed.discard(subscription)
        if not subscription.has_ended:
            raise StoreUnavailable("the engine is shutting down")

    async def wait(self, tenant_id: str, execution_id: str, *, timeout_s: float | None = None) -> dict[str, Any]:
        """The execution once it has ended, or as it is when the time is over; raises NotFound."""
        with self._endings.expect((tenant_id, execution_id)) as ending:
            is_under_way = self._executor.is_under_way((tenant_id, execution_id))
            if not is_under_way:
                row = await self._store.execution(tenant_id, execution_id)
                is_under_way = row.status not in TERMINAL
            ended = await _within(ending, timeout_s) if is_under_way else None
        return ended or await self.get(tenant_id, execution_id)

    def stop_waiting(self) -> None:
        """Answer everybody who waits for an end with what there is, end what is followed; from now on nobody waits."""
        self._endings.close()
        for subscription in self._followed:
            subscription.stop()


def _id_of(row: ExecutionRow, _state: ExecutionState) -> str:
    return row.execution_id


def _envelope(event: StreamEvent) -> dict[str, Any]:
    """An event as a value of the caller's own."""
    envelope: dict[str, Any] = msgspec.json.decode(event.encoded)
    return envelope


async def _within(ending: Ending, timeout_s: float | None) -> dict[str, Any] | None:
    if timeout_s is None:
        return await ending
    try:
        async with asyncio.timeout(timeout_s):
            return await ending
    except TimeoutError:
        return None
