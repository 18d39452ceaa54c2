"""The steps of an execution: a projection of its log, page by page, in the order of activation.

A page begins where the one before ended and reads on until the fate of its steps is known; of a step that is still
active the state knows it. So the cost of a page does not grow with what came before, and memory not with what follows.
"""

import re
from typing import Any, Final

import msgspec

from workflow_engine.models.errors import NotFound
from workflow_engine.models.event import (
    AnyFact,
    ErrorValue,
    StepAttempted,
    StepCancelled,
    StepCompleted,
    StepFailed,
    StepReopened,
    StepRetrying,
    StepStarted,
    decode_facts,
)
from workflow_engine.models.execution import ExecutionState
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


class StepView(msgspec.Struct):
    """A step as it emerges from its facts."""

    started: StepStarted
    started_at: int
    sequence: int
    status: str
    attempts: int = 1
    output: Any = None
    error: ErrorValue | None = None
    finished_at: int | None = None
    reopened: int = 0
    is_final: bool = False
    """Nothing more can happen to it, not even a retry."""
    results: dict[int, Any] | None = None
    """Of the items of a `foreach` step, until its list is complete."""
    size_bytes: int = 0
    is_omitted: bool = False

    def follow(self, fact: AnyFact, at: int, size_bytes: int) -> None:
        """Take a fact about this step or, for a `foreach` step, about one of its items."""
        self.size_bytes += size_bytes
        match fact:
            case StepReopened():
                self.status, self.attempts, self.error, self.finished_at = fact.status, 1, None, None
                self.reopened += 1
            case StepAttempted():
                self.attempts, self.error = fact.attempt, None
            case StepRetrying():
                self.attempts, self.error = fact.attempt, fact.error
            case StepCompleted() if fact.step == self.started.step:
                self._complete(fact, at)
            case StepCompleted():
                self._keep(fact)
            case StepFailed():
                self.status, self.error, self.attempts, self.finished_at = "failed", fact.error, fact.attempt, at
                self.is_final = not fact.is_reopenable
            case StepCancelled():
                self.status, self.finished_at = "cancelled", at
                self.is_final = not fact.is_reopenable

    def _complete(self, fact: StepCompleted, at: int) -> None:
        self.status, self.attempts, self.error, self.finished_at = "completed", fact.attempt, None, at
        self.is_final = True
        if not fact.is_list:
            self.output = fact.output
        elif self.results is not None and not self.is_omitted:
            self.output = [self.results.get(index) for index in range(len(self.started.items or ()))]
        self.results = None

    def _keep(self, fact: StepCompleted) -> None:
        if self.size_bytes > LIST_BYTES_MAX:
            self.is_omitted = True
            self.results = None
        elif self.results is not None:
            self.results[int(fact.step.rpartition(":")[2])] = fact.output

    def is_settled(self, state: ExecutionState) -> bool:
        """Whether reading on would tell nothing new about the step."""
        step_id = self.started.step
        if self.is_final or step_id in state.steps:
            return True
        closed = state.reopenable.get(step_id)
        return closed is not None and self.finished_at is not None and self.reopened == closed.generation

    def resource(self, state: ExecutionState, types: dict[str, str], worker: str) -> dict[str, Any]:
        """The step as the API shows it."""
        fact = self.started
        node_type = types.get(fact.node)
        active = state.steps.get(fact.step)
        if active is not None and (self.finished_at is None or self.reopened < active.generation):
            self.status, self.attempts, self.finished_at = active.status, active.attempt, None
            self.error = active.error if active.retry_at is not None else None
        resource = {
            "step_id": fact.step,
            "node_id": fact.node,
            "type": node_type,
            "status": self.status,
            "attempts": self.attempts,
            "input": fact.input if fact.items is None else {"items": fact.items},
            "output": self.output,
            "error": self.error,
            "worker": worker if node_type in CALLED_TYPES and fact.items is None else None,
            "scheduled_at": shown_instant(self.started_at),
            "started_at": shown_instant(self.started_at) if self.status != "pending" else None,
            "finished_at": shown_instant(self.finished_at),
        }
        if self.is_omitted and self.status == "completed":
            resource["output_omitted"] = OMITTED
        return resource


CALLED_TYPES: Final = frozenset({"http", "function", "worker", "tool", "agent", "query", "conversation", "workflow"})
"""Nodes whose work is done by a call, and so by a worker."""


class _Page:
    """The steps that are being gathered, and where the gathering stands."""

    def __init__(self, *, after: int, limit: int, only: str | None = None) -> None:
        self.after = after
        self.limit = limit
        self.only = only
        self.views: dict[str, StepView] = {}
        self.has_more = False
        self.size_bytes = 0

    @property
    def position(self) -> int | None:
        """Where the next page begins, if there is one."""
        return next(reversed(self.views.values())).sequence if self.has_more else None

    @property
    def is_full(self) -> bool:
        return len(self.views) >= self.limit or self.size_bytes >= PAGE_BYTES_MAX

    def take(self, row: LogRow) -> None:
        """Follow the facts of one transition."""
        if self.is_full and self.has_more and not self._concerns(row.events):
            return
        facts = decode_facts(row.events)
        share_bytes = len(row.events) // max(1, len(facts))
        sequence = row.first_sequence - 1
        for fact in facts:
            sequence += fact.PUBLIC
            if isinstance(fact, StepStarted):
                self._begin(fact, row.at, sequence, share_bytes)
            else:
                self._follow(fact, row.at, share_bytes)

    def _concerns(self, events: bytes) -> bool:
        """Whether a transition may say something about a step of the page, by its bytes alone."""
        return any(
            step_id in self.views or step_id.rpartition(":")[0] in self.views
            for step_id in (match.decode() for match in _STEP_OF_FACT.findall(events))
        )

    def _begin(self, fact: StepStarted, at: int, sequence: int, size_bytes: int) -> None:
        if sequence <= self.after or (self.only is not None and fact.step != self.only):
            return
        if self.is_full:
            self.has_more = True
            return
        results: dict[int, Any] | None = {} if fact.items is not None else None
        self.views[fact.step] = StepView(fact, at, sequence, fact.status, results=results, size_bytes=size_bytes)
        self._grow(size_bytes)

    def _follow(self, fact: AnyFact, at: int, size_bytes: int) -> None:
        step_id = getattr(fact, "step", None)
        view = self.views.get(step_id) if step_id is not None else None
        if view is not None:
            view.follow(fact, at, size_bytes)
            self._grow(size_bytes)
        if step_id is not None and isinstance(fact, StepCompleted):
            parent = self.views.get(step_id.rpartition(":")[0])
            if parent is not None and parent.started.items is not None:
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
        self, tenant_id: str, execution_id: str, *, after: int = 0, limit: int = 50
    ) -> tuple[list[dict[str, Any]], int | None]:
        """A page of steps in the order of activation, and where the next one begins, if there is one; raises NotFound.

        Args:
            after: what the page before gave: the sequence of its last step's start.
        """
        row, state = await self._states.state(tenant_id, execution_id)
        page = _Page(after=after, limit=limit)
        await self._read(page, row, state, None)
        return await self._resources(row, state, page), page.position

    async def get(self, tenant_id: str, execution_id: str, step_id: str) -> dict[str, Any]:
        """One step; raises NotFound."""
        row, state = await self._states.state(tenant_id, execution_id)
        page = _Page(after=0, limit=1, only=step_id)
        if STEP_ID.fullmatch(step_id) is not None:
            await self._read(page, row, state, f'"step":"{step_id}"'.encode())
        if not page.views:
            raise NotFound(f"the execution has no step {step_id[:128]!r}")
        if page.views[step_id].started.items is not None:
            page = _Page(after=0, limit=1, only=step_id)
            await self._read(page, row, state, f'"step":"{step_id}'.encode())
        return (await self._resources(row, state, page))[0]

    async def _read(self, page: _Page, row: ExecutionRow, state: ExecutionState, holding: bytes | None) -> None:
        sequence = page.after
        while rows := await self._store.log(
            row.tenant_id, row.execution_id, after_sequence=sequence, limit=LOG_PAGE, holding=holding
        ):
            for entry in rows:
                page.take(entry)
            if page.is_done(state) or rows[-1].last_sequence <= sequence:
                return
            sequence = rows[-1].last_sequence

    async def _resources(self, row: ExecutionRow, state: ExecutionState, page: _Page) -> list[dict[str, Any]]:
        published = await self._workflows.version(row.tenant_id, row.workflow_id, row.version)
        types = {node.id: node.type for node in published.graph.nodes}
        worker = self._states.names.worker
        return [view.resource(state, types, worker) for view in page.views.values()]
