"""Why an execution is where it is: in sentences, with what each waits for and who can move it on."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from workflow_engine.engine.graph import Graph, NodeSpec
from workflow_engine.models.execution import FAILED, PAUSED, PENDING, RUNNING, ExecutionState, Step
from workflow_engine.services.execution_resource import shown_instant

ENTRIES_MAX: Final = 500
"""Of each kind; who has more waits looks at the steps."""


def explanation(state: ExecutionState, graph: Graph) -> dict[str, Any]:
    """What keeps an execution where it is.

    `{execution_id, status, reason, summary, waiting, failed, not_activated}`: `waiting` are `{step_id, node_id, kind,
    name, until, sentence}`, `failed` `{step_id, node_id, error, sentence}`, `not_activated` `{node_id, sentence}`.
    """
    waiting = list(islice(_waiting(state, graph), ENTRIES_MAX))
    failed = list(islice(_failed(state), ENTRIES_MAX))
    return {
        "execution_id": state.execution_id,
        "status": state.status,
        "reason": state.reason,
        "summary": _summary(state, waiting),
        "waiting": waiting,
        "failed": failed,
        "not_activated": list(islice(_not_activated(state, graph), ENTRIES_MAX)),
    }


def _summary(state: ExecutionState, waiting: list[dict[str, Any]]) -> str:
    match state.status:
        case _ if state.status == PENDING:
            return f"It begins at {shown_instant(state.start_at)}." if state.start_at else "It has not begun yet."
        case _ if state.is_operator_paused:
            return "An operator paused it; `resume` lets it go on."
        case _ if state.status == PAUSED and waiting:
            return f"{len(waiting)} step(s) wait: {waiting[0]['sentence']}"
        case _ if state.status == RUNNING:
            return f"{len(state.steps)} step(s) are active."
        case _ if state.status == FAILED and state.error is not None:
            return f"It failed with {state.error['type']}: {state.error['message']}"
        case _:
            return f"It is {state.status}."


def _waiting(state: ExecutionState, graph: Graph) -> Iterator[dict[str, Any]]:
    for step in state.steps.values():
        if step.items is None:
            kind, until, sentence = _wait_of(step, graph.by_id[step.node])
            yield {
                "step_id": step.step_id,
                "node_id": step.node,
                "kind": kind,
                "name": step.signal,
                "until": shown_instant(until),
                "sentence": sentence,
            }


def _wait_of(step: Step, node: NodeSpec) -> tuple[str, int | None, str]:
    """The kind of a wait, until when, and a sentence about it."""
    limit = f", until {shown_instant(step.timeout_at)}" if step.timeout_at is not None else ""
    if step.retry_at is not None:
        error = step.error or {}
        why = f"attempt {step.attempt} failed with {error.get('type')}: {error.get('message')}"
        return "retry", step.retry_at, f"{step.node} is tried again at {shown_instant(step.retry_at)}; {why}"
    if node.type == "human":
        return "human", step.timeout_at, f"{step.node} waits for a person's answer (POST to its task){limit}."
    if step.signal is not None:
        return "signal", step.timeout_at, f"{step.node} waits for the signal {step.signal!r}{limit}."
    if step.due_at is not None:
        return node.wait_kind or "for", step.due_at, f"{step.node} waits for {shown_instant(step.due_at)}."
    return "call", None, f"{step.node} is under way, attempt {step.attempt}."


def _failed(state: ExecutionState) -> Iterator[dict[str, Any]]:
    """The latest activation of each node that failed, and of the items that a retry can open."""
    for view_of in (scope.views for scope in state.scopes.values()):
        for node_id, view in view_of.items():
            error = view["error"]
            if view["status"] == FAILED and error is not None:
                sentence = f"{node_id} failed with {error['type']}: {error['message']}"
                yield {"step_id": error["step_id"], "node_id": node_id, "error": error, "sentence": sentence}


def _not_activated(state: ExecutionState, graph: Graph) -> Iterator[dict[str, Any]]:
    root = state.scopes.get("")
    for node in graph.nodes:
        if root is not None and root.ordinals.get(node.id):
            continue
        sources = ", ".join(dict.fromkeys(edge.source_id for edge in node.incoming))
        no_token = f"no token came to {node.id} from {sources}" if sources else f"{node.id} is no start node"
        yield {"node_id": node.id, "sentence": f"{no_token}{'' if state.is_terminal else ' so far'}."}
