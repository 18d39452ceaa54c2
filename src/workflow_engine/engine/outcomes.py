"""How steps end: what a completion, a failure or a withdrawal moves.

Nothing is started here. What an ending makes room for (the next item, a lock, a token's target) is noted in the working
state, and `settling` attends to it.
"""

from collections.abc import Mapping
from typing import Any
from zlib import crc32

from workflow_engine.engine.conditions import Choice, all_holding, first_holding, token_puts
from workflow_engine.engine.graph import NodeSpec
from workflow_engine.engine.transition import Transition, error_value, execution_error, names_of
from workflow_engine.engine.variables import StepFault
from workflow_engine.engine.working import Place, inner_key
from workflow_engine.models.duration import DURATION_MAX_S, DurationInvalid, parse_duration
from workflow_engine.models.event import (
    CompensationStarted,
    DecisionMade,
    ErrorValue,
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionFailed,
    IterationDelayed,
    StepCancelled,
    StepCompleted,
    StepFailed,
    StepParked,
    StepRetrying,
    TokensWithdrawn,
)
from workflow_engine.models.execution import CANCELLED, COMPLETED, FAILED, Step
from workflow_engine.models.instant import MICROSECONDS
from workflow_engine.models.node import RetryPolicy
from workflow_engine.models.step import StepError

Puts = list[tuple[int, int]]


# --- completing


def complete_step(
    t: Transition,
    step: Step,
    raw: Any,
    *,
    end: Mapping[str, Any] | None = None,
    is_skipped: bool = False,
    is_by_hand: bool = False,
) -> None:
    """A step's work is done: shape its output, assign variables, choose the connections, move the tokens.

    `is_by_hand`: an operator ends it well, so what it still does is withdrawn.
    """
    place = t.working.place(step)
    node = place.graph.by_id[step.node]
    extra = names_of(t, step)
    t.evaluator.variables.keep()
    is_activation = step.parent is None and step.undo is None
    choice = None
    try:
        if node.type == "decision" and is_activation and not is_skipped:
            choice = _decide(t, place, node, extra)
            raw = choice.taken[0].target_id
        plain = is_skipped or step.is_parent or (node.output is None and not node.assign)
        output = raw if plain else _shape(t, place, node, step, raw, extra)
        puts: Puts = []
        if is_activation:
            choice, puts = _outgoing(t, place, node, step, output, choice, extra, is_skipped=is_skipped)
    except StepFault as failure:
        t.evaluator.variables.undo()
        fail_step(t, step, StepError(failure.type, str(failure)))
        return
    if is_by_hand:
        withdraw_inside(t, step, "an operator completed it")
        t.withdraw_call(step)
    _finish(t, place, step, node, output, choice, puts, end=end, is_skipped=is_skipped)


def complete_parent(t: Transition, step: Step, *, is_early: bool = False) -> None:
    """A `foreach` or `repeat` is through: its list, or what its last iteration gave, is its output.

    `is_early`: items are left, which are withdrawn or live on.
    """
    node = t.working.spec(step)
    place = t.working.place(step)
    is_list = step.items is not None
    output = step.last
    if is_list:
        output = [step.results.get(index) for index in range(len(step.items or ()))] if node.keeps_output else None
    is_null = node.foreach is not None and not node.foreach.is_awaited
    if is_null:
        output = None
    choice: Choice | None = None
    puts: Puts = []
    if step.parent is None and step.undo is None:
        extra = names_of(t, step)
        try:
            early = _decide(t, place, node, extra) if node.type == "decision" else None
            choice, puts = _outgoing(t, place, node, step, output, early, extra)
        except StepFault as failure:
            fail_step(t, step, StepError(failure.type, str(failure)))
            return
    is_detached = is_early and node.foreach is not None and (node.foreach.continues_rest or is_null)
    if is_early and not is_detached:
        withdraw_inside(t, step, "enough items have completed")
    shown = None if is_list else output
    _finish(t, place, step, node, shown, choice, puts, is_list=is_list and not is_null, is_detached=is_detached)


def _decide(t: Transition, place: Place, node: NodeSpec, extra: Mapping[str, Any] | None) -> Choice:
    choice = first_holding(t.evaluator, place, node.on_success, extra)
    if not choice.taken:
        raise StepFault(
            "no_match", f"no connection of the decision {node.id} holds, and it has no `otherwise` to go on by"
        )
    return choice


def _outgoing(
    t: Transition,
    place: Place,
    node: NodeSpec,
    step: Step,
    output: Any,
    choice: Choice | None,
    extra: Mapping[str, Any] | None,
    *,
    is_skipped: bool = False,
) -> tuple[Choice | None, Puts]:
    """The connections that a success takes, and the tokens that go along them."""
    if node.puts is not None and choice is None:
        return None, list(node.puts)
    views = t.evaluator.steps(place)
    views.show_completed(node.id, output, step.attempt, "skipped" if is_skipped else "completed")
    try:
        if choice is None:
            choice = all_holding(t.evaluator, place, node, extra)
        return choice, token_puts(t.evaluator, place, choice.taken, extra)
    finally:
        views.show_facts()


def _shape(t: Transition, place: Place, node: NodeSpec, step: Step, raw: Any, extra: Mapping[str, Any] | None) -> Any:
    """The node's output, and its assignments made: `output` first, then all of `assign` at the same time."""
    output = raw
    if node.output is not None:
        inside = t.working.places.get(inner_key(step.step_id)) if node.body is not None else None
        if inside is not None:
            t.evaluator.steps(inside).show_ended()
        output = t.evaluator.value(node.output, inside or place, {**(extra or {}), "output": raw})
    if node.assign:
        names = {**(extra or {}), "output": output}
        values = {name: t.evaluator.value(value, place, names) for name, value in node.assign}
        t.evaluator.variables.assign(values, place)
    return output


def emit_decision(t: Transition, step: Step, choice: Choice | None) -> None:
    """Record the conditions that were looked at."""
    if choice is not None and choice.looked_at:
        t.emit(DecisionMade(step.step_id, choice.looked_at, [edge.target_id for edge in choice.taken]))


def _finish(
    t: Transition,
    place: Place,
    step: Step,
    node: NodeSpec,
    output: Any,
    choice: Choice | None,
    puts: Puts,
    *,
    is_list: bool = False,
    is_detached: bool = False,
    is_skipped: bool = False,
    end: Mapping[str, Any] | None = None,
) -> None:
    """Record the completion, and what it brings with it: cancelled nodes, an end, the scope's or the parent's."""
    is_activation = step.parent is None and step.undo is None
    ends_path = is_activation and not puts
    end_status = end.get("status", COMPLETED) if end is not None else None
    is_undoable = node.compensate is not None and not step.is_parent and not is_skipped and step.undo is None
    undo_names = _undo_names(t, place, node, step) if is_undoable and node.undo_names else {}
    withdrawn = _tokens_before(place, node) if node.cancel and is_activation else None
    if choice is not None and choice.looked_at:
        emit_decision(t, step, choice)
    t.emit(
        StepCompleted(
            step.step_id,
            output,
            step.attempt,
            max(0, t.now - step.started_at) // 1000,
            puts,
            next_node=place.graph.edges[puts[0][0]].target_id if puts else None,
            is_kept=_is_kept(place, node, step, ends_path=ends_path),
            is_list=is_list,
            ends_path=ends_path,
            end_status=end_status,
            end_message=end.get("message") if end is not None else None,
            is_skipped=is_skipped,
            is_detached=is_detached,
            is_undoable=is_undoable,
            undo_names=undo_names,
        )
    )
    if withdrawn is not None:
        _cancel_nodes(t, place, node, step, withdrawn)
    if end is not None and end.get("terminate") is True:
        _end_now(t, node, end_status or COMPLETED, end.get("message"))
    elif step.parent is not None:
        child_over(t, step.parent)
    elif ends_path and place.outer is not None and _finishes_first(t, place):
        finish_scope(t, place)


def _undo_names(t: Transition, place: Place, node: NodeSpec, step: Step) -> dict[str, Any]:
    """The item, index, iteration and error that the node's compensation reads."""
    names = {**(place.names or {}), **(names_of(t, step) or {})}
    return {name: value for name, value in names.items() if name in node.undo_names}


def _is_kept(place: Place, node: NodeSpec, step: Step, *, ends_path: bool) -> bool:
    """Whether somebody may read the output later: an expression, or the default output of the scope."""
    if node.keeps_output:
        return True
    if not place.graph.needs_default_output or step.undo is not None:
        return False
    return ends_path or (step.parent is not None and node.may_end_path) or node.id in place.scope.ended


# --- cancel lists


def _tokens_before(place: Place, node: NodeSpec) -> tuple[list[tuple[int, int]], list[str], list[str]]:
    """What a `cancel` list finds: tokens by connection, start nodes that have not begun, and steps."""
    named = {place.graph.by_id[name].index for name in node.cancel}
    tokens = [(index, count) for index, count in place.scope.tokens.items() if place.graph.edges[index].target in named]
    starts = [name for name in place.scope.starts if name in node.cancel]
    return tokens, starts, list(place.steps)


def _cancel_nodes(
    t: Transition,
    place: Place,
    node: NodeSpec,
    by: Step,
    found: tuple[list[tuple[int, int]], list[str], list[str]],
) -> None:
    tokens, starts, step_ids = found
    if tokens or starts:
        t.emit(TokensWithdrawn(tokens, starts, place.key))
    for step_id in step_ids:
        step = t.working.state.steps.get(step_id)
        if step is not None and step is not by and step.node in node.cancel:
            cancel_step(t, step, f"cancelled by {by.step_id}")


# --- items and iterations


def child_over(t: Transition, parent_id: str) -> None:
    """An item or iteration ended well, or its failure is passed over: its parent is through, or has room for more."""
    parent = t.working.state.steps[parent_id]
    if parent.repeat_max is not None:
        _iteration_over(t, parent)
        return
    assert parent.items is not None
    is_through = parent.finished >= len(parent.items)
    if parent.is_detached:
        if is_through:
            t.emit(StepParked(parent_id))
        else:
            t.working.make_ready(parent)
        return
    try:
        is_enough = not is_through and _is_enough(t, parent)
    except StepFault as failure:
        fail_step(t, parent, StepError(failure.type, str(failure)))
        return
    if is_through or is_enough:
        complete_parent(t, parent, is_early=is_enough)
    else:
        t.working.make_ready(parent)


def _is_enough(t: Transition, parent: Step) -> bool:
    if parent.complete_after is not None and parent.completed >= parent.complete_after:
        return True
    foreach = t.working.spec(parent).foreach
    if foreach is None or foreach.complete_when is None:
        return False
    names = {**(names_of(t, parent) or {}), "completed": parent.completed}
    return t.evaluator.holds(foreach.complete_when, t.working.place(parent), names)


def _iteration_over(t: Transition, parent: Step) -> None:
    """Look at `until`, then wait out the delay; whether there is another iteration is seen when it is to begin."""
    node = t.working.spec(parent)
    repeat = node.repeat
    assert repeat is not None
    place = t.working.place(parent)
    names = {**(names_of(t, parent) or {}), "iteration": parent.next_index - 1}
    try:
        if repeat.until_holds is not None:
            views = t.evaluator.steps(place)
            views.show_iteration(node.id, parent.last)
            try:
                is_done = t.evaluator.holds(repeat.until_holds, place, names)
            finally:
                views.show_facts()
            if is_done:
                complete_parent(t, parent)
                return
        is_last = repeat.while_holds is None and parent.next_index >= (parent.repeat_max or 0)
        delay_s = 0.0
        if repeat.delay is not None and not is_last:
            delay_s = seconds_of(t.evaluator.value(repeat.delay, place, names))
    except StepFault as failure:
        fail_step(t, parent, StepError(failure.type, str(failure)))
        return
    except DurationInvalid as failure:
        fail_step(t, parent, StepError("expression_error", f"{node.id}: {failure}"))
        return
    if delay_s > 0:
        t.emit(IterationDelayed(parent.step_id, t.now + int(delay_s * MICROSECONDS)))
    else:
        t.working.make_ready(parent)


def seconds_of(value: Any) -> float:
    """Seconds of an evaluated duration: text as in a definition."""
    if not isinstance(value, str):
        raise DurationInvalid(f"a duration is text such as 30s or PT30S, not {type(value).__name__}")
    return parse_duration(value)


# --- failing


def fail_attempt(t: Transition, step: Step, error: StepError) -> None:
    """An attempt failed: another follows, or the step has failed."""
    next_at = next_attempt_at(t.working.spec(step).retry, step, error, t.now, t.working.state.execution_id)
    if next_at is None:
        fail_step(t, step, error)
        return
    t.emit(StepRetrying(step.step_id, error_value(step, error), step.attempt, next_at))


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


def fail_step(t: Transition, step: Step, error: StepError) -> None:
    """A step failed for good: its error goes along the first error connection that holds, here or further out."""
    value = error_value(step, error)
    failing: list[Step] = []  # from the innermost to the outermost that the error passes
    while True:
        parent = t.working.find(step.parent) if step.parent is not None else None
        if parent is not None:
            foreach = t.working.spec(step).foreach
            if parent.items is not None and foreach is not None and not foreach.is_failing:
                _fail_inside(t, failing, value)
                _pass_over(t, step, value)
                return
            failing.append(step)
            step = parent
            continue
        if step.undo is not None:
            _fail_inside(t, failing, value)
            withdraw_inside(t, step, "it failed")
            t.emit(StepFailed(step.step_id, value, step.attempt))
            return
        caught = _catch(t, step, value) if not step.is_detached else None
        if caught is not None:
            _fail_inside(t, failing, value)
            _emit_caught(t, step, value, caught)
            return
        if not step.is_detached:
            failing.append(step)
        place = t.working.place(step)
        if place.outer is None:
            _fail_inside(t, failing, value, is_reopenable=not _will_compensate(t))
            end_failed(t, value)
            return
        owner = t.working.find(place.key[:-1])
        if owner is None:  # the scope was there for a compensating step alone
            raise AssertionError(f"{place.key} has no owner")
        step = owner
        if _retry_group(t, step, failing, value):
            return


def _fail_inside(t: Transition, failing: list[Step], value: ErrorValue, *, is_reopenable: bool = False) -> None:
    """Close the steps that an error has passed, the innermost first, each after all that stands inside of it."""
    for step in failing:
        withdraw_inside(t, step, "another step failed" if not step.is_parent else "another item failed", is_reopenable)
        t.emit(StepFailed(step.step_id, value, step.attempt, is_reopenable=is_reopenable))


def _retry_group(t: Transition, step: Step, failing: list[Step], value: ErrorValue) -> bool:
    """Begin a group anew that may be tried again."""
    error = StepError(value["type"], value["message"], value["details"])
    next_at = next_attempt_at(t.working.spec(step).retry, step, error, t.now, t.working.state.execution_id)
    if next_at is None:
        return False
    _fail_inside(t, failing, value)
    _retry_whole_group(t, step, value, next_at)
    return True


def _retry_whole_group(t: Transition, step: Step, value: ErrorValue, next_at: int) -> None:
    withdraw_inside(t, step, "the group begins anew")
    t.evaluator.variables.forget(inner_key(step.step_id))
    t.emit(StepRetrying(step.step_id, value, step.attempt, next_at))


def fail_activation(t: Transition, step: Step, error: StepError) -> None:
    """A step that did no call of its own failed (a group's end, a wait's time-out): tried again if it is a group."""
    if t.working.spec(step).body is not None and not step.is_parent:
        next_at = next_attempt_at(t.working.spec(step).retry, step, error, t.now, t.working.state.execution_id)
        if next_at is not None:
            _retry_whole_group(t, step, error_value(step, error), next_at)
            return
    fail_step(t, step, error)


def _pass_over(t: Transition, item: Step, value: ErrorValue) -> None:
    """An item failed and the others go on."""
    withdraw_inside(t, item, "another step failed")
    t.emit(StepFailed(item.step_id, value, item.attempt))
    assert item.parent is not None
    child_over(t, item.parent)


Caught = tuple[Choice, Puts]


def _catch(t: Transition, step: Step, value: ErrorValue) -> Caught | None:
    """The error connection that takes the error, if any; an error of its condition takes the error's place."""
    node = t.working.spec(step)
    if not node.on_error:
        return None
    place = t.working.place(step)
    extra = {**(names_of(t, step) or {}), "error": value}
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


def _emit_caught(t: Transition, step: Step, value: ErrorValue, caught: Caught) -> None:
    choice, puts = caught
    withdraw_inside(t, step, "another item failed" if step.is_parent else "another step failed")
    if any(record["when"] is not None for record in choice.looked_at):
        emit_decision(t, step, choice)
    place = t.working.place(step)
    target_id = place.graph.edges[puts[0][0]].target_id if puts else None
    t.emit(StepFailed(step.step_id, value, step.attempt, puts, target_id))


# --- withdrawing


def withdraw_inside(t: Transition, step: Step, reason: str, is_reopenable: bool = False) -> None:
    """Withdraw all that stands inside of a step: items, iterations, the steps of its scope."""
    for inner in t.working.inside(step):
        if inner.step_id in t.working.state.steps:
            cancel_step(t, inner, reason, is_reopenable=is_reopenable)


def cancel_step(t: Transition, step: Step, reason: str, *, is_reopenable: bool = False) -> None:
    """Withdraw an active step, wherever its work stands, and all that stands inside of it."""
    withdraw_inside(t, step, reason, is_reopenable)
    if step.is_detached:
        t.emit(StepParked(step.step_id, is_reopenable))
        return
    t.withdraw_call(step)
    t.evaluator.variables.forget(inner_key(step.step_id))
    t.emit(StepCancelled(step.step_id, reason, is_reopenable))


def cancel_all(t: Transition, reason: str, *, is_reopenable: bool = False) -> None:
    """Withdraw every active step, the inner ones before those that they are inside of."""
    steps = t.working.state.steps
    for step in [step for step in steps.values() if step.parent is None and step.scope == ""]:
        cancel_step(t, step, reason, is_reopenable=is_reopenable)
    for step in [step for step in steps.values() if step.parent is None]:  # those that undo what was in a scope
        if step.step_id in steps:
            cancel_step(t, step, reason, is_reopenable=is_reopenable)


# --- scopes


def _finishes_first(t: Transition, place: Place) -> bool:
    owner = t.working.find(place.key[:-1])
    return owner is not None and t.working.spec(owner).finishes_first


def finish_scope(t: Transition, place: Place) -> None:
    """A group's scope has ended: the worst ending of its paths decides how the group ends."""
    owner = t.working.state.steps[place.key[:-1]]
    withdraw_inside(t, owner, "the group has ended")
    status, message = place.scope.end_status, place.scope.end_message
    if status in (FAILED, CANCELLED):
        node = place.scope.end_node
        error = StepError("failed", message or f"the end node {node} ended the group as {status}")
        fail_activation(t, owner, error)
        return
    complete_step(t, owner, default_output(place))


def default_output(place: Place) -> Any:
    """The output of the last node that ended a path; a map by node id where several did, null where none did."""
    if not place.graph.needs_default_output:
        return None
    views = place.scope.views
    ended = place.scope.ended
    if len(ended) < 2:
        return views[ended[0]]["output"] if ended else None
    return {node: views[node]["output"] for node in sorted(ended, key=lambda node: place.graph.by_id[node].index)}


# --- the execution's end


def _will_compensate(t: Transition) -> bool:
    return t.working.graph.is_compensating and bool(t.working.state.undo) and t.working.state.compensation is None


def fail_execution(t: Transition, value: ErrorValue) -> None:
    """An error that nothing may catch: everything is withdrawn, so that a retry can open it again."""
    cancel_all(t, "the execution failed", is_reopenable=t.working.state.compensation is None)
    t.end = ExecutionFailed(value)


def end_failed(t: Transition, value: ErrorValue) -> None:
    """An error left the outermost scope: the execution ends, after what was completed is undone if that is asked."""
    if _will_compensate(t):
        cancel_all(t, "the execution failed")
        _compensate(t, error=value)
    else:
        fail_execution(t, value)


def cancel_execution(t: Transition, reason: str, *, compensate: bool = False) -> None:
    """Withdraw everything; the execution ends cancelled, at once or after what was completed is undone."""
    cancel_all(t, reason)
    if compensate and t.working.state.undo:
        _compensate(t, reason=reason)
    else:
        t.end = ExecutionCancelled(reason)


def _compensate(t: Transition, *, error: ErrorValue | None = None, reason: str | None = None) -> None:
    steps = [undo.step_id for undo in reversed(t.working.state.undo)]
    t.emit(CompensationStarted(steps, error, reason))


def end_compensation(t: Transition) -> None:
    """All that could be undone is: the execution ends as it was to end, but failed where something was not."""
    compensation = t.working.state.compensation
    assert compensation is not None
    if compensation.error is None and not compensation.failures:
        t.end = ExecutionCancelled(compensation.reason or "cancelled")
        return
    reason = StepError("cancelled", compensation.reason or "cancelled")
    error = compensation.error if compensation.error is not None else execution_error(reason)
    t.end = ExecutionFailed({**error, "compensation": compensation.failures} if compensation.failures else error)


def complete_execution(t: Transition, place: Place) -> None:
    """No token and no step is left: the worst ending of a path decides the status."""
    if t.working.state.compensation is not None:
        end_compensation(t)
    elif place.scope.end_status == CANCELLED:
        t.end = ExecutionCancelled(place.scope.end_message or "an end node ended the execution as cancelled")
    elif place.scope.end_status == FAILED:
        end_failed(t, end_error(place.scope.end_message, place.scope.end_node))
    else:
        _complete_with_output(t, place)


def end_error(message: str | None, node: str | None) -> ErrorValue:
    """The error of an execution that an `end` node ended as failed."""
    return execution_error(StepError("failed", message or "an end node ended the execution as failed"), node)


def _complete_with_output(t: Transition, place: Place) -> None:
    template = t.working.graph.output
    t.evaluator.steps(place).show_ended()
    try:
        output = default_output(place) if template is None else t.evaluator.value(template, place)
    except StepFault as failure:
        error = StepError(failure.type, f"the execution's `output` fails: {failure}")
        end_failed(t, execution_error(error))
        return
    t.end = ExecutionCompleted(output)


def _end_now(t: Transition, node: NodeSpec, status: str, message: str | None) -> None:
    """An `end` node with `terminate`: everything else is withdrawn and no error connection is asked."""
    cancel_all(t, "an end node ended the execution")
    if t.working.state.compensation is not None:
        end_compensation(t)
    elif status == FAILED:
        end_failed(t, end_error(message, node.id))
    elif status == CANCELLED:
        t.end = ExecutionCancelled(message or "an end node ended the execution")
    else:
        _complete_with_output(t, t.working.places[""])
