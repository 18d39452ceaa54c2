"""How steps begin: which inputs, clocks and variables they get, and what they do at once."""

from collections.abc import Mapping
from typing import Any, Final

from workflow_engine.engine.apply import carried_error
from workflow_engine.engine.expressions import Template
from workflow_engine.engine.graph import Graph, NodeSpec
from workflow_engine.engine.joins import Firing
from workflow_engine.engine.outcomes import complete_parent, complete_step, fail_execution, fail_step, seconds_of
from workflow_engine.engine.transition import Transition, execution_error, names_of
from workflow_engine.engine.variables import StepFault
from workflow_engine.engine.waits import begin_wait, wait_fields
from workflow_engine.engine.working import Agenda, Place, inner_key
from workflow_engine.models.duration import DurationInvalid, TimestampInvalid, parse_timestamp
from workflow_engine.models.effect import AskSlot, Dispatch, OpenTask
from workflow_engine.models.event import (
    CustomEmitted,
    JoinRoundChanged,
    SlotAsked,
    StepAttempted,
    StepQueued,
    StepStarted,
)
from workflow_engine.models.execution import CANCELLED, COMPLETED, FAILED, PENDING, Scope, Step, Undo
from workflow_engine.models.instant import MICROSECONDS, rfc3339
from workflow_engine.models.json_value import encode_json
from workflow_engine.models.step import StepError

ITEMS_MAX: Final = 1_000_000
"""Items of one `foreach`; `max_steps` counts them too."""

CONCURRENCY_MAX: Final = 10_000

Names = Mapping[str, Any] | None
Fields = dict[str, Any]


def may_start(t: Transition) -> bool:
    """Whether one more step may start; if not, the execution has failed."""
    t.count_step()
    limit = t.working.limits.max_steps
    if t.working.state.steps_started < limit:
        return True
    message = f"the execution has started {limit} steps, which is all that max_steps allows"
    details = {"limit": "max_steps", "max": limit}
    fail_execution(t, execution_error(StepError("limit_exceeded", message, details)))
    return False


def next_step_id(place: Place, node: NodeSpec) -> str:
    """The id of the node's next activation in the scope."""
    return f"{place.key}{node.id}.{place.scope.ordinals.get(node.id, 0) + 1}"


def start_step(t: Transition, place: Place, node: NodeSpec, fired: Firing, *, is_start: bool = False) -> None:
    """Activate a node: take its tokens and do, ask for, or wait for its work."""
    if not may_start(t):
        return
    if fired.owed:
        t.emit(JoinRoundChanged(node.id, fired.owed, [], place.key))
    error = carried_error(place.scope, fired.took) if place.scope.errors else None
    extra = {"error": error} if error is not None else None
    arrival: Fields = {"scope": place.key, "took": fired.took, "is_start": is_start}
    step_id = next_step_id(place, node)
    if node.foreach is not None:
        _start_foreach(t, place, node, step_id, extra, arrival)
    elif node.repeat is not None:
        _start_repeat(t, place, node, step_id, extra, arrival)
    else:
        _activate(t, place, node, step_id, extra, arrival)


def start_undo(t: Transition, undo: Undo) -> None:
    """Activate the node that undoes a completed step, with what that step gave as `output`."""
    working = t.working
    if not may_start(t):
        return
    graph = working.graph.bodies[undo.path]
    compensate = graph.by_id[undo.node].compensate
    assert compensate is not None
    assert working.state.compensation is not None
    node = graph.by_id[compensate]
    ordinal = working.state.compensation.ordinals.get(undo.scope + node.id, 0) + 1
    place = working.places.get(undo.scope) or Place(
        undo.scope, graph, Scope(path=undo.path), agenda=Agenda(), outer=working.places[""]
    )
    extra = {**undo.names, "output": undo.output}
    arrival: Fields = {"scope": undo.scope, "undoes": undo.step_id}
    step_id = f"{undo.scope}{node.id}.{ordinal}"
    if node.foreach is not None:
        _start_foreach(t, place, node, step_id, extra, arrival)
    elif node.repeat is not None:
        _start_repeat(t, place, node, step_id, extra, arrival)
    else:
        _activate(t, place, node, step_id, extra, arrival)


# --- locks and limits


def _activate(t: Transition, place: Place, node: NodeSpec, step_id: str, extra: Names, arrival: Fields) -> None:
    """Start a step, unless its lock is taken or its limit has to be asked for first."""
    if not node.is_queued:
        _start_leaf(t, place, node, step_id, extra, arrival)
        return
    lock = limit_key = None
    limit_max = 0
    try:
        if node.lock is not None:
            lock = _text(t.evaluator.value(node.lock, place, extra), f"`lock` of {node.id}")
        if node.limit is not None:
            limit_key = _text(t.evaluator.value(node.limit.key, place, extra), f"`limit.key` of {node.id}")
            limit_max = _count(t.evaluator.value(node.limit.concurrency, place, extra), "limit.concurrency", node)
    except StepFault as failure:
        t.emit(StepStarted(step_id, node.id, "processing", **arrival))
        fail_step(t, t.working.state.steps[step_id], StepError(failure.type, str(failure)))
        return
    if lock is not None and limit_key is None and lock not in t.working.state.locks:
        _start_leaf(t, place, node, step_id, extra, {**arrival, "lock": lock})
        return
    t.emit(StepQueued(step_id, node.id, lock=lock, limit_key=limit_key, limit_max=limit_max, **arrival))
    step = t.working.state.steps[step_id]
    error = deadlock_of(t, step)
    if error is not None:
        fail_step(t, step, error)


def _text(value: Any, what: str) -> str:
    if type(value) is str and value:
        return value
    if type(value) in (int, bool):
        return encode_json(value).decode()
    raise StepFault("expression_error", f"{what} must give text that is not empty")


def _count(value: Any, what: str, node: NodeSpec, *, maximum: int | None = None) -> int:
    if type(value) is int and value >= 1 and (maximum is None or value <= maximum):
        return value
    bounds = "of at least 1" if maximum is None else f"from 1 to {maximum}"
    raise StepFault("expression_error", f"`{what}` of {node.id} must be an integer {bounds}")


def deadlock_of(t: Transition, step: Step) -> StepError | None:
    """Why a step can never start: whoever holds its lock, or all slots of its limit, can't end before it has."""
    around = [around for around in _around(t, step) if around is not step]
    held = [one.step_id for one in around if one.slot is not None and one.limit_key == step.limit_key]
    if step.limit_key is not None and len(held) >= step.limit_max:
        message = f"{step.step_id} waits for the limit {step.limit_key}, which the steps around it use up: "
        return StepError("deadlock", message + ", ".join(held), {"limit": step.limit_key, "holders": held})
    return _lock_deadlock(t, step, {step.step_id, *(one.step_id for one in around)})


def _lock_deadlock(t: Transition, step: Step, around: set[str]) -> StepError | None:
    if step.lock is None:
        return None
    holder_id = t.working.state.locks[step.lock][0]
    if holder_id == step.step_id:
        return None
    seen: set[str] = set()
    pending = [holder_id]
    while pending:
        step_id = pending.pop()
        if step_id in around:
            message = f"{step.step_id} waits for the lock {step.lock}, which {holder_id} holds and can't give up before"
            return StepError("deadlock", message, {"lock": step.lock, "holder": holder_id})
        if step_id in seen or step_id not in t.working.state.steps:
            continue
        seen.add(step_id)
        stack = list(t.working.inside(t.working.state.steps[step_id]))
        while stack:
            inner = stack.pop()
            if inner.status == PENDING and inner.lock is not None:
                pending.append(t.working.state.locks[inner.lock][0])
            stack.extend(t.working.inside(inner))
    return None


def _around(t: Transition, step: Step) -> list[Step]:
    """The steps that a step stands inside of, and itself."""
    found: list[Step] = []
    current: Step | None = step
    while current is not None:
        found.append(current)
        if current.parent is not None:
            current = t.working.find(current.parent)
        else:
            current = t.working.find(current.scope[:-1]) if current.scope else None
    return found


def attend_pending(t: Transition, step: Step) -> None:
    """A step that waits before it starts: ask for its slot once it has its lock, start it once it has both."""
    if step.lock is not None and t.working.state.locks[step.lock][0] != step.step_id:
        return
    if step.limit_key is not None and step.slot != "granted":
        if step.slot is None:
            ask_slot(t, step)
        return
    if step.error is not None:
        attempt_again(t, step)
    else:
        _start_queued(t, step)


def ask_slot(t: Transition, step: Step) -> None:
    """Ask for a slot of the step's limit."""
    assert step.limit_key is not None
    if step.slot is None:
        t.emit(SlotAsked(step.step_id))
    attempt = attempt_asked_for(step)
    t.effects.append(AskSlot(step.step_id, attempt, step.generation, step.limit_key, step.limit_max))


def attempt_asked_for(step: Step) -> int:
    """The attempt that a pending step wants its slot for: after a back-off, the next one."""
    return step.attempt + 1 if step.error is not None else step.attempt


def _start_queued(t: Transition, step: Step) -> None:
    t.count_step()
    working = t.working
    node, place = working.spec(step), working.place(step)
    fields, failure = start_fields(t, place, node, names_of(t, step))
    if goes_on_inside(t, step):
        fields.pop("starts", None)
    t.emit(StepStarted(step.step_id, node.id, scope=step.scope, is_queued=True, **fields))
    _begin_or_fail(t, place, node, working.state.steps[step.step_id], failure)


def goes_on_inside(t: Transition, step: Step) -> bool:
    """Whether a group that a retry opens again goes on where it was."""
    scope = t.working.state.scopes.get(inner_key(step.step_id))
    return scope is not None and not scope.is_dormant


def is_dormant(t: Transition, step: Step) -> bool:
    """Whether a group was waiting to begin anew."""
    scope = t.working.state.scopes.get(inner_key(step.step_id))
    return scope is not None and scope.is_dormant


# --- steps that do their work themselves


def _start_leaf(t: Transition, place: Place, node: NodeSpec, step_id: str, extra: Names, arrival: Fields) -> None:
    """Record the start, with the evaluated input; what can't be evaluated is an error of the started step."""
    fields, failure = start_fields(t, place, node, extra)
    t.emit(StepStarted(step_id, node.id, **arrival, **fields))
    step = t.working.state.steps[step_id]
    _begin_or_fail(t, t.working.places[step.scope], node, step, failure)


def _begin_or_fail(t: Transition, place: Place, node: NodeSpec, step: Step, failure: StepError | None) -> None:
    if failure is not None:
        fail_step(t, step, failure)
    else:
        begin(t, place, node, step)


def start_fields(t: Transition, place: Place, node: NodeSpec, extra: Names) -> tuple[Fields, StepError | None]:
    """What a step begins with (status, input, clocks, scope), and why it can't, if so."""
    try:
        return _FIELDS_OF_TYPE.get(node.type, _io_fields)(t, place, node, extra), None
    except StepFault as failed:
        failure = StepError(failed.type, str(failed))
    except (DurationInvalid, TimestampInvalid) as failed:
        failure = StepError("expression_error", f"{node.id}: {failed}")
    return {"status": "processing"}, failure


def _pure_fields(t: Transition, place: Place, node: NodeSpec, extra: Names) -> Fields:
    return {"status": "processing"}


def _io_fields(t: Transition, place: Place, node: NodeSpec, extra: Names) -> Fields:
    fields: Fields = {"status": "processing", "input": t.evaluator.value(node.arguments, place, extra)}
    if node.timeout is not None and node.type == "workflow":
        fields["timeout_at"] = _deadline(t, place, node, extra)  # it may take months, so the clock is a timer
    elif node.timeout is not None:
        fields["timeout_s"] = _duration(t, place, node.timeout, extra)
    return fields


def _group_fields(t: Transition, place: Place, node: NodeSpec, extra: Names) -> Fields:
    assert node.body is not None
    return {
        "status": "processing",
        "timeout_at": _deadline(t, place, node, extra),
        "starts": list(node.body.starts),
        "variables": _first_values(t, place, node.body, extra),
    }


def _first_values(t: Transition, place: Place, body: Graph, extra: Names) -> dict[str, Any]:
    if not body.declared:
        return {}
    inside = Place("?~", body, Scope(path=body.path), agenda=Agenda(), outer=place, names=place.names)
    return dict(t.evaluator.value(body.variables, inside, extra))


def _human_fields(t: Transition, place: Place, node: NodeSpec, extra: Names) -> Fields:
    timeout_at = _deadline(t, place, node, extra)
    waiting_for: dict[str, Any] = {"kind": "human"}
    if timeout_at is not None:
        waiting_for["until"] = rfc3339(timeout_at)
    asked = t.evaluator.value(node.arguments, place, extra)
    if asked.get("due") is not None:
        _check_due(asked["due"])
    return {"status": "waiting", "input": asked, "timeout_at": timeout_at, "waiting_for": waiting_for}


def _check_due(due: Any) -> None:
    """`due` is a duration or an instant."""
    if isinstance(due, str) and due[:4].isdigit() and "-" in due:
        parse_timestamp(due)
    else:
        seconds_of(due)


def _wait_fields(t: Transition, place: Place, node: NodeSpec, extra: Names) -> Fields:
    return wait_fields(t, place, node, extra, timeout_at=_deadline(t, place, node, extra))


_FIELDS_OF_TYPE = {
    "wait": _wait_fields,
    "human": _human_fields,
    "group": _group_fields,
    **dict.fromkeys(("set", "decision", "join", "end", "fail", "emit"), _pure_fields),
}


def _deadline(t: Transition, place: Place, node: NodeSpec, extra: Names) -> int | None:
    if node.timeout is None:
        return None
    return t.now + int(_duration(t, place, node.timeout, extra) * MICROSECONDS)


def _duration(t: Transition, place: Place, template: Template, extra: Names) -> float:
    return seconds_of(t.evaluator.value(template, place, extra))


def begin(t: Transition, place: Place, node: NodeSpec, step: Step) -> None:
    """What a step does at once: pure ones all of it, I/O is asked for, a wait may be over already."""
    if node.type == "wait":
        begin_wait(t, step)
    elif node.type == "human":
        t.effects.append(OpenTask(step.step_id))
    elif node.is_io:
        t.effects.append(Dispatch(step.step_id))
    elif node.body is None:
        _run_pure(t, place, node, step)


def attempt_again(t: Transition, step: Step) -> None:
    """The back-off is over, and the slot is there where one is needed: the next attempt begins."""
    node = t.working.spec(step)
    place = t.working.place(step)
    fields: Fields = {}
    failure = None
    if node.body is not None or node.type == "workflow":
        made, failure = start_fields(t, place, node, names_of(t, step))
        fields = {name: made[name] for name in ("timeout_at", "starts", "variables") if name in made}
    t.emit(StepAttempted(step.step_id, step.attempt + 1, **fields))
    if failure is not None:
        fail_step(t, step, failure)
    elif node.is_io:
        t.effects.append(Dispatch(step.step_id))


def _run_pure(t: Transition, place: Place, node: NodeSpec, step: Step) -> None:
    """Do the work of a pure node."""
    try:
        arguments = _pure_arguments(t, place, node, names_of(t, step))
    except StepFault as failure:
        fail_step(t, step, StepError(failure.type, str(failure)))
        return
    match node.type:
        case "fail":
            error = StepError(arguments.get("type", "failed"), arguments.get("message", ""), arguments.get("details"))
            fail_step(t, step, error)
        case "end":
            complete_step(t, step, None, end=arguments)
        case "emit":
            t.emit(CustomEmitted(step.step_id, str(arguments["event"]), arguments.get("data")))
            complete_step(t, step, None)
        case _:
            complete_step(t, step, None)


def _pure_arguments(t: Transition, place: Place, node: NodeSpec, extra: Names) -> Any:
    """The evaluated `with`; what a template made of the fields of `end` and `fail` has to fit them."""
    arguments = t.evaluator.value(node.arguments, place, extra)
    if node.arguments.is_constant or node.type not in ("end", "fail"):
        return arguments
    message = arguments.get("message", "")
    if type(message) is not str:
        arguments = {**arguments, "message": "" if message is None else encode_json(message).decode()}
    if node.type == "fail":
        error_type = arguments.get("type", "failed")
        _check_argument(node, "type", type(error_type) is str and error_type != "", "text that is not empty")
    else:
        statuses = (COMPLETED, FAILED, CANCELLED)
        _check_argument(node, "status", arguments.get("status", COMPLETED) in statuses, "one of " + ", ".join(statuses))
        _check_argument(node, "terminate", type(arguments.get("terminate", False)) is bool, "true or false")
    return arguments


def _check_argument(node: NodeSpec, name: str, is_right: bool, expected: str) -> None:
    if not is_right:
        raise StepFault("expression_error", f"`{name}` of {node.id} must give {expected}")


# --- foreach


def _start_foreach(t: Transition, place: Place, node: NodeSpec, step_id: str, extra: Names, arrival: Fields) -> None:
    fields, failure = foreach_fields(t, place, node, extra)
    t.emit(StepStarted(step_id, node.id, "processing", **arrival, **fields))
    step = t.working.state.steps[step_id]
    assert node.foreach is not None
    if failure is not None:
        fail_step(t, step, failure)
    elif not step.items:
        complete_parent(t, step)
    elif not node.foreach.is_awaited:
        complete_parent(t, step, is_early=True)


def foreach_fields(t: Transition, place: Place, node: NodeSpec, extra: Names) -> tuple[Fields, StepError | None]:
    """What a `foreach` begins with, fixed for all of it: items, concurrency, when it is enough; and why it can't."""
    foreach = node.foreach
    assert foreach is not None
    try:
        fields: Fields = {
            "items": _foreach_items(t, place, node, extra),
            "concurrency": _count(
                t.evaluator.value(foreach.concurrency, place, extra),
                "foreach.concurrency",
                node,
                maximum=CONCURRENCY_MAX,
            ),
        }
        if foreach.complete_after is not None:
            enough = t.evaluator.value(foreach.complete_after, place, extra)
            fields["complete_after"] = _count(enough, "foreach.complete_after", node)
    except StepFault as failed:
        return {"items": []}, StepError(failed.type, str(failed))
    return fields, None


def _foreach_items(t: Transition, place: Place, node: NodeSpec, extra: Names) -> list[Any]:
    assert node.foreach is not None
    items = t.evaluator.value(node.foreach.items, place, extra)
    if not isinstance(items, list):
        raise StepFault("expression_error", f"`foreach.items` of {node.id} must give a list, not {json_type(items)}")
    if len(items) > ITEMS_MAX:
        raise StepFault("limit_exceeded", f"`foreach` of {node.id} has {len(items)} items; {ITEMS_MAX} are allowed")
    return items


def json_type(value: Any) -> str:
    """What a value is called in messages."""
    names = {type(None): "null", bool: "a boolean", int: "an integer", float: "a number", str: "text", dict: "a map"}
    return names.get(type(value), "a list")


def open_items(t: Transition, parent: Step) -> None:
    """Start items of a `foreach` step as far as its concurrency and the transition's bounds go."""
    steps = t.working.state.steps
    node, place = t.working.spec(parent), t.working.place(parent)
    while parent.next_index < len(parent.items or ()) and parent.open < parent.concurrency:
        if t.evaluator.is_spent:
            t.working.make_ready(parent)
            return
        if not _start_child(t, place, node, parent) or steps.get(parent.step_id) is not parent:
            return


def _start_child(t: Transition, place: Place, node: NodeSpec, parent: Step) -> bool:
    """Start the next item or iteration; False when the execution has ended."""
    if not may_start(t):
        return False
    index = parent.next_index
    step_id = f"{parent.step_id}:{index}"
    extra = dict(names_of(t, parent) or {})
    if parent.items is not None and node.foreach is not None:
        extra[node.foreach.item_name] = parent.items[index]
        extra[node.foreach.index_name] = index
    else:
        extra["iteration"] = index
    arrival: Fields = {"scope": parent.scope, "parent": parent.step_id, "index": index}
    if parent.items is not None and node.repeat is not None:
        _start_repeat(t, place, node, step_id, extra, arrival)
    else:
        _activate(t, place, node, step_id, extra, arrival)
    return t.end is None


# --- repeat


def _start_repeat(t: Transition, place: Place, node: NodeSpec, step_id: str, extra: Names, arrival: Fields) -> None:
    fields, failure = repeat_fields(t, place, node, extra)
    t.emit(StepStarted(step_id, node.id, "processing", **arrival, **fields))
    if failure is not None:
        fail_step(t, t.working.state.steps[step_id], failure)


def repeat_fields(t: Transition, place: Place, node: NodeSpec, extra: Names) -> tuple[Fields, StepError | None]:
    """What a `repeat` begins with: the most iterations it may have; and why it can't, if so."""
    assert node.repeat is not None
    try:
        return {"repeat_max": _count(t.evaluator.value(node.repeat.max, place, extra), "repeat.max", node)}, None
    except StepFault as failed:
        return {"repeat_max": 1}, StepError(failed.type, str(failed))


def next_iteration(t: Transition, parent: Step, *, is_due: bool = False) -> None:
    """Begin the next iteration of a `repeat` step, or end it: `while` is looked at before each.

    `is_due`: the clock says that the delay before it is over.
    """
    if parent.open or (parent.delay_until is not None and not is_due):
        return
    node, place = t.working.spec(parent), t.working.place(parent)
    repeat = node.repeat
    assert repeat is not None
    assert parent.repeat_max is not None
    if repeat.while_holds is not None:
        names = {**(names_of(t, parent) or {}), "iteration": parent.next_index}
        try:
            goes_on = t.evaluator.holds(repeat.while_holds, place, names)
        except StepFault as failure:
            fail_step(t, parent, StepError(failure.type, str(failure)))
            return
        if not goes_on:
            complete_parent(t, parent)
            return
    if parent.next_index < parent.repeat_max:
        _start_child(t, place, node, parent)
    elif repeat.is_conditional:
        message = f"{node.id} was repeated {parent.repeat_max} times, which is all that `repeat.max` allows"
        fail_step(t, parent, StepError("limit_exceeded", message, {"limit": "repeat.max", "max": parent.repeat_max}))
    else:
        complete_parent(t, parent)
