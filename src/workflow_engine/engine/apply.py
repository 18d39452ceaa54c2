"""`apply(state, fact)`: the fold. The only place where an execution's state changes.

It evaluates no expression, reads no definition and draws nothing, so a log folds to the same state under any later
version.
"""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from workflow_engine.models.errors import InvariantViolated
from workflow_engine.models.event import (
    AnyFact,
    ChildNoted,
    CompensationStarted,
    CustomEmitted,
    DecisionMade,
    ErrorValue,
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionCreated,
    ExecutionFailed,
    ExecutionForked,
    ExecutionMigrated,
    ExecutionPaused,
    ExecutionResumed,
    ExecutionStarted,
    ItemsAdded,
    IterationDelayed,
    JoinRoundChanged,
    ProgressMade,
    SignalReceived,
    SignalTaken,
    SlotAsked,
    SlotGranted,
    StepAttempted,
    StepCancelled,
    StepCompleted,
    StepFailed,
    StepParked,
    StepQueued,
    StepReopened,
    StepRequeued,
    StepRetrying,
    StepStarted,
    TokensWithdrawn,
    VariablesChanged,
)
from workflow_engine.models.execution import (
    CANCELLED,
    COMPLETED,
    FAILED,
    LIFECYCLE,
    PAUSED,
    RUNNING,
    Compensation,
    ExecutionState,
    PendingSignal,
    Scope,
    Step,
    Undo,
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


def _forked(state: ExecutionState, fact: ExecutionForked) -> None:
    names = {"tenant_id": state.tenant_id, "execution_id": state.execution_id}
    image = msgspec.convert({**fact.state, **names}, ExecutionState, str_keys=True)
    for name in FORKED_FIELDS:
        setattr(state, name, getattr(image, name))
    state.workflow_id = fact.workflow_id
    state.version = fact.version
    state.created_at = state.started_at = state.at
    state.timeout_at = fact.timeout_at
    state.status = RUNNING


FORKED_FIELDS = (
    "input",
    "variables",
    "metadata",
    "priority",
    "steps_started",
    "signals_received",
    "signals",
    "scopes_opened",
    "scopes",
    "reopenable",
)
"""What a fork takes over of the state that it begins with."""


def _migrated(state: ExecutionState, fact: ExecutionMigrated) -> None:
    state.version = fact.version
    for key, outputs in fact.outputs.items():
        for node, output in outputs.items():
            state.scopes[key].views[node]["output"] = output
    for scope in state.scopes.values():
        _migrate_scope(scope, fact)
    for step in (*state.steps.values(), *state.reopenable.values()):
        step.node = fact.nodes.get(step.node, step.node)
    for undo in state.undo:
        undo.node = fact.nodes.get(undo.node, undo.node)
        undo.path = _migrated_path(undo.path, fact)


def _migrated_path(path: str, fact: ExecutionMigrated) -> str:
    return "/".join(fact.nodes.get(node, node) for node in path.split("/"))


def _migrate_scope(scope: Scope, fact: ExecutionMigrated) -> None:
    indexes = fact.connections.get(scope.path, {})
    for node in fact.dropped:
        scope.views.pop(node, None)
    scope.path = _migrated_path(scope.path, fact)
    scope.tokens = {indexes[index]: count for index, count in scope.tokens.items()}
    scope.withdrawn_tokens = {indexes[index]: count for index, count in scope.withdrawn_tokens.items()}
    scope.errors = {indexes[index]: carried for index, carried in scope.errors.items()}
    scope.owed = {
        fact.nodes.get(node, node): [indexes[index] for index in owed if index in indexes]
        for node, owed in scope.owed.items()
        if node not in fact.dropped
    }
    scope.ended = [fact.nodes.get(node, node) for node in scope.ended if node not in fact.dropped]
    scope.starts = [fact.nodes.get(node, node) for node in scope.starts]
    scope.withdrawn_starts = [fact.nodes.get(node, node) for node in scope.withdrawn_starts]
    scope.views = {fact.nodes.get(node, node): view for node, view in scope.views.items()}
    before = dict(scope.ordinals)  # no step id is ever given twice, under whatever name a node went
    for old, new in fact.nodes.items():
        if old in before:
            scope.ordinals[new] = max(before[old], before.get(new, 0))


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
    for connection in reversed(took):
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


def _step_queued(state: ExecutionState, fact: StepQueued) -> None:
    step = _begin_undo(state, fact, "pending") if fact.undoes is not None else _arrive(state, fact, "pending")
    step.lock = fact.lock
    step.limit_key = fact.limit_key
    step.limit_max = fact.limit_max
    if step.lock is not None:
        _want_lock(state, step.lock, step.step_id)


def _arrive(state: ExecutionState, fact: StepQueued | StepStarted, status: str) -> Step:
    """A node is activated: its tokens are taken, and the step is there."""
    scope = state.scopes[fact.scope]
    caught = carried_error(scope, fact.took) if scope.errors else None
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
        parent.delay_until = None
    state.steps_started += 1
    step = state.steps[fact.step] = Step(
        step_id=fact.step,
        node=fact.node,
        status=status,
        started_at=state.at,
        number=state.steps_started,
        scope=fact.scope,
        caught=caught,
        parent=fact.parent,
        index=fact.index,
    )
    _show_active(state, step)
    return step


def _show_active(state: ExecutionState, step: Step) -> None:
    if step.parent is None and step.undo is None:
        view = _view(state.scopes[step.scope], step.node)
        view["status"] = step.status
        view["attempt"] = step.attempt
        view["error"] = None


def _want_lock(state: ExecutionState, lock: str, step_id: str) -> None:
    state.locks.setdefault(lock, []).append(step_id)


def _step_started(state: ExecutionState, fact: StepStarted) -> None:
    if fact.is_queued:
        step = state.steps[fact.step] = state.steps.pop(fact.step)  # in the order of their starts
        step.status = fact.status
        step.started_at = state.at
        if step.limit_key is not None:
            step.slot = "held"
        _show_active(state, step)
    elif fact.undoes is not None:
        step = _begin_undo(state, fact, fact.status)
    else:
        step = _arrive(state, fact, fact.status)
        if fact.lock is not None:
            step.lock = fact.lock
            _want_lock(state, fact.lock, step.step_id)
    step.input = fact.input
    step.waits = fact.waits
    step.timeout_at = fact.timeout_at
    step.timeout_s = fact.timeout_s
    step.items = fact.items
    step.concurrency = fact.concurrency
    step.complete_after = fact.complete_after
    step.repeat_max = fact.repeat_max
    if fact.starts is not None:
        _open_scope(state, step, fact.starts, fact.variables)


def _begin_undo(state: ExecutionState, fact: StepQueued | StepStarted, status: str) -> Step:
    undo = state.undo.pop()
    compensation = state.compensation
    if undo.step_id != fact.undoes or compensation is None:
        raise InvariantViolated(f"{fact.step} can't undo {fact.undoes}")
    if undo.scope not in state.scopes:
        state.scopes_opened += 1
        state.scopes[undo.scope] = Scope(path=undo.path, number=state.scopes_opened)
    name = undo.scope + fact.node
    compensation.ordinals[name] = compensation.ordinals.get(name, 0) + 1
    state.steps_started += 1
    step = state.steps[fact.step] = Step(
        fact.step, fact.node, status, state.at, number=state.steps_started, scope=undo.scope, undo=undo
    )
    return step


def _open_scope(state: ExecutionState, step: Step, starts: list[str], variables: dict[str, Any]) -> None:
    """A group begins, or begins again as another attempt: then its steps go on being counted where they were."""
    key = f"{step.step_id}~"
    before = state.scopes.get(key)
    outer = state.scopes[step.scope].path
    state.scopes_opened += 1
    state.scopes[key] = Scope(
        path=f"{outer}/{step.node}" if outer else step.node,
        number=state.scopes_opened,
        starts=list(starts),
        variables=dict(variables),
        ordinals=before.ordinals if before is not None else {},
    )


def _step_reopened(state: ExecutionState, fact: StepReopened) -> None:
    step = _take_back(state, fact.step)
    step.status = fact.status
    if fact.is_fresh:
        step.input = fact.input
        step.waits = fact.waits
        step.timeout_at = fact.timeout_at
        step.timeout_s = fact.timeout_s
        if fact.items is not None:
            step.items = fact.items
            step.concurrency = fact.concurrency
            step.complete_after = fact.complete_after
        if fact.repeat_max is not None:
            step.repeat_max = fact.repeat_max
        if fact.starts is not None:
            _open_scope(state, step, fact.starts, fact.variables)
    _show_active(state, step)


def _step_requeued(state: ExecutionState, fact: StepRequeued) -> None:
    step = _take_back(state, fact.step)
    step.status = "pending"
    if step.lock is not None:
        _want_lock(state, step.lock, step.step_id)
    _show_active(state, step)


def _take_back(state: ExecutionState, step_id: str) -> Step:
    """A step that was closed by a failure is active again, as a new generation."""
    step = state.steps[step_id] = state.reopenable.pop(step_id)
    step.generation += 1
    step.attempt = 1
    step.retry_at = None
    step.delay_until = None
    step.child_pause = None
    step.slot = None
    step.error = None
    step.is_failed = False
    if step.parent is not None:
        if step.parent in state.reopenable:  # one that was over before its items
            state.steps[step.parent] = state.reopenable.pop(step.parent)
        state.steps[step.parent].open += 1
    return step


def _slot_asked(state: ExecutionState, fact: SlotAsked) -> None:
    step = state.steps[fact.step]
    step.status = "pending"
    step.slot = "asked"
    step.retry_at = None


def _slot_granted(state: ExecutionState, fact: SlotGranted) -> None:
    state.steps[fact.step].slot = "granted"


def _step_attempted(state: ExecutionState, fact: StepAttempted) -> None:
    step = state.steps[fact.step]
    step.status = "processing"
    step.attempt = fact.attempt
    step.retry_at = None
    step.child_pause = None
    step.error = None
    step.timeout_at = fact.timeout_at
    if step.limit_key is not None:
        step.slot = "held"
    if fact.starts is not None:
        _open_scope(state, step, fact.starts, fact.variables)
    if step.parent is None and step.undo is None:
        _view(state.scopes[step.scope], step.node)["attempt"] = fact.attempt


def _step_retrying(state: ExecutionState, fact: StepRetrying) -> None:
    step = state.steps[fact.step]
    step.retry_at = fact.next_at
    key = f"{fact.step}~"
    if key in state.scopes:  # a group begins anew, and counts on
        before = state.scopes[key]
        state.scopes[key] = Scope(path=before.path, number=before.number, ordinals=before.ordinals, is_dormant=True)
    step.timeout_at = None
    step.child_pause = None
    step.slot = None
    step.error = fact.error


def _decision_made(state: ExecutionState, fact: DecisionMade) -> None:
    """A record for people; the tokens move with the step's completion."""


def _close(state: ExecutionState, step_id: str, *, is_reopenable: bool = False) -> Step:
    """A step is active no more; it gives up its lock, and its scope unless a retry may go on in it."""
    step = state.steps.pop(step_id)
    if step.lock is not None:
        waiting = state.locks.get(step.lock)
        if waiting is not None and step_id in waiting:
            waiting.remove(step_id)
            if not waiting:
                del state.locks[step.lock]
    if is_reopenable:
        state.reopenable[step_id] = step
    else:
        if len(state.scopes) > 1:
            state.scopes.pop(f"{step_id}~", None)
        if state.reopenable:
            _forget_inside(state, step_id)
    if step.undo is not None and step.scope != ROOT:
        state.scopes.pop(step.scope, None)
    return step


def _forget_inside(state: ExecutionState, step_id: str) -> None:
    """What a retry had still to open inside of a step stays closed: the step is over."""
    inside = (f"{step_id}:", f"{step_id}~")
    for closed in [closed for closed in state.reopenable if closed.startswith(inside)]:
        del state.reopenable[closed]
    for key in [key for key in state.scopes if key.startswith(inside)]:
        del state.scopes[key]


def _step_completed(state: ExecutionState, fact: StepCompleted) -> None:
    if fact.is_detached:
        step = state.steps[fact.step]
        step.is_detached = True
    else:
        step = _close(state, fact.step)
    if fact.is_undoable:
        _note_undo(state, step, fact)
    if step.parent is not None:
        _child_completed(state, state.steps[step.parent], step, fact)
        return
    if step.undo is not None:
        _show_compensated(state, step.undo)
        return
    scope = state.scopes[step.scope]
    view = _view(scope, step.node)
    view["status"] = "skipped" if fact.is_skipped else "completed"
    view["count"] += 0 if fact.is_skipped else 1
    if fact.is_kept:
        view["output"] = listed_results(step) if fact.is_list else fact.output
    step.results = {}
    _put(scope, fact.puts)
    if fact.ends_path:
        _end_path(scope, step.node, fact)


def _note_undo(state: ExecutionState, step: Step, fact: StepCompleted) -> None:
    path = state.scopes[step.scope].path
    state.undo.append(Undo(step.step_id, step.node, step.scope, path, fact.output, fact.undo_names))


def _show_compensated(state: ExecutionState, undo: Undo) -> None:
    scope = state.scopes.get(undo.scope)
    view = scope.views.get(undo.node) if scope is not None else None
    if view is not None and view["status"] == "completed":
        view["status"] = "compensated"


def _child_completed(state: ExecutionState, parent: Step, step: Step, fact: StepCompleted) -> None:
    parent.open -= 1
    parent.finished += 1
    parent.completed += 0 if fact.is_skipped else 1
    if parent.repeat_max is not None:
        parent.last = fact.output
        if fact.is_kept and parent.parent is None and parent.undo is None:
            _view(state.scopes[parent.scope], parent.node)["output"] = fact.output
    elif fact.is_kept and step.index is not None and not parent.is_detached:
        parent.results[step.index] = fact.output


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
    step = _close(state, fact.step, is_reopenable=fact.is_reopenable)
    if fact.is_reopenable:
        step.error = fact.error
        step.is_failed = True
    if step.parent is not None:
        parent = state.steps[step.parent]
        parent.open -= 1
        parent.finished += 0 if fact.is_reopenable else 1
        return
    if step.undo is not None:
        if state.compensation is not None:
            state.compensation.failures.append(fact.error)
        return
    scope = state.scopes[step.scope]
    view = _view(scope, step.node)
    view["status"] = "failed"
    view["error"] = fact.error
    view["attempt"] = fact.attempt
    _put(scope, fact.puts, fact.error)


def _step_cancelled(state: ExecutionState, fact: StepCancelled) -> None:
    step = _close(state, fact.step, is_reopenable=fact.is_reopenable)
    if step.parent is not None:
        parent = state.steps.get(step.parent) or state.reopenable[step.parent]
        parent.open -= 1
    elif step.undo is None:
        _view(state.scopes[step.scope], step.node)["status"] = "cancelled"


def _step_parked(state: ExecutionState, fact: StepParked) -> None:
    step = state.steps.pop(fact.step)
    if fact.is_reopenable:
        state.reopenable[fact.step] = step


def _iteration_delayed(state: ExecutionState, fact: IterationDelayed) -> None:
    state.steps[fact.step].delay_until = fact.until


def _items_added(state: ExecutionState, fact: ItemsAdded) -> None:
    step = state.steps[fact.step]
    step.items = [*(step.items or ()), *fact.items]


def _child_noted(state: ExecutionState, fact: ChildNoted) -> None:
    state.steps[fact.step].child_pause = fact.reason


def _tokens_withdrawn(state: ExecutionState, fact: TokensWithdrawn) -> None:
    scope = state.scopes[fact.scope]
    for connection, count in fact.tokens:
        for _ in range(count):
            _take(scope, connection)
    for node in fact.starts:
        scope.starts.remove(node)


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
    if not fact.is_lost:
        state.signals.append(PendingSignal(fact.number, fact.name, fact.payload, len(encode_json(fact.payload))))


def _signal_taken(state: ExecutionState, fact: SignalTaken) -> None:
    for position, signal in enumerate(state.signals):
        if signal.number == fact.number:
            del state.signals[position]
            return
    raise InvariantViolated(f"signal {fact.number} of {state.execution_id} is not there to be taken")


def _variables_changed(state: ExecutionState, fact: VariablesChanged) -> None:
    variables = state.variables if fact.scope == ROOT else state.scopes[fact.scope].variables
    variables.update(fact.changed)


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
    state.compensation = None
    for scope in state.scopes.values():
        scope.withdrawn_starts, scope.starts = scope.starts, []
        scope.withdrawn_tokens, scope.tokens = scope.tokens, {}


def _compensation_started(state: ExecutionState, fact: CompensationStarted) -> None:
    """What is left of the flow is gone: from here on completed steps are undone, and nothing can be retried."""
    state.compensation = Compensation(fact.error, fact.reason)
    state.timeout_at = None
    state.reopenable.clear()
    root = state.scopes[ROOT]
    state.scopes = {ROOT: root}
    root.starts, root.tokens, root.errors, root.owed = [], {}, {}, {}


def _completed(state: ExecutionState, fact: ExecutionCompleted) -> None:
    _end(state, COMPLETED)
    state.output = fact.output
    state.progress = 100
    _forget(state)


def _forget(state: ExecutionState) -> None:
    """Nothing can be retried or undone any more."""
    state.reopenable.clear()
    state.undo.clear()


def _failed(state: ExecutionState, fact: ExecutionFailed) -> None:
    _end(state, FAILED)
    state.error = fact.error


def _cancelled(state: ExecutionState, fact: ExecutionCancelled) -> None:
    _end(state, CANCELLED)
    _forget(state)


_APPLIERS: dict[type, Callable[[ExecutionState, Any], None]] = {
    ExecutionCreated: _created,
    ExecutionStarted: _started,
    ExecutionForked: _forked,
    ExecutionMigrated: _migrated,
    StepQueued: _step_queued,
    SlotAsked: _slot_asked,
    SlotGranted: _slot_granted,
    StepRequeued: _step_requeued,
    StepParked: _step_parked,
    IterationDelayed: _iteration_delayed,
    ItemsAdded: _items_added,
    TokensWithdrawn: _tokens_withdrawn,
    ChildNoted: _child_noted,
    CompensationStarted: _compensation_started,
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
