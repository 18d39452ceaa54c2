"""What happened in a test, as its facts tell it: the path, the connections taken, the events, the last moments."""

from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from workflow_engine.models.event import (
    AnyFact,
    CompensationStarted,
    CustomEmitted,
    DecisionMade,
    ErrorValue,
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionPaused,
    ExecutionResumed,
    ItemsAdded,
    SignalReceived,
    StepCancelled,
    StepCompleted,
    StepFailed,
    StepQueued,
    StepReopened,
    StepRetrying,
    StepStarted,
    VariablesChanged,
)
from workflow_engine.services.rehearsal.virtual_time import duration_text

MOMENTS_MAX: Final = 12
"""Moments that a failed test shows: the last ones."""

TEXT_CHARS_MAX: Final = 200
SENTENCE_CHARS_MAX: Final = 600

Connection = tuple[str, int]
"""The group that it stands in (empty: the definition itself), and its position in that group's list."""


class Trace:
    """Follows the facts of one execution."""

    def __init__(self, started_at: int) -> None:
        self.path: list[str] = []
        """Nodes of completed activations in order of completion; items and iterations, not what they are parts of."""
        self.activated: set[str] = set()
        self.completed: set[str] = set()
        self.taken: set[Connection] = set()
        self.events: list[str] = []
        self._started_at = started_at
        self._nodes: dict[str, str] = {}
        self._groups: dict[str, str] = {}
        self._parents: set[str] = set()
        self._moments: deque[tuple[int, str]] = deque(maxlen=MOMENTS_MAX)

    def follow(self, facts: Iterable[AnyFact], at: int) -> None:
        """Take the facts of one transition."""
        for fact in facts:
            self._note(fact)
            sentence = _sentence(fact)
            if sentence is not None:
                self._moments.append((at, sentence[:SENTENCE_CHARS_MAX]))

    def moments(self) -> list[str]:
        """The last moments, one line each, with their time since the start."""
        return [f"+{duration_text(at - self._started_at)} {sentence}" for at, sentence in self._moments]

    def _note(self, fact: AnyFact) -> None:
        match fact:
            case StepStarted() | StepQueued():
                self.activated.add(fact.node)
                self._nodes[fact.step] = fact.node
                self._groups[fact.step] = self._nodes[fact.scope.removesuffix("~")] if fact.scope else ""
                if isinstance(fact, StepStarted) and (fact.items is not None or fact.repeat_max is not None):
                    self._parents.add(fact.step)
            case StepCompleted():
                self._take(fact.step, fact.puts)
                if not fact.is_skipped:
                    node = self._nodes[fact.step]
                    self.completed.add(node)
                    if fact.step not in self._parents:
                        self.path.append(node)
            case StepFailed():
                self._take(fact.step, fact.puts)
            case CustomEmitted():
                self.events.append(f"custom:{fact.event}")

    def _take(self, step: str, puts: list[tuple[int, int]]) -> None:
        for connection, _ in puts:
            self.taken.add((self._groups[step], connection))


def _sentence(fact: AnyFact) -> str | None:
    """What happened in a few words; None for what says nothing more than its neighbours."""
    match fact:
        case StepStarted() | StepReopened() if fact.items is None and fact.repeat_max is None:
            waits = "waits" if fact.status == "waiting" else "started"
            return f"{fact.step} {waits}{_waited_for(fact.waiting_for)}"
        case StepQueued():
            return f"{fact.step} waits for its lock or limit"
        case StepRetrying():
            return f"{fact.step} failed ({_error(fact.error)}) and is tried again"
        case DecisionMade():
            return f"{fact.step} goes on to {', '.join(fact.taken) or 'nothing'}{_conditions(fact.connections)}"
        case StepCompleted():
            return f"{fact.step} {'was skipped' if fact.is_skipped else 'completed'}"
        case StepFailed():
            return f"{fact.step} failed: {_error(fact.error)}"
        case StepCancelled():
            return f"{fact.step} was withdrawn: {fact.reason}"
        case SignalReceived():
            return f"the signal {fact.name} came" + (" and nobody waited for it" if fact.is_lost else "")
        case VariablesChanged():
            return f"variables changed: {', '.join(fact.changed)[:TEXT_CHARS_MAX]}"
        case CustomEmitted():
            return f"{fact.step} sent custom:{fact.event}"
        case ItemsAdded():
            return f"{fact.step} got {len(fact.items)} more items"
        case _:
            return _sentence_of_execution(fact)


def _sentence_of_execution(fact: AnyFact) -> str | None:
    match fact:
        case ExecutionPaused():
            return f"the execution paused: {fact.reason}"
        case ExecutionResumed():
            return "the execution went on"
        case CompensationStarted():
            return f"compensation began: {', '.join(fact.steps)[:TEXT_CHARS_MAX] or 'nothing to undo'}"
        case ExecutionCompleted():
            return "the execution completed"
        case ExecutionFailed():
            return f"the execution failed: {_error(fact.error)}"
        case ExecutionCancelled():
            return f"the execution was cancelled: {fact.reason}"
        case _:
            return None


def _waited_for(waiting_for: dict[str, Any] | None) -> str:
    if waiting_for is None:
        return ""
    kind, name = waiting_for.get("kind"), waiting_for.get("name")
    what = {"human": "a person", "for": "a clock", "until": "a clock", "any": "several things"}.get(str(kind), kind)
    return f" for {what}{f' {name}' if name else ''}"


def _conditions(connections: list[dict[str, Any]]) -> str:
    looked = [f"{one['when']} is {str(one['result']).lower()}" for one in connections if one.get("when") is not None]
    return f" ({'; '.join(looked)[:TEXT_CHARS_MAX]})" if looked else ""


def _error(error: ErrorValue) -> str:
    return f"{error.get('type')}: {error.get('message')}"[:TEXT_CHARS_MAX]
