"""The scratch pad of one call of `decide`: facts and effects as they come up, and what they cost."""

from typing import Any, Final

from workflow_engine.engine.variables import Evaluator
from workflow_engine.engine.working import Working
from workflow_engine.models.effect import CloseTask, Effect, FreeSlot, Withdraw
from workflow_engine.models.event import (
    AnyFact,
    ErrorValue,
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionFailed,
    StepCancelled,
    StepCompleted,
    StepFailed,
    StepRetrying,
)
from workflow_engine.models.execution import Step
from workflow_engine.models.step import StepError

_ENDS: Final[dict[type, str]] = {
    StepCompleted: "completed",
    StepFailed: "failed",
    StepCancelled: "cancelled",
    StepRetrying: "retrying",
}

NOT_ENABLED: Final = "pending"
"""The status of a step that stands for a deadlocked join: its tokens never sufficed, so it does no work."""


class Transition:
    """What one call of `decide` gathers.

    Its functions emit facts through the working state, so that each sees the effect of the one before, and collect the
    effects that the caller performs once the facts are durable.
    """

    __slots__ = ("by", "effects", "end", "evaluator", "facts", "is_unfinished", "now", "steps_started", "working")

    def __init__(self, working: Working, now: int) -> None:
        self.working = working
        self.now = now
        self.facts: list[AnyFact] = []
        self.effects: list[Effect] = []
        self.evaluator = Evaluator(working.state, working.limits, now)
        self.steps_started = 0
        self.is_unfinished = False
        self.end: ExecutionCompleted | ExecutionFailed | ExecutionCancelled | None = None
        self.by: str | None = None

    def emit(self, fact: AnyFact) -> None:
        """Record a fact and let the state follow it; a step's task, slot and call go with the step, however it ends."""
        status = _ENDS.get(type(fact))
        if status is not None:
            step = self.working.state.steps[fact.step]  # type: ignore[union-attr]
            if step.slot is not None or step.status == "waiting":
                self._give_up(step, status)
        self.working.emit(fact)
        self.facts.append(fact)

    def _give_up(self, step: Step, status: str) -> None:
        if step.slot is not None and step.limit_key is not None:
            self.effects.append(FreeSlot(step.step_id, step.limit_key))
        if step.status != "waiting" or step.is_parent or status == "retrying":
            return
        if self.working.spec(step).type == "human":
            self.effects.append(
                CloseTask(
                    step.step_id, step.node, step.generation, step.input, status, opened_at=step.started_at, by=self.by
                )
            )

    def withdraw_call(self, step: Step) -> None:
        """Have the call of an I/O step cancelled, if it has one."""
        if not step.is_parent and step.status != "pending" and self.working.spec(step).is_io:
            self.effects.append(Withdraw(step.step_id))

    def count_step(self) -> None:
        """One more step starts."""
        self.steps_started += 1
        if self.steps_started >= self.working.limits.transition_steps_max:
            self.evaluator.is_spent = True


def error_value(step: Step, error: StepError) -> ErrorValue:
    """An error as expressions and clients see it."""
    return {
        "type": error.type,
        "message": error.message,
        "details": error.details,
        "node": step.node,
        "step_id": step.step_id,
        "attempt": step.attempt,
    }


def execution_error(error: StepError, node: str | None = None) -> ErrorValue:
    """An error of the execution itself, which no step had, in the form that all errors have."""
    return {
        "type": error.type,
        "message": error.message,
        "details": error.details,
        "node": node,
        "step_id": None,
        "attempt": None,
    }


def names_of(t: Transition, step: Step) -> dict[str, Any] | None:
    """The names that only this step sees: the error it handles, its item, index and iteration."""
    if step.parent is None and step.undo is None:
        return {"error": step.caught} if step.caught is not None else None
    names = t.working.own_names(step)
    caught = t.working.caught(step)
    if caught is not None:
        names["error"] = caught
    return names
