"""What active steps wait for: clocks, signals, people, locks, limits, calls, children, an operator."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from workflow_engine.engine.expressions import Meter
from workflow_engine.engine.graph import NodeSpec, WaitSpec
from workflow_engine.engine.transition import names_of
from workflow_engine.models.event import Wait
from workflow_engine.models.execution import PENDING, Step
from workflow_engine.services.execution_resource import shown_instant
from workflow_engine.services.explanation.scene import Cause, Scene, cause
from workflow_engine.services.explanation.values import shown_trace
from workflow_engine.services.state_manager import is_detached

INSIDE_MAX: Final = 10
"""Steps inside of a group, items or holders that are named."""


def is_told(scene: Scene, step: Step) -> bool:
    """Whether a step has an entry of its own: one that only waits for what stands inside of it has none."""
    if step.status == PENDING or step.retry_at is not None or step.delay_until is not None:
        return True
    if step.items is not None:
        return step.next_index < len(step.items)
    return not step.is_parent and scene.spec(step).body is None


def causes_of(scene: Scene, step: Step, *, depth: int = 1) -> list[Cause]:
    """Why a step is not over. `depth`: how far the chains of those that it waits for are followed."""
    found = list(_own_causes(scene, step, depth))
    if scene.state.is_operator_paused and _is_held(step):
        found.append(paused_by_operator(scene))
    return found


def _is_held(step: Step) -> bool:
    """Whether an operator's pause holds something back that the step would begin."""
    return step.status == PENDING or step.retry_at is not None or step.is_parent


def paused_by_operator(scene: Scene) -> Cause:
    """The cause that holds back whatever could start."""
    sentence = "An operator has paused the execution: nothing new starts."
    return cause("operator", sentence, who="an operator", how=scene.call("POST", "resume"))


def _own_causes(scene: Scene, step: Step, depth: int) -> Iterator[Cause]:
    node = scene.spec(step)
    if step.status == PENDING:
        yield from _pending(scene, step, depth)
    elif step.retry_at is not None:
        yield _retry(scene, step)
    elif step.delay_until is not None:
        yield _clock(scene, step, "delay", step.delay_until, "its next iteration, which begins at")
    elif step.is_parent or node.body is not None:
        yield from _inside(scene, step, depth)
    elif node.type == "wait":
        yield from (_wait(scene, step, wait, spec) for wait, spec in zip(step.waits, node.waits, strict=True))
    elif node.type == "human":
        yield _human(scene, step)
    elif node.type == "workflow" and not is_detached(step.input or {}):
        yield _child(scene, step)
    elif node.is_io:
        yield _call(scene, step, node)


# --- before the start


def _pending(scene: Scene, step: Step, depth: int) -> Iterator[Cause]:
    if step.lock is not None and (line := scene.state.locks.get(step.lock, [])) and line[0] != step.step_id:
        yield _lock(scene, step, step.lock, line, depth)
    elif step.limit_key is not None and step.slot == "asked":
        yield _limit(scene, step, step.limit_key)


def _lock(scene: Scene, step: Step, name: str, line: list[str], depth: int) -> Cause:
    holder = scene.state.steps[line[0]]
    return cause(
        "lock",
        f"{step.step_id} waits for the lock {name!r}, which {holder.step_id} holds.",
        node_id=step.node,
        step_id=step.step_id,
        who=f"whoever ends {holder.step_id}",
        how=scene.call("POST", "steps", holder.step_id, "complete"),
        name=name,
        position=line.index(step.step_id) if step.step_id in line else None,
        holder={"step_id": holder.step_id, "node_id": holder.node},
        because=causes_of(scene, holder, depth=depth - 1) if depth > 0 else [],
    )


def _limit(scene: Scene, step: Step, key: str) -> Cause:
    line = scene.holders(key)
    owners = [(execution, owner) for execution, owner, is_granted, _ in line if is_granted]
    waiting = [(execution, owner) for execution, owner, is_granted, _ in line if not is_granted]
    me = (scene.row.execution_id, step.step_id)
    if me in owners:
        sentence = f"{step.step_id} has just got its slot of the limit {key!r} and starts with the next transition."
    else:
        held_by = ", ".join(f"{owner} of {execution}" for execution, owner in owners[:3])
        more = f" and {len(owners) - 3} more" if len(owners) > 3 else ""
        sentence = (
            f"{step.step_id} waits for a slot of the limit {key!r} (at most {step.limit_max} in this tenant)"
            f"{f', held by {held_by}{more}' if owners else ''}."
        )
    return cause(
        "limit",
        sentence,
        node_id=step.node,
        step_id=step.step_id,
        who="whoever ends a step that has a slot" if owners else None,
        how=scene.call("GET", "explain", execution_id=owners[0][0]) if owners and me not in owners else None,
        name=key,
        concurrency=step.limit_max,
        position=waiting.index(me) + 1 if me in waiting else None,
        holders=[{"execution_id": execution, "step_id": owner} for execution, owner in owners],
    )


# --- at work


def _retry(scene: Scene, step: Step) -> Cause:
    error = step.error or {}
    until = shown_instant(step.retry_at)
    return cause(
        "retry",
        f"{step.step_id} is tried again at {until}: attempt {step.attempt} failed with"
        f" {error.get('type')}: {error.get('message')}",
        node_id=step.node,
        step_id=step.step_id,
        who="the clock; or an operator, who completes or skips the step",
        how=scene.call("POST", "steps", step.step_id, "complete"),
        until=until,
        attempt=step.attempt,
        error=step.error,
    )


def _call(scene: Scene, step: Step, node: NodeSpec) -> Cause:
    since = shown_instant(step.started_at)
    attempt = f", attempt {step.attempt}" if step.attempt > 1 else ""
    return cause(
        "lease",
        f"{step.step_id} is under way: its {node.type} call began at {since}{attempt}.",
        node_id=step.node,
        step_id=step.step_id,
        who="what it calls; or an operator, who completes or skips the step",
        how=scene.call("POST", "steps", step.step_id, "complete"),
        holder=scene.names.worker,
        since=since,
        attempt=step.attempt,
        timeout_s=step.timeout_s,
        heartbeat_s=node.heartbeat_s,
    )


def _child(scene: Scene, step: Step) -> Cause:
    state = scene.state
    child_id = scene.names.child_id(state.tenant_id, state.execution_id, step.step_id, step.generation, step.attempt)
    child = scene.child(child_id)
    if child is None:
        what = "which is being started"
    else:
        what = f"which is {child.status}{f' ({child.reason})' if child.reason else ''}"
    return cause(
        "child",
        f"{step.step_id} waits for the execution {child_id} of {(step.input or {}).get('workflow_id')!r}, {what}.",
        node_id=step.node,
        step_id=step.step_id,
        who="whoever moves that execution on",
        how=scene.call("GET", "explain", execution_id=child_id),
        execution_id=child_id,
        status=child.status if child is not None else None,
        reason=child.reason if child is not None else None,
    )


def _inside(scene: Scene, step: Step, depth: int) -> Iterator[Cause]:
    """What a group, `foreach` or `repeat` waits for: a turn for its next items, and what stands inside of it."""
    open_steps = list(islice(scene.working.inside(step), INSIDE_MAX))
    if step.items is not None and step.next_index < len(step.items):
        yield cause(
            "limit",
            f"{step.step_id} works on {step.concurrency} of its {len(step.items)} items at a time:"
            f" {step.finished} are over, {step.open} are open, {len(step.items) - step.next_index} are yet to begin.",
            node_id=step.node,
            step_id=step.step_id,
            who="whoever ends an open item",
            name="foreach.concurrency",
            concurrency=step.concurrency,
            position=None,
            holders=[{"execution_id": scene.row.execution_id, "step_id": inner.step_id} for inner in open_steps],
        )
    elif depth < 1:
        for inner in open_steps:
            yield from _own_causes(scene, inner, 0)


# --- waits


def _wait(scene: Scene, step: Step, wait: Wait, spec: WaitSpec) -> Cause:
    if wait.at is not None:
        return _clock(scene, step, wait.kind, wait.at, "the clock, until")
    if wait.kind == "signal":
        return _signal(scene, step, str(wait.name), spec)
    return _condition(scene, step, spec)


def _clock(scene: Scene, step: Step, name: str, at: int, what: str) -> Cause:
    until = shown_instant(at)
    return cause(
        "timer",
        f"{step.step_id} waits for {what} {until}.",
        node_id=step.node,
        step_id=step.step_id,
        who="the clock; or an operator, who completes or skips the step",
        how=scene.call("POST", "steps", step.step_id, "complete"),
        name=name,
        until=until,
    )


def _signal(scene: Scene, step: Step, name: str, spec: WaitSpec) -> Cause:
    when = spec.when.source if spec.when is not None else None
    unread = sum(signal.name == name for signal in scene.state.signals)
    unmatched = f" ({unread} came whose payload does not fit)" if unread and when is not None else ""
    return cause(
        "signal",
        f"{step.step_id} waits for the signal {name!r}{f' with `{when}`' if when else ''}{unmatched}.",
        node_id=step.node,
        step_id=step.step_id,
        who="whoever sends the signal",
        how=scene.call("POST", "signals", name),
        name=name,
        when=when,
        until=shown_instant(step.timeout_at),
    )


def _condition(scene: Scene, step: Step, spec: WaitSpec) -> Cause:
    assert spec.condition is not None
    t = scene.transition
    names = t.evaluator.names(scene.working.place(step), names_of(t, step))
    is_variable = any(path[0] == "vars" for path in spec.condition.references)
    return cause(
        "condition",
        f"{step.step_id} waits for the condition `{spec.condition.source}` to hold.",
        node_id=step.node,
        step_id=step.step_id,
        who="whatever changes what the condition reads"
        + ("; variables can be set from outside" if is_variable else ""),
        how=scene.call("PATCH", "variables") if is_variable else None,
        condition=spec.condition.source,
        values=shown_trace(spec.condition.trace(names, Meter(t.evaluator.limits.expression_units_max))),
        until=shown_instant(step.timeout_at),
    )


def _human(scene: Scene, step: Step) -> Cause:
    shown: dict[str, Any] = step.input if isinstance(step.input, dict) else {}
    state = scene.state
    task_id = scene.names.task_id(state.tenant_id, state.execution_id, step.step_id, step.generation)
    assignees = shown.get("assignees") or []
    title = str(shown.get("title") or "")[:200]
    who = ", ".join(map(str, assignees[:5])) if isinstance(assignees, list) and assignees else "anybody"
    return cause(
        "human",
        f"{step.step_id} waits for an answer of {who}{f' to {title!r}' if title else ''}.",
        node_id=step.node,
        step_id=step.step_id,
        who=who,
        how=f"POST /api/v1/tasks/{task_id}/complete",
        task_id=task_id,
        assignees=assignees,
        due=shown.get("due"),
        until=shown_instant(step.timeout_at),
    )
