"""The explanation of one execution. What takes long for a large one is done beside the event loop."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from workflow_engine.engine.graph import Graph, NodeSpec
from workflow_engine.engine.working import Place, Working
from workflow_engine.models.execution import CANCELLED, FAILED, PAUSED, PENDING, RUNNING, ExecutionState, Step
from workflow_engine.models.limits import Limits
from workflow_engine.services.execution_resource import shown_instant
from workflow_engine.services.explanation.active import causes_of, is_told
from workflow_engine.services.explanation.decisions import History, evaluate
from workflow_engine.services.explanation.passive import (
    absence_causes,
    cancellation_causes,
    failure_causes,
    latest_step_id,
    skipped_causes,
    waiting_causes,
)
from workflow_engine.services.explanation.scene import Cause, Scene, Told
from workflow_engine.services.state_manager import Names, StateManager, fold
from workflow_engine.services.workflow_manager import WorkflowManager
from workflow_engine.store import ExecutionRow, Store

NODES_MAX: Final = 100
"""Entries of an explanation; `total` counts all."""
PER_NODE_MAX: Final = 20
"""Entries of one node: many items that wait for the same thing must not hide the other nodes."""
SENTENCE_CHARS_MAX: Final = 1_000
SUMMED_UP_MAX: Final = 3
"""Steps whose sentences make the summary."""
SKIPPED: Final = "skipped"
ENDED: Final = frozenset({FAILED, CANCELLED, SKIPPED})


async def explain(
    store: Store, workflows: WorkflowManager, states: StateManager, tenant_id: str, execution_id: str
) -> dict[str, Any]:
    """Why an execution is where it is; raises NotFound.

    `{execution_id, status, reason, summary, nodes, total, decisions}`; docs/explain.md has the shapes of the parts.
    """
    stored = await store.load(tenant_id, execution_id)
    row = stored[0]
    state = await asyncio.to_thread(fold, *stored)
    published = await workflows.version(tenant_id, row.workflow_id, state.version)
    history = History(store, row)
    await history.read()
    decisions = history.latest
    await evaluate(store, workflows, stored, decisions)
    scene, chosen, total = await asyncio.to_thread(_scene, published.graph, state, row, states.names, history.told)
    await scene.look_up(store)
    entries = await asyncio.to_thread(_entries, chosen)
    return {
        "execution_id": execution_id,
        "status": state.status,
        "reason": state.reason,
        "summary": _summary(scene, entries),
        "nodes": entries,
        "total": total,
        "decisions": [decision.resource() for decision in decisions],
    }


class Candidate(NamedTuple):
    """A node that may get an entry, before anything about it is evaluated."""

    node: NodeSpec
    place: Place
    step: Step | None
    status: str
    causes: Callable[[], list[Cause]]


def _scene(
    graph: Graph, state: ExecutionState, row: ExecutionRow, names: Names, told: Told
) -> tuple[Scene, list[Candidate], int]:
    """The scene with what is to be looked up for it asked for, who gets an entry, and how many there are in all."""
    scene = Scene(Working(graph, state, Limits()), row, names, told)
    chosen: list[Candidate] = []
    per_node: Counter[str] = Counter()
    total = 0
    for candidate in _candidates(scene):
        total += 1
        if len(chosen) < NODES_MAX and per_node[candidate.node.id] < PER_NODE_MAX:
            per_node[candidate.node.id] += 1
            chosen.append(candidate)
    _entries(chosen)
    return scene, chosen, total


def _entries(chosen: list[Candidate]) -> list[dict[str, Any]]:
    return [_entry(candidate) for candidate in chosen]


def _entry(candidate: Candidate) -> dict[str, Any]:
    step, causes = candidate.step, candidate.causes()
    timeout_at = step.timeout_at if step is not None and candidate.status not in ENDED else None
    return {
        "node_id": candidate.node.id,
        "step_id": step.step_id if step is not None else None,
        "scope": candidate.place.key,
        "status": candidate.status,
        "since": shown_instant(step.started_at) if step is not None else None,
        "timeout_at": shown_instant(timeout_at),
        "sentence": _sentence(candidate, causes)[:SENTENCE_CHARS_MAX],
        "causes": causes,
    }


def _sentence(candidate: Candidate, causes: list[Cause]) -> str:
    node, step = candidate.node, candidate.step
    told = " ".join(cause["sentence"] for cause in causes)
    if not causes:
        return f"{step.step_id if step is not None else node.id} goes on with the next transition."
    if causes[0]["kind"] == "connection":
        so_far = " so far" if candidate.status == PENDING else ""
        return f"{node.id} was not activated{so_far}: {told}"
    if step is not None and node.is_any and len(causes) > 1:
        lead = f"{step.step_id} waits for "
        choices = (cause["sentence"].removeprefix(lead).removesuffix(".") for cause in causes)
        return f"{lead}whichever comes first: {'; '.join(choices)}."
    return told


# --- who gets an entry, the most urgent first


def _candidates(scene: Scene) -> Iterator[Candidate]:
    if scene.state.status == PENDING:
        return
    yield from _active(scene)
    places = list(scene.working.places.values())
    for collect in (_with_tokens, _failed, _cancelled, _skipped, _not_activated):
        for place in places:
            yield from collect(scene, place)


def _active(scene: Scene) -> Iterator[Candidate]:
    for step in scene.state.steps.values():
        if is_told(scene, step):
            place = scene.working.place(step)
            yield Candidate(scene.spec(step), place, step, step.status, _later(causes_of, scene, step))


def _later(function: Callable[..., list[Cause]], *arguments: Any) -> Callable[[], list[Cause]]:
    return lambda: function(*arguments)


def _with_tokens(scene: Scene, place: Place) -> Iterator[Candidate]:
    starts = {place.graph.by_id[name].index for name in place.scope.starts}
    for index in sorted({*place.waiting, *starts}):
        node = place.graph.nodes[index]
        yield Candidate(node, place, None, PENDING, _later(waiting_causes, scene, place, node))


def _failed(scene: Scene, place: Place) -> Iterator[Candidate]:
    return _over(scene, place, FAILED, lambda node: failure_causes(scene, place, node))


def _cancelled(scene: Scene, place: Place) -> Iterator[Candidate]:
    return _over(scene, place, CANCELLED, lambda node: cancellation_causes(scene, place, node))


def _skipped(scene: Scene, place: Place) -> Iterator[Candidate]:
    return _over(scene, place, SKIPPED, lambda node: skipped_causes(place, node))


def _over(scene: Scene, place: Place, status: str, causes: Callable[[NodeSpec], list[Cause]]) -> Iterator[Candidate]:
    """The nodes of a scope whose latest activation ended so."""
    for name, view in place.scope.views.items():
        if view["status"] == status:
            node = place.graph.by_id[name]
            step = scene.working.find(latest_step_id(place, node))
            yield Candidate(node, place, step, status, _later(causes, node))


def _not_activated(scene: Scene, place: Place) -> Iterator[Candidate]:
    if scene.state.compensation is not None:
        return
    status = SKIPPED if scene.state.is_terminal else PENDING
    for node in place.graph.nodes:
        is_known = place.scope.ordinals.get(node.id) or node.id in place.scope.starts or node.index in place.waiting
        if not is_known:
            yield Candidate(node, place, None, status, _later(absence_causes, scene, place, node))


# --- in short


def _summary(scene: Scene, entries: list[dict[str, Any]]) -> str:
    state = scene.state
    if state.status == PENDING:
        return f"It begins at {shown_instant(state.start_at)}." if state.start_at else "It has not begun yet."
    shown = _in_short([entry for entry in entries if entry["status"] not in ENDED and entry["step_id"] is not None])
    if state.is_operator_paused:
        return "An operator paused it; `resume` lets it go on."
    if state.compensation is not None:
        return f"It undoes what it has done; {len(state.undo)} step(s) are left. {shown}".strip()
    if state.status in (PAUSED, RUNNING):
        return shown or f"It is {state.status}; its next transition is about to be made."
    if state.status == FAILED and state.error is not None:
        where = f" at {state.error['step_id']}" if state.error["step_id"] else ""
        return f"It failed{where} with {state.error['type']}: {state.error['message']}"
    return f"It is {state.status}."


def _in_short(waiting: list[dict[str, Any]]) -> str:
    """What is waited for: first one entry for each kind of cause, as far as there is room."""
    kinds = [entry["causes"][0]["kind"] if entry["causes"] else "" for entry in waiting]
    by_kind = sorted(range(len(waiting)), key=lambda index: kinds.index(kinds[index]) != index)
    shown = " ".join(waiting[index]["sentence"] for index in sorted(by_kind[:SUMMED_UP_MAX]))
    left = len(waiting) - SUMMED_UP_MAX
    return f"{shown} And {left} more." if left > 0 else shown
