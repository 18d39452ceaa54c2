"""Waiting for clocks, signals and conditions, one of them or whichever comes first."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from workflow_engine.engine.graph import NodeSpec, WaitSpec
from workflow_engine.engine.outcomes import complete_step, fail_step, seconds_of
from workflow_engine.engine.transition import Transition, names_of
from workflow_engine.engine.variables import StepFault
from workflow_engine.engine.working import Place
from workflow_engine.models.duration import TimestampInvalid, parse_timestamp
from workflow_engine.models.event import SignalReceived, SignalTaken, Wait
from workflow_engine.models.execution import PendingSignal, Step
from workflow_engine.models.instant import MICROSECONDS, rfc3339
from workflow_engine.models.step import StepError


def wait_fields(
    t: Transition, place: Place, node: NodeSpec, extra: Mapping[str, Any] | None, *, timeout_at: int | None
) -> dict[str, Any]:
    """What a `wait` step begins with.

    Raises:
        StepFault, DurationInvalid, TimestampInvalid: what it waits for can't be evaluated.
    """
    waits = [_wait(t, place, node, spec, extra) for spec in node.waits]
    clocks = [wait.at for wait in waits if wait.at is not None]
    waiting_for: dict[str, Any] = {"kind": "any" if node.is_any else waits[0].kind}
    names = [wait.name for wait in waits if wait.name is not None]
    if names:
        waiting_for["name"] = names[0]
    until = min(clocks) if clocks else timeout_at
    if until is not None:
        waiting_for["until"] = _shown_instant(until)
    return {"status": "waiting", "waits": waits, "timeout_at": timeout_at, "waiting_for": waiting_for}


def _wait(t: Transition, place: Place, node: NodeSpec, spec: WaitSpec, extra: Mapping[str, Any] | None) -> Wait:
    if spec.value is None:
        return Wait(spec.kind)
    value = t.evaluator.value(spec.value, place, extra)
    if spec.kind == "for":
        return Wait(spec.kind, at=t.now + int(seconds_of(value) * MICROSECONDS))
    if spec.kind == "signal":
        return Wait(spec.kind, name=str(value))
    if not isinstance(value, str):
        raise TimestampInvalid("`until` must be text such as 2026-01-31T08:00:00Z")
    at = parse_timestamp(value)
    _shown_instant(at)
    return Wait(spec.kind, at=at)


def _shown_instant(at: int) -> str:
    try:
        return rfc3339(at)
    except (ValueError, OverflowError, OSError):
        raise TimestampInvalid("the instant lies outside of the years 1 to 9999 in UTC") from None


def begin_wait(t: Transition, step: Step) -> None:
    """Look whether what the step waits for is there already, one after the other."""
    specs = t.working.spec(step).waits
    for index, (wait, spec) in enumerate(zip(step.waits, specs, strict=True)):
        if wait.at is not None:
            is_over = wait.at <= t.now
        elif spec.condition is not None:
            is_over = _condition_holds(t, step, spec)
        else:
            is_over = spec.is_durable and _take_kept_signal(t, step, index)
        if is_over and step.step_id in t.working.state.steps:
            _end_wait(t, step, index)
        if step.step_id not in t.working.state.steps:
            return


def _take_kept_signal(t: Transition, step: Step, index: int) -> bool:
    for signal in t.working.state.signals:
        if signal.name == step.waits[index].name and _matches(t, step, index, signal):
            t.emit(SignalTaken(signal.number))
            _end_wait(t, step, index, signal)
            return False
    return False


def _matches(t: Transition, step: Step, index: int, signal: PendingSignal) -> bool:
    """Whether a wait takes the signal; a condition that fails on a payload is one that does not hold for it."""
    when = t.working.spec(step).waits[index].when
    if when is None:
        return True
    extra = dict(names_of(t, step) or {})
    extra["signal"] = {"name": signal.name, "payload": signal.payload}
    try:
        return t.evaluator.holds(when, t.working.place(step), extra)
    except StepFault:
        return False


def _condition_holds(t: Transition, step: Step, spec: WaitSpec) -> bool:
    """Whether a condition holds; one that fails is an error of the step."""
    assert spec.condition is not None
    try:
        return t.evaluator.holds(spec.condition, t.working.place(step), names_of(t, step))
    except StepFault as failure:
        fail_step(t, step, StepError(failure.type, f"the condition of {step.node} fails: {failure}"))
        return False


def _end_wait(t: Transition, step: Step, index: int, signal: PendingSignal | None = None) -> None:
    """What the step waited for is there: a signal's payload, or what fired, is its output."""
    wait = step.waits[index]
    if t.working.spec(step).is_any:
        payload = signal.payload if signal is not None else None
        raw: Any = {"index": index, "kind": wait.kind, "name": wait.name, "payload": payload}
    else:
        raw = signal.payload if signal is not None else {"kind": wait.kind}
    complete_step(t, step, raw)


def clock_is_due(t: Transition, step: Step) -> None:
    """The first clock that the step waits for is due."""
    due_at = step.due_at
    for index, wait in enumerate(step.waits):
        if wait.at is not None and wait.at == due_at:
            _end_wait(t, step, index)
            return


def look_at_conditions(t: Transition) -> None:
    """Look at the conditions that read something which has changed."""
    steps = t.working.state.steps
    for step_id in t.working.conditions_to_look_at():
        step = steps.get(step_id)
        if step is None:
            continue
        for index, spec in enumerate(t.working.spec(step).waits):
            if spec.condition is not None and _condition_holds(t, step, spec):
                _end_wait(t, step, index)
            if step_id not in steps or t.end is not None:
                break
        if t.end is not None:
            return


class Reception(NamedTuple):
    """A signal that has come, the wait that takes it, and whether it is kept where none does."""

    signal: PendingSignal
    taker: tuple[Step, int] | None
    is_lost: bool

    @property
    def is_kept(self) -> bool:
        """Whether it has to wait unread."""
        return self.taker is None and not self.is_lost


def find_taker(t: Transition, name: str, payload: Any, size: int) -> Reception:
    """Look for the oldest wait that a signal fits; `size` is the payload's JSON in bytes."""
    signal = PendingSignal(t.working.state.signals_received + 1, name, payload, size)
    taker = _taker(t, signal)
    return Reception(signal, taker, taker is None and name in t.working.graph.transient_signals)


def receive_signal(t: Transition, reception: Reception) -> None:
    """Give a signal to the wait that takes it, or keep it until one comes."""
    signal, taker, is_lost = reception
    t.emit(SignalReceived(signal.number, signal.name, signal.payload, is_lost))
    if taker is not None:
        step, index = taker
        t.emit(SignalTaken(signal.number))
        _end_wait(t, step, index, signal)


def _taker(t: Transition, signal: PendingSignal) -> tuple[Step, int] | None:
    for step_id in t.working.signal_waits.get(signal.name, ()):
        step = t.working.state.steps[step_id]
        for index, wait in enumerate(step.waits):
            if wait.name == signal.name and _matches(t, step, index, signal):
                return step, index
    return None
