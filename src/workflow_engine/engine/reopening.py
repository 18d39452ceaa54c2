"""Opening again what a failure closed: an operator's retry, and a fork that begins where another execution stood."""

from typing import Any

from workflow_engine.engine.outcomes import complete_parent, complete_step, fail_step
from workflow_engine.engine.starting import (
    attend_pending,
    begin,
    deadlock_of,
    foreach_fields,
    goes_on_inside,
    is_dormant,
    repeat_fields,
    start_fields,
)
from workflow_engine.engine.transition import NOT_ENABLED, Transition, names_of
from workflow_engine.models.event import StepReopened, StepRequeued
from workflow_engine.models.execution import PENDING, Step
from workflow_engine.models.step import StepError


def reopen_steps(t: Transition, *, by_hand: tuple[str, Any, bool] | None = None) -> None:
    """Open the closed steps again, the outer ones before those inside of them, and set them to work.

    `by_hand` is a step that does not work again: its id, the output that an operator gives it, whether it is skipped.
    """
    reopenable = t.working.state.reopenable
    for step in sorted(reopenable.values(), key=lambda step: (_depth(step), step.number)):
        if t.end is None and step.step_id in reopenable and _may_reopen(t, step):
            if by_hand is not None and by_hand[0] == step.step_id:
                t.emit(StepReopened(step.step_id, "processing"))
                complete_step(t, step, by_hand[1], is_skipped=by_hand[2], is_by_hand=True)
            else:
                _reopen(t, step)


def _depth(step: Step) -> int:
    return step.step_id.count("~") * 2 + step.step_id.count(":")


def _may_reopen(t: Transition, step: Step) -> bool:
    """A step opens once what it is inside of is open; one that was over before its items, with the first of them."""
    if step.is_detached:
        return False
    if step.parent is None:
        return _is_open(t, step.scope)
    parent = t.working.find(step.parent)
    is_active = step.parent in t.working.state.steps
    return is_active or (parent is not None and parent.is_detached and _is_open(t, parent.scope))


def _is_open(t: Transition, scope: str) -> bool:
    owner = t.working.state.steps.get(scope[:-1])
    return not scope or (owner is not None and owner.status != PENDING)


def _reopen(t: Transition, step: Step) -> None:
    if step.lock is not None or step.limit_key is not None:
        t.emit(StepRequeued(step.step_id))
        error = deadlock_of(t, step)
        if error is not None:
            fail_step(t, step, error)
        else:
            attend_pending(t, step)
        return
    node = t.working.spec(step)
    place = t.working.place(step)
    names = names_of(t, step)
    failure = None
    fields: dict[str, Any] = {"status": "waiting" if node.type in ("wait", "human") else "processing"}
    if step.status == NOT_ENABLED and step.error is not None:
        fields["status"] = NOT_ENABLED
        failure = StepError(step.error["type"], step.error["message"], step.error["details"])
    elif step.items is not None:
        if step.is_failed and step.next_index == 0:
            made, failure = foreach_fields(t, place, node, names)
            fields.update(made, is_fresh=True)
    elif step.repeat_max is not None:
        if step.is_failed:
            made, failure = repeat_fields(t, place, node, names)
            fields.update(made, is_fresh=True)
    elif step.is_failed or is_dormant(t, step):
        made, failure = start_fields(t, place, node, names)
        if goes_on_inside(t, step):
            made.pop("starts", None)
        fields.update(made, is_fresh=True)
    t.emit(StepReopened(step.step_id, **fields))
    if failure is not None:
        fail_step(t, step, failure)
    elif step.items is not None and step.finished >= len(step.items):
        complete_parent(t, step)
    elif not step.is_parent:
        begin(t, place, node, step)
