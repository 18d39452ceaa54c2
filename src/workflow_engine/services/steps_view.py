"""The steps of an execution: a projection of its log, page by page, in the order of activation.

A page begins where the one before ended and reads on until the fate of its steps is known; of a step that is still
active the state knows it. So the cost of a page does not grow with what came before, and memory not with what follows.
"""

import re
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec

from workflow_engine.models.errors import CommandRejected, NotFound
from workflow_engine.models.event import (
    AnyFact,
    ErrorValue,
    ExecutionForked,
    ExecutionMigrated,
    ItemsAdded,
    StepAttempted,
    StepCancelled,
    StepCompleted,
    StepFailed,
    StepQueued,
    StepReopened,
    StepRequeued,
    StepRetrying,
    StepStarted,
    decode_facts,
)
from workflow_engine.models.execution import CANCELLED, FAILED, ExecutionState, Step
from workflow_engine.models.node import Node
from workflow_engine.services.execution_resource import shown_instant
from workflow_engine.services.state_manager import StateManager
from workflow_engine.services.workflow_manager import WorkflowManager
from workflow_engine.store import ExecutionRow, LogRow, Store

LOG_PAGE: Final = 200
"""Transitions read at a time."""

LIST_BYTES_MAX: Final = 64 * 1024 * 1024
"""A `foreach` step's list of results that is larger is left out."""

PAGE_BYTES_MAX: Final = 8 * 1024 * 1024
"""A page ends early once its steps hold this much log."""

STEP_ID: Final = re.compile(r"[A-Za-z0-9_.:~-]{1,4096}")

_STEP_OF_FACT = re.compile(rb'"step":"([^"]*)"')

OMITTED: Final = "the list is larger than 64 MiB; look at the items' own steps"

PENDING: Final = "pending"
COMPENSATED: Final = "compensated"

Position = tuple[int, int]
"""Where a step began in the log: the number of the latest event by then, and how many steps had begun since it without
an event of their own.
"""


def parent_of(step_id: str) -> str | None:
    """The step of which this one is an item or iteration, if it is one.

    >>> parent_of("each.1:3"), parent_of("each.1:3:0"), parent_of("each.1:3~fetch.2")
    ('each.1', 'each.1:3', None)
    """
    parent, colon, last = step_id.rpartition(":")
    return parent if colon and "~" not in last else None


class StepView(msgspec.Struct):
    """A step as it emerges from its facts."""

    step_id: str
    node: str
    position: Position
    scheduled_at: int
    status: str
    started_at: int | None = None
    attempts: int = 1
    input: Any = None
    items: list[Any] | None = None
    """Of a `foreach` step."""
    output: Any = None
    error: ErrorValue | None = None
    finished_at: int | None = None
    generation: int = 0
    is_final: bool = False
    """Nothing more can happen to it, not even a retry."""
    is_undoable: bool = False
    results: dict[int, Any] | None = None
    """Of the items of a `foreach` step, until its list is complete."""
    size_bytes: int = 0
    is_omitted: bool = False

    @classmethod
    def queued(cls, fact: StepQueued, at: int, position: Position) -> "StepView":
        """A step that has to wait before it starts."""
        return cls(fact.step, fact.node, position, at, PENDING, attempts=0)

    @classmethod
    def started(cls, fact: StepStarted, at: int, position: Position) -> "StepView":
        """A step that starts at once."""
        view = cls(fact.step, fact.node, position, at, fact.status)
        view.start(fact, at)
        return view

    @classmethod
    def inherited(cls, step: Step, at: int, position: Position) -> "StepView":
        """A step that an execution has of the one that it was forked from; it begins anew."""
        view = cls(step.step_id, step.node, position, at, step.status, at, step.attempt)
        view.input, view.items, view.generation = step.input, step.items, step.generation
        view.results = dict(step.results) if step.items is not None else None
        return view

    def start(self, fact: StepStarted, at: int) -> None:
        """It begins, at once or after having been queued."""
        self.status, self.started_at, self.attempts, self.input = fact.status, at, 1, fact.input
        self._take_items(fact.items)

    def _take_items(self, items: list[Any] | None) -> None:
        if items is not None:
            self.items = items
            self.results = self.results or {}

    def follow(self, fact: AnyFact, at: int, size_bytes: int) -> None:
        """Take a fact about this step or, for a `foreach` step, about one of its items."""
        self.size_bytes += size_bytes
        match fact:
            case StepStarted():
                self.start(fact, at)
            case StepRequeued():
                self.status, self.attempts, self.error, self.finished_at = PENDING, 1, None, None
                self.generation += 1
            case StepReopened():
                self.status, self.attempts, self.error, self.finished_at = fact.status, 1, None, None
                self.generation += 1
                self._reopen(fact)
            case StepAttempted():
                self.attempts, self.error = fact.attempt, None
            case StepRetrying():
                self.attempts, self.error = fact.attempt, fact.error
            case ItemsAdded():
                self.items = [*(self.items or ()), *fact.items]
            case StepCompleted() if fact.step == self.step_id:
                self._complete(fact, at)
            case StepCompleted():
                self._keep(fact)
            case StepFailed():
                self.status, self.error, self.attempts, self.finished_at = "failed", fact.error, fact.attempt, at
                self.is_final = not fact.is_reopenable
            case StepCancelled():
                self.status, self.finished_at = "cancelled", at
                self.is_final = not fact.is_reopenable

    def _reopen(self, fact: StepReopened) -> None:
        if fact.is_fresh:
            self.input = fact.input
            self._take_items(fact.items)

    def _complete(self, fact: StepCompleted, at: int) -> None:
        self.status, self.attempts, self.error, self.finished_at = "completed", fact.attempt, None, at
        self.is_final, self.is_undoable = True, fact.is_undoable
        if fact.is_skipped:
            self.status = "skipped"
        if not fact.is_list:
            self.output = fact.output
        elif self.results is not None and not self.is_omitted:
            self.output = [self.results.get(index) for index in range(len(self.items or ()))]
        self.results = None

    def _keep(self, fact: StepCompleted) -> None:
        if self.size_bytes > LIST_BYTES_MAX:
            self.is_omitted = True
            self.results = None
        elif self.results is not None:
            self.results[int(fact.step.rpartition(":")[2])] = fact.output

    def is_settled(self, state: ExecutionState) -> bool:
        """Whether reading on would tell nothing new about the step."""
        active = state.steps.get(self.step_id)
        if self.is_final or (active is not None and not active.is_detached):
            return True
        closed = state.reopenable.get(self.step_id)
        return closed is not None and self.finished_at is not None and self.generation == closed.generation

    def look_at(self, step: Step) -> None:
        """Take over what the state says of a step that is active: facts after the last one that was read."""
        if step.is_detached or (self.finished_at is not None and self.generation >= step.generation):
            return
        self.status, self.finished_at = step.status, None
        self.error = step.error if step.retry_at is not None else None
        self.items = step.items
        if self.started_at is None and step.status != PENDING:
            self.started_at = step.started_at
        if self.started_at is not None:
            self.attempts, self.input = step.attempt, step.input

    def resource(self, types: dict[str, str], worker: str) -> dict[str, Any]:
        """The step as the API shows it."""
        node_type = types.get(self.node)
        resource = {
            "step_id": self.step_id,
            "node_id": self.node,
            "type": node_type,
            "status": self.status,
            "attempts": self.attempts,
            "input": self.input if self.items is None else {"items": self.items},
            "output": self.output,
            "error": self.error,
            "worker": worker if node_type in CALLED_TYPES and self.items is None else None,
            "scheduled_at": shown_instant(self.scheduled_at),
            "started_at": shown_instant(self.started_at),
            "finished_at": shown_instant(self.finished_at),
        }
        if self.is_omitted and self.status == "completed":
            resource["output_omitted"] = OMITTED
        return resource


CALLED_TYPES: Final = frozenset({"http", "function", "worker", "tool", "agent", "query", "conversation", "workflow"})
"""Nodes whose work is done by a call, and so by a worker."""


class _Page:
    """The steps that are being gathered, and where the gathering stands."""

    def __init__(self, *, after: Position, limit: int, only: str | None = None) -> None:
        self.after = after
        self.limit = limit
        self.only = only
        self.views: dict[str, StepView] = {}
        self.has_more = False
        self.size_bytes = 0
        self.transition = 0
        """The last one that was read."""
        self._at: Position = (0, 0)

    @property
    def position(self) -> Position | None:
        """Where the next page begins, if there is one."""
        return next(reversed(self.views.values())).position if self.has_more else None

    @property
    def is_full(self) -> bool:
        return len(self.views) >= self.limit or self.size_bytes >= PAGE_BYTES_MAX

    def take(self, row: LogRow) -> None:
        """Follow the facts of one transition; one that was read already is passed over."""
        if row.number <= self.transition:
            return
        self.transition = row.number
        if self._at[0] < row.first_sequence - 1:
            self._at = (row.first_sequence - 1, 0)
        if self.is_full and self.has_more and not self._concerns(row.events):
            return
        facts = decode_facts(row.events)
        share_bytes = len(row.events) // max(1, len(facts))
        for fact in facts:
            if fact.PUBLIC:
                self._at = (self._at[0] + 1, 0)
            match fact:
                case StepQueued():
                    self._begin(StepView.queued(fact, row.at, self._next()), share_bytes)
                case StepStarted() if not fact.is_queued:
                    self._begin(StepView.started(fact, row.at, self._at), share_bytes)
                case ExecutionForked():
                    self._inherit(fact, row.at)
                case _:
                    self._follow(fact, row.at, share_bytes)

    def _next(self) -> Position:
        self._at = (self._at[0], self._at[1] + 1)
        return self._at

    def _concerns(self, events: bytes) -> bool:
        """Whether a transition may say something about a step of the page, by its bytes alone."""
        return any(
            step_id in self.views or parent_of(step_id) in self.views
            for step_id in (match.decode() for match in _STEP_OF_FACT.findall(events))
        )

    def _inherit(self, fact: ExecutionForked, at: int) -> None:
        """The steps with which a fork begins."""
        inherited = msgspec.convert(fact.state.get("reopenable", {}), dict[str, Step], str_keys=True)
        for step in inherited.values():
            self._begin(StepView.inherited(step, at, self._next()), 0)

    def _begin(self, view: StepView, size_bytes: int) -> None:
        if view.position <= self.after or (self.only is not None and view.step_id != self.only):
            return
        if self.is_full:
            self.has_more = True
            return
        view.size_bytes = size_bytes
        self.views[view.step_id] = view
        self._grow(size_bytes)

    def _follow(self, fact: AnyFact, at: int, size_bytes: int) -> None:
        step_id: str | None = getattr(fact, "step", None)
        if step_id is None:
            return
        view = self.views.get(step_id)
        if view is not None:
            view.follow(fact, at, size_bytes)
            self._grow(size_bytes)
        if isinstance(fact, StepCompleted):
            parent = self.views.get(parent_of(step_id) or "")
            if parent is not None and parent.items is not None:
                parent.follow(fact, at, size_bytes)
                self._grow(size_bytes)

    def _grow(self, size_bytes: int) -> None:
        """What makes the page too large is left to the next one, but for its first step."""
        self.size_bytes += size_bytes
        while self.size_bytes > PAGE_BYTES_MAX and len(self.views) > 1:
            _, dropped = self.views.popitem()
            self.size_bytes -= dropped.size_bytes
            self.limit, self.has_more = len(self.views), True

    def is_done(self, state: ExecutionState) -> bool:
        """Whether reading on would tell nothing new."""
        return self.is_full and self.has_more and all(view.is_settled(state) for view in self.views.values())


class StepsView:
    """The steps of all executions, to look at."""

    def __init__(self, store: Store, workflows: WorkflowManager, states: StateManager) -> None:
        self._store = store
        self._workflows = workflows
        self._states = states

    async def page(
        self, tenant_id: str, execution_id: str, *, after: Position = (0, 0), limit: int = 50
    ) -> tuple[list[dict[str, Any]], Position | None]:
        """A page of steps in the order of activation, and where the next one begins, if there is one; raises NotFound.

        Args:
            after: what the page before gave.
        """
        row, state = await self._states.state(tenant_id, execution_id)
        page = _Page(after=after, limit=limit)
        # From the transition on that holds the last event before: steps may have begun after it without one.
        await self._read(page, row, state, None, after_sequence=after[0] - 1)
        return await self._resources(row, state, page), page.position

    async def get(self, tenant_id: str, execution_id: str, step_id: str) -> dict[str, Any]:
        """One step; raises NotFound."""
        row, state = await self._states.state(tenant_id, execution_id)
        page = _Page(after=(0, 0), limit=1, only=step_id)
        if STEP_ID.fullmatch(step_id) is not None:
            await self._read_one(page, row, state, f'"step":"{step_id}"')
        if not page.views:
            raise NotFound(f"the execution has no step {step_id[:128]!r}")
        if page.views[step_id].items is not None and step_id not in state.steps:  # its list is that of its items
            page = _Page(after=(0, 0), limit=1, only=step_id)
            await self._read_one(page, row, state, f'"step":"{step_id}')
        return (await self._resources(row, state, page))[0]

    @asynccontextmanager
    async def named(self, tenant_id: str, execution_id: str, step_id: str) -> AsyncIterator[None]:
        """Commands to a step are given in this block: a rejected one is NotFound where there never was such a step."""
        try:
            yield
        except CommandRejected:
            await self.get(tenant_id, execution_id, step_id)
            raise

    async def _read_one(self, page: _Page, row: ExecutionRow, state: ExecutionState, holding: str) -> None:
        first, _ = await self._store.first_and_last(row.tenant_id, row.execution_id)
        page.take(first)  # a fork's first fact holds steps without naming them as others do
        await self._read(page, row, state, holding.encode())

    async def _read(
        self, page: _Page, row: ExecutionRow, state: ExecutionState, holding: bytes | None, *, after_sequence: int = 0
    ) -> None:
        async for entry in self._log(row, after_sequence, holding):
            page.take(entry)
            if page.is_done(state):
                return

    async def _log(self, row: ExecutionRow, after_sequence: int, holding: bytes | None) -> AsyncIterator[LogRow]:
        """The log from the transition on that holds what follows a sequence."""
        limit, last = LOG_PAGE, 0
        while True:
            rows = await self._store.log(
                row.tenant_id, row.execution_id, after_sequence=after_sequence, limit=limit, holding=holding
            )
            fresh = [entry for entry in rows if entry.number > last]
            for entry in fresh:
                yield entry
            if fresh:
                last = fresh[-1].number
                # What has no event of its own shares the sequence of what is before it: that is read again with it.
                after_sequence, limit = fresh[-1].last_sequence - 1, LOG_PAGE
            elif len(rows) == limit:
                limit *= 2
            elif rows:
                after_sequence = rows[-1].last_sequence
            else:
                return

    async def _resources(self, row: ExecutionRow, state: ExecutionState, page: _Page) -> list[dict[str, Any]]:
        views = page.views.values()
        for view in views:
            active = state.steps.get(view.step_id)
            if active is not None:
                view.look_at(active)
        may_be_undone = state.compensation is not None or state.status in (FAILED, CANCELLED)
        if may_be_undone and any(view.is_undoable for view in views):
            for step_id in await self._undone(row):
                if step_id in page.views:
                    page.views[step_id].status = COMPENSATED
        types = await self._types(row, state, views)
        return [view.resource(types, self._states.names.worker) for view in views]

    async def _undone(self, row: ExecutionRow) -> set[str]:
        """The steps whose compensation is complete."""
        found = await self._store.log(row.tenant_id, row.execution_id, limit=1, holding=b'"compensation_started"')
        undoes: dict[str, str] = {}
        undone: set[str] = set()
        if not found:
            return undone
        async for entry in self._log(row, found[0].first_sequence - 1, None):
            for fact in decode_facts(entry.events):
                if isinstance(fact, StepStarted) and fact.undoes is not None:
                    undoes[fact.step] = fact.undoes
                elif isinstance(fact, StepCompleted) and fact.step in undoes:
                    undone.add(undoes[fact.step])
        return undone

    async def _types(self, row: ExecutionRow, state: ExecutionState, views: Iterable[StepView]) -> dict[str, str]:
        """The types of nodes by id; of nodes that a migration has dropped too, where one of these steps needs it."""
        types = await self._types_of(row, state.version)
        if all(view.node in types for view in views):
            return types
        async for entry in self._log(row, 0, b'"execution_migrated"'):
            for fact in decode_facts(entry.events):
                if isinstance(fact, ExecutionMigrated):
                    types = await self._types_of(row, fact.from_version) | types
        return types

    async def _types_of(self, row: ExecutionRow, version: int) -> dict[str, str]:
        published = await self._workflows.version(row.tenant_id, row.workflow_id, version)
        return {node.id: node.type for node in all_nodes(published.definition.nodes)}


def all_nodes(nodes: Iterable[Node]) -> Iterator[Node]:
    """Nodes with those inside groups."""
    for node in nodes:
        yield node
        yield from all_nodes(getattr(node, "nodes", ()))
