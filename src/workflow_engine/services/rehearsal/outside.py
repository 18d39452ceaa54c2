"""The outside of a test: calls that give what their stubs say, slots of limits, and people who are asked."""

from collections import deque
from dataclasses import dataclass, field
from math import inf
from typing import Final

from workflow_engine.models.command import AnyCommand, CompleteStep, FailStep, GrantSlot
from workflow_engine.models.effect import AskSlot
from workflow_engine.models.execution import Step
from workflow_engine.models.instant import MICROSECONDS
from workflow_engine.models.node import ORCHESTRATOR_TYPES
from workflow_engine.models.step import StepError
from workflow_engine.models.test_case import Stub
from workflow_engine.services.rehearsal.script import microseconds, step_error

DEFAULT_TIMEOUTS_S: Final = {"http": 30.0} | dict.fromkeys(ORCHESTRATOR_TYPES | {"worker"}, 900.0)
"""How long a call may take where its node does not say (DESIGN.md, section 3.2); others as long as they like."""


class StubMissing(Exception):
    """A call was made for which the test has no stub."""


class Calls:
    """What the stubs of a test give, call by call."""

    def __init__(self, stubs: dict[str, Stub | list[Stub]]) -> None:
        self._stubs = {node: deque(given if isinstance(given, list) else [given]) for node, given in stubs.items()}

    def outcome(self, step: Step, node_type: str) -> tuple[int, AnyCommand]:
        """How long the call of a step takes, in microseconds, and what it then reports.

        Raises:
            StubMissing: the message says what to add.
        """
        stubs = self._stubs.get(step.node)
        if stubs is None:
            raise StubMissing(
                f"{step.step_id} makes a call ({node_type}), and `{step.node}` has no stub: "
                f"add `stubs: {{{step.node}: {{output: ...}}}}`"
            )
        stub = stubs.popleft() if len(stubs) > 1 else stubs[0]
        after_us = microseconds(stub.after)
        timeout_s = _timeout_s(step, node_type)
        is_late = after_us > timeout_s * MICROSECONDS
        if is_late and not (stub.error is not None and stub.error.type == "timeout"):
            error = StepError("timeout", f"no answer within {timeout_s:g} s")
            return round(timeout_s * MICROSECONDS), FailStep(step.step_id, step.attempt, step.generation, error)
        if stub.error is not None:
            return after_us, FailStep(step.step_id, step.attempt, step.generation, step_error(stub.error))
        return after_us, CompleteStep(step.step_id, step.attempt, step.generation, stub.output)


def _timeout_s(step: Step, node_type: str) -> float:
    """When whoever makes the call gives it up; a child's time is kept by a timer of the core."""
    if node_type == "workflow":
        return inf
    return step.timeout_s if step.timeout_s is not None else DEFAULT_TIMEOUTS_S.get(node_type, inf)


@dataclass(slots=True)
class _Slots:
    concurrency: int
    owners: dict[str, None] = field(default_factory=dict)
    waiting: dict[str, GrantSlot] = field(default_factory=dict)


class Limits:
    """Slots of tenant-wide limits, given within the one execution of the test, oldest first."""

    def __init__(self) -> None:
        self._slots: dict[str, _Slots] = {}

    def ask(self, asked: AskSlot) -> list[GrantSlot]:
        """A step asks; gives what is granted now."""
        slots = self._slots.setdefault(asked.key, _Slots(asked.concurrency))
        slots.concurrency = asked.concurrency
        grant = GrantSlot(asked.step, asked.attempt, asked.generation)
        if asked.step in slots.owners:
            return [grant]
        slots.waiting[asked.step] = grant
        return self._granted(slots)

    def free(self, key: str, step: str) -> list[GrantSlot]:
        """A step needs its slot no more; gives what is granted to others now."""
        slots = self._slots.get(key)
        if slots is None:
            return []
        slots.owners.pop(step, None)
        slots.waiting.pop(step, None)
        return self._granted(slots)

    @staticmethod
    def _granted(slots: _Slots) -> list[GrantSlot]:
        granted = []
        while slots.waiting and len(slots.owners) < slots.concurrency:
            step = next(iter(slots.waiting))
            granted.append(slots.waiting.pop(step))
            slots.owners[step] = None
        return granted
