"""Protecting lines of the engine, each with what switches it off: the auditor must then find what it protects from."""

from itertools import count
from typing import Any

import pytest
from sim_disk import LoopCommitter
from sim_flows import ASKING_CHILD, CHAIN, CYCLE, EACH, LIMIT, SIGNAL, TIMERS
from sim_target import Temper

from simulation import Tooth
from workflow_engine.engine import decide
from workflow_engine.models.command import Recover
from workflow_engine.routes.idempotency import Idempotency
from workflow_engine.services import workflow_executor
from workflow_engine.services.children import Children
from workflow_engine.services.state_manager import Names, StateManager
from workflow_engine.services.step_processor import StepProcessor
from workflow_engine.services.timer_service import TimerService
from workflow_engine.services.workflow_executor import WorkflowExecutor
from workflow_engine.store import batch, committer, slots, sqlite

CALM: dict[str, Any] = {
    "commit_kills": 0.0,
    "commit_faults": 0.0,
    "step_kills": 0.0,
    "stalls": 0,
    "restarts": 0,
    "outages": 0,
    "jumps": 0,
    "repeats": 0.0,
    "delays": 0.0,
    "losses": 0.0,
}
"""A plan without trouble, to which a tooth adds what makes it bite soon."""


def _answer_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    put = LoopCommitter.put

    def answered(self: LoopCommitter, entry: committer.Entry) -> None:
        if entry.key is not None:
            self._loop.call_soon(entry.on_done, None)
            entry.on_done = lambda _error: None
        put(self, entry)

    patch.setattr(LoopCommitter, "put", answered)


def _write_without_fence(patch: pytest.MonkeyPatch) -> None:
    """An execution is moved on wherever it stands, and its log row replaced."""
    for name in ("ADVANCE", "ADVANCE_WITH_SUMMARY"):
        statement = getattr(batch, name)
        _rewrite(patch, statement, " AND executions.transition = given.number - 1", "")
    _rewrite(patch, batch.INSERT_TRANSITIONS, "INSERT INTO", "INSERT OR REPLACE INTO")


def _rewrite(patch: pytest.MonkeyPatch, statement: Any, line: str, other: str) -> None:
    form = statement.form(sqlite.DIALECT)
    assert line in form._text, form._text
    patch.setattr(form, "_text", form._text.replace(line, other))
    patch.setattr(form, "_texts", {})


def _take_stale_results(patch: pytest.MonkeyPatch) -> None:
    def reported(t: Any, command: Any) -> Any:
        step = t.working.state.steps.get(command.step)
        return step if step is not None else decide.Rejection("stale", "no such step")

    patch.setattr(decide, "_reported", reported)


def _forget_outstanding_work(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(decide._HANDLERS, Recover, lambda _t, _command: None)


def _forget_parked_work(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WorkflowExecutor, "_on_outage_over", lambda self: self.processor.release())


def _forget_unanswered_starts(patch: pytest.MonkeyPatch) -> None:
    wait = WorkflowExecutor._wait_for_store

    def waits(self: WorkflowExecutor, resident: Any, letters: Any, error: Any) -> None:
        is_new = resident.held is not None and resident.held.working.state.number <= 1
        wait(self, resident, letters, error)
        if is_new:
            self._parked.remove(resident)
            del self._residents[resident.key]

    patch.setattr(WorkflowExecutor, "_wait_for_store", waits)


def _leave_calls_in_doubt(patch: pytest.MonkeyPatch) -> None:
    unwritten = WorkflowExecutor._on_unwritten

    def forgetful(self: WorkflowExecutor, resident: Any, *arguments: Any) -> None:
        unwritten(self, resident, *arguments)
        resident.withdrawn = []

    patch.setattr(WorkflowExecutor, "_on_unwritten", forgetful)


def _look_at_no_timers(patch: pytest.MonkeyPatch) -> None:
    async def nothing(_self: TimerService) -> None:
        """Neither at the start nor later."""

    patch.setattr(TimerService, "_poll", nothing)


def _fire_early(patch: pytest.MonkeyPatch) -> None:
    fire = decide._fire_timers

    def early(t: Any, command: Any) -> Any:
        now, t.now = t.now, t.now + 60_000_000
        try:
            return fire(t, command)
        finally:
            t.now = now

    for kind, handler in list(decide._HANDLERS.items()):
        if handler is fire:
            patch.setitem(decide._HANDLERS, kind, early)


def _key_by_attempt(patch: pytest.MonkeyPatch) -> None:
    calls = count()

    def key(self: Names, tenant_id: str, execution_id: str, step_id: str, generation: int) -> str:
        return f"{execution_id}/{step_id}/{next(calls)}"

    patch.setattr(Names, "idempotency_key", key)


def _keep_no_receipts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(workflow_executor, "_receipts", lambda _held, _batch, _decision: [])


def _compare_no_receipts(patch: pytest.MonkeyPatch) -> None:
    """Neither before a request's effect nor in the commit of it."""

    async def nothing(_self: Idempotency, *_key: Any) -> None:
        return None

    patch.setattr(Idempotency, "_replay", nothing)
    patch.setattr(batch, "_find_repeated", lambda _connection, _writes: {})
    patch.setattr(batch, "insert_receipts", lambda _connection, _receipts, _at: None)


def _take_commands_after_the_end(patch: pytest.MonkeyPatch) -> None:
    handle = decide._handle

    def taken(t: Any, command: Any) -> Any:
        kind = type(command)
        if t.working.state.is_terminal and kind.__name__ in ("Cancel", "Terminate"):
            return decide._HANDLERS[kind](t, command)
        return handle(t, command)

    patch.setattr(decide, "_handle", taken)


def _leave_calls_of_the_cancelled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(StepProcessor, "withdraw", lambda _self, *_key: None)


def _leave_timer_rows(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(StateManager, "_add_timer", lambda _self, _held, _write: None)


def _grant_freely(patch: pytest.MonkeyPatch) -> None:
    """Whoever asks gets a slot, as if nobody had one."""
    give = slots._next_in_line
    line = "AND slots.is_granted = 1) < (SELECT"
    _rewrite(patch, slots._WITH_ROOM, line, line.replace("<", "< 100 +"))
    patch.setattr(
        slots, "_next_in_line", lambda connection, tenant_id, key, _owners: give(connection, tenant_id, key, 0)
    )


def _leave_children(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(StateManager, "_follow_children", lambda _self, _held, _decision, _write: None)
    patch.setattr(Children, "withdraw", lambda _self, *_key: None)


KILLS = CALM | {"commit_kills": 0.2, "trouble_s": 30.0}
FAULTS = CALM | {"commit_faults": 0.3, "trouble_s": 30.0}
NARROW = {"concurrency": 1, "temper": Temper(fails=0.0, slow_s=5.0, hangs=0.0)}
TWO = CALM | {"stalls": 6, "trouble_s": 10.0}
OLD_NEWS = CALM | {"repeats": 0.5, "delays": 0.5, "trouble_s": 30.0, "temper": Temper(fails=0.5, slow_s=0.5, hangs=0.0)}

TEETH = (
    Tooth("callers are answered after the commit", _answer_before_the_commit, "invariant 1:", KILLS),
    Tooth("the fence in the store's write", _write_without_fence, "invariant", TWO, (CYCLE, CHAIN, EACH)),
    Tooth("stale results are refused", _take_stale_results, "invariant 6:", OLD_NEWS, (CYCLE, CHAIN, EACH)),
    Tooth("what was under way is called again", _forget_outstanding_work, "invariant 9:", KILLS),
    Tooth("what met an outage is taken up after it", _forget_parked_work, "invariant P2:", FAULTS),
    Tooth("a start without an answer is looked for", _forget_unanswered_starts, "invariant 9:", FAULTS),
    Tooth(
        "an end without an answer ends the calls", _leave_calls_in_doubt, "invariant 62:", FAULTS | NARROW, (EACH,) * 3
    ),
    Tooth("timers are looked for in the store", _look_at_no_timers, "invariant 9:", KILLS, (TIMERS,)),
    Tooth("timers are rows", _leave_timer_rows, "invariant 9:", KILLS, (TIMERS,)),
    Tooth("no clock strikes early", _fire_early, "invariant 54:", OLD_NEWS, (TIMERS, SIGNAL)),
    Tooth("one key for all attempts", _key_by_attempt, "invariant 31:", OLD_NEWS, (CHAIN,)),
    Tooth("a request's receipt is kept", _keep_no_receipts, "invariant 28:", KILLS),
    Tooth("a request's receipt is looked for", _compare_no_receipts, "invariant", KILLS),
    Tooth("no command is taken after the end", _take_commands_after_the_end, "can't go from", is_race=True),
    Tooth("children are cancelled with their parents", _leave_children, "invariant 62:", CALM, (ASKING_CHILD,) * 3),
    Tooth("a slot has one owner", _grant_freely, "invariant 20:", CALM, (LIMIT,) * 2),
)
