"""`decide`: what follows from a burst of commands. Pure: same state, commands and `now`, same answer."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from workflow_engine.engine.apply import FORKED_FIELDS, ROOT
from workflow_engine.engine.graph import Graph
from workflow_engine.engine.migration import plan_migration
from workflow_engine.engine.outcomes import (
    cancel_execution,
    complete_step,
    end_failed,
    fail_activation,
    fail_attempt,
    fail_execution,
    fail_step,
    seconds_of,
)
from workflow_engine.engine.progress import progress_percent
from workflow_engine.engine.reopening import reopen_steps
from workflow_engine.engine.settling import settle
from workflow_engine.engine.starting import ITEMS_MAX, ask_slot, attempt_again, attempt_asked_for, next_iteration
from workflow_engine.engine.transition import Transition, execution_error
from workflow_engine.engine.variables import Evaluator, StepFault
from workflow_engine.engine.waits import clock_is_due, find_taker, receive_signal
from workflow_engine.engine.working import CALL, CLOCK, OUTSIDE, Agenda, Place, Working
from workflow_engine.models.command import (
    Abort,
    AddItems,
    Answer,
    AnyCommand,
    Cancel,
    CompleteByHand,
    CompleteStep,
    Decline,
    FailStep,
    FireTimers,
    Fork,
    GrantSlot,
    Migrate,
    NoteChild,
    Pause,
    Recover,
    Rejection,
    Resume,
    Retry,
    SetVariables,
    Signal,
    Skip,
    Start,
    Terminate,
)
from workflow_engine.models.duration import DurationInvalid
from workflow_engine.models.effect import Dispatch, Effect
from workflow_engine.models.event import (
    AnyFact,
    ChildNoted,
    ExecutionCreated,
    ExecutionForked,
    ExecutionPaused,
    ExecutionResumed,
    ExecutionStarted,
    ItemsAdded,
    ProgressMade,
    SlotGranted,
    VariablesChanged,
)
from workflow_engine.models.execution import FAILED, PAUSED, PENDING, RUNNING, ExecutionState, Step
from workflow_engine.models.instant import MICROSECONDS, rfc3339
from workflow_engine.models.json_value import encode_json
from workflow_engine.models.step import StepError

SHORT_WAIT_S = 1.0
"""A clock wait shorter than this counts as running: it is not worth a pause that everybody hears of."""

WAITING_FOR_MAX = 100
"""Waits that a pause names one by one."""


class Decision(msgspec.Struct, frozen=True, gc=False):
    """What follows from the commands.

    `facts` in the order to apply (they are applied to the working state already), `effects` to perform once the facts
    are durable, `rejections` one entry per command, None where it was accepted. `is_unfinished`: pure work is left;
    commit, perform the effects, and decide again without commands.
    """

    facts: list[AnyFact]
    effects: list[Effect]
    rejections: list[Rejection | None]
    is_unfinished: bool


def decide(working: Working, commands: Sequence[AnyCommand], *, now: int) -> Decision:
    """Decide a burst of commands in order, then run the machine until nothing pure is left to do.

    The facts are applied to `working` as they are decided; a caller whose commit fails throws it away and folds the log
    anew.

    Args:
        now: microseconds since 1970 UTC, never earlier than the execution's last event.

    Raises:
        InvariantViolated: the state contradicts the graph. A bug; never caught in this package.

    Source: commands, events and rejections after Zeebe's engine; the shape after XState's `transition`.
    """
    state = working.state
    at_before, state.at = state.at, now
    t = Transition(working, now)
    if working.condition_waits:
        working.time_passes()
    rejections = [_handle(t, command) for command in commands]
    if t.end is None and state.status in (RUNNING, PAUSED) and not state.is_operator_paused:
        settle(t)
    _conclude(t)
    if t.is_unfinished:
        working.rebuild()  # whoever goes on from here, this owner or one that folds the log, begins alike
    if not t.facts:
        state.at = at_before  # nothing is recorded, so the state stays what its log gives
    return Decision(t.facts, t.effects, rejections, t.is_unfinished)


FROM_NOTHING = (Start, Fork, Recover)
"""What may be asked of an execution that is not there."""

AFTER_FAILURE = (Retry, SetVariables, CompleteByHand, Skip)
"""What may be asked of an execution that has failed."""


def _handle(t: Transition, command: AnyCommand) -> Rejection | None:
    state = t.working.state
    if not isinstance(command, FROM_NOTHING):
        if not state.workflow_id:
            return Rejection("not_started", "the execution does not exist")
        if t.end is not None:
            return Rejection("ended", "the execution has just ended")
        if state.is_terminal and not (state.status == FAILED and isinstance(command, AFTER_FAILURE)):
            return Rejection("ended", f"the execution is {state.status}")
    return _HANDLERS[type(command)](t, command)


# --- starting


def _start(t: Transition, command: Start) -> Rejection | None:
    if t.working.state.workflow_id:
        return Rejection("already_started", "the execution exists already")
    start_at = t.now + int(command.delay_s * MICROSECONDS) if command.delay_s > 0 else None
    t.emit(
        ExecutionCreated(
            command.workflow_id,
            command.version,
            command.input,
            command.variables,
            command.metadata,
            command.priority,
            start_at,
        )
    )
    t.evaluator.variables.begin(command.variables)
    if start_at is None:
        _begin(t)
    return None


def _begin(t: Transition) -> None:
    """The first tokens: variables take their first values and the clock of the execution starts."""
    working = t.working
    place = working.places[ROOT]
    failure = None
    variables = t.evaluator.variables.seen_from(place)
    timeout_at = None
    try:
        variables = {**t.evaluator.value(working.graph.variables, place), **variables}
        t.evaluator.variables.begin(variables)
        timeout_at = _timeout_at(t, t.evaluator, t.working.places[ROOT])
    except StepFault as failed:
        failure = StepError(failed.type, str(failed))
    except DurationInvalid as failed:
        failure = StepError("expression_error", f"the execution's timeout: {failed}")
    t.emit(ExecutionStarted(working.state.version, list(working.graph.starts), variables, timeout_at))
    if failure is not None:
        fail_execution(t, execution_error(failure))


def _timeout_at(t: Transition, evaluator: Evaluator, place: Place) -> int | None:
    template = t.working.graph.timeout
    if template is None:
        return None
    return t.now + int(seconds_of(evaluator.value(template, place)) * MICROSECONDS)


def _fork(t: Transition, command: Fork) -> Rejection | None:
    if t.working.state.workflow_id:
        return Rejection("already_started", "the execution exists already")
    state = command.state
    if state.status in ("cancelled", PENDING):
        return Rejection(
            f"origin_{state.status}",
            f"the other execution was {state.status} at this point; fork from another of its events",
        )
    has_undone = state.status == FAILED and not state.reopenable and state.scopes[ROOT].end_status is None
    if state.compensation is not None or has_undone:
        return Rejection(
            "origin_compensated",
            "the other execution had undone what it did at this point; fork from an event before that",
        )
    try:
        timeout_at = _timeout_at(t, Evaluator(state, t.working.limits, t.now), _root_of(state, t.working.graph))
    except (StepFault, DurationInvalid) as failure:
        return Rejection("invalid_timeout", f"the execution's timeout: {failure}")
    t.emit(
        ExecutionForked(
            command.workflow_id,
            command.version,
            command.origin_id,
            command.origin_sequence,
            _image(state),
            timeout_at,
        )
    )
    t.evaluator.variables.begin(t.working.state.variables)
    if command.variables:
        t.evaluator.variables.assign(command.variables, t.working.places[ROOT])
        t.evaluator.variables.keep()
    reopen_steps(t)
    return None


def _root_of(state: ExecutionState, graph: Graph) -> Place:
    return Place(ROOT, graph, state.scopes[ROOT], agenda=Agenda())


def _image(state: ExecutionState) -> dict[str, Any]:
    """What a fork begins with: what was under way is to be opened again, as after a failure."""
    image: dict[str, Any] = msgspec.to_builtins(state, str_keys=True)
    under_way = image.pop("steps", {})
    for step in under_way.values():
        step.pop("open", None)
    image["reopenable"] = {**image.get("reopenable", {}), **under_way}
    for step in image["reopenable"].values():
        step["is_failed"] = "items" not in step and "repeat_max" not in step
    for scope in image["scopes"].values():
        scope["tokens"] = {**scope.pop("withdrawn_tokens", {}), **scope.get("tokens", {})}
        scope["starts"] = [*scope.pop("withdrawn_starts", []), *scope.get("starts", [])]
    return {name: image[name] for name in FORKED_FIELDS if name in image}


# --- outcomes of steps


def _reported(t: Transition, command: CompleteStep | FailStep | NoteChild) -> Step | Rejection:
    """The step that a report is about, if it is about the attempt that is under way."""
    step = t.working.state.steps.get(command.step)
    if step is None:
        return Rejection("stale", f"the step {command.step} is not active")
    is_current = (step.attempt, step.generation) == (command.attempt, command.generation)
    if not is_current or step.retry_at is not None or step.status == PENDING:
        return Rejection("stale", f"the step {command.step} is past attempt {command.attempt}")
    if step.is_parent or not t.working.spec(step).is_io:
        return Rejection("not_called", f"the step {command.step} is no call whose outcome could be reported")
    return step


def _complete(t: Transition, command: CompleteStep) -> Rejection | None:
    step = _reported(t, command)
    if isinstance(step, Rejection):
        return step
    complete_step(t, step, command.output)
    return None


def _fail(t: Transition, command: FailStep) -> Rejection | None:
    step = _reported(t, command)
    if isinstance(step, Rejection):
        return step
    fail_attempt(t, step, command.error)
    return None


def _asked(t: Transition, step_id: str) -> Step | Rejection:
    """The `human` step that an answer is for."""
    step = t.working.state.steps.get(step_id)
    if step is None or step.status != "waiting" or t.working.spec(step).type != "human":
        return Rejection("not_waiting", f"no person is asked by the step {step_id}")
    return step


def _answer(t: Transition, command: Answer) -> Rejection | None:
    step = _asked(t, command.step)
    if isinstance(step, Rejection):
        return step
    t.by = command.by
    complete_step(t, step, command.output)
    t.by = None
    return None


def _decline(t: Transition, command: Decline) -> Rejection | None:
    step = _asked(t, command.step)
    if isinstance(step, Rejection):
        return step
    t.by = command.by
    fail_step(t, step, command.error)
    t.by = None
    return None


def _note_child(t: Transition, command: NoteChild) -> Rejection | None:
    step = _reported(t, command)
    if isinstance(step, Rejection):
        return step
    if step.child_pause != command.reason:
        t.emit(ChildNoted(step.step_id, command.reason))
    return None


def _grant_slot(t: Transition, command: GrantSlot) -> Rejection | None:
    step = t.working.state.steps.get(command.step)
    asked = (command.attempt, command.generation)
    if step is None or step.slot is None or (attempt_asked_for(step), step.generation) != asked:
        return Rejection("stale", f"the step {command.step} does not wait for a slot")
    if step.slot == "asked":
        t.emit(SlotGranted(step.step_id))
    return None


# --- clock and signals


def _fire_timers(t: Transition, command: FireTimers) -> Rejection | None:
    working = t.working
    for _ in range(working.limits.transition_steps_max):  # what is left is still due, and has a transition of its own
        due_at = working.next_due_at()
        if t.end is not None or due_at is None or due_at > t.now:
            break
        _, step_id, kind = working.pop_timer()
        _fire(t, step_id, kind)
    return None


def _fire(t: Transition, step_id: str, kind: str) -> None:
    if kind == "start":
        _begin(t)
        return
    if kind == "execution":
        end_failed(t, execution_error(StepError("timeout", "the execution took longer than its timeout")))
        return
    step = t.working.state.steps[step_id]
    match kind:
        case "due":
            clock_is_due(t, step)
        case "timeout":
            _time_out(t, step)
        case "next":
            next_iteration(t, step, is_due=True)
        case _ if step.limit_key is not None:
            ask_slot(t, step)
        case _:
            attempt_again(t, step)


def _time_out(t: Transition, step: Step) -> None:
    node = t.working.spec(step)
    if node.is_io:
        t.withdraw_call(step)
        fail_attempt(t, step, StepError("timeout", f"{node.id} took longer than its timeout"))
    elif node.body is not None:
        fail_activation(t, step, StepError("timeout", f"the group {node.id} took longer than its timeout"))
    else:
        fail_step(t, step, StepError("timeout", f"{node.id} waited longer than its timeout"))


def _signal(t: Transition, command: Signal) -> Rejection | None:
    state = t.working.state
    limits = t.working.limits
    size = len(encode_json(command.payload))
    if size > limits.payload_bytes_max:
        return Rejection("payload_too_large", f"the payload is larger than {limits.payload_bytes_max} bytes")
    reception = find_taker(t, command.name, command.payload, size)
    if reception.is_kept and len(state.signals) >= limits.signals_unread_max:
        return Rejection(
            "limit_exceeded", f"{limits.signals_unread_max} signals wait unread, which is all that is allowed"
        )
    unread = sum(signal.size for signal in state.signals) if reception.is_kept else 0
    if unread + size > limits.signals_unread_bytes_max:
        return Rejection("limit_exceeded", f"signals of {limits.signals_unread_bytes_max} bytes wait unread already")
    receive_signal(t, reception)
    return None


# --- control


def _pause(t: Transition, command: Pause) -> Rejection | None:
    if t.working.state.is_operator_paused:
        return Rejection("already_paused", "the execution is paused by an operator already")
    if t.working.state.status == PENDING:
        return Rejection("pending", "the execution has not begun yet")
    t.emit(ExecutionPaused("operator"))
    return None


def _resume(t: Transition, command: Resume) -> Rejection | None:
    if not t.working.state.is_operator_paused:
        return Rejection(
            "not_paused", "no operator has paused the execution; it goes on by itself when its wait is over"
        )
    t.emit(ExecutionResumed(is_operator=True))
    return _fire_timers(t, FireTimers())


def _cancel(t: Transition, command: Cancel) -> Rejection | None:
    if t.working.state.compensation is not None:
        return Rejection("compensating", "the execution undoes what it has done and then ends; terminate stops it")
    cancel_execution(t, command.reason, compensate=command.compensate)
    return None


def _terminate(t: Transition, command: Terminate) -> Rejection | None:
    cancel_execution(t, command.reason)
    return None


def _abort(t: Transition, command: Abort) -> Rejection | None:
    fail_execution(t, execution_error(command.error))
    return None


def _retry(t: Transition, command: Retry) -> Rejection | None:
    return _continue_failed(t)


def _continue_failed(t: Transition, by_hand: tuple[str, Any, bool] | None = None) -> Rejection | None:
    """Open a failed execution again at its failed steps; an operator may end one of them by hand."""
    state = t.working.state
    if state.status != FAILED:
        return Rejection("not_failed", f"only a failed execution can be retried; this one is {state.status}")
    if not state.scopes or (not state.reopenable and state.scopes[ROOT].end_status is not None):
        return Rejection(
            "nothing_to_retry", "there is no failed step to open: an `end` node or a compensation ended the execution"
        )
    if "compensation" in (state.error or {}) or (t.working.graph.is_compensating and not state.reopenable):
        return Rejection("nothing_to_retry", "what the execution had done is undone; start or fork another")
    timeout_at = None
    try:
        timeout_at = _timeout_at(t, t.evaluator, t.working.places[ROOT])
    except (StepFault, DurationInvalid) as failure:
        return Rejection("invalid_timeout", f"the execution's timeout: {failure}")
    t.emit(ExecutionResumed(is_retry=True, timeout_at=timeout_at))
    if state.started_at is None:
        _begin(t)
    reopen_steps(t, by_hand=by_hand)
    return None


def _complete_by_hand(t: Transition, command: CompleteByHand) -> Rejection | None:
    size = len(encode_json(command.output))
    if size > t.working.limits.payload_bytes_max:
        return Rejection("payload_too_large", f"the output is larger than {t.working.limits.payload_bytes_max} bytes")
    return _by_hand(t, command.step, command.output, is_skipped=False)


def _skip(t: Transition, command: Skip) -> Rejection | None:
    return _by_hand(t, command.step, None, is_skipped=True)


def _by_hand(t: Transition, step_id: str, output: Any, *, is_skipped: bool) -> Rejection | None:
    state = t.working.state
    if state.status == FAILED:
        step = state.reopenable.get(step_id)
        if step is None or not step.is_failed:
            return Rejection("not_active", f"the step {step_id} is none that failed the execution")
        if any(
            step_id.startswith(f"{one.step_id}~") and one.limit_key is not None for one in state.reopenable.values()
        ):
            return Rejection(
                "limit_around",
                f"a group around {step_id} has to wait for its limit: retry, and end the step once it runs",
            )
        return _continue_failed(t, (step_id, output, is_skipped))
    step = state.steps.get(step_id)
    if step is None or step.is_detached:
        return Rejection("not_active", f"the step {step_id} is not active")
    complete_step(t, step, output, is_skipped=is_skipped, is_by_hand=True)
    return None


def _add_items(t: Transition, command: AddItems) -> Rejection | None:
    step = t.working.state.steps.get(command.step)
    if step is None:
        return Rejection("not_active", f"the step {command.step} is not active")
    if step.items is None:
        return Rejection("no_foreach", f"the step {command.step} goes through no list of items")
    foreach = t.working.spec(step).foreach
    if step.is_detached and foreach is not None and foreach.is_awaited:
        return Rejection("not_active", f"the step {command.step} has completed; what is left of it takes no more items")
    if len(step.items) + len(command.items) > ITEMS_MAX:
        return Rejection("limit_exceeded", f"{ITEMS_MAX} items are allowed")
    if len(encode_json(command.items)) > t.working.limits.payload_bytes_max:
        return Rejection("payload_too_large", "the items are larger than a payload may be")
    if command.items:
        t.emit(ItemsAdded(step.step_id, command.items))
    return None


def _migrate(t: Transition, command: Migrate) -> Rejection | None:
    working = t.working
    if working.state.status == PENDING:
        return Rejection("pending", "the execution has not begun yet")
    if working.state.compensation is not None:
        return Rejection("compensating", "the execution is ending and undoes what it has done")
    plan = plan_migration(
        working.state, working.graph, command.graph, command.version, command.nodes, outputs=command.outputs
    )
    if plan.problems:
        return Rejection("cannot_migrate", "; ".join(plan.problems))
    working.graph = command.graph
    t.emit(plan.fact)
    return None


def _set_variables(t: Transition, command: SetVariables) -> Rejection | None:
    for name, value in command.changed.items():
        if len(encode_json(value)) > t.working.limits.payload_bytes_max:
            return Rejection("payload_too_large", f"the variable {name} is larger than allowed")
    t.evaluator.variables.assign(command.changed, t.working.places[ROOT])
    t.evaluator.variables.keep()
    return None


def _recover(t: Transition, command: Recover) -> Rejection | None:
    for step in t.working.state.steps.values():
        if step.slot == "asked":
            ask_slot(t, step)
        elif not step.is_parent and step.retry_at is None and step.status != PENDING and t.working.spec(step).is_io:
            t.effects.append(Dispatch(step.step_id, is_repeat=True))
    return None


_HANDLERS: dict[type, Callable[[Transition, Any], Rejection | None]] = {
    Start: _start,
    CompleteStep: _complete,
    FailStep: _fail,
    FireTimers: _fire_timers,
    Signal: _signal,
    Answer: _answer,
    Decline: _decline,
    Pause: _pause,
    Resume: _resume,
    Cancel: _cancel,
    Terminate: _terminate,
    Abort: _abort,
    Retry: _retry,
    SetVariables: _set_variables,
    Recover: _recover,
    GrantSlot: _grant_slot,
    NoteChild: _note_child,
    AddItems: _add_items,
    CompleteByHand: _complete_by_hand,
    Skip: _skip,
    Fork: _fork,
    Migrate: _migrate,
}


# --- concluding


def _conclude(t: Transition) -> None:
    """Close the transition: changed variables once, progress, and the status that follows."""
    for key, changed in t.evaluator.variables.changed.items():
        if changed and key in t.working.state.scopes:
            t.emit(VariablesChanged(changed, key))
    if t.end is not None:
        t.emit(t.end)
        t.working.rebuild()
        return
    if t.working.state.status not in (RUNNING, PAUSED):
        return
    _note_progress(t)
    _note_pause(t)


def _note_progress(t: Transition) -> None:
    percent = progress_percent(t.working)
    if percent != t.working.state.progress:
        fact = ProgressMade(percent)
        t.working.emit(fact)
        t.facts.insert(0, fact)


def _note_pause(t: Transition) -> None:
    state = t.working.state
    if state.is_operator_paused:
        return
    reason = _pause_reason(t)
    if reason is None:
        if state.status == PAUSED:
            t.emit(ExecutionResumed())
    elif state.status != PAUSED or state.reason != reason:
        t.emit(ExecutionPaused(reason, waiting_for(t)))


def _pause_reason(t: Transition) -> str | None:
    working = t.working
    if t.is_unfinished or working.counts[CALL] or not working.state.steps:
        return None
    if working.counts[OUTSIDE]:
        return "input"
    if not working.counts[CLOCK]:
        return None
    due_at = working.next_due_at()
    is_short = due_at is not None and due_at - t.now < SHORT_WAIT_S * MICROSECONDS
    return None if is_short and working.state.reason != "timer" else "timer"


def waiting_for(t: Transition) -> list[dict[str, Any]]:
    """What the execution waits for: `{node_id, step_id, kind, name, until}` per wait, the first hundred of them."""
    waits: list[dict[str, Any]] = []
    for step in t.working.state.steps.values():
        if step.step_id not in t.working.kinds:
            continue
        kind, name, until = _shown_wait(t, step)
        waits.append(
            {
                "node_id": step.node,
                "step_id": step.step_id,
                "kind": kind,
                "name": name,
                "until": rfc3339(until) if until is not None else None,
            }
        )
        if len(waits) == WAITING_FOR_MAX:
            break
    return waits


def _shown_wait(t: Transition, step: Step) -> tuple[str, str | None, int | None]:
    """What a step waits for: its kind, a signal's name, until when."""
    if step.delay_until is not None:
        return "for", None, step.delay_until
    node = t.working.spec(step)
    due_at = step.due_at
    until = due_at if due_at is not None else step.timeout_at
    if node.type == "wait":
        kind = "any" if node.is_any else step.waits[0].kind
        return kind, next((wait.name for wait in step.waits if wait.name is not None), None), until
    return node.type, None, until
