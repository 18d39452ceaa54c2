"""From the log to a working state, and from a decision to the rows that one commit writes."""

import hashlib
from base64 import urlsafe_b64encode
from typing import Any
from uuid import UUID

import msgspec

from workflow_engine.engine.apply import apply_transition
from workflow_engine.engine.decide import Decision
from workflow_engine.engine.working import Working
from workflow_engine.models.command import Cancel
from workflow_engine.models.duration import DurationInvalid, TimestampInvalid, parse_duration, parse_timestamp
from workflow_engine.models.effect import AskSlot, CloseTask, Dispatch, Effect, FreeSlot, OpenTask, Withdraw
from workflow_engine.models.event import (
    AnyFact,
    StepCancelled,
    StepCompleted,
    StepFailed,
    StepRetrying,
    decode_facts,
    encode_facts,
)
from workflow_engine.models.execution import ExecutionState, Step, decode_state, encode_state
from workflow_engine.models.instant import MICROSECONDS, rfc3339
from workflow_engine.models.json_value import encode_json
from workflow_engine.models.limits import Limits
from workflow_engine.services.inbox import encode_news, news_for_parent
from workflow_engine.services.workflow_manager import WorkflowManager
from workflow_engine.store import ExecutionRow, NewsRow, SlotRow, Store, Summary, TaskRow, TransitionWrite

SNAPSHOT_LOG_BYTES_MIN = 64 * 1024
"""Shorter logs fold faster than a snapshot is written."""

TIMER_TASK = "timer"
"""The one timer row of an execution: its earliest. All others follow from the state."""


TASK_WAITING = "human"
TASK_CLOSED = "human_closed"
"""The kinds of a person's task: those in the inbox, and those that are over."""


class Held(msgspec.Struct, gc=False):
    """An execution in memory, with what is known of its rows."""

    working: Working
    row: ExecutionRow
    summary: Summary
    timer_at: int | None = None
    log_bytes: int = 0
    """Bytes of log since the last snapshot."""
    snapshot_bytes: int = 0
    children: dict[str, str] = {}
    """The ids of the executions that active `workflow` steps wait for, by step."""


def summary_of(state: ExecutionState) -> Summary:
    """What lists show of a state."""
    return Summary(state.status, state.reason, state.progress, state.started_at, state.finished_at)


def fold(row: ExecutionRow, snapshot: tuple[int, bytes] | None, log: list[Any]) -> ExecutionState:
    """The state that a snapshot and the log after it give."""
    state = ExecutionState(row.tenant_id, row.execution_id) if snapshot is None else decode_state(snapshot[1])
    for entry in log:
        apply_transition(state, decode_facts(entry.events), number=entry.number, at=entry.at)
        state.sequence = entry.last_sequence
    return state


class Names:
    """Ids that are derived and so the same after a crash, and that nobody outside can guess."""

    def __init__(self, key: bytes) -> None:
        self._key = key

        self._calls = hashlib.blake2b(key=key, person=b"call", digest_size=24)

    def _digest(self, purpose: bytes, size: int, *parts: str) -> bytes:
        text = "\0".join(parts).encode()
        return hashlib.blake2b(text, key=self._key, person=purpose, digest_size=size).digest()

    @property
    def worker(self) -> str:
        """The name of this database's engine, which runs the calls of all its steps."""
        return f"engine-{self._digest(b'worker', 4).hex()}"

    def task_id(self, tenant_id: str, execution_id: str, step_id: str, generation: int) -> str:
        """The id of a step's task: one per activation, new after an operator's retry."""
        return self._uuid(b"task", tenant_id, execution_id, step_id, str(generation))

    def child_id(self, tenant_id: str, execution_id: str, step_id: str, generation: int, attempt: int) -> str:
        """The id of the execution that an attempt of a `workflow` step calls for."""
        return self._uuid(b"child", tenant_id, execution_id, step_id, str(generation), str(attempt))

    def _uuid(self, purpose: bytes, *parts: str) -> str:
        """A UUID in version 4 form."""
        digest = bytearray(self._digest(purpose, 16, *parts))
        digest[6] = digest[6] & 0x0F | 0x40
        digest[8] = digest[8] & 0x3F | 0x80
        return str(UUID(bytes=bytes(digest)))

    def idempotency_key(self, tenant_id: str, execution_id: str, step_id: str, generation: int) -> str:
        """What a target sees as `Idempotency-Key`: the same for every attempt and delivery of one activation."""
        digest = self._calls.copy()  # with the key in it already: one is made for every call
        digest.update(f"{tenant_id}\0{execution_id}\0{step_id}\0{generation}".encode())
        return urlsafe_b64encode(digest.digest()).decode()


class StateManager:
    """Loads executions and prepares their writes."""

    def __init__(self, store: Store, workflows: WorkflowManager, limits: Limits) -> None:
        self._store = store
        self._workflows = workflows
        self._limits = limits
        self.names = Names(store.key)

    async def state(self, tenant_id: str, execution_id: str) -> tuple[ExecutionRow, ExecutionState]:
        """An execution as the store has it, to look at; raises NotFound."""
        row, snapshot, log = await self._store.load(tenant_id, execution_id)
        return row, fold(row, snapshot, log)

    async def load(self, tenant_id: str, execution_id: str) -> Held:
        """An execution as the store has it, to work on; raises NotFound."""
        row, snapshot, log = await self._store.load(tenant_id, execution_id)
        state = fold(row, snapshot, log)
        # The state's version: a migration may be in the log that the row was read with, or not yet in the row.
        published = await self._workflows.version(tenant_id, row.workflow_id, state.version)
        working = Working(published.graph, state, self._limits)
        return Held(
            working,
            row,
            summary_of(state),
            timer_at=working.next_due_at(),
            log_bytes=sum(len(entry.events) for entry in log),
            snapshot_bytes=len(snapshot[1]) if snapshot is not None else 0,
            children=self._children_of(working),
        )

    def new(self, row: ExecutionRow, graph: Any) -> Held:
        """An execution that is not in the store yet."""
        state = ExecutionState(row.tenant_id, row.execution_id)
        return Held(Working(graph, state, self._limits), row, Summary(""))

    def write_of(self, held: Held, decision: Decision, sequence_before: int) -> TransitionWrite:
        """The rows of a decision, whose facts are applied to the working state already; advances the transition
        number.
        """
        state = held.working.state
        state.number += 1
        events = encode_facts(decision.facts)
        held.log_bytes += len(events)
        write = TransitionWrite(
            state.tenant_id,
            state.execution_id,
            number=state.number,
            first_sequence=sequence_before + 1,
            last_sequence=state.sequence,
            at=state.at,
            events=events,
        )
        if state.number == 1:
            write.created = held.row
        elif state.version != held.row.version:
            write.version = state.version
            held.row = msgspec.structs.replace(held.row, version=state.version)
        self._add_summary(held, write)
        self._add_timer(held, write)
        if held.working.graph.has_children:
            self._follow_children(held, decision, write)
        rare = [effect for effect in decision.effects if type(effect) is not Dispatch]
        if rare:
            self._add_tasks(state, rare, write)
            self._add_slots(state, rare, write)
        if held.log_bytes > max(SNAPSHOT_LOG_BYTES_MIN, held.snapshot_bytes):
            write.snapshot = encode_state(state)
            held.log_bytes, held.snapshot_bytes = 0, len(write.snapshot)
        return write

    def _add_summary(self, held: Held, write: TransitionWrite) -> None:
        before, state = held.summary, held.working.state
        if (
            state.status == before.status
            and state.reason == before.reason
            and state.started_at == before.started_at
            and state.finished_at == before.finished_at
        ):
            return  # lists are not kept up to date with progress alone
        write.summary = held.summary = summary_of(state)
        command = news_for_parent(held.row, before, state)
        if command is not None and held.row.parent_execution_id is not None:
            _add_news(write, [(held.row.parent_execution_id, encode_news(command))])

    def _add_slots(self, state: ExecutionState, effects: list[Effect], write: TransitionWrite) -> None:
        asked: dict[str, SlotRow] = {}
        freed: list[tuple[str, str]] = []
        for effect in effects:
            if isinstance(effect, FreeSlot):
                asked.pop(effect.step, None)
                freed.append((effect.step, effect.key))
            elif isinstance(effect, AskSlot) and is_waiting_for_slot(state, effect):
                asked[effect.step] = SlotRow(
                    effect.step, effect.key, effect.attempt, effect.generation, effect.concurrency
                )
        if asked or freed:
            write.slots_asked, write.slots_freed = list(asked.values()), freed

    def _follow_children(self, held: Held, decision: Decision, write: TransitionWrite) -> None:
        """Tell the children of steps that were withdrawn, and follow who has which child."""
        children = held.children
        if children:
            withdrawn = [effect.step for effect in decision.effects if isinstance(effect, Withdraw)]
            gone = [children.pop(step_id) for step_id in withdrawn if step_id in children]
            command = encode_news(Cancel("the execution that called it waits for it no more"))
            _add_news(write, [(child_id, command) for child_id in gone])
            _forget_ended(children, decision.facts)
        for effect in decision.effects:
            step = held.working.state.steps.get(effect.step) if isinstance(effect, Dispatch) else None
            if step is not None and self._awaits_child(held.working, step):
                children[step.step_id] = self._child_id(held.working.state, step)

    def _children_of(self, working: Working) -> dict[str, str]:
        if not working.graph.has_children:
            return {}
        return {
            step.step_id: self._child_id(working.state, step)
            for step in working.state.steps.values()
            if self._awaits_child(working, step)
        }

    def _child_id(self, state: ExecutionState, step: Step) -> str:
        return self.names.child_id(state.tenant_id, state.execution_id, step.step_id, step.generation, step.attempt)

    @staticmethod
    def _awaits_child(working: Working, step: Step) -> bool:
        return (
            working.spec(step).type == "workflow"
            and step.status == "processing"
            and step.retry_at is None
            and isinstance(step.input, dict)
            and not is_detached(step.input)
        )

    def _add_timer(self, held: Held, write: TransitionWrite) -> None:
        timer_at = held.working.next_due_at()
        if timer_at != held.timer_at:
            held.timer_at = timer_at
            if timer_at is None:
                write.tasks_removed = [TIMER_TASK]
            else:
                write.tasks_put = [TaskRow(TIMER_TASK, TIMER_TASK, timer_at)]

    def _add_tasks(self, state: ExecutionState, effects: list[Effect], write: TransitionWrite) -> None:
        tasks: list[TaskRow] = []
        for effect in effects:
            if isinstance(effect, OpenTask) and effect.step in state.steps:
                tasks.append(self._open_task(state, state.steps[effect.step]))
            elif isinstance(effect, CloseTask):
                tasks.append(self._closed_task(state, effect))
        if tasks:
            write.tasks_put = [*write.tasks_put, *tasks]

    def _open_task(self, state: ExecutionState, step: Step) -> TaskRow:
        """The inbox entry of a `human` step that waits."""
        task_id = self.names.task_id(state.tenant_id, state.execution_id, step.step_id, step.generation)
        data = _task_data(state, step.step_id, step.node, step.input, created_at=state.at)
        return TaskRow(task_id, TASK_WAITING, _due_at(step.input, state.at), data)

    def _closed_task(self, state: ExecutionState, effect: CloseTask) -> TaskRow:
        """The same entry once the step is over: it stays to be looked at."""
        task_id = self.names.task_id(state.tenant_id, state.execution_id, effect.step, effect.generation)
        more = {
            "status": effect.status,
            "completed_by": effect.by,
            "completed_at": state.at,
            "created_at": effect.opened_at,
        }
        data = _task_data(state, effect.step, effect.node, effect.input, **more)
        return TaskRow(task_id, TASK_CLOSED, _due_at(effect.input, effect.opened_at), data)


def is_detached(arguments: dict[str, Any]) -> bool:
    """Whether a `workflow` step, by its evaluated `with`, is over once its child has begun."""
    return arguments.get("mode") == "detach"


def is_waiting_for_slot(state: ExecutionState, effect: AskSlot) -> bool:
    """Whether the step that asks still waits: what was granted or withdrawn meanwhile needs no slot."""
    step = state.steps.get(effect.step)
    return step is not None and step.slot == "asked"


def _add_news(write: TransitionWrite, news: list[tuple[str, bytes]]) -> None:
    """News for other executions: whom they are for, and the command."""
    put = list(write.news_put)
    for execution_id, command in news:
        put.append(NewsRow(execution_id, f"{write.execution_id}/{write.number:012}/{len(put):04}", command))
    write.news_put = put


def _forget_ended(children: dict[str, str], facts: list[AnyFact]) -> None:
    for fact in facts:
        if isinstance(fact, (StepCompleted, StepFailed, StepCancelled, StepRetrying)):
            children.pop(fact.step, None)


def _due_at(shown: Any, opened_at: int) -> int | None:
    """When a task should be done: an instant, or a duration from its opening. None where an expression gave neither."""
    due = shown.get("due") if isinstance(shown, dict) else None
    if not isinstance(due, str):
        return None
    try:
        is_instant = due[:4].isdigit() and "-" in due
        at = parse_timestamp(due) if is_instant else opened_at + int(parse_duration(due) * MICROSECONDS)
        rfc3339(at)  # an offset may lead out of the years that can be shown
    except (DurationInvalid, TimestampInvalid, ValueError, OverflowError):
        return None
    return at


def _task_data(state: ExecutionState, step_id: str, node: str, shown: Any, **more: Any) -> bytes:
    data = {"step_id": step_id, "node_id": node, "workflow_id": state.workflow_id, "status": "waiting", **(shown or {})}
    return encode_json({**data, **more})
