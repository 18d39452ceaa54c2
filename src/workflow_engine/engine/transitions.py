"""The token game: which nodes start, what their completion or failure moves, until nothing pure is left to do.

A `Transition` is the scratch pad of one call of `decide`. Its functions emit facts through the working state (so that
each sees the effect of the one before) and collect the effects that the caller performs once the facts are durable.
"""

from collections.abc import Mapping
from typing import Any, Final
from zlib import crc32

from workflow_engine.engine.apply import carried_error
from workflow_engine.engine.conditions import Choice, all_holding, first_holding, token_puts
from workflow_engine.engine.expressions import Template
from workflow_engine.engine.graph import WAIT_TYPES, Edge, NodeSpec
from workflow_engine.engine.joins import (
    Firing,
    deadlocked_join,
    filled_and_missing,
    firing,
    settled_debt,
    stuck_join,
)
from workflow_engine.engine.variables import Evaluator, StepFault
from workflow_engine.engine.working import Place, Working
from workflow_engine.models.duration import (
    DURATION_MAX_S,
    DurationInvalid,
    TimestampInvalid,
    parse_duration,
    parse_timestamp,
)
from workflow_engine.models.effect import CloseTask, Dispatch, Effect, OpenTask, Withdraw
from workflow_engine.models.event import (
    AnyFact,
    CustomEmitted,
    DecisionMade,
    ErrorValue,
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionFailed,
    JoinRoundChanged,
    SignalTaken,
    StepAttempted,
    StepCancelled,
    StepCompleted,
    StepFailed,
    StepReopened,
    StepRetrying,
    StepStarted,
)
from workflow_engine.models.execution import CANCELLED, COMPLETED, FAILED, PendingSignal, Step
from workflow_engine.models.instant import MICROSECONDS, rfc3339
from workflow_engine.models.json_value import encode_json
from workflow_engine.models.node import RetryPolicy
from workflow_engine.models.step import StepError

NOT_ENABLED: Final = "pending"
"""The status of a step that stands for a deadlocked join: its tokens never sufficed, so it does no work."""

ITEMS_MAX: Final = 1_000_000
"""Items of one `foreach`; `max_steps` counts them too."""


_ENDS: Final[dict[type, str]] = {StepCompleted: "completed", StepFailed: "failed", StepCancelled: "cancelled"}


class Transition:
    """What one call of `decide` gathers."""

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
        """Record a fact and let the state follow it; a person's task closes with its step, however that ends."""
        status = _ENDS.get(type(fact))
        if status is not None:
            self._close_task(fact.step, status)  # type: ignore[union-attr]
        self.working.emit(fact)
        self.facts.append(fact)

    def _close_task(self, step_id: str, status: str) -> None:
        step = self.working.state.steps[step_id]
        if step.items is None and self.working.spec(step).type == "human":
            self.effects.append(
                CloseTask(
                    step_id, step.node, step.generation, step.input, status, opened_at=step.started_at, by=self.by
                )
            )

    @property
    def is_spent(self) -> bool:
        """Whether the transition has done enough and should commit before it goes on."""
        limits = self.working.limits
        return (
            self.steps_started >= limits.transition_steps_max
            or self.evaluator.units >= limits.transition_units_max
            or self.evaluator.bytes >= limits.transition_bytes_max
        )


# --- settling


def settle(t: Transition) -> None:
    """Fire what can fire, round by round in document order, until nothing moves or the transition is spent."""
    place = t.working.places[""]
    t.working.look_everywhere()
    while t.end is None:
        if t.is_spent:
            t.is_unfinished = True
            return
        if t.working.parents:
            open_items(t)
        elif place.dirty:
            _fire_round(t, place)
        elif not place.busy:
            complete_execution(t, place)
        elif not t.working.state.steps:
            _unblock(t, place)
        else:
            return


def _fire_round(t: Transition, place: Place) -> None:
    dirty = sorted(place.dirty)
    place.dirty.clear()
    for index in dirty:
        fire_node(t, place, place.graph.nodes[index])
        if t.end is not None or t.is_spent:
            return


def fire_node(t: Transition, place: Place, node: NodeSpec) -> None:
    """Fire a node as often as its tokens and its join allow."""
    while node.id in place.scope.starts and t.end is None:
        start_step(t, place, node, Firing([]), is_start=True)
    while index_has_tokens(place, node) and t.end is None and not t.is_spent:
        settle_debt(t, place, node)
        fired = firing(place, node)
        if fired is None:
            return
        start_step(t, place, node, fired)
    if node.id in place.scope.owed:
        settle_debt(t, place, node)


def index_has_tokens(place: Place, node: NodeSpec) -> bool:
    """Whether any token stands before the node."""
    return node.index in place.waiting


def settle_debt(t: Transition, place: Place, node: NodeSpec) -> None:
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
        return
    node = deadlocked_join(place)
    filled, missing = filled_and_missing(place, node)
    if _may_start(t):
        step_id = _next_step_id(place, node)
        t.emit(StepStarted(step_id, node.id, NOT_ENABLED, scope=place.key, took=filled))
        fail_step(t, t.working.state.steps[step_id], node, deadlock_error(node, missing))


def deadlock_error(node: NodeSpec, missing: list[Edge]) -> StepError:
    """Why a join can't fire any more: which connections and nodes were missing."""
    sources = ", ".join(sorted({edge.source_id for edge in missing})) or "the same connection"
    wants = f"{node.count} tokens" if node.join == "count" else "a token on every connection"
    return StepError(
        type="deadlock",
        message=f"the join {node.id} waits for {wants}, and nothing can come any more from: {sources}",
        details={"connections": [{"from": edge.source_id, "to": edge.target_id} for edge in missing]},
    )


# --- starting


def start_step(t: Transition, place: Place, node: NodeSpec, fired: Firing, *, is_start: bool = False) -> None:
    """Activate a node: take its tokens and do, ask for, or wait for its work."""
    if not _may_start(t):
        return
    if fired.owed:
        t.emit(JoinRoundChanged(node.id, fired.owed, [], place.key))
    if node.foreach is not None:
        _start_foreach(t, place, node, fired, is_start=is_start)
        return
    step = _emit_started(t, place, node, fired, is_start=is_start)
    if step is not None:
        _begin(t, place, node, step)


def _next_step_id(place: Place, node: NodeSpec) -> str:
    return f"{place.key}{node.id}.{place.scope.ordinals.get(node.id, 0) + 1}"


def _emit_started(
    t: Transition,
    place: Place,
    node: NodeSpec,
    fired: Firing,
    *,
    is_start: bool = False,
    parent: Step | None = None,
    index: int | None = None,
) -> Step | None:
    """Record the start, with the evaluated input.

    None when that can't be evaluated: an error of the step, which has started and failed.
    """
    step_id = _next_step_id(place, node) if parent is None else f"{parent.step_id}:{index}"
    error = parent.caught if parent is not None else carried_error(place.scope, fired.took)
    fields, failure = _start_fields(t, place, node, _names_of_step(node, error, parent, index))
    t.emit(
        StepStarted(
            step_id,
            node.id,
            scope=place.key,
            took=fired.took,
            is_start=is_start,
            parent=parent.step_id if parent is not None else None,
            index=index,
            **fields,
        )
    )
    step = t.working.state.steps[step_id]
    if failure is not None:
        fail_step(t, step, node, failure)
        return None
    return step


def _start_fields(
    t: Transition, place: Place, node: NodeSpec, extra: Mapping[str, Any] | None
) -> tuple[dict[str, Any], StepError | None]:
    """What a step begins with (status, input, clocks, signal), and why it can't, if so."""
    try:
        return _FIELDS_OF_TYPE.get(node.type, _io_fields)(t, place, node, extra), None
    except StepFault as failed:
        failure = StepError(failed.type, str(failed))
    except (DurationInvalid, TimestampInvalid) as failed:
        failure = StepError("expression_error", f"{node.id}: {failed}")
    return {"status": "processing"}, failure


def _may_start(t: Transition) -> bool:
    """Whether one more step may start; if not, the execution has failed."""
    t.steps_started += 1
    limit = t.working.limits.max_steps
    if t.working.state.steps_started < limit:
        return True
    message = f"the execution has started {limit} steps, which is all that max_steps allows"
    details = {"limit": "max_steps", "max": limit}
    fail_execution(t, execution_error(StepError("limit_exceeded", message, details)))
    return False


def _names_of_step(
    node: NodeSpec, error: ErrorValue | None, parent: Step | None, index: int | None
) -> dict[str, Any] | None:
    """The names that only this step sees: the error it handles, its item and index."""
    if error is None and parent is None:
        return None
    extra: dict[str, Any] = {}
    if error is not None:
        extra["error"] = error
    if parent is not None and node.foreach is not None and parent.items is not None and index is not None:
        extra[node.foreach.item_name] = parent.items[index]
        extra[node.foreach.index_name] = index
    return extra


def names_of(t: Transition, node: NodeSpec, step: Step) -> dict[str, Any] | None:
    """The names that only this step sees."""
    parent = t.working.state.steps.get(step.parent) if step.parent is not None else None
    return _names_of_step(node, step.caught if parent is None else parent.caught, parent, step.index)


def _pure_fields(t: Transition, place: Place, node: NodeSpec, extra: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"status": "processing"}


def _io_fields(t: Transition, place: Place, node: NodeSpec, extra: Mapping[str, Any] | None) -> dict[str, Any]:
    fields = {"status": "processing", "input": t.evaluator.value(node.arguments, place, extra)}
    if node.timeout is not None:
        fields["timeout_s"] = _duration(t, place, node.timeout, extra)
    return fields


def _deadline(t: Transition, place: Place, node: NodeSpec, extra: Mapping[str, Any] | None) -> int | None:
    if node.timeout is None:
        return None
    return t.now + int(_duration(t, place, node.timeout, extra) * MICROSECONDS)


def _duration(t: Transition, place: Place, template: Template, extra: Mapping[str, Any] | None) -> float:
    return seconds_of(t.evaluator.value(template, place, extra))


def seconds_of(value: Any) -> float:
    """Seconds of an evaluated duration: text as in a definition."""
    if not isinstance(value, str):
        raise DurationInvalid(f"a duration is text such as 30s or PT30S, not {type(value).__name__}")
    return parse_duration(value)


def _wait_fields(t: Transition, place: Place, node: NodeSpec, extra: Mapping[str, Any] | None) -> dict[str, Any]:
    arguments = t.evaluator.value(node.arguments, place, extra)
    fields: dict[str, Any] = {"status": "waiting", "timeout_at": _deadline(t, place, node, extra)}
    waiting_for: dict[str, Any] = {"kind": node.wait_kind}
    if "for" in arguments:
        fields["due_at"] = t.now + int(seconds_of(arguments["for"]) * MICROSECONDS)
    elif "until" in arguments:
        if not isinstance(arguments["until"], str):
            raise TimestampInvalid("`until` must be text such as 2026-01-31T08:00:00Z")
        fields["due_at"] = parse_timestamp(arguments["until"])
    else:
        waiting_for["name"] = fields["signal"] = str(arguments["signal"])
    until = fields.get("due_at", fields["timeout_at"])
    if until is not None:
        waiting_for["until"] = _shown_instant(until)
    return {**fields, "waiting_for": waiting_for}


def _shown_instant(at: int) -> str:
    try:
        return rfc3339(at)
    except (ValueError, OverflowError, OSError):
        raise TimestampInvalid("the instant lies outside of the years 1 to 9999 in UTC") from None


def _human_fields(t: Transition, place: Place, node: NodeSpec, extra: Mapping[str, Any] | None) -> dict[str, Any]:
    timeout_at = _deadline(t, place, node, extra)
    waiting_for: dict[str, Any] = {"kind": "human"}
    if timeout_at is not None:
        waiting_for["until"] = rfc3339(timeout_at)
    return {
        "status": "waiting",
        "input": t.evaluator.value(node.arguments, place, extra),
        "timeout_at": timeout_at,
        "waiting_for": waiting_for,
    }


_FIELDS_OF_TYPE = {
    "wait": _wait_fields,
    "human": _human_fields,
    **dict.fromkeys(("set", "decision", "join", "end", "fail", "emit"), _pure_fields),
}


def _begin(t: Transition, place: Place, node: NodeSpec, step: Step) -> None:
    """What a step does at once: pure ones all of it, I/O is asked for, a wait may be over already."""
    if node.type == "wait":
        _begin_wait(t, node, step)
    elif node.type == "human":
        t.effects.append(OpenTask(step.step_id))
    elif node.is_io:
        t.effects.append(Dispatch(step.step_id))
    else:
        run_pure(t, place, node, step)


def _begin_wait(t: Transition, node: NodeSpec, step: Step) -> None:
    if step.due_at is not None and step.due_at <= t.now:
        complete_step(t, step, node, {"kind": node.wait_kind})
    elif step.signal is not None:
        for signal in t.working.state.signals:
            if signal.name == step.signal and signal_matches(t, step, node, signal):
                t.emit(SignalTaken(signal.number))
                complete_step(t, step, node, signal.payload)
                return


def signal_matches(t: Transition, step: Step, node: NodeSpec, signal: PendingSignal) -> bool:
    """Whether a wait takes the signal; a condition that fails on a payload is one that does not hold for it."""
    if node.signal_when is None:
        return True
    extra = dict(names_of(t, node, step) or {})
    extra["signal"] = {"name": signal.name, "payload": signal.payload}
    try:
        return t.evaluator.holds(node.signal_when, t.working.places[step.scope], extra)
    except StepFault:
        return False


def run_pure(t: Transition, place: Place, node: NodeSpec, step: Step) -> None:
    """Do the work of a pure node."""
    try:
        arguments = _pure_arguments(t, place, node, names_of(t, node, step))
    except StepFault as failure:
        fail_step(t, step, node, StepError(failure.type, str(failure)))
        return
    match node.type:
        case "fail":
            error = StepError(arguments.get("type", "failed"), arguments.get("message", ""), arguments.get("details"))
            fail_step(t, step, node, error)
        case "end":
            complete_step(t, step, node, None, end=arguments)
        case "emit":
            t.emit(CustomEmitted(step.step_id, str(arguments["event"]), arguments.get("data")))
            complete_step(t, step, node, None)
        case _:
            complete_step(t, step, node, None)


def _pure_arguments(t: Transition, place: Place, node: NodeSpec, extra: Mapping[str, Any] | None) -> Any:
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


def _start_foreach(t: Transition, place: Place, node: NodeSpec, fired: Firing, *, is_start: bool) -> None:
    step_id = _next_step_id(place, node)
    extra = _names_of_step(node, carried_error(place.scope, fired.took), None, None)
    fields, failure = _foreach_fields(t, place, node, extra)
    t.emit(StepStarted(step_id, node.id, "processing", scope=place.key, took=fired.took, is_start=is_start, **fields))
    step = t.working.state.steps[step_id]
    if failure is not None:
        fail_step(t, step, node, failure)
    elif not step.items:
        t.working.parents.pop()
        complete_foreach(t, step, node)


def _foreach_fields(
    t: Transition, place: Place, node: NodeSpec, extra: Mapping[str, Any] | None
) -> tuple[dict[str, Any], StepError | None]:
    """What a `foreach` begins with, fixed for all of it: items and concurrency; and why it can't, if so."""
    try:
        return {
            "items": foreach_items(t, place, node, extra),
            "concurrency": concurrency_of(t, place, node, extra),
        }, None
    except StepFault as failed:
        return {"items": []}, StepError(failed.type, str(failed))


def foreach_items(t: Transition, place: Place, node: NodeSpec, extra: Mapping[str, Any] | None) -> list[Any]:
    """The list that a `foreach` goes through."""
    assert node.foreach is not None
    items = t.evaluator.value(node.foreach.items, place, extra)
    if not isinstance(items, list):
        raise StepFault("expression_error", f"`foreach.items` of {node.id} must give a list, not {json_type(items)}")
    if len(items) > ITEMS_MAX:
        raise StepFault("limit_exceeded", f"`foreach` of {node.id} has {len(items)} items; {ITEMS_MAX} are allowed")
    return items


def concurrency_of(t: Transition, place: Place, node: NodeSpec, extra: Mapping[str, Any] | None) -> int:
    """How many items of the node may be active at a time."""
    assert node.foreach is not None
    concurrency = t.evaluator.value(node.foreach.concurrency, place, extra)
    if type(concurrency) is not int or not 1 <= concurrency <= 10_000:
        raise StepFault("expression_error", f"`foreach.concurrency` of {node.id} must be an integer from 1 to 10000")
    return concurrency


def json_type(value: Any) -> str:
    """What a value is called in messages."""
    names = {type(None): "null", bool: "a boolean", int: "an integer", float: "a number", str: "text", dict: "a map"}
    return names.get(type(value), "a list")


def open_items(t: Transition) -> None:
    """Start items of the `foreach` steps that have room, each as far as its concurrency goes."""
    parents = t.working.parents
    step_id = parents.popleft()
    parent = t.working.state.steps.get(step_id)
    if parent is None or parent.items is None:
        return
    node = t.working.spec(parent)
    place = t.working.places[parent.scope]
    while parent.next_index < len(parent.items) and parent.open < parent.concurrency:
        if t.is_spent:
            parents.appendleft(step_id)
            return
        if not _may_start(t):
            return
        step = _emit_started(t, place, node, Firing([]), parent=parent, index=parent.next_index)
        if t.end is not None or step_id not in t.working.state.steps:
            return
        if step is not None:
            _begin(t, place, node, step)
        if t.end is not None or step_id not in t.working.state.steps:
            return


def _item_over(t: Transition, parent_id: str) -> None:
    """An item ended: the `foreach` step is over, or has room for another."""
    parent = t.working.state.steps[parent_id]
    assert parent.items is not None
    if parent.finished >= len(parent.items):
        complete_foreach(t, parent, t.working.spec(parent))
    elif parent.next_index < len(parent.items) and parent_id not in t.working.parents:
        t.working.parents.append(parent_id)


def complete_foreach(t: Transition, step: Step, node: NodeSpec) -> None:
    """All items are through: the list of their results is the output, and the tokens go on."""
    place = t.working.places[step.scope]
    output = [step.results.get(index) for index in range(len(step.items or ()))] if node.keeps_output else None
    extra = names_of(t, node, step)
    try:
        views = t.evaluator.steps(place)
        views.show_completed(node.id, output, step.attempt)
        try:
            choice, puts = _outgoing(t, place, node, extra)
        finally:
            views.show_facts()
    except StepFault as failure:
        fail_step(t, step, node, StepError(failure.type, str(failure)))
        return
    _emit_decision(t, step, node, choice)
    _emit_completed(t, step, node, None, choice, puts, is_list=True)


# --- completing


def complete_step(t: Transition, step: Step, node: NodeSpec, raw: Any, *, end: Mapping[str, Any] | None = None) -> None:
    """A step's work is done: shape its output, assign variables, choose the connections, move the tokens."""
    place = t.working.places[step.scope]
    is_item = step.parent is not None
    extra = names_of(t, node, step)
    t.evaluator.variables.keep()
    try:
        choice = None
        if node.type == "decision" and not is_item:
            choice = _decide(t, place, node, extra)
            raw = choice.taken[0].target_id
        output = _shape(t, place, node, raw, extra)
        puts: list[tuple[int, int]] = []
        if not is_item:
            views = t.evaluator.steps(place)
            views.show_completed(node.id, output, step.attempt)
            try:
                if choice is None:
                    choice = all_holding(t.evaluator, place, node, extra)
                puts = token_puts(t.evaluator, place, choice.taken, extra)
            finally:
                views.show_facts()
    except StepFault as failure:
        t.evaluator.variables.undo()
        fail_step(t, step, node, StepError(failure.type, str(failure)))
        return
    if choice is not None:
        _emit_decision(t, step, node, choice)
    _emit_completed(t, step, node, output, choice, puts, end=end)


def _decide(t: Transition, place: Place, node: NodeSpec, extra: Mapping[str, Any] | None) -> Choice:
    choice = first_holding(t.evaluator, place, node.on_success, extra)
    if not choice.taken:
        raise StepFault(
            "no_match", f"no connection of the decision {node.id} holds, and it has no `otherwise` to go on by"
        )
    return choice


def _outgoing(
    t: Transition, place: Place, node: NodeSpec, extra: Mapping[str, Any] | None
) -> tuple[Choice, list[tuple[int, int]]]:
    choice = _decide(t, place, node, extra) if node.type == "decision" else all_holding(t.evaluator, place, node, extra)
    return choice, token_puts(t.evaluator, place, choice.taken, extra)


def _shape(t: Transition, place: Place, node: NodeSpec, raw: Any, extra: Mapping[str, Any] | None) -> Any:
    """The node's output, and its assignments made: `output` first, then all of `assign` at the same time."""
    if node.output is None and not node.assign:
        return raw
    output = raw
    if node.output is not None:
        output = t.evaluator.value(node.output, place, {**(extra or {}), "output": raw})
    if node.assign:
        names = {**(extra or {}), "output": output}
        t.evaluator.variables.assign({name: t.evaluator.value(value, place, names) for name, value in node.assign})
    return output


def _emit_decision(t: Transition, step: Step, node: NodeSpec, choice: Choice) -> None:
    if choice.looked_at:
        t.emit(DecisionMade(step.step_id, choice.looked_at, [edge.target_id for edge in choice.taken]))


def _emit_completed(
    t: Transition,
    step: Step,
    node: NodeSpec,
    output: Any,
    choice: Choice | None,
    puts: list[tuple[int, int]],
    *,
    is_list: bool = False,
    end: Mapping[str, Any] | None = None,
) -> None:
    is_item = step.parent is not None
    ends_path = not is_item and not puts
    scope = t.working.places[step.scope].scope
    is_kept = node.keeps_output or (
        t.working.graph.output is None
        and (ends_path or (is_item and node.may_end_path) or (not is_item and node.id in scope.ended))
    )
    end_status = end.get("status", "completed") if end is not None else None
    fact = StepCompleted(
        step.step_id,
        output,
        step.attempt,
        max(0, t.now - step.started_at) // 1000,
        puts,
        next_node=t.working.places[step.scope].graph.edges[puts[0][0]].target_id if puts else None,
        is_kept=is_kept,
        is_list=is_list,
        ends_path=ends_path,
        end_status=end_status,
        end_message=end.get("message") if end is not None else None,
    )
    t.emit(fact)
    if end is not None and end.get("terminate") is True:
        _end_now(t, node, end_status or COMPLETED, end.get("message"))
    elif step.parent is not None:
        _item_over(t, step.parent)


# --- failing


def fail_attempt(t: Transition, step: Step, node: NodeSpec, error: StepError) -> None:
    """An attempt failed: another follows, or the step has failed."""
    next_at = next_attempt_at(node.retry, step, error, t.now, t.working.state.execution_id)
    if next_at is None:
        fail_step(t, step, node, error)
        return
    t.emit(StepRetrying(step.step_id, error_value(step, error), step.attempt, next_at))
    t.working.watch(step)


def next_attempt_at(
    policy: RetryPolicy | None, step: Step, error: StepError, now: int, execution_id: str
) -> int | None:
    """When the step is tried again; None when it is not.

    The delay grows by `factor` up to `max`, is spread by `jitter`, and is never shorter than the target's
    `Retry-After`. The spread is drawn from the step's name, so the same log always gives the same instants.
    """
    if policy is None or step.attempt >= policy.max_attempts or not policy.covers(error.type):
        return None
    if policy.safe_only and not error.no_effect:
        return None
    spread = crc32(f"{execution_id}/{step.step_id}/{step.generation}/{step.attempt}".encode()) / 2**32 * 2 - 1
    delay_s = back_off_s(policy, step.attempt) * (1 + policy.jitter * spread)
    floor_s = min(error.retry_after_s or 0.0, DURATION_MAX_S)
    return now + int(max(delay_s, floor_s) * MICROSECONDS)


def back_off_s(policy: RetryPolicy, attempt: int) -> float:
    """Seconds between a failed attempt (from 1) and the next, before jitter: `initial * factor^(attempt - 1)`, at most
    `max`.
    """
    try:
        return min(policy.max_s, policy.initial_s * policy.factor ** (attempt - 1))
    except OverflowError:
        return policy.max_s


def start_attempt(t: Transition, step: Step) -> None:
    """The back-off is over."""
    t.emit(StepAttempted(step.step_id, step.attempt + 1))
    t.effects.append(Dispatch(step.step_id))


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


def fail_step(t: Transition, step: Step, node: NodeSpec, error: StepError) -> None:
    """A step failed for good: its error goes along the first error connection that holds, or leaves the scope."""
    value = error_value(step, error)
    if step.parent is not None:
        _fail_item(t, step, node, value)
        return
    caught = _catch(t, step, node, value)
    if caught is None:
        fail_execution(t, value, step)
        return
    _emit_caught(t, step, node, value, caught)


Caught = tuple[Choice, list[tuple[int, int]]]


def _catch(t: Transition, step: Step, node: NodeSpec, value: ErrorValue) -> Caught | None:
    """The error connection that takes the error, if any; an error of its condition takes the error's place."""
    if not node.on_error:
        return None
    place = t.working.places[step.scope]
    extra = {**(names_of(t, node, step) or {}), "error": value}
    views = t.evaluator.steps(place)
    views.show_failed(node.id, value)
    try:
        choice = first_holding(t.evaluator, place, node.on_error, extra)
        return (choice, token_puts(t.evaluator, place, choice.taken, extra)) if choice.taken else None
    except StepFault as failure:
        value.update(type=failure.type, message=str(failure), details={"while_handling": dict(value)})
        return None
    finally:
        views.show_facts()


def _emit_caught(t: Transition, step: Step, node: NodeSpec, value: ErrorValue, caught: Caught) -> None:
    choice, puts = caught
    if any(record["when"] is not None for record in choice.looked_at):
        _emit_decision(t, step, node, choice)
    target_id = t.working.places[step.scope].graph.edges[puts[0][0]].target_id if puts else None
    t.emit(StepFailed(step.step_id, value, step.attempt, puts, target_id))


def _fail_item(t: Transition, step: Step, node: NodeSpec, value: ErrorValue) -> None:
    assert node.foreach is not None
    assert step.parent is not None
    parent = t.working.state.steps[step.parent]
    if not node.foreach.is_failing:
        t.emit(StepFailed(step.step_id, value, step.attempt))
        _item_over(t, parent.step_id)
        return
    caught = _catch(t, parent, node, value)
    if caught is None:
        fail_execution(t, value, step)
        return
    t.emit(StepFailed(step.step_id, value, step.attempt))
    _close_children(t, parent, "another item failed")
    _emit_caught(t, parent, node, value, caught)


def _close_children(t: Transition, parent: Step, reason: str) -> None:
    if parent.items is None:
        return
    prefix = f"{parent.step_id}:"
    for child in [step for step in t.working.state.steps.values() if step.step_id.startswith(prefix)]:
        cancel_step(t, child, reason)


def cancel_step(t: Transition, step: Step, reason: str, *, is_reopenable: bool = False) -> None:
    """Withdraw an active step, wherever its work stands."""
    node = t.working.spec(step)
    if node.is_io and step.items is None:
        t.effects.append(Withdraw(step.step_id))
    t.emit(StepCancelled(step.step_id, reason, is_reopenable))


def cancel_all(t: Transition, reason: str, *, is_reopenable: bool = False) -> None:
    """Withdraw every active step, items before the `foreach` they belong to."""
    steps = t.working.state.steps
    for step in sorted(steps.values(), key=lambda step: step.parent is None):
        cancel_step(t, step, reason, is_reopenable=is_reopenable)


# --- ending


def fail_execution(t: Transition, value: ErrorValue, step: Step | None = None) -> None:
    """An error leaves the outermost scope: everything else is withdrawn, so that a retry can open it again."""
    if step is not None:
        t.emit(StepFailed(step.step_id, value, step.attempt, is_reopenable=True))
        if step.parent is not None:
            parent = t.working.state.steps[step.parent]
            _cancel_reopenable_children(t, parent)
            t.emit(StepFailed(parent.step_id, value, parent.attempt, is_reopenable=True))
    cancel_all(t, "the execution failed", is_reopenable=True)
    t.end = ExecutionFailed(value)


def _cancel_reopenable_children(t: Transition, parent: Step) -> None:
    prefix = f"{parent.step_id}:"
    for child in [step for step in t.working.state.steps.values() if step.step_id.startswith(prefix)]:
        cancel_step(t, child, "another item failed", is_reopenable=True)


def cancel_execution(t: Transition, reason: str) -> None:
    """Withdraw everything; the execution ends cancelled."""
    cancel_all(t, reason)
    t.end = ExecutionCancelled(reason)


def complete_execution(t: Transition, place: Place) -> None:
    """No token and no step is left: the worst ending of a path decides the status."""
    if place.scope.end_status == "cancelled":
        t.end = ExecutionCancelled(place.scope.end_message or "an end node ended the execution as cancelled")
    elif place.scope.end_status == "failed":
        t.end = ExecutionFailed(end_error(place.scope.end_message, place.scope.end_node))
    else:
        _complete_with_output(t, place)


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


def end_error(message: str | None, node: str | None) -> ErrorValue:
    """The error of an execution that an `end` node ended as failed."""
    return execution_error(StepError("failed", message or "an end node ended the execution as failed"), node)


def _complete_with_output(t: Transition, place: Place) -> None:
    template = t.working.graph.output
    t.evaluator.steps(place).show_ended()
    try:
        output = default_output(place) if template is None else t.evaluator.value(template, place)
    except StepFault as failure:
        t.end = ExecutionFailed(execution_error(StepError(failure.type, f"the execution's `output` fails: {failure}")))
        return
    t.end = ExecutionCompleted(output)


def default_output(place: Place) -> Any:
    """The output of the last node that ended a path; a map by node id where several did, null where none did."""
    views = place.scope.views
    ended = place.scope.ended
    if len(ended) < 2:
        return views[ended[0]]["output"] if ended else None
    return {node: views[node]["output"] for node in sorted(ended, key=lambda node: place.graph.by_id[node].index)}


def _end_now(t: Transition, node: NodeSpec, status: str, message: str | None) -> None:
    """An `end` node with `terminate`: everything else is withdrawn and no error connection is asked."""
    cancel_all(t, "an end node ended the execution")
    place = t.working.places[""]
    if status == FAILED:
        t.end = ExecutionFailed(end_error(message, node.id))
    elif status == CANCELLED:
        t.end = ExecutionCancelled(message or "an end node ended the execution")
    else:
        _complete_with_output(t, place)


# --- retrying


def reopen_steps(t: Transition) -> None:
    """Open the steps again that a failure closed, `foreach` steps before their items, and set them to work."""
    steps = sorted(t.working.state.reopenable.values(), key=lambda step: step.parent is not None)
    for step in steps:
        if t.end is None and step.step_id in t.working.state.reopenable:
            _reopen_step(t, step)


def _reopen_step(t: Transition, step: Step) -> None:
    node = t.working.spec(step)
    place = t.working.places[step.scope]
    failure = None
    fields: dict[str, Any] = {"status": "waiting" if node.type in WAIT_TYPES else "processing"}
    is_parent = step.items is not None
    if step.status == NOT_ENABLED and step.error is not None:
        fields["status"] = NOT_ENABLED
        failure = StepError(step.error["type"], step.error["message"], step.error["details"])
    elif step.is_failed and not is_parent:
        fields, failure = _start_fields(t, place, node, names_of(t, node, step))
        fields["is_fresh"] = True
    elif step.is_failed and step.next_index == 0:
        made, failure = _foreach_fields(t, place, node, names_of(t, node, step))
        fields.update(made, is_fresh=True)
    t.emit(StepReopened(step.step_id, **fields))
    if failure is not None:
        fail_step(t, step, node, failure)
    elif not is_parent:
        _begin(t, place, node, step)
    elif step.finished >= len(step.items or ()):
        complete_foreach(t, step, node)
