"""The public events of an execution, rendered from its log: the one place where the words of the wire live.

A log row holds facts; those that are public become envelopes, numbered without a gap. The same code serves the live
stream and the history, so both say the same.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

from workflow_engine.models.event import (
    AnyFact,
    CompensationStarted,
    CustomEmitted,
    DecisionMade,
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
    ProgressMade,
    SignalReceived,
    StepCancelled,
    StepCompleted,
    StepFailed,
    StepReopened,
    StepRetrying,
    StepStarted,
    VariablesChanged,
)
from workflow_engine.models.instant import rfc3339
from workflow_engine.models.json_value import encode_json

SERVICE: Final = "workflow-engine"

TERMINAL_EVENTS: Final = frozenset({"workflow_completed", "workflow_failed", "workflow_cancelled"})

REOPENING_EVENT: Final = "workflow_resumed"
"""The event after which a failed execution has not ended any more."""

BATCH_EVENTS_MAX: Final = 256
BATCH_BYTES_MAX: Final = 64 * 1024
"""What a reader is handed at a time, and so what one that does not go on holds; a larger event goes alone."""

Rendered = tuple[str, dict[str, Any]]
"""An event's name and the data that it has beside what every event has."""


def node_of(step_id: str) -> str:
    """The node of a step: what stands before the ordinal in the last part of its path.

    >>> node_of("each.1:3~fetch.2:0")
    'fetch'
    """
    return step_id.rsplit("~", 1)[-1].split(".", 1)[0]


class StreamEvent(msgspec.Struct, frozen=True, gc=False):
    """One event, encoded once for everybody who gets it."""

    sequence: int
    name: str
    encoded: bytes
    """The envelope as JSON."""
    progress: int
    """What the envelope shows as `progress_percentage`: a reader that goes on after it needs it."""


class Batch:
    """Consecutive events, as one reader or a thousand get them; what is made of them is made once.

    `last` is the position of the last one: its sequence, or its number in a feed.
    """

    __slots__ = ("_made", "bytes", "events", "last")

    def __init__(self, events: list[StreamEvent], last: int) -> None:
        self.events = events
        self.last = last
        self.bytes = sum(len(event.encoded) for event in events)
        self._made: dict[Callable[[StreamEvent], bytes], bytes] = {}

    def made_by(self, render: Callable[[StreamEvent], bytes]) -> bytes:
        """All events as `render` writes each, joined."""
        made = self._made.get(render)
        if made is None:
            made = self._made[render] = b"".join([render(event) for event in self.events])
        return made


def count_within(events: list[StreamEvent], start: int) -> int:
    """How many events from `start` on make a batch; at least one, if there is one."""
    size_bytes = 0
    for number, event in enumerate(events[start : start + BATCH_EVENTS_MAX]):
        size_bytes += len(event.encoded)
        if size_bytes > BATCH_BYTES_MAX:
            return max(number, 1)
    return min(len(events) - start, BATCH_EVENTS_MAX)


class EventRenderer:
    """Renders the events of one execution, row after row.

    It carries what later events show and only earlier facts say: the input, the latest progress.
    """

    def __init__(self, tenant_id: str, execution_id: str, workflow_id: str) -> None:
        self.tenant_id = tenant_id
        self.execution_id = execution_id
        self.workflow_id = workflow_id
        self.progress = 0
        self.input: Any = None
        self.metadata: dict[str, Any] = {}

    def render(self, facts: Iterable[AnyFact], *, first_sequence: int, at: int) -> Iterator[dict[str, Any]]:
        """The envelopes of one transition, in order; `first_sequence` is the number of its first public event."""
        sequence = first_sequence
        timestamp = rfc3339(at)
        for fact in facts:
            if isinstance(fact, ExecutionCreated):
                self.input = fact.input
                self.metadata = fact.metadata
            elif isinstance(fact, ExecutionForked):
                self.input = fact.state.get("input")
                self.metadata = fact.state.get("metadata", {})
            elif isinstance(fact, ProgressMade):
                self.progress = fact.percent
            elif isinstance(fact, ExecutionCompleted):
                self.progress = 100
            if not fact.PUBLIC:
                continue
            yield self._envelope(fact, sequence, timestamp)
            sequence += 1

    def encode(self, facts: Iterable[AnyFact], *, first_sequence: int, at: int) -> Iterator[StreamEvent]:
        """The events of one transition, in order, encoded."""
        for envelope in self.render(facts, first_sequence=first_sequence, at=at):
            progress = envelope["data"]["progress_percentage"]
            yield StreamEvent(envelope["sequence"], envelope["event"], encode_json(envelope), progress)

    def _envelope(self, fact: AnyFact, sequence: int, timestamp: str) -> dict[str, Any]:
        name, data = _RENDERERS[type(fact)](fact)
        if isinstance(fact, ExecutionStarted | ExecutionForked):
            data["input"] = self.input
        step_id = getattr(fact, "step", None)
        return {
            "event": name,
            "service": SERVICE,
            "sequence": sequence,
            "task_id": self.metadata.get("task_id"),
            "global_task_id": self.metadata.get("global_task_id"),
            "tenant_id": self.tenant_id,
            "timestamp": timestamp,
            "data": {
                "workflow_id": self.workflow_id,
                "execution_id": self.execution_id,
                "step_id": step_id,
                "node_id": node_of(step_id) if step_id is not None else None,
                "next_node": getattr(fact, "next_node", None),
                "progress_percentage": self.progress,
                **data,
            },
        }


def _started(fact: ExecutionStarted) -> Rendered:
    return "workflow_started", {"version": fact.version}


def _forked(fact: ExecutionForked) -> Rendered:
    origin = {"execution_id": fact.origin_id, "sequence": fact.origin_sequence}
    return "workflow_started", {"version": fact.version, "forked_from": origin}


def _migrated(fact: ExecutionMigrated) -> Rendered:
    return "workflow_migrated", {"from": fact.from_version, "to": fact.version}


def _step_started(fact: StepStarted | StepReopened) -> Rendered:
    data: dict[str, Any] = {"attempt": 1}
    if fact.waiting_for is not None:
        data["waiting_for"] = fact.waiting_for
    if isinstance(fact, StepStarted) and fact.undoes is not None:
        data["compensates"] = fact.undoes
    return "workflow_step_started", data


def _step_completed(fact: StepCompleted) -> Rendered:
    return "workflow_step_skipped" if fact.is_skipped else "workflow_step_completed", {
        "output": fact.output,
        "attempt": fact.attempt,
        "duration_ms": fact.duration_ms,
    }


def _step_failed(fact: StepFailed) -> Rendered:
    return "workflow_step_failed", {"error": fact.error, "attempt": fact.attempt}


def _step_retrying(fact: StepRetrying) -> Rendered:
    return "workflow_step_retrying", {"error": fact.error, "attempt": fact.attempt, "next_at": rfc3339(fact.next_at)}


def _step_cancelled(fact: StepCancelled) -> Rendered:
    return "workflow_step_cancelled", {"reason": fact.reason}


def _decision(fact: DecisionMade) -> Rendered:
    next_node = fact.taken[0] if fact.taken else None
    return "workflow_decision_point", {"connections": fact.connections, "taken": fact.taken, "next_node": next_node}


def _items(fact: ItemsAdded) -> Rendered:
    return "workflow_items_added", {"items": fact.items}


def _signal(fact: SignalReceived) -> Rendered:
    return "workflow_signal_received", {"name": fact.name, "payload": fact.payload}


def _variables(fact: VariablesChanged) -> Rendered:
    return "workflow_variables_changed", {"changed": fact.changed} | ({"scope": fact.scope} if fact.scope else {})


def _custom(fact: CustomEmitted) -> Rendered:
    return f"custom:{fact.event}", {"data": fact.data}


def _paused(fact: ExecutionPaused) -> Rendered:
    return "workflow_paused", {"reason": fact.reason, "waiting_for": fact.waiting_for}


def _resumed(fact: ExecutionResumed) -> Rendered:
    return "workflow_resumed", {}


def _compensating(fact: CompensationStarted) -> Rendered:
    return "workflow_compensating", {"steps": fact.steps, "error": fact.error, "reason": fact.reason}


def _completed(fact: ExecutionCompleted) -> Rendered:
    return "workflow_completed", {"output": fact.output}


def _failed(fact: ExecutionFailed) -> Rendered:
    return "workflow_failed", {"error": fact.error}


def _cancelled(fact: ExecutionCancelled) -> Rendered:
    return "workflow_cancelled", {"reason": fact.reason}


_RENDERERS: dict[type, Callable[[Any], Rendered]] = {
    ExecutionStarted: _started,
    ExecutionForked: _forked,
    ExecutionMigrated: _migrated,
    StepStarted: _step_started,
    StepReopened: _step_started,
    StepCompleted: _step_completed,
    StepFailed: _step_failed,
    StepRetrying: _step_retrying,
    StepCancelled: _step_cancelled,
    DecisionMade: _decision,
    ItemsAdded: _items,
    SignalReceived: _signal,
    VariablesChanged: _variables,
    CustomEmitted: _custom,
    ExecutionPaused: _paused,
    ExecutionResumed: _resumed,
    CompensationStarted: _compensating,
    ExecutionCompleted: _completed,
    ExecutionFailed: _failed,
    ExecutionCancelled: _cancelled,
}
