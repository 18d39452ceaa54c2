"""`apply(state, fact)`: the fold. The only place where an execution's state changes.

It evaluates no expression, reads no definition and draws nothing, so a log folds to the same state under any later
version.
"""

from collections.abc import Callable, Iterable
from typing import Any

from workflow_engine.models.errors import InvariantViolated
from workflow_engine.models.event import (
    AnyFact,
    CustomEmitted,
    DecisionMade,
    ErrorValue,
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionCreated,
    ExecutionFailed,
    ExecutionPaused,
    ExecutionResumed,
    ExecutionStarted,
    JoinRoundChanged,
    ProgressMade,
    SignalReceived,
    SignalTaken,
    StepAttempted,
    StepCancelled,
    StepCompleted,
    StepFailed,
    StepReopened,
    StepRetrying,
    StepStarted,
    VariablesChanged,
)
from workflow_engine.models.execution import (
    CANCELLED,
    COMPLETED,
    FAILED,
    LIFECYCLE,
    PAUSED,
    RUNNING,
    ExecutionState,
    PendingSignal,
    Scope,
    Step,
)
from workflow_engine.models.json_value import encode_json

ROOT = ""
"""The key of the outermost scope."""


def apply(state: ExecutionState, fact: AnyFact) -> None:
    """Change `state` by one fact.

    Raises:
        InvariantViolated: the fact can't follow from this state; the log or the engine is broken.
    """
    _APPLIERS[type(fact)](state, fact)
    if fact.PUBLIC:
        state.sequence += 1


def apply_transition(state: ExecutionState, facts: Iterable[AnyFact], *, number: int, at: int) -> None:
    """Fold one row of the log, which is the transition `number` made at `at`."""
    if number != state.number + 1:
        raise InvariantViolated(f"transition {number} can't follow transition {state.number} of {state.execution_id}")
    state.at = at
    for fact in facts:
        apply(state, fact)
    state.number = number


def _move_to(state: ExecutionState, status: str) -> None:
    if status not in LIFECYCLE[state.status]:
        raise InvariantViolated(f"execution {state.execution_id} can't go from {state.status} to {status}")
    state.status = status
    state.reason = None


def _created(state: ExecutionState, fact: ExecutionCreated) -> None:
    state.workflow_id = fact.workflow_id
    state.version = fact.version
    state.input = fact.input
    state.variables = dict(fact.variables)
    state.metadata = fact.metadata
    state.priority = fact.priority
    state.start_at = fact.start_at
    state.created_at = state.at
    state.scopes[ROOT] = Scope()


def _started(state: ExecutionState, fact: ExecutionStarted) -> None:
    _move_to(state, RUNNING)
    state.started_at = state.at
    state.start_at = None
    state.timeout_at = fact.timeout_at
    state.variables = dict(fact.variables)
    state.scopes[ROOT].starts = list(fact.starts)


def _take(scope: Scope, connection: int) -> None:
    left = scope.tokens.get(connection, 0) - 1
    if left < 0:
        raise InvariantViolated(f"no token on connection {connection}")
    if left:
        scope.tokens[connection] = left
    else:
        del scope.tokens[connection]
    if connection in scope.errors:
        _take_error(scope, connection)


def _take_error(scope: Scope, connection: int) -> None:
    carried = scope.errors[connection]
    count, error = carried[0]
    if count > 1:
        carried[0] = (count - 1, error)
    elif len(carried) > 1:
        del carried[0]
    else:
        del scope.errors[connection]


def carried_error(scope: Scope, took: list[int]) -> ErrorValue | None:
    """The error that a step handles which takes these tokens: that of the last of them that carries one."""
    for connection in reversed(took) if scope.errors else ():
        before = took.count(connection)
        for count, error in scope.errors.get(connection, ()):
            before -= count
            if before <= 0:
                return error
    return None


def _put(scope: Scope, puts: list[tuple[int, int]], error: ErrorValue | None = None) -> None:
    for connection, count in puts:
        scope.tokens[connection] = scope.tokens.get(connection, 0) + count
        if error is not None:
            scope.errors.setdefault(connection, []).append((count, error))


def _view(scope: Scope, node: str) -> dict[str, Any]:
    view = scope.views.get(node)
    if view is None:
        view = scope.views[node] = {"status": "pending", "output": None, "error": None, "attempt": 0, "count": 0}
    return view


def _step_started(state: ExecutionState, fact: StepStarted) -> None:
    scope = state.scopes[fact.scope]
    state.steps_started += 1
    caught = carried_error(scope, fact.took)
    for connection in fact.took:
        _take(scope, connection)
    if fact.is_start:
        scope.starts.remove(fact.node)
    if fact.parent is None:
        scope.ordinals[fact.node] = scope.ordinals.get(fact.node, 0) + 1
    else:
        parent = state.steps[fact.parent]
        parent.next_index = max(parent.next_index, (fact.index or 0) + 1)
        parent.open += 1
    state.steps[fact.step] = Step(
        step_id=fact.step,
        node=fact.node,
        status=fact.status,
        started_at=state.at,
        scope=fact.scope,
        input=fact.input,
        took=fact.took,
        caught=caught,
        parent=fact.parent,
        index=fact.index,
        due_at=fact.due_at,
        timeout_at=fact.timeout_at,
        timeout_s=fact.timeout_s,
        signal=fact.signal,
        items=fact.items,
        concurrency=fact.concurrency,
    )
    if fact.parent is None:
        view = _view(scope, fact.node)
        view["status"] = fact.status
        view["attempt"] = 1
        view["error"] = None


def _step_reopened(state: ExecutionState, fact: StepReopened) -> None:
    step = state.reopenable.pop(fact.step)
    state.steps[fact.step] = step
    step.status = fact.status
    step.generation += 1
    step.attempt = 1
    step.retry_at = None
    step.error = None
    step.is_failed = False
    if fact.is_fresh:
        step.input = fact.input
        step.due_at = fact.due_at
        step.timeout_at = fact.timeout_at
        step.timeout_s = fact.timeout_s
        step.signal = fact.signal
        if fact.items is not None:
            step.items = fact.items
            step.concurrency = fact.concurrency
    if step.parent is not None:
        state.steps[step.parent].open += 1
        return
    view = _view(state.scopes[step.scope], step.node)
    view["status"] = fact.status
    view["attempt"] = 1
    view["error"] = None


def _step_attempted(state: ExecutionState, fact: StepAttempted) -> None:
    step = state.steps[fact.step]
    step.attempt = fact.attempt
    step.retry_at = None
    step.error = None
    if step.parent is None:
        _view(state.scopes[step.scope], step.node)["attempt"] = fact.attempt


def _step_retrying(state: ExecutionState, fact: StepRetrying) -> None:
    step = state.steps[fact.step]
    step.retry_at = fact.next_at
    step.error = fact.error


def _decision_made(state: ExecutionState, fact: DecisionMade) -> None:
    """A record for people; the tokens move with the step's completion."""


def _step_completed(state: ExecutionState, fact: StepCompleted) -> None:
    step = state.steps.pop(fact.step)
    scope = state.scopes[step.scope]
    if step.parent is not None:
        parent = state.steps[step.parent]
        parent.open -= 1
        parent.finished += 1
        if fact.is_kept and step.index is not None:
            parent.results[step.index] = fact.output
        return
    view = _view(scope, step.node)
    view["status"] = "completed"
    view["count"] += 1
    if fact.is_kept:
        view["output"] = listed_results(step) if fact.is_list else fact.output
    _put(scope, fact.puts)
    if fact.ends_path:
        _end_path(scope, step.node, fact)


def listed_results(step: Step) -> list[Any]:
    """The output of a `foreach` step: its items' results in item order, null where an item gave none."""
    return [step.results.get(index) for index in range(len(step.items or ()))]


_END_RANK = {None: 0, "completed": 0, "failed": 1, "cancelled": 2}


def _end_path(scope: Scope, node: str, fact: StepCompleted) -> None:
    if node in scope.ended:
        scope.ended.remove(node)
    scope.ended.append(node)
    if _END_RANK[fact.end_status] > _END_RANK[scope.end_status]:
        scope.end_status = fact.end_status
        scope.end_message = fact.end_message
        scope.end_node = node


def _step_failed(state: ExecutionState, fact: StepFailed) -> None:
    step = state.steps.pop(fact.step)
    scope = state.scopes[step.scope]
    if fact.is_reopenable:
        step.error = fact.error
        step.is_failed = True
        state.reopenable[fact.step] = step
    if step.parent is not None:
        parent = state.steps[step.parent]
        parent.open -= 1
        if not fact.is_reopenable:
            parent.finished += 1
        return
    view = _view(scope, step.node)
    view["status"] = "failed"
    view["error"] = fact.error
    view["attempt"] = fact.attempt
    _put(scope, fact.puts, fact.error)
    if step.items is not None and not fact.is_reopenable:
        _forget_items(state, step)


def _forget_items(state: ExecutionState, parent: Step) -> None:
    """A `foreach` ended by an error that was caught: items that a retry had still to open stay closed."""
    for step_id in [step.step_id for step in state.reopenable.values() if step.parent == parent.step_id]:
        del state.reopenable[step_id]


def _step_cancelled(state: ExecutionState, fact: StepCancelled) -> None:
    step = state.steps.pop(fact.step)
    if fact.is_reopenable:
        state.reopenable[fact.step] = step
    if step.parent is not None:
        parent = state.steps.get(step.parent) or state.reopenable[step.parent]
        parent.open -= 1
        return
    _view(state.scopes[step.scope], step.node)["status"] = "cancelled"


def _join_round_changed(state: ExecutionState, fact: JoinRoundChanged) -> None:
    scope = state.scopes[fact.scope]
    for connection in fact.absorbed:
        _take(scope, connection)
    if fact.owed:
        scope.owed[fact.node] = fact.owed
    else:
        scope.owed.pop(fact.node, None)


def _signal_received(state: ExecutionState, fact: SignalReceived) -> None:
    state.signals_received = fact.number
    state.signals.append(PendingSignal(fact.number, fact.name, fact.payload, len(encode_json(fact.payload))))


def _signal_taken(state: ExecutionState, fact: SignalTaken) -> None:
    for position, signal in enumerate(state.signals):
        if signal.number == fact.number:
            del state.signals[position]
            return
    raise InvariantViolated(f"signal {fact.number} of {state.execution_id} is not there to be taken")


def _variables_changed(state: ExecutionState, fact: VariablesChanged) -> None:
    state.variables.update(fact.changed)


def _custom_emitted(state: ExecutionState, fact: CustomEmitted) -> None:
    """An event for listeners; the state does not depend on it."""


def _progress_made(state: ExecutionState, fact: ProgressMade) -> None:
    state.progress = fact.percent


def _paused(state: ExecutionState, fact: ExecutionPaused) -> None:
    _move_to(state, PAUSED)
    state.reason = fact.reason
    if fact.reason == "operator":
        state.is_operator_paused = True


def _resumed(state: ExecutionState, fact: ExecutionResumed) -> None:
    _move_to(state, RUNNING)
    if fact.is_operator:
        state.is_operator_paused = False
    if fact.is_retry:
        state.timeout_at = fact.timeout_at
        _reopen(state)


def _reopen(state: ExecutionState) -> None:
    """Undo an end by error: tokens stand again where they stood; the steps reopen with facts of their own."""
    state.error = None
    state.finished_at = None
    for scope in state.scopes.values():
        scope.tokens, scope.withdrawn_tokens = scope.withdrawn_tokens, {}
        scope.starts, scope.withdrawn_starts = scope.withdrawn_starts, []


def _end(state: ExecutionState, status: str) -> None:
    _move_to(state, status)
    state.finished_at = state.at
    state.is_operator_paused = False
    for scope in state.scopes.values():
        scope.withdrawn_starts, scope.starts = scope.starts, []
        scope.withdrawn_tokens, scope.tokens = scope.tokens, {}


def _completed(state: ExecutionState, fact: ExecutionCompleted) -> None:
    _end(state, COMPLETED)
    state.output = fact.output
    state.progress = 100
    state.reopenable.clear()


def _failed(state: ExecutionState, fact: ExecutionFailed) -> None:
    _end(state, FAILED)
    state.error = fact.error


def _cancelled(state: ExecutionState, fact: ExecutionCancelled) -> None:
    _end(state, CANCELLED)
    state.reopenable.clear()


_APPLIERS: dict[type, Callable[[ExecutionState, Any], None]] = {
    ExecutionCreated: _created,
    ExecutionStarted: _started,
    StepStarted: _step_started,
    StepReopened: _step_reopened,
    StepAttempted: _step_attempted,
    StepRetrying: _step_retrying,
    DecisionMade: _decision_made,
    StepCompleted: _step_completed,
    StepFailed: _step_failed,
    StepCancelled: _step_cancelled,
    JoinRoundChanged: _join_round_changed,
    SignalReceived: _signal_received,
    SignalTaken: _signal_taken,
    VariablesChanged: _variables_changed,
    CustomEmitted: _custom_emitted,
    ProgressMade: _progress_made,
    ExecutionPaused: _paused,
    ExecutionResumed: _resumed,
    ExecutionCompleted: _completed,
    ExecutionFailed: _failed,
    ExecutionCancelled: _cancelled,
}
