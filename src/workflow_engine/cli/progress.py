"""How far an execution is, node by node: folded from its events, so cheaply that ten thousand a second do no harm."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from heapq import nsmallest
from typing import Any, Final

from workflow_engine.models.execution import ExecutionState
from workflow_engine.models.instant import rfc3339
from workflow_engine.models.node import Node
from workflow_engine.models.workflow import Definition

PROCESSING: Final = "processing"
WAITING: Final = "waiting"
RETRYING: Final = "retrying"
PENDING: Final = "pending"

_RANK: Final = {
    PROCESSING: 0,
    RETRYING: 0,
    WAITING: 1,
    "failed": 2,
    "cancelled": 3,
    "completed": 4,
    "skipped": 4,
    PENDING: 5,
}
"""What stands first where not all nodes have room."""

_EXECUTION_STATUS: Final = {
    "workflow_started": "running",
    "workflow_resumed": "running",
    "workflow_paused": "paused",
    "workflow_completed": "completed",
    "workflow_failed": "failed",
    "workflow_cancelled": "cancelled",
}


def is_item(step_id: str) -> bool:
    """Whether a step is an item of a `foreach`.

    >>> is_item("each.1:3"), is_item("each.1:3~fetch.1")
    (True, False)
    """
    return ":" in step_id.rpartition("~")[2]


@dataclass(slots=True)
class NodeProgress:
    """What is known of one node. Of a node that runs more than once, the latest activation counts."""

    node_id: str
    type: str
    position: int
    status: str = PENDING
    active: int = 0
    activations: int = 0
    attempt: int = 0
    started_at: str | None = None
    """RFC 3339, as the event said it: reading it is left to who shows it."""
    duration_s: float | None = None
    step_id: str = ""
    items_done: int = 0
    items_total: int | None = None
    is_foreach: bool = False
    note: str = ""
    changed: int = 0
    """The number of the event that changed it last."""

    def elapsed_s(self, now: datetime) -> float | None:
        """How long the activation took, or has taken until now."""
        if self.duration_s is not None:
            return self.duration_s
        if self.started_at is None or not self.active:
            return None
        return max(0.0, (now - datetime.fromisoformat(self.started_at)).total_seconds())


def _nodes(nodes: Iterable[Node]) -> Iterator[Node]:
    for node in nodes:
        yield node
        yield from _nodes(getattr(node, "nodes", ()))


@dataclass(slots=True)
class Progress:
    """An execution as a display shows it."""

    execution_id: str
    workflow_id: str
    nodes: dict[str, NodeProgress]
    status: str = PENDING
    reason: str | None = None
    percent: int = 0
    steps: int = 0
    """Steps that ended, items included."""
    events: int = 0
    started_at: str | None = None

    @classmethod
    def of(cls, execution_id: str, definition: Definition, state: ExecutionState | None = None) -> "Progress":
        """The progress of an execution that begins now, or stands where `state` says."""
        nodes = {
            node.id: NodeProgress(node.id, node.type, position, is_foreach=node.foreach is not None)
            for position, node in enumerate(_nodes(definition.nodes))
        }
        progress = cls(execution_id, definition.id, nodes)
        if state is not None:
            progress._take_state(state)
        return progress

    def _take_state(self, state: ExecutionState) -> None:
        self.status, self.reason, self.percent = state.status, state.reason, state.progress
        self.started_at = rfc3339(state.started_at) if state.started_at is not None else None
        for scope in state.scopes.values():
            for node_id, view in scope.views.items():
                if (node := self.nodes.get(node_id)) is not None:
                    node.status, node.attempt, node.activations = view["status"], view["attempt"], view["count"]
                    node.note = _error_text(view["error"])
        for step in state.steps.values():
            node = self.nodes.get(step.node)
            if node is None or step.parent is not None:
                continue
            node.active += 1
            node.activations += 1
            node.step_id, node.attempt, node.started_at = step.step_id, step.attempt, rfc3339(step.started_at)
            node.status = RETRYING if step.retry_at is not None else step.status
            if step.items is not None:
                node.items_done, node.items_total = step.finished, len(step.items)

    def take(self, event: dict[str, Any]) -> None:
        """Fold one event envelope."""
        data = event["data"]
        self.events += 1
        self.percent = data["progress_percentage"]
        step_id = data["step_id"]
        name = event["event"]
        if step_id is None:
            self._take_of_execution(name, event)
            return
        node = self.nodes.get(data["node_id"])
        if node is None:
            return
        node.changed = self.events
        if is_item(step_id):
            self._take_of_item(node, name, data)
        else:
            self._take_of_step(node, name, event)

    def _take_of_execution(self, name: str, event: dict[str, Any]) -> None:
        status = _EXECUTION_STATUS.get(name)
        if status is not None:
            self.status = status
            self.reason = event["data"].get("reason") if status == "paused" else None
        if name == "workflow_started":
            self.started_at = event["timestamp"]

    def _take_of_item(self, node: NodeProgress, name: str, data: dict[str, Any]) -> None:
        if name in ("workflow_step_completed", "workflow_step_skipped"):
            node.items_done += 1
            self.steps += 1
        elif name == "workflow_step_failed":
            node.items_done += 1
            self.steps += 1
            node.note = _error_text(data["error"])
        elif name == "workflow_step_retrying":
            node.note = _error_text(data["error"])

    def _take_of_step(self, node: NodeProgress, name: str, event: dict[str, Any]) -> None:
        data = event["data"]
        if name == "workflow_step_started":
            self._start(node, event)
        elif name == "workflow_step_completed":
            self._end(node, "completed", data["attempt"])
            node.duration_s = data["duration_ms"] / 1000
            node.note = ""
            node.items_total = node.items_total or node.items_done
        elif name == "workflow_step_failed":
            self._end(node, "failed", data["attempt"])
            node.note = _error_text(data["error"])
        elif name == "workflow_step_skipped":
            self._end(node, "skipped", data["attempt"])
            node.note = ""
        elif name == "workflow_items_added" and node.items_total is not None:
            node.items_total += len(data["items"])
        elif name == "workflow_step_cancelled":
            self._end(node, "cancelled", node.attempt)
        elif name == "workflow_step_retrying":
            node.status = RETRYING
            node.attempt = data["attempt"] + 1
            node.note = _error_text(data["error"])

    @staticmethod
    def _start(node: NodeProgress, event: dict[str, Any]) -> None:
        data = event["data"]
        waiting_for = data.get("waiting_for")
        node.active += 1
        node.activations += 1
        node.attempt = data["attempt"]
        node.started_at, node.duration_s = event["timestamp"], None
        node.status = WAITING if waiting_for else PROCESSING
        node.note = waiting_text(waiting_for) if waiting_for else ""
        node.step_id, node.items_done, node.items_total = data["step_id"], 0, None

    def _end(self, node: NodeProgress, status: str, attempt: int) -> None:
        self.steps += 1
        node.active = max(0, node.active - 1)
        node.attempt = attempt
        if node.active == 0 or status == "failed":
            node.status = status

    def foremost(self, rows_max: int) -> list[NodeProgress]:
        """The nodes that matter most, in document order: active ones first, then those that changed last."""
        nodes = list(self.nodes.values())
        if len(nodes) > rows_max:
            nodes = nsmallest(rows_max, nodes, key=_importance)
            nodes.sort(key=lambda node: node.position)
        return nodes

    def needs_totals(self) -> list[NodeProgress]:
        """Active `foreach` nodes of which it is not known yet how many items they have: no event says it."""
        return [node for node in self.nodes.values() if node.is_foreach and node.active and node.items_total is None]

    def take_totals(self, state: ExecutionState) -> None:
        """Learn from the state how many items the open `foreach` steps have."""
        for node in self.needs_totals():
            step = state.steps.get(node.step_id)
            if step is not None and step.items is not None:
                node.items_total = len(step.items)


def _importance(node: NodeProgress) -> tuple[int, int, int]:
    return _RANK.get(node.status, 4), -node.changed, node.position


def _error_text(error: dict[str, Any] | None) -> str:
    return f"{error.get('type')}: {error.get('message')}" if error else ""


def waiting_text(waiting_for: dict[str, Any]) -> str:
    """What a step waits for, in words."""
    match waiting_for.get("kind"):
        case "human":
            text = "waits for a person"
        case "signal":
            text = f"waits for the signal {waiting_for.get('name')}"
        case kind:
            text = "waits" if waiting_for.get("until") else f"waits ({kind})"
    until = waiting_for.get("until")
    return f"{text} until {until}" if until else text


def event_text(event: dict[str, Any]) -> str:
    """An event in words, for people."""
    data = event["data"]
    step_id = data["step_id"]
    match event["event"]:
        case "workflow_step_started":
            waiting_for = data.get("waiting_for")
            undoes = f", to undo {data['compensates']}" if "compensates" in data else ""
            text = waiting_text(waiting_for) if waiting_for else f"started{undoes}"
        case "workflow_step_completed":
            attempts = f" at attempt {data['attempt']}" if data["attempt"] > 1 else ""
            text = f"completed in {data['duration_ms']} ms{attempts}"
        case "workflow_step_failed":
            text = f"failed: {_error_text(data['error'])}"
        case "workflow_step_retrying":
            text = f"attempt {data['attempt']} failed: {_error_text(data['error'])}; again at {data['next_at']}"
        case "workflow_step_skipped":
            text = "skipped by an operator"
        case "workflow_step_cancelled":
            text = f"cancelled: {data['reason']}"
        case "workflow_items_added":
            text = f"got {len(data['items'])} more items"
        case "workflow_migrated":
            text = f"goes on with version {data['to']}"
        case "workflow_compensating":
            text = f"undoes {', '.join(data['steps'][:5])}{' ...' if len(data['steps']) > 5 else ''}"
        case "workflow_decision_point":
            text = f"goes on to {', '.join(data['taken']) or 'nothing'}"
        case "workflow_paused":
            text = {"timer": "waits for the clock", "operator": "paused by an operator"}.get(
                data["reason"], "waits for people or signals"
            )
        case "workflow_signal_received":
            text = f"signal {data['name']} received"
        case "workflow_variables_changed":
            text = f"variables changed: {', '.join(data['changed'])}"
        case "workflow_failed":
            text = f"failed: {_error_text(data['error'])}"
        case "workflow_cancelled":
            text = f"cancelled: {data['reason']}"
        case name:
            text = name.removeprefix("workflow_")
    return f"{step_id}: {text}" if step_id else text
