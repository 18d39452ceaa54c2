"""The auditor: reads the database as it lies on the disk, and holds it against the promises and the ledgers.

The numbers are those of the invariants in the reliability contract.
"""

from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from sim_client import DONE, Clients
from sim_disk import CONNECT_READER
from sim_host import Host, Note
from sim_target import Request, Target

from workflow_engine.engine.apply import apply_transition
from workflow_engine.engine.graph import Graph, compile_graph
from workflow_engine.engine.validation import validate
from workflow_engine.engine.working import Working
from workflow_engine.models import event
from workflow_engine.models.execution import (
    LIFECYCLE,
    PAUSED,
    PENDING,
    RUNNING,
    ExecutionState,
    Step,
    decode_state,
    encode_state,
)
from workflow_engine.models.instant import MICROSECONDS
from workflow_engine.models.json_value import decode_json
from workflow_engine.models.limits import Limits
from workflow_engine.services.state_manager import TIMER_TASK

Key = tuple[str, str]
TERMINAL_FACTS = (event.ExecutionCompleted, event.ExecutionFailed, event.ExecutionCancelled)
STEP_ENDS = (event.StepCompleted, event.StepFailed, event.StepCancelled)


class Row(NamedTuple):
    """One transition as it stands in the log."""

    number: int
    first_sequence: int
    last_sequence: int
    at: int
    events: bytes


class History:
    """What the log said of an execution so far; what it said once it must always say."""

    def __init__(self, key: Key) -> None:
        self.key = key
        self.rows: list[Row] = []
        self.facts: list[event.AnyFact] = []
        self.begun: set[str] = set()
        self.state = ExecutionState(*key)
        self.prefix_of_snapshot: dict[int, bytes] = {}

    @property
    def has_ended(self) -> bool:
        """Whether it has a terminal event that no retry has taken back."""
        return self.state.is_terminal


class Auditor:
    """Looks at one database."""

    def __init__(self, path: Path, limits: Limits, clients: Clients, target: Target, note: Note) -> None:
        self._note = note
        self._connection: Any = CONNECT_READER(path)
        self._limits = limits
        self._clients = clients
        self._target = target
        self._histories: dict[Key, History] = {}
        self._definitions: dict[tuple[str, str, int], bytes] = {}
        self.problems: list[str] = []
        self.checks = 0
        target.on_request = self.on_request

    def close(self) -> None:
        """Let go of the database."""
        self._connection.close()

    def fails(self, invariant: str, key: Any, what: str) -> None:
        """Note a broken promise, once."""
        problem = f"invariant {invariant}: {key}: {what}"
        if problem not in self.problems:
            self.problems.append(problem)

    def require(self, holds: Any, invariant: str, key: Any, what: str) -> None:
        """Note a broken promise unless it holds."""
        self.checks += 1
        if not holds:
            self.fails(invariant, key, what)

    # --- reading

    def history(self, key: Key) -> History:
        """An execution's log, as far as it is committed."""
        history = self._histories.setdefault(key, History(key))
        rows = self._connection.execute(
            "SELECT number, first_sequence, last_sequence, at, events FROM transitions"
            " WHERE tenant_id = ? AND execution_id = ? AND number > ? ORDER BY number",
            (*key, len(history.rows)),
        ).fetchall()
        for values in rows:
            self._add(history, Row(*values[:4], bytes(values[4])))
        return history

    def read_all(self) -> None:
        """Read what is new of every execution."""
        for key in self.everybody():
            self.history(key)

    def _add(self, history: History, row: Row) -> None:
        key, state = history.key, history.state
        last = history.rows[-1] if history.rows else Row(0, 1, 0, 0, b"")
        self.require(row.number == last.number + 1, "46", key, f"transition {row.number} follows {last.number}")
        self.require(row.first_sequence == last.last_sequence + 1, "46", key, f"a gap before {row.first_sequence}")
        self.require(row.at >= last.at, "54", key, f"time goes back in transition {row.number}")
        facts = event.decode_facts(row.events)
        public = sum(fact.PUBLIC for fact in facts)
        self.require(row.last_sequence - row.first_sequence + 1 == public, "46", key, f"numbers of {row.number}")
        self._check_order(history, facts, row.at)
        before = state.status
        apply_transition(state, facts, number=row.number, at=row.at)
        if any(isinstance(fact, event.ExecutionResumed) and fact.is_retry for fact in facts):
            before = RUNNING  # what a retry opened may be over within the same transition
        legal = state.status == before or state.status in LIFECYCLE[before]
        self.require(legal, "3", key, f"{before} became {state.status} in transition {row.number}")
        history.rows.append(row)
        history.facts.extend(facts)
        names = [type(fact).__name__ + (f"({fact.step})" if hasattr(fact, "step") else "") for fact in facts]
        self._note(f"{key[1][:8]} {row.number}: {', '.join(names)}")
        history.prefix_of_snapshot[row.number] = b""

    def _check_order(self, history: History, facts: list[event.AnyFact], at: int) -> None:
        """4, 6, 54: nothing happens after the end, each attempt has one outcome, and no clock strikes early."""
        key, state = history.key, history.state
        is_over = state.is_terminal
        due = {step.step_id: _clock_at(step.waits) for step in state.steps.values()}
        next_at = {step.step_id: step.retry_at for step in state.steps.values() if step.retry_at is not None}
        for fact in facts:
            if isinstance(fact, event.ExecutionResumed) and fact.is_retry:
                is_over = False
            elif is_over and not isinstance(fact, event.VariablesChanged | event.ProgressMade):
                self.fails("4", key, f"{type(fact).__name__} after the end")
            if isinstance(fact, TERMINAL_FACTS):
                is_over = True
            match fact:
                case event.StepStarted(step=step):
                    history.begun.add(step)
                    due[step] = _clock_at(fact.waits)
                case event.StepReopened(step=step) if fact.is_fresh:
                    due[step] = _clock_at(fact.waits)
                case event.StepRetrying(step=step):
                    self.require(step not in next_at, "6", key, f"{step} failed twice in one attempt")
                    next_at[step] = fact.next_at
                case event.StepCompleted(step=step) if not fact.is_skipped:
                    self.require(step not in next_at, "6", key, f"{step} completed between two attempts")
                    self.require(at >= (due.get(step) or 0), "54", key, f"{step} was woken before its time")
                case event.StepAttempted(step=step) if step in next_at:
                    self.require(at >= next_at.pop(step), "54", key, f"{step} was repeated before its time")

    def everybody(self) -> list[Key]:
        """Every execution there is."""
        found = self._connection.execute(
            "SELECT tenant_id, execution_id FROM executions ORDER BY created_at, execution_id"
        )
        return [(tenant_id, execution_id) for tenant_id, execution_id in found.fetchall()]

    def graph(self, tenant_id: str, workflow_id: str, version: int) -> Graph:
        """The definition of a version; its bytes must never change (8)."""
        place = (tenant_id, workflow_id, version)
        row = self._connection.execute(
            "SELECT definition FROM definitions WHERE tenant_id = ? AND workflow_id = ? AND version = ?", place
        ).fetchone()
        written = bytes(row[0])
        known = self._definitions.setdefault(place, written)
        self.require(known == written, "8", place, "the definition has changed")
        return _compiled(written)

    def working(self, history: History) -> Working:
        """What a process that folds the log has before it."""
        state = decode_state(encode_state(history.state))
        return Working(self.graph(state.tenant_id, state.workflow_id, state.version), state, self._limits)

    # --- as it happens

    def on_request(self, request: Request) -> None:
        """21: the target is called only for what is on the disk already."""
        key = (request.tenant_id, request.execution_id)
        history = self._histories.get(key)
        if history is None or request.step_id not in history.begun:
            history = self.history(key)
        begun = request.step_id in history.begun
        self.require(begun, "21", key, f"{request.step_id} was called before its start was durable")
        over = self._connection.execute(
            "SELECT key, count(*), max(concurrency) FROM slots WHERE is_granted = 1 GROUP BY tenant_id, key"
            " HAVING count(*) > max(concurrency)"
        ).fetchall()
        self.require(not over, "20", key, f"more owners than slots: {over}")

    # --- at any instant

    def check_rows(self) -> None:
        """1, 5: what was in the log stays, and the rows beside it are its fold."""
        for key in self.everybody():
            history = self.history(key)
            count = self._connection.execute(
                "SELECT count(*), max(number) FROM transitions WHERE tenant_id = ? AND execution_id = ?", key
            ).fetchone()
            self.require(tuple(count) == (len(history.rows),) * 2, "1", key, f"{len(history.rows)} rows became {count}")
            self._check_summary(key, history)
            self._check_snapshot(key, history)
            self._check_tasks(key, history)
            self._check_slots(key, history)

    def _check_summary(self, key: Key, history: History) -> None:
        row = self._connection.execute(
            "SELECT workflow_id, status, reason, started_at, finished_at, transition, sequence FROM executions"
            " WHERE tenant_id = ? AND execution_id = ?",
            key,
        ).fetchone()
        state = history.state
        folded = (
            state.workflow_id,
            state.status,
            state.reason,
            state.started_at,
            state.finished_at,
            state.number,
            history.rows[-1].last_sequence,
        )
        self.require(tuple(row) == folded, "5", key, f"the row says {tuple(row)}, the log {folded}")

    def _check_snapshot(self, key: Key, history: History) -> None:
        row = self._connection.execute(
            "SELECT number, state FROM snapshots WHERE tenant_id = ? AND execution_id = ?", key
        ).fetchone()
        if row is None:
            return
        state = ExecutionState(*key)
        for entry in history.rows[: row[0]]:
            apply_transition(state, event.decode_facts(entry.events), number=entry.number, at=entry.at)
            state.sequence = entry.last_sequence
        same = encode_state(state) == encode_state(decode_state(bytes(row[1])))
        self.require(same, "5", key, f"the snapshot at {row[0]} is not the fold of the log")

    def _check_tasks(self, key: Key, history: History) -> None:
        rows = self._connection.execute(
            "SELECT task_id, kind, due_at, data FROM tasks WHERE tenant_id = ? AND execution_id = ?", key
        ).fetchall()
        working = self.working(history)
        timers = [due_at for task_id, kind, due_at, _ in rows if kind == TIMER_TASK]
        due_at = working.next_due_at()
        folded = [due_at] if due_at is not None else []
        self.require(timers == folded, "9", key, f"timer rows {timers}, the log says {folded}")
        asked = sorted(decode_json(bytes(data))["step_id"] for _, kind, _, data in rows if kind == "human")
        waiting = sorted(step.step_id for step in working.state.steps.values() if is_asked(working, step))
        if not working.state.is_terminal:
            self.require(asked == waiting, "9", key, f"tasks of people {asked}, the log says {waiting}")
        else:
            self.require(not asked, "9", key, f"tasks of people {asked} after the end")

    def _check_slots(self, key: Key, history: History) -> None:
        """20: each slot, and each place in a line for one, is a live step's."""
        rows = self._connection.execute(
            "SELECT step_id, key FROM slots WHERE tenant_id = ? AND execution_id = ? ORDER BY step_id", key
        ).fetchall()
        wanted = sorted(
            (step.step_id, step.limit_key) for step in history.state.steps.values() if step.slot is not None
        )
        self.require([tuple(row) for row in rows] == wanted, "20", key, f"slots {rows}, the log says {wanted}")

    # --- when all is quiet

    def check_rest(self, host: Host, now: int, late_s: float) -> None:
        """5, 9: whatever has not ended waits for something that comes, and memory says what the disk says."""
        executor = host.services.executor
        processor = executor.processor
        at_work = {*processor._running, *processor._queued, *executor.children._under_way}
        for key in self.everybody():
            history = self.history(key)
            resident = executor._residents.get(key)
            if resident is not None and (resident.is_busy or resident.mailbox):
                continue
            if (
                resident is not None
                and resident.held is not None
                and resident.held.working.state.number == len(history.rows)
            ):
                held = encode_state(resident.held.working.state)
                self.require(held == self._folded(history), "5", key, "memory is not the fold of the log")
            if not history.has_ended:
                self._check_wait(key, history, at_work, now - int(late_s * MICROSECONDS))

        self._check_families(now - int(late_s * MICROSECONDS))

    def _check_families(self, long_ago: int) -> None:
        """9, 62: no news lie about, and no child outlives its parent's end."""
        news = self._connection.execute(
            "SELECT inbox.tenant_id, inbox.execution_id, inbox.command FROM inbox"
            " JOIN executions USING (tenant_id, execution_id)"
            " WHERE inbox.created_at < ? AND executions.finished_at IS NULL",
            (long_ago,),
        ).fetchall()
        self.require(not news, "9", "inbox", f"undelivered: {news}")
        orphans = self._connection.execute(
            "SELECT child.tenant_id, child.execution_id, child.status FROM executions AS child"
            " JOIN executions AS parent ON parent.tenant_id = child.tenant_id"
            " AND parent.execution_id = child.parent_execution_id"
            " WHERE child.finished_at IS NULL AND parent.status IN ('completed', 'cancelled')"
            " AND parent.finished_at < ?",
            (long_ago,),
        ).fetchall()
        self.require(not orphans, "62", "children", f"go on without their parent: {orphans}")
        twice = self._connection.execute(
            "SELECT tenant_id, parent_execution_id, parent_step_id, parent_attempt, parent_generation, count(*)"
            " FROM executions WHERE parent_execution_id IS NOT NULL GROUP BY 1, 2, 3, 4, 5 HAVING count(*) > 1"
        ).fetchall()
        self.require(not twice, "6", "children", f"more than one for an attempt: {twice}")

    @staticmethod
    def _folded(history: History) -> bytes:
        state = ExecutionState(*history.key)
        for entry in history.rows:
            apply_transition(state, event.decode_facts(entry.events), number=entry.number, at=entry.at)
        return encode_state(state)

    def _check_wait(self, key: Key, history: History, at_work: set[Any], long_ago: int) -> None:
        working = self.working(history)
        state = working.state
        due_at = working.next_due_at()
        if state.is_operator_paused:
            return
        waits = due_at is not None or any(working.counts.values())
        self.require(waits, "9", key, f"{state.status}, and nothing is awaited")
        self.require(due_at is None or due_at > long_ago, "9", key, "a timer is overdue and nobody comes")
        for step in state.steps.values():
            if step.is_parent or step.retry_at is not None or step.status == PENDING or not working.spec(step).is_io:
                continue
            if working.spec(step).type == "workflow":
                is_called = (*key, step.step_id) in at_work or self._has_child(key, step, long_ago)
            else:
                is_called = (*key, step.step_id) in at_work
            self.require(is_called, "9", key, f"{step.step_id} is under way, and nobody is at it")
        mirrored = any(step.child_pause == "timer" for step in state.steps.values())
        if state.status == PAUSED and state.reason == "timer":
            self.require(due_at is not None or mirrored, "9", key, "paused for a timer that is not there")

    def _has_child(self, key: Key, step: Step, long_ago: int) -> bool:
        """Whether the child of a step's attempt lives, or has ended just now."""
        found = self._connection.execute(
            "SELECT finished_at FROM executions WHERE tenant_id = ? AND parent_execution_id = ? AND parent_step_id = ?"
            " AND parent_attempt = ? AND parent_generation = ?",
            (*key, step.step_id, step.attempt, step.generation),
        ).fetchall()
        return any(finished_at is None or finished_at > long_ago for (finished_at,) in found)

    # --- at the end

    def check_end(self) -> None:
        """Everything that can be said once all is over."""
        self.check_rows()
        found = self._connection.execute("PRAGMA integrity_check").fetchall()
        self.require([tuple(row) for row in found] == [("ok",)], "1", "database", f"{found}")
        for key in self.everybody():
            self._check_history(key, self.history(key))
        self._check_ledger()
        self._check_target()
        self._check_expected()
        for surprise in self._clients.surprises:
            self.fails("2", "a client", surprise)

    def _check_history(self, key: Key, history: History) -> None:
        facts = history.facts
        ends = sum(isinstance(fact, TERMINAL_FACTS) for fact in facts)
        retries = sum(isinstance(fact, event.ExecutionResumed) and fact.is_retry for fact in facts)
        self.require(ends == 1 + retries, "4", key, f"{ends} terminal events, {retries} retries")
        begins = Counter(fact.step for fact in facts if _begins(fact))
        over = Counter(fact.step for fact in facts if isinstance(fact, STEP_ENDS))
        for step, count in over.items():
            self.require(count <= begins[step], "6", key, f"{step} began {begins[step]} times and ended {count} times")
        starts = Counter(fact.step for fact in facts if isinstance(fact, event.StepStarted))
        requeued = Counter(fact.step for fact in facts if isinstance(fact, event.StepRequeued))
        twice = [step for step, count in starts.items() if count > 1 + requeued[step]]
        self.require(not twice, "6", key, f"started twice: {twice}")
        created = sum(isinstance(fact, event.ExecutionCreated | event.ExecutionForked) for fact in facts)
        self.require(created == 1, "3", key, f"created {created} times")
        state = history.state
        if state.is_terminal:
            self.require(not state.steps, "7", key, f"steps {list(state.steps)} after the end")
        if state.status == "completed":
            tokens = [scope.tokens for scope in state.scopes.values() if any(scope.tokens.values())]
            self.require(not tokens, "7", key, f"tokens {tokens} in a completed execution")
            left = begins - over
            self.require(not left, "7", key, f"steps left open: {left}")
            self.require(not state.locks, "7", key, f"locks {state.locks} in a completed execution")

    def _check_ledger(self) -> None:
        """1, 2, 28: what was acknowledged is there; what was not is there at most once."""
        by_token: Counter[str] = Counter()
        for key in self.everybody():
            for fact in self.history(key).facts:
                by_token.update(_tokens(fact))
        closed = Counter(
            decode_json(bytes(data)).get("completed_by")
            for (data,) in self._connection.execute("SELECT data FROM tasks WHERE kind = 'human_closed'").fetchall()
        )
        receipts = Counter(key for (key,) in self._connection.execute("SELECT key FROM idempotency_keys").fetchall())
        for op in self._clients.ops:
            match op.kind:
                case "answer":
                    count = closed[op.token]
                case "pause" | "resume" | "retry" | "skip" | "items" | "undo":
                    count = receipts[op.token]
                case _:
                    count = by_token[op.token]
            if op.outcome == DONE:
                self.require(count == 1, "1", op, f"was acknowledged and stands {count} times")
                self.require(receipts[op.token] == 1, "28", op, f"has {receipts[op.token]} receipts")
            else:
                self.require(count <= 1, "2", op, f"stands {count} times")
            self.require(
                receipts[op.token] == min(count, 1), "28", op, "a receipt without its effect, or an effect without"
            )
        for kind, fact in (("pause", _is_pause), ("resume", _is_resume), ("retry", _is_retry)):
            self._check_counts(kind, fact)

    def _check_counts(self, kind: str, is_one: Any) -> None:
        for key in self.everybody():
            ops = [op for op in self._clients.ops if op.outcome == DONE and op.execution_id == key[1]]
            told = sum(op.kind == kind for op in ops)
            # To skip what has failed an execution reopens it too.
            spare = sum(op.kind == "skip" for op in ops) if kind == "retry" else 0
            stand = sum(is_one(fact) for fact in self.history(key).facts)
            self.require(told <= stand <= told + spare, "1", key, f"{told} times {kind} acknowledged, {stand} stand")

    def _check_target(self) -> None:
        """31: one key for each step, one body for each key; 62: no call for what was told to be over."""
        steps: dict[str, set[tuple[str, str, str]]] = {}
        for request in self._target.requests:
            steps.setdefault(request.key, set()).add((request.tenant_id, request.execution_id, request.step_id))
        for key, bodies in self._target.bodies.items():
            self.require(len(bodies) == 1, "31", key, f"one key, {len(bodies)} bodies: {bodies}")
            self.require(len(steps[key]) == 1, "31", key, f"one key for {steps[key]}")
        for key, count in Counter(self._target.once).items():
            self.require(count == 1, "32", steps[key], f"at_most_once, and asked {count} times")
        generations: dict[tuple[str, str, str], set[str]] = {}
        for key, places in steps.items():
            for place in places:
                generations.setdefault(place, set()).add(key)
        for place, keys in generations.items():
            reopened = sum(
                isinstance(fact, event.StepReopened | event.StepRequeued) and fact.step == place[2]
                for fact in self.history(place[:2]).facts
            )
            self.require(len(keys) <= 1 + reopened, "31", place, f"{len(keys)} keys, reopened {reopened} times")
        over = {
            op.execution_id: op
            for op in self._clients.ops
            if op.kind in ("cancel", "terminate") and op.outcome == DONE and op.answered_step is not None
        }
        for request in self._target.requests:
            op = over.get(request.execution_id)
            if op is None or request.process is None or request.process.name != op.answered_by:
                continue
            assert op.answered_step is not None
            called = f"{request.step_id} was called after {op}"
            self.require(request.step <= op.answered_step, "62", request.execution_id, called)

    def _check_expected(self) -> None:
        """What nobody disturbed ended as its definition says."""
        for started in self._clients.started:
            flow, op = started.flow, started.op
            if not started.is_friendly or not flow.is_known or op.started_id is None:
                continue
            key = (op.tenant_id, op.started_id)
            state = self.history(key).state
            self.require(
                state.status == flow.status, "P2", key, f"{flow.document['id']} is {state.status}: {state.error}"
            )
            if flow.output is not None:
                self.require(state.output == flow.output, "P3", key, f"{flow.document['id']} gave {state.output}")
            if flow.effects is not None:
                keys = {request.key for request in self._target.requests if request.execution_id == op.started_id}
                effects = sum(self._target.effects[one] for one in keys)
                self.require(effects == flow.effects, "P3", key, f"{effects} effects instead of {flow.effects}")


@lru_cache(maxsize=1024)
def _compiled(written: bytes) -> Graph:
    definition = validate(decode_json(written)).definition
    assert definition is not None
    return compile_graph(definition)


def is_asked(working: Working, step: Step) -> bool:
    """Whether a person is asked by a step."""
    return working.spec(step).type == "human" and not step.is_parent and step.status != PENDING


def _clock_at(waits: list[event.Wait]) -> int | None:
    """When a wait for nothing but clocks may end."""
    clocks = [wait.at for wait in waits if wait.at is not None]
    return min(clocks) if clocks and len(clocks) == len(waits) else None


def _tokens(fact: event.AnyFact) -> list[str]:
    """The requests that a fact tells of."""
    match fact:
        case event.ExecutionCreated():
            return [fact.input["op"]] if isinstance(fact.input, dict) and "op" in fact.input else []
        case event.SignalReceived(payload={"n": number}):
            return [f"op-{number - 1_000}"]
        case event.VariablesChanged():
            return [name for name in fact.changed if name.startswith("op-")]
        case event.ExecutionCancelled():
            return [fact.reason]
        case _:
            return []


def _begins(fact: event.AnyFact) -> bool:
    """Whether an activation begins, or begins again."""
    if isinstance(fact, event.StepStarted):
        return not fact.is_queued
    return isinstance(fact, event.StepQueued | event.StepReopened | event.StepRequeued)


def _is_pause(fact: event.AnyFact) -> bool:
    return isinstance(fact, event.ExecutionPaused) and fact.reason == "operator"


def _is_resume(fact: event.AnyFact) -> bool:
    return isinstance(fact, event.ExecutionResumed) and fact.is_operator


def _is_retry(fact: event.AnyFact) -> bool:
    return isinstance(fact, event.ExecutionResumed) and fact.is_retry
