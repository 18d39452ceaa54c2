"""Why nodes without an active step are where they are: joins that wait, what failed or was withdrawn, what was not
activated.
"""

from typing import Any, Final

from workflow_engine.engine.graph import Edge, NodeSpec, bits
from workflow_engine.engine.joins import can_still_come, filled_and_missing, firing
from workflow_engine.engine.working import Place
from workflow_engine.models.event import DecisionMade, ErrorValue
from workflow_engine.models.execution import FAILED, Step
from workflow_engine.services.explanation.active import causes_of, paused_by_operator
from workflow_engine.services.explanation.scene import Cause, Scene, cause

CONNECTIONS_MAX: Final = 20
"""Incoming connections of one node that are told."""
SOURCES_MAX: Final = 10
"""Steps and tokens that are named for one awaited connection."""
CHAIN_MAX: Final = 5
"""Steps whose own causes are told behind a join."""


# --- tokens that wait


def waiting_causes(scene: Scene, place: Place, node: NodeSpec) -> list[Cause]:
    """Why a node with tokens before it, or a start node, has not started."""
    if node.index in place.waiting and node.id not in place.scope.starts and firing(place, node) is None:
        return [_join(scene, place, node)]
    return [paused_by_operator(scene)] if scene.state.is_operator_paused else []


def _join(scene: Scene, place: Place, node: NodeSpec) -> Cause:
    filled, missing = filled_and_missing(place, node)
    owed = place.scope.owed.get(node.id, [])
    awaited = missing if not owed else [place.graph.edges[index] for index in owed]
    entries = [_awaited(scene, place, edge) for edge in awaited[:CONNECTIONS_MAX]]
    sources = dict.fromkeys(one["step_id"] for entry in entries for one in entry["can_come_from"] if one["step_id"])
    steps = [scene.state.steps[step_id] for step_id in list(sources)[:CHAIN_MAX]]
    return cause(
        "join",
        _join_sentence(node, filled, awaited, list(sources), is_owed=bool(owed)),
        node_id=node.id,
        who="whatever moves on " + ", ".join(list(sources)[:CHAIN_MAX]) if sources else None,
        rule=node.join if node.join != "count" else {"count": node.count},
        filled=[
            _ends(place.graph.edges[index]) | {"tokens": place.scope.tokens[index]}
            for index in filled[:CONNECTIONS_MAX]
        ],
        awaited=entries,
        because=[one for step in steps for one in causes_of(scene, step, depth=0)],
    )


def _join_sentence(node: NodeSpec, filled: list[int], awaited: list[Edge], sources: list[str], *, is_owed: bool) -> str:
    names = ", ".join(dict.fromkeys(edge.source_id for edge in awaited[:CONNECTIONS_MAX])) or "the same connection"
    if is_owed:
        return f"The join {node.id} begins its next round when what its last one left over has come from {names}."
    if node.join == "auto":
        still = f": it can still come by {', '.join(sources[:CHAIN_MAX])}" if sources else ""
        return f"The join {node.id} waits for a token from {names}{still}."
    if node.join == "count":
        return (
            f"The join {node.id} has tokens on {len(filled)} connection(s) and waits for {node.count}; open: {names}."
        )
    return f"The join {node.id} needs a token on every connection; it waits for one from {names}."


def _awaited(scene: Scene, place: Place, edge: Edge) -> dict[str, Any]:
    return _ends(edge) | {
        "can_still_come": can_still_come(place, edge),
        "can_come_from": _origins(scene, place, edge)[:SOURCES_MAX],
    }


def _origins(scene: Scene, place: Place, edge: Edge) -> list[dict[str, Any]]:
    """The active steps, and the tokens, from which one can still come to a connection."""
    found: list[dict[str, Any]] = []
    for index in bits(place.graph.upstream(edge) & place.busy):
        node = place.graph.nodes[index]
        steps = scene.steps_on(place, node.id)
        found.extend({"node_id": node.id, "step_id": step.step_id} for step in steps)
        if not steps:
            found.append({"node_id": node.id, "step_id": None})
        if len(found) >= SOURCES_MAX:
            break
    return found


def _ends(edge: Edge) -> dict[str, Any]:
    return {
        "from": edge.source_id,
        "to": edge.target_id,
        "on": "error" if edge.is_error else "success",
        "when": "otherwise" if edge.otherwise else edge.when.source if edge.when is not None else None,
    }


# --- what has ended badly


def failure_causes(scene: Scene, place: Place, node: NodeSpec) -> list[Cause]:
    """Why a node failed, and what became of its error."""
    error: ErrorValue = place.scope.views[node.id]["error"]
    ended = scene.state.error
    is_end = ended is not None and ended["step_id"] == error["step_id"]
    handlers = [] if is_end else _handlers(scene, place, node)
    origin = error["step_id"] or node.id
    inner = f" (it came out of {origin})" if error["node"] not in (None, node.id) else ""
    sentence = f"{node.id} failed with {error['type']}: {error['message']}{inner}"
    if handlers:
        sentence += f"; {', '.join(handlers)} took the error over"
    can_retry = scene.state.status == FAILED and bool(scene.state.reopenable)
    return [
        cause(
            "error",
            sentence,
            node_id=error["node"],
            step_id=error["step_id"],
            who="an operator, who retries the execution, or completes or skips the step" if can_retry else None,
            how=scene.call("POST", "retry") if can_retry else None,
            error=error,
            handled_by=handlers,
        )
    ]


def _handlers(scene: Scene, place: Place, node: NodeSpec) -> list[str]:
    if not node.on_error:
        return []
    decision = scene.told.decisions.get((place.key, node.id))
    if decision is not None:
        targets = {edge.target_id for edge in node.on_error}
        return [target for target in decision.taken if target in targets]
    first = node.on_error[0]
    return [first.target_id] if first.when is None else []


def cancellation_causes(scene: Scene, place: Place, node: NodeSpec) -> list[Cause]:
    """Why a node's step was withdrawn."""
    step_id = latest_step_id(place, node)
    reason = scene.told.reasons.get(step_id)
    sentence = f"{step_id} was withdrawn{f': {reason}' if reason else ''}."
    found = [cause("withdrawn", sentence, node_id=node.id, step_id=step_id, reason=reason)]
    error = scene.state.error
    if error is not None and step_id in scene.state.reopenable:
        sentence = f"The execution failed with {error['type']}: {error['message']}"
        how = scene.call("POST", "retry")
        who = "an operator, who retries the execution"
        found.append(
            cause("error", sentence, node_id=error["node"], step_id=error["step_id"], who=who, how=how, error=error)
        )
    return found


def latest_step_id(place: Place, node: NodeSpec) -> str:
    """The latest activation of a node in a scope."""
    return f"{place.key}{node.id}.{place.scope.ordinals.get(node.id, 1)}"


def skipped_causes(place: Place, node: NodeSpec) -> list[Cause]:
    """An operator passed over the step."""
    step_id = latest_step_id(place, node)
    return [cause("operator", f"An operator skipped {step_id}.", node_id=node.id, step_id=step_id)]


# --- what was not activated


def absence_causes(scene: Scene, place: Place, node: NodeSpec) -> list[Cause]:
    """Why no token ever came to a node: what became of each incoming connection."""
    if not node.incoming:
        undone = [other.id for other in place.graph.nodes if other.compensate == node.id]
        if undone:
            sentence = f"{node.id} stands aside: it runs when {', '.join(undone)} is undone."
        else:
            sentence = f"{node.id} is no start node, and no connection leads to it."
        return [cause("connection", sentence, node_id=node.id)]
    return [_connection(scene, place, edge) for edge in node.incoming[:CONNECTIONS_MAX]]


def _connection(scene: Scene, place: Place, edge: Edge) -> Cause:
    view = place.scope.views.get(edge.source_id)
    status = view["status"] if view is not None else None
    active: list[Step] = scene.steps_on(place, edge.source_id)
    result = None
    if active:
        told = f"{active[0].step_id} is not over yet"
    elif status is None:
        told = f"{edge.source_id} was not activated either"
    else:
        told, result = _untaken(scene, place, edge, status)
    return cause(
        "connection",
        f"{edge.source_id} -> {edge.target_id}: {told}.",
        node_id=edge.source_id,
        step_id=active[0].step_id if active else None,
        **_ends(edge),
        result=result,
        source_status=status,
        can_still_come=can_still_come(place, edge),
    )


def _untaken(scene: Scene, place: Place, edge: Edge, status: str) -> tuple[str, bool | None]:
    """Why a connection got no token of a source that is over, and what its condition gave, if it was looked at."""
    if status == "cancelled":
        return f"{edge.source_id} was withdrawn", None
    if edge.is_error != (status == "failed"):
        if edge.is_error:
            return f"{edge.source_id} did not fail, and this connection is for its errors", None
        return f"{edge.source_id} failed, and this connection is for its success", None
    decision = scene.told.decisions.get((place.key, edge.source_id))
    if decision is None:
        why = "its token was withdrawn, or `tokens` gave none"
        return (why if edge.when is None else f"its condition was false, or {why}"), None
    record = record_of(place, decision, edge)
    taken = ", ".join(decision.taken) or "nowhere"
    if record is None:
        return f"{edge.source_id} went to {taken} before this connection was looked at", None
    if record["result"]:
        return "it was taken, but its token was withdrawn, or `tokens` gave none", True
    if edge.otherwise:
        return f"it is the `otherwise`, and {edge.source_id} went to {taken}", False
    return f"its condition `{record['when']}` was false, and {edge.source_id} went to {taken}", False


def record_of(place: Place, decision: DecisionMade, edge: Edge) -> dict[str, Any] | None:
    """What was recorded of a connection when its source decided, None if it was not looked at."""
    node = place.graph.by_id[edge.source_id]
    edges = node.on_error if edge.is_error else node.on_success
    for looked_at, record in pairs(edges, decision.connections):
        if looked_at is edge:
            return record
    return None


def pairs(edges: tuple[Edge, ...], records: list[dict[str, Any]]) -> list[tuple[Edge, dict[str, Any]]]:
    """The connections that were looked at, with what was recorded of each."""
    left = list(records)
    found = []
    for edge in edges:
        when = _ends(edge)["when"]
        for record in left:
            if (record["to"], record["when"]) == (edge.target_id, when):
                found.append((edge, record))
                left.remove(record)
                break
    return found
