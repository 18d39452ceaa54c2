"""Settling: fire what can fire and attend to what has come, until nothing moves or the transition is spent."""

from heapq import heappop

from workflow_engine.engine.graph import Edge, NodeSpec
from workflow_engine.engine.joins import (
    Firing,
    deadlocked_join,
    filled_and_missing,
    firing,
    settled_debt,
    stuck_join,
)
from workflow_engine.engine.outcomes import complete_execution, fail_step, finish_scope
from workflow_engine.engine.reopening import reopen_steps
from workflow_engine.engine.starting import (
    attend_pending,
    may_start,
    next_iteration,
    next_step_id,
    open_items,
    start_step,
    start_undo,
)
from workflow_engine.engine.transition import NOT_ENABLED, Transition
from workflow_engine.engine.waits import look_at_conditions
from workflow_engine.engine.working import Place
from workflow_engine.models.event import JoinRoundChanged, StepStarted
from workflow_engine.models.execution import PENDING, Step
from workflow_engine.models.step import StepError


def settle(t: Transition) -> None:
    """Run the machine until nothing pure is left to do, or the transition is spent."""
    working = t.working
    evaluator = t.evaluator
    variables = evaluator.variables
    working.agenda.begin()
    while t.end is None:
        if variables.touched:
            _note_variables(t)
        if working.changes:
            look_at_conditions(t)
        elif evaluator.is_spent:
            t.is_unfinished = True
            return
        elif working.ready:
            _, step_id = heappop(working.ready)
            step = working.state.steps.get(step_id)
            if step is not None:
                _attend(t, step)
        else:
            entry = working.agenda.pop()
            if entry is None:
                return
            index, key = entry
            place = working.places.get(key)
            if place is not None:
                place.look_at(index)
                _look(t, place, index)


def _note_variables(t: Transition) -> None:
    """Conditions that read a variable which was assigned have to be looked at."""
    touched = t.evaluator.variables.touched
    if t.working.condition_waits:
        t.working.changes.update(f"vars.{name}" for name in touched)
        t.working.changes.add("vars")
    touched.clear()


def _attend(t: Transition, step: Step) -> None:
    """A step may have something to do that no token tells of."""
    if step.items is not None:
        open_items(t, step)
    elif step.repeat_max is not None:
        next_iteration(t, step)
    elif step.status == PENDING:
        attend_pending(t, step)
        if t.working.state.reopenable and step.status != PENDING:
            reopen_steps(t)  # what a retry had to leave closed until the group around it had its turn


def _look(t: Transition, place: Place, index: int) -> None:
    """Look at a node of a scope, or whether the scope has ended."""
    if place.outer is not None and not _is_open(t, place):
        return  # a retry has still to open its group, and then everything in it is looked at
    if index < place.end:
        _fire_node(t, place, place.graph.nodes[index])
    elif not place.is_settled:
        place.note(place.end)
    elif not place.steps:
        if place.busy:
            _unblock(t, place)
        elif place.outer is None:
            _end_root(t, place)
        else:
            finish_scope(t, place)


def _is_open(t: Transition, place: Place) -> bool:
    owner = t.working.state.steps.get(place.key[:-1])
    return owner is not None and owner.status != PENDING


def _end_root(t: Transition, place: Place) -> None:
    state = t.working.state
    if state.compensation is None or not (state.undo or state.steps):
        complete_execution(t, place)
    elif not state.steps:
        start_undo(t, state.undo[-1])


def _fire_node(t: Transition, place: Place, node: NodeSpec) -> None:
    """Fire a node as often as the tokens before it and its join allow; what it gives itself is for the next sweep."""
    scope = place.scope
    while scope.starts and node.id in scope.starts and _goes_on(t, place):
        start_step(t, place, node, Firing([]), is_start=True)
    for _ in range(place.waiting.get(node.index, 0)):
        if node.index not in place.waiting or not _goes_on(t, place):
            break
        if t.evaluator.is_spent:
            place.note(node.index)
            return
        if scope.owed:
            _settle_debt(t, place, node)
        fired = firing(place, node)
        if fired is None:
            return
        start_step(t, place, node, fired)
    if scope.owed and node.id in scope.owed and _goes_on(t, place):
        _settle_debt(t, place, node)


def _goes_on(t: Transition, place: Place) -> bool:
    """Whether the scope is still there: what has just started in it may have ended it."""
    return t.end is None and t.working.places.get(place.key) is place


def _settle_debt(t: Transition, place: Place, node: NodeSpec) -> None:
    """Absorb what came late for the last round of a `count` join; forget what can't come any more."""
    debt = settled_debt(place, node)
    if debt is not None:
        t.emit(JoinRoundChanged(node.id, debt.owed, debt.absorbed, place.key))


def _unblock(t: Transition, place: Place) -> None:
    """Only tokens before joins are left: let an `auto` join fire, or name the deadlock."""
    node = stuck_join(place)
    if node is not None:
        filled, _ = filled_and_missing(place, node)
        start_step(t, place, node, Firing(filled))
        place.note(place.end)
        return
    node = deadlocked_join(place)
    filled, missing = filled_and_missing(place, node)
    if may_start(t):
        step_id = next_step_id(place, node)
        t.emit(StepStarted(step_id, node.id, NOT_ENABLED, scope=place.key, took=filled))
        fail_step(t, t.working.state.steps[step_id], deadlock_error(node, missing))


def deadlock_error(node: NodeSpec, missing: list[Edge]) -> StepError:
    """Why a join can't fire any more: which connections and nodes were missing."""
    sources = ", ".join(sorted({edge.source_id for edge in missing})) or "the same connection"
    wants = f"{node.count} tokens" if node.join == "count" else "a token on every connection"
    return StepError(
        type="deadlock",
        message=f"the join {node.id} waits for {wants}, and nothing can come any more from: {sources}",
        details={"connections": [{"from": edge.source_id, "to": edge.target_id} for edge in missing]},
    )
