"""What an execution decided, with the value of every sub-expression at that moment.

The log keeps what each connection's condition gave. The values that led to it are found by folding the log up to that
very fact and evaluating again, with the names that the core uses; assignments of the same transition, which the log
keeps only with their final values, are made again on the way.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from workflow_engine.engine.apply import ROOT, apply_transition, listed_results
from workflow_engine.engine.expressions import Meter
from workflow_engine.engine.graph import Graph, NodeSpec
from workflow_engine.engine.transition import Transition, names_of
from workflow_engine.engine.variables import StepFault
from workflow_engine.engine.working import Working
from workflow_engine.models.event import (
    AnyFact,
    DecisionMade,
    ExecutionForked,
    ExecutionMigrated,
    ExecutionStarted,
    StepCancelled,
    StepCompleted,
    StepFailed,
    VariablesChanged,
    decode_facts,
)
from workflow_engine.models.execution import ExecutionState, Step
from workflow_engine.models.limits import Limits
from workflow_engine.services.execution_resource import shown_instant
from workflow_engine.services.explanation.passive import pairs
from workflow_engine.services.explanation.scene import Told, address
from workflow_engine.services.explanation.values import shown_trace
from workflow_engine.services.state_manager import fold
from workflow_engine.services.workflow_manager import WorkflowManager
from workflow_engine.store import ExecutionRow, LogRow, Store

DECISIONS_MAX: Final = 20
"""The latest decision of so many nodes is told, the latest first."""
CONNECTIONS_MAX: Final = 100
"""Connections of one decision that are told."""
EVENTS_MAX: Final = 20_000
"""Decisions and withdrawals are looked for in so many of the latest events."""
FOLD_MAX: Final = 10_000
"""Transitions that are folded for values; decisions beyond are told without them. About a second."""
LOG_PAGE: Final = 200
BEFORE_ALL: Final = -1
"""The sequence that even a first transition without an event comes after."""

DECISION_BYTES: Final = b'"fact":"decision_made"'
WITHDRAWAL_BYTES: Final = b'"fact":"step_cancelled"'


Stored = tuple[ExecutionRow, tuple[int, bytes] | None, list[LogRow]]
"""An execution as `Store.load` gives it."""


class Decision(msgspec.Struct):
    """A decision where it stands in the log, and what evaluating it again gave, by connection."""

    number: int
    position: int
    """In its transition's facts."""
    sequence: int
    at: int
    fact: DecisionMade
    values: list[list[dict[str, Any]] | None] | None = None

    def resource(self) -> dict[str, Any]:
        """As the API shows it."""
        values = self.values or [None] * len(self.fact.connections)
        shown = zip(self.fact.connections[:CONNECTIONS_MAX], values, strict=False)
        return {
            "step_id": self.fact.step,
            "node_id": address(self.fact.step)[1],
            "sequence": self.sequence,
            "at": shown_instant(self.at),
            "taken": self.fact.taken,
            "connections": [{**record, "values": values_of} for record, values_of in shown],
        }


class History:
    """What the latest events of an execution tell: the latest decision by scope and node, why steps were withdrawn."""

    def __init__(self, store: Store, row: ExecutionRow) -> None:
        self._store = store
        self._row = row
        self._decisions: dict[tuple[str, str], Decision] = {}
        self._reasons: dict[str, str] = {}

    async def read(self) -> None:
        """Look through the log."""
        await self._look_for(DECISION_BYTES)
        await self._look_for(WITHDRAWAL_BYTES)

    @property
    def told(self) -> Told:
        """What explanations need of it."""
        return Told({key: decision.fact for key, decision in self._decisions.items()}, self._reasons)

    @property
    def latest(self) -> list[Decision]:
        """The latest decision of each node, the latest first."""
        by_node: dict[str, Decision] = {}
        for (_, node), decision in self._decisions.items():
            if node not in by_node or by_node[node].sequence < decision.sequence:
                by_node[node] = decision
        return sorted(by_node.values(), key=lambda decision: decision.sequence, reverse=True)[:DECISIONS_MAX]

    async def _look_for(self, holding: bytes) -> None:
        after = max(0, self._row.sequence - EVENTS_MAX)
        while rows := await self._store.log(
            self._row.tenant_id, self._row.execution_id, after_sequence=after, limit=LOG_PAGE, holding=holding
        ):
            await asyncio.to_thread(self._take, rows)
            if rows[-1].last_sequence <= after:
                return
            after = rows[-1].last_sequence

    def _take(self, rows: list[LogRow]) -> None:
        for row in rows:
            sequence = row.first_sequence - 1
            for position, fact in enumerate(decode_facts(row.events)):
                sequence += fact.PUBLIC
                if isinstance(fact, DecisionMade):
                    self._decisions[address(fact.step)] = Decision(row.number, position, sequence, row.at, fact)
                elif isinstance(fact, StepCancelled):
                    self._reasons[fact.step] = fact.reason


async def evaluate(store: Store, workflows: WorkflowManager, stored: Stored, decisions: list[Decision]) -> None:
    """Fill in the values of decisions, as far as the log that leads to them is short enough."""
    row, snapshot, log = stored
    since = snapshot[0] if snapshot is not None else 0
    recent = [decision for decision in decisions if decision.number > since]
    older = [decision for decision in decisions if decision.number <= since]
    if recent and len(log) <= FOLD_MAX:
        state = await asyncio.to_thread(fold, row, snapshot, [])
        await _Replay(workflows, row, state, recent).run(log)
    if older:
        limit = min(FOLD_MAX, older[0].number)
        log = await store.log(row.tenant_id, row.execution_id, after_sequence=BEFORE_ALL, limit=limit)
        reached = [decision for decision in older if log and decision.number <= log[-1].number]
        await _Replay(workflows, row, ExecutionState(row.tenant_id, row.execution_id), reached).run(log)


class _Replay:
    """Folds a log and stops at each decision that is to be evaluated again."""

    def __init__(
        self, workflows: WorkflowManager, row: ExecutionRow, state: ExecutionState, decisions: Iterable[Decision]
    ) -> None:
        self._workflows = workflows
        self._row = row
        self._state = state
        self._wanted: dict[int, list[Decision]] = {}
        for decision in decisions:
            self._wanted.setdefault(decision.number, []).append(decision)

    async def run(self, log: list[LogRow]) -> None:
        """Fold these transitions."""
        start = 0
        for number in sorted(self._wanted):
            index = next(index for index in range(start, len(log)) if log[index].number == number)
            await asyncio.to_thread(self._fold, log[start:index])
            facts = decode_facts(log[index].events)
            graph = await self._graph(facts)
            await asyncio.to_thread(self._evaluate, graph, log[index], facts)
            start = index + 1

    def _fold(self, log: list[LogRow]) -> None:
        for entry in log:
            apply_transition(self._state, decode_facts(entry.events), number=entry.number, at=entry.at)
            self._state.sequence = entry.last_sequence

    async def _graph(self, facts: list[AnyFact]) -> Graph | None:
        """The graph to evaluate with; None where the transition goes from one to another."""
        if any(isinstance(fact, ExecutionMigrated) for fact in facts):
            return None
        given = (getattr(fact, "version", None) for fact in facts)
        version = self._state.version or next(version for version in given if version is not None)
        return (await self._workflows.version(self._row.tenant_id, self._row.workflow_id, version)).graph

    def _evaluate(self, graph: Graph | None, entry: LogRow, facts: list[AnyFact]) -> None:
        if graph is None:
            self._fold([entry])
            return
        self._state.at = entry.at
        _Moment(Working(graph, self._state, Limits()), entry.at).run(facts, self._wanted[entry.number])
        self._state.number = entry.number
        self._state.sequence = entry.last_sequence


class _Moment:
    """One transition, followed fact by fact as the core decided it."""

    def __init__(self, working: Working, at: int) -> None:
        self._working = working
        self._t = Transition(working, at)
        self._assigned: str | None = None

    def run(self, facts: list[AnyFact], decisions: list[Decision]) -> None:
        """Evaluate these decisions on the way."""
        wanted = {decision.position: decision for decision in decisions}
        self._take_over_commanded(facts)
        for position, fact in enumerate(facts):
            if isinstance(fact, DecisionMade) and position + 1 < len(facts):
                values = self._decided(fact, facts[position + 1], is_wanted=position in wanted)
                if position in wanted:
                    wanted[position].values = values
            elif isinstance(fact, StepCompleted):
                self._assign(fact)
            self._working.emit(fact)
            if isinstance(fact, ExecutionStarted | ExecutionForked):
                self._t.evaluator.variables.begin(self._working.state.variables)

    def _take_over_commanded(self, facts: list[AnyFact]) -> None:
        """Variables that no node of this transition assigned were set by a command, which comes before the nodes."""
        completed = {address(fact.step)[1] for fact in facts if isinstance(fact, StepCompleted)}
        nodes = (node for graph in self._working.graph.bodies.values() for node in graph.nodes if node.id in completed)
        assigned = {name for node in nodes for name, _ in node.assign}
        for fact in facts:
            if isinstance(fact, VariablesChanged) and fact.scope == ROOT and ROOT in self._working.places:
                commanded = {name: value for name, value in fact.changed.items() if name not in assigned}
                if commanded:
                    self._t.evaluator.variables.assign(commanded, self._working.places[ROOT])

    def _assign(self, fact: StepCompleted) -> None:
        """What the node assigned when the step completed."""
        step = self._working.state.steps[fact.step]
        if self._assigned == fact.step or fact.is_skipped or step.is_parent:
            return
        node = self._working.spec(step)
        if not node.assign:
            return
        t, place = self._t, self._working.place(step)
        names = {**(names_of(t, step) or {}), "output": fact.output}
        try:
            values = {name: t.evaluator.value(value, place, names) for name, value in node.assign}
        except StepFault:
            return  # it did not fail then: something that it reads is shown otherwise now
        t.evaluator.variables.assign(values, place)

    def _decided(self, fact: DecisionMade, outcome: AnyFact, *, is_wanted: bool) -> list[list[dict[str, Any]] | None]:
        """The values of each connection that was looked at."""
        t = self._t
        step = self._working.state.steps[fact.step]
        node = self._working.spec(step)
        place = self._working.place(step)
        views = t.evaluator.steps(place)
        extra = dict(names_of(t, step) or {})
        edges = node.on_success
        if isinstance(outcome, StepFailed):
            edges = node.on_error
            extra["error"] = outcome.error
            views.show_failed(node.id, outcome.error)
        elif isinstance(outcome, StepCompleted) and (node.type != "decision" or outcome.is_skipped):
            self._assign(outcome)
            self._assigned = fact.step
            status = "skipped" if outcome.is_skipped else "completed"
            views.show_completed(node.id, _output(step, node, outcome), step.attempt, status)
        try:
            if not is_wanted:
                return []
            names = t.evaluator.names(place, extra)
            units = t.evaluator.limits.expression_units_max
            traces = {
                id(record): _agreeing(edge.when.trace(names, Meter(units)), record["result"])
                for edge, record in pairs(edges, fact.connections)
                if edge.when is not None
            }
        finally:
            views.show_facts()
        return [traces.get(id(record)) for record in fact.connections]


def _agreeing(trace: list[tuple[str, Any]], result: bool) -> list[dict[str, Any]] | None:
    """The values, unless they contradict what the log has: a command may have set, in the very transition, a variable
    that a node assigned later on, and the log has the last value alone.
    """
    return shown_trace(trace) if not trace or trace[0][1] is result else None


def _output(step: Step, node: NodeSpec, outcome: StepCompleted) -> Any:
    if outcome.is_list:
        return listed_results(step) if node.keeps_output else None
    return outcome.output
