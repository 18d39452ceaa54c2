"""`decide`: what follows from a burst of commands. Pure: same state, commands and `now`, same answer."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from workflow_engine.engine.apply import ROOT
from workflow_engine.engine.progress import progress_percent
from workflow_engine.engine.transitions import (
    Transition,
    cancel_execution,
    complete_step,
    execution_error,
    fail_attempt,
    fail_execution,
    fail_step,
    reopen_steps,
    seconds_of,
    settle,
    signal_matches,
    start_attempt,
)
from workflow_engine.engine.variables import StepFault
from workflow_engine.engine.working import Working
from workflow_engine.models.command import (
    Abort,
    Answer,
    AnyCommand,
    Cancel,
    CompleteStep,
    Decline,
    FailStep,
    FireTimers,
    Pause,
    Recover,
    Rejection,
    Resume,
    Retry,
    SetVariables,
    Signal,
    Start,
    Terminate,
)
from workflow_engine.models.duration import DurationInvalid
from workflow_engine.models.effect import Dispatch, Effect
from workflow_engine.models.event import (
    AnyFact,
    ExecutionCreated,
    ExecutionPaused,
    ExecutionResumed,
    ExecutionStarted,
    ProgressMade,
    SignalReceived,
    SignalTaken,
    VariablesChanged,
)
from workflow_engine.models.execution import FAILED, PAUSED, PENDING, RUNNING, Step
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
    rejections = [_handle(t, command) for command in commands]
    if t.end is None and state.status in (RUNNING, PAUSED) and not state.is_operator_paused:
        settle(t)
    _conclude(t)
    if not t.facts:
        state.at = at_before  # nothing is recorded, so the state stays what its log gives
    return Decision(t.facts, t.effects, rejections, t.is_unfinished)


def _handle(t: Transition, command: AnyCommand) -> Rejection | None:
    state = t.working.state
    if not isinstance(command, Start | Recover):
        if not state.workflow_id:
            return Rejection("not_started", "the execution does not exist")
        if t.end is not None:
            return Rejection("ended", "the execution has just ended")
        if state.is_terminal and not (state.status == FAILED and isinstance(command, Retry | SetVariables)):
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
    variables = t.evaluator.variables.current
    timeout_at = None
    try:
        variables = {**t.evaluator.value(working.graph.variables, place), **variables}
        t.evaluator.variables.begin(variables)
        timeout_at = _execution_timeout_at(t)
    except StepFault as failed:
        failure = StepError(failed.type, str(failed))
    except DurationInvalid as failed:
        failure = StepError("expression_error", f"the execution's timeout: {failed}")
    t.emit(ExecutionStarted(working.state.version, list(working.graph.starts), variables, timeout_at))
    if failure is not None:
        fail_execution(t, execution_error(failure))


def _execution_timeout_at(t: Transition) -> int | None:
    template = t.working.graph.timeout
    if template is None:
        return None
    return t.now + int(seconds_of(t.evaluator.value(template, t.working.places[ROOT])) * MICROSECONDS)


# --- outcomes of
# steps


def _reported(t: Transition, command: CompleteStep | FailStep) -> Step | Rejection:
    """The step that a report is about, if it is about the attempt that is under way."""
    step = t.working.state.steps.get(command.step)
    if step is None:
        return Rejection("stale", f"the step {command.step} is not active")
    if (step.attempt, step.generation) != (command.attempt, command.generation) or step.retry_at is not None:
        return Rejection("stale", f"the step {command.step} is past attempt {command.attempt}")
    if step.items is not None or not t.working.spec(step).is_io:
        return Rejection("not_called", f"the step {command.step} is no call whose outcome could be reported")
    return step


def _complete(t: Transition, command: CompleteStep) -> Rejection | None:
    step = _reported(t, command)
    if isinstance(step, Rejection):
        return step
    complete_step(t, step, t.working.spec(step), command.output)
    return None


def _fail(t: Transition, command: FailStep) -> Rejection | None:
    step = _reported(t, command)
    if isinstance(step, Rejection):
        return step
    fail_attempt(t, step, t.working.spec(step), command.error)
    return None


def _asked(t: Transition, step_id: str) -> Step | Rejection:
    """The `human` step that an answer is for."""
    step = t.working.state.steps.get(step_id)
    if step is None or t.working.spec(step).type != "human" or step.items is not None:
        return Rejection("not_waiting", f"no person is asked by the step {step_id}")
    return step


def _answer(t: Transition, command: Answer) -> Rejection | None:
    step = _asked(t, command.step)
    if isinstance(step, Rejection):
        return step
    t.by = command.by
    complete_step(t, step, t.working.spec(step), command.output)
    t.by = None
    return None


def _decline(t: Transition, command: Decline) -> Rejection | None:
    step = _asked(t, command.step)
    if isinstance(step, Rejection):
        return step
    t.by = command.by
    fail_step(t, step, t.working.spec(step), command.error)
    t.by = None
    return None


# --- clock and
# signals


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
        fail_execution(t, execution_error(StepError("timeout", "the execution took longer than its timeout")))
        return
    step = t.working.state.steps[step_id]
    node = t.working.spec(step)
    match kind:
        case "due":
            complete_step(t, step, node, {"kind": node.wait_kind})
        case "timeout":
            fail_step(t, step, node, StepError("timeout", f"{node.id} waited longer than its timeout"))
        case _:
            start_attempt(t, step)


def _signal(t: Transition, command: Signal) -> Rejection | None:
    state = t.working.state
    limits = t.working.limits
    size = len(encode_json(command.payload))
    if size > limits.payload_bytes_max:
        return Rejection("payload_too_large", f"the payload is larger than {limits.payload_bytes_max} bytes")
    if len(state.signals) >= limits.signals_unread_max:
        return Rejection(
            "limit_exceeded", f"{limits.signals_unread_max} signals wait unread, which is all that is allowed"
        )
    if sum(signal.size for signal in state.signals) + size > limits.signals_unread_bytes_max:
        return Rejection("limit_exceeded", f"signals of {limits.signals_unread_bytes_max} bytes wait unread already")
    t.emit(SignalReceived(state.signals_received + 1, command.name, command.payload))
    signal = state.signals[-1]
    for step_id in list(t.working.signal_waits.get(command.name, ())):
        step = state.steps[step_id]
        node = t.working.spec(step)
        if signal_matches(t, step, node, signal):
            t.emit(SignalTaken(signal.number))
            complete_step(t, step, node, signal.payload)
            break
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
    cancel_execution(t, command.reason)
    return None


def _terminate(t: Transition, command: Terminate) -> Rejection | None:
    cancel_execution(t, command.reason)
    return None


def _abort(t: Transition, command: Abort) -> Rejection | None:
    fail_execution(t, execution_error(command.error))
    return None


def _retry(t: Transition, command: Retry) -> Rejection | None:
    state = t.working.state
    if state.status != FAILED:
        return Rejection("not_failed", f"only a failed execution can be retried; this one is {state.status}")
    if not state.scopes or (not state.reopenable and state.scopes[ROOT].end_status is not None):
        return Rejection(
            "nothing_to_retry", "an `end` node ended the execution as failed; there is no failed step to open"
        )
    timeout_at = None
    try:
        timeout_at = _execution_timeout_at(t)
    except (StepFault, DurationInvalid) as failure:
        return Rejection("invalid_timeout", f"the execution's timeout: {failure}")
    t.emit(ExecutionResumed(is_retry=True, timeout_at=timeout_at))
    if state.started_at is None:
        _begin(t)
    reopen_steps(t)
    return None


def _set_variables(t: Transition, command: SetVariables) -> Rejection | None:
    for name, value in command.changed.items():
        if len(encode_json(value)) > t.working.limits.payload_bytes_max:
            return Rejection("payload_too_large", f"the variable {name} is larger than allowed")
    t.evaluator.variables.assign(command.changed)
    t.evaluator.variables.keep()
    return None


def _recover(t: Transition, command: Recover) -> Rejection | None:
    for step in t.working.state.steps.values():
        if step.items is None and step.retry_at is None and t.working.spec(step).is_io:
            t.effects.append(Dispatch(step.step_id))
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
}


# --- concluding


def _conclude(t: Transition) -> None:
    """Close the transition: changed variables once, progress, and the status that follows."""
    changed = t.evaluator.variables.changed
    if changed:
        t.emit(VariablesChanged(changed))
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
    if t.is_unfinished or working.io_steps or not working.state.steps:
        return None
    if working.input_waits:
        return "input"
    due_at = working.next_due_at()
    is_short = due_at is not None and due_at - t.now < SHORT_WAIT_S * MICROSECONDS
    return None if is_short and working.state.reason != "timer" else "timer"


def waiting_for(t: Transition) -> list[dict[str, Any]]:
    """What the execution waits for: `{node_id, step_id, kind, name, until}` per wait, the first hundred of them."""
    waits: list[dict[str, Any]] = []
    for step in t.working.state.steps.values():
        node = t.working.spec(step)
        if step.items is not None or node.type not in ("wait", "human"):
            continue
        until = step.due_at if step.due_at is not None else step.timeout_at
        waits.append(
            {
                "node_id": step.node,
                "step_id": step.step_id,
                "kind": node.wait_kind or "human",
                "name": step.signal,
                "until": rfc3339(until) if until is not None else None,
            }
        )
        if len(waits) == WAITING_FOR_MAX:
            break
    return waits
