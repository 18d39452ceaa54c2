"""Starts the executions that `workflow` steps call for.

A child's id is derived from the activation and attempt that it is for, so a start that is repeated after a crash finds
the child that it made. How the child ends reaches its parent through the inbox.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import structlog

from workflow_engine.engine.graph import Graph
from workflow_engine.models.command import Start
from workflow_engine.models.errors import (
    AlreadyExists,
    Conflict,
    DependencyUnavailable,
    InputInvalid,
    LimitExceeded,
    NotFound,
    StoreUnavailable,
    WorkflowEngineError,
)
from workflow_engine.models.execution import TERMINAL
from workflow_engine.models.step import Completed, Failed, Outcome, StepCall, StepError
from workflow_engine.services.background import Background
from workflow_engine.services.inbox import outcome_of
from workflow_engine.services.starts import PreparedStart, Starts
from workflow_engine.services.state_manager import StateManager, is_detached
from workflow_engine.store import ExecutionRow, Store

RETRY_S: Final = 1.0
"""How long a start rests while the store takes no writes."""

OnOutcome = Callable[[StepCall, int, Outcome], None]
"""Gets the call, its generation and its outcome, on the loop."""

log = structlog.get_logger(__name__)


class StartExecution(Protocol):
    """`WorkflowExecutor.start`."""

    def __call__(
        self, row: ExecutionRow, graph: Graph, command: Start, look: Callable[..., None], /
    ) -> Coroutine[Any, Any, None]: ...


class ChildCall(NamedTuple):
    """A `workflow` step that calls for its child."""

    call: StepCall
    generation: int
    parent: ExecutionRow
    priority: int
    is_repeat: bool


class _Beginning(NamedTuple):
    """A start that is under way."""

    attempt: int
    generation: int
    task: asyncio.Task[None]


class Children:
    """The starts that are under way."""

    def __init__(
        self,
        store: Store,
        states: StateManager,
        starts: Starts,
        *,
        depth_max: int,
        start: StartExecution,
        on_outcome: OnOutcome,
    ) -> None:
        self._store = store
        self._states = states
        self._starts = starts
        self._depth_max = depth_max
        self._start = start
        self._on_outcome = on_outcome
        self._background = Background()
        self._under_way: dict[tuple[str, str, str], _Beginning] = {}

    def begin(self, child: ChildCall) -> None:
        """Start a child; one that is being started for the same attempt is left alone, that of an earlier one ends."""
        key = (child.call.tenant_id, child.call.execution_id, child.call.step_id)
        before = self._under_way.get(key)
        if before is not None:
            if (before.attempt, before.generation) == (child.call.attempt, child.generation):
                return
            self.withdraw(*key)
        task = self._background.spawn(self._begin(child))
        if task is not None:
            self._under_way[key] = _Beginning(child.call.attempt, child.generation, task)
            task.add_done_callback(lambda ended: self._forget(key, ended))

    def _forget(self, key: tuple[str, str, str], task: asyncio.Task[None]) -> None:
        beginning = self._under_way.get(key)
        if beginning is not None and beginning.task is task:
            del self._under_way[key]

    def withdraw(self, tenant_id: str, execution_id: str, step_id: str) -> None:
        """Start it no more. A child that exists, or whose first commit is under way, gets a `Cancel` by the inbox."""
        beginning = self._under_way.pop((tenant_id, execution_id, step_id), None)
        if beginning is not None:
            beginning.task.cancel()

    async def _begin(self, child: ChildCall) -> None:
        while True:
            try:
                outcome = await self._outcome(child)
                break
            except StoreUnavailable:
                await asyncio.sleep(RETRY_S)
                child = child._replace(is_repeat=True)
            except DependencyUnavailable:
                return  # the process ends; the next one repeats the call
            except Exception as error:  # a bug must end this step alone
                log.error("child.start_failed", execution_id=child.call.execution_id, exc_info=error)
                outcome = Failed(StepError("internal", f"{type(error).__name__}: {error}"))
                break
        if outcome is not None:
            self._on_outcome(child.call, child.generation, outcome)

    async def _outcome(self, child: ChildCall) -> Outcome | None:
        """The outcome of the step, None where the child's end will give it."""
        call = child.call
        child_id = self._states.names.child_id(
            call.tenant_id, call.execution_id, call.step_id, child.generation, call.attempt
        )
        if child.is_repeat:
            try:
                return await self._found(call, child_id)
            except NotFound:
                pass  # whoever was to start it did not come to it
        unfit = _unfit(call.input)
        if unfit is not None:
            return Failed(StepError("invalid_input", unfit))
        depth = child.parent.depth + 1
        if depth > self._depth_max:
            message = f"executions call each other {self._depth_max} deep at most (MAX_DEPTH), not {depth} deep"
            return Failed(StepError("limit_exceeded", message, {"depth": depth}))
        try:
            prepared = await self._prepare(child, child_id)
        except WorkflowEngineError as error:
            if isinstance(error, DependencyUnavailable):
                raise
            return Failed(_refusal(call, error))
        row = msgspec.structs.replace(prepared.row, depth=depth)
        if not is_detached(call.input):
            row = _of_parent(row, child)
        try:
            await self._start(row, prepared.graph, prepared.command, lambda *_: None)
        except AlreadyExists:
            return await self._found(call, child_id)
        return Completed(child_id) if is_detached(call.input) else None

    async def _prepare(self, child: ChildCall, child_id: str) -> PreparedStart:
        wanted = child.call.input
        return await self._starts.prepare(
            child.call.tenant_id,
            wanted["workflow_id"],
            wanted.get("input", {}),
            version=wanted.get("version"),
            execution_id=child_id,
            metadata=child.parent.metadata,
            priority=child.priority,
        )

    async def _found(self, call: StepCall, child_id: str) -> Outcome | None:
        """What the child that exists already is to the step."""
        row = await self._store.execution(call.tenant_id, child_id)
        if is_detached(call.input):
            return Completed(child_id)
        if row.status not in TERMINAL:
            return None
        _, state = await self._states.state(call.tenant_id, child_id)
        return outcome_of(child_id, state) if state.is_terminal else None

    async def close(self) -> None:
        """Start nothing more."""
        await self._background.close()


def _unfit(wanted: Any) -> str | None:
    """What is wrong with an evaluated `with`; its parts may come from expressions."""
    workflow_id, version, mode = wanted.get("workflow_id"), wanted.get("version"), wanted.get("mode", "wait")
    if not isinstance(workflow_id, str):
        return f"`workflow_id` must be the id of a workflow, not {workflow_id!r}"
    if version is not None and (not isinstance(version, int) or isinstance(version, bool)):
        return f"`version` must be a number or null, not {version!r}"
    if mode not in ("wait", "detach"):
        return f"`mode` must be wait or detach, not {mode!r}"
    return None


def _of_parent(row: ExecutionRow, child: ChildCall) -> ExecutionRow:
    return msgspec.structs.replace(
        row,
        parent_execution_id=child.call.execution_id,
        parent_step_id=child.call.step_id,
        parent_attempt=child.call.attempt,
        parent_generation=child.generation,
    )


def _refusal(call: StepCall, error: WorkflowEngineError) -> StepError:
    """The step's error where its child can't be started."""
    name = call.input.get("workflow_id")
    if isinstance(error, InputInvalid):
        problems = [{"path": problem.path, "message": problem.message} for problem in error.problems[:100]]
        return StepError("invalid_input", f"the workflow {name!r} can't be started: {error.message}", problems)
    if isinstance(error, LimitExceeded):
        return StepError(error.data.get("code", "limit_exceeded"), error.message)
    assert isinstance(error, NotFound | Conflict), error
    return StepError("invalid_input", f"the workflow {name!r} can't be started: {error.message}")
