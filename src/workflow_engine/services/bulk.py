"""One command for many executions: a few at a time, each in a commit of its own, so that nobody else has to wait."""

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final, Literal, assert_never

import msgspec

from workflow_engine.models.command import AnyCommand, Cancel, Pause, Resume, Retry, Terminate
from workflow_engine.models.errors import AlreadyExists, DependencyUnavailable, WorkflowEngineError
from workflow_engine.models.execution import ExecutionState
from workflow_engine.services.workflow_executor import Receipt, WorkflowExecutor
from workflow_engine.store import ExecutionRow, Store

AT_ONCE: Final = 16
"""Executions under way at a time: enough to share commits, few enough to leave the readers to others."""

PAGE: Final = 500
"""Executions looked up at a time."""

Action = Literal["pause", "resume", "cancel", "terminate", "retry"]

Position = tuple[int, str]
"""Where the executions that were chosen end: when the last one was created, and its id."""

ReceiptOf = Callable[[str], Receipt]
"""The receipt that goes with the commit of an execution."""


class Chosen(msgspec.Struct, frozen=True):
    """Executions that a filter found, newest first, and where the next ones begin, if there are more."""

    execution_ids: list[str]
    position: Position | None


class Failed(msgspec.Struct, frozen=True):
    """An execution that did not take the command."""

    execution_id: str
    code: str
    detail: str


class Outcome(msgspec.Struct):
    """What became of the command."""

    succeeded: int = 0
    failed: list[Failed] = []


def steering_command(action: Action, reason: str | None = None, *, compensate: bool = False) -> AnyCommand:
    """The command that an action is.

    Args:
        reason: of `cancel` and `terminate`: for people.
        compensate: of `cancel`.
    """
    match action:
        case "pause":
            return Pause()
        case "resume":
            return Resume()
        case "cancel":
            return Cancel(reason or "cancelled", compensate)
        case "terminate":
            return Terminate(reason or "terminated")
        case "retry":
            return Retry()
    assert_never(action)


class Bulk:
    """Gives commands to many executions."""

    def __init__(self, store: Store, executor: WorkflowExecutor) -> None:
        self._store = store
        self._executor = executor

    async def choose(self, tenant_id: str, *, before: Position | None, limit: int, **chosen: Any) -> Chosen:
        """The executions that a filter finds, at most so many.

        Args:
            before: what the choice before gave.
            chosen: the filters of `Store.executions`.
        """
        found: list[ExecutionRow] = []
        while len(found) <= limit:
            wanted = min(PAGE, limit + 1 - len(found))
            rows = await self._store.executions(tenant_id, before=before, limit=wanted, **chosen)
            found += rows
            if len(rows) < wanted:
                break
            before = (rows[-1].created_at, rows[-1].execution_id)
        taken = found[:limit]
        has_more = len(found) > limit
        position = (taken[-1].created_at, taken[-1].execution_id) if has_more else None
        return Chosen([row.execution_id for row in taken], position)

    async def give(
        self,
        tenant_id: str,
        execution_ids: Sequence[str],
        command: AnyCommand,
        *,
        claim: Receipt | None = None,
        receipt_of: ReceiptOf | None = None,
        done: Collection[str] = (),
    ) -> Outcome:
        """Give each the command; an execution that has it already by this request counts as one that takes it.

        Args:
            claim: goes with the first commit of all: from then on the request is known to have begun.
            receipt_of: gives what goes with each of the other commits.
            done: executions that have the command already.

        Raises:
            AlreadyExists: the claim stands. DependencyUnavailable: the database takes nothing now; some may have the
            command.
        """
        work = _Work(self._executor, tenant_id, command)
        left = iter([one for one in execution_ids if one not in done])
        work.outcome.succeeded = len(set(execution_ids) & set(done))
        if claim is not None:
            await work.begin(left, claim)
        workers = [asyncio.ensure_future(work.go_on(left, receipt_of)) for _ in range(AT_ONCE)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
        return work.outcome


class _Work:
    """A command on its way to many."""

    def __init__(self, executor: WorkflowExecutor, tenant_id: str, command: AnyCommand) -> None:
        self._executor = executor
        self._tenant_id = tenant_id
        self._command = command
        self.outcome = Outcome()

    async def begin(self, left: Iterator[str], claim: Receipt) -> None:
        """Take one after another until the first that takes the command, and the claim with it."""
        for execution_id in left:
            if await self._is_given(execution_id, claim):
                self.outcome.succeeded += 1
                return

    async def go_on(self, left: Iterator[str], receipt_of: ReceiptOf | None) -> None:
        """Take one after another until none is left."""
        for execution_id in left:
            try:
                receipt = receipt_of(execution_id) if receipt_of is not None else None
                is_given = await self._is_given(execution_id, receipt)
            except AlreadyExists:
                is_given = True  # its receipt stands, and so does what was asked for
            if is_given:
                self.outcome.succeeded += 1

    async def _is_given(self, execution_id: str, receipt: Receipt | None) -> bool:
        """Give it to one; where that is refused, note why."""
        try:
            await self._executor.ask((self._tenant_id, execution_id), self._command, _nothing, receipt)
        except (AlreadyExists, DependencyUnavailable):
            raise
        except WorkflowEngineError as error:
            self.outcome.failed.append(Failed(execution_id, error.data.get("code", error.code), error.message))
            return False
        return True


def _nothing(_row: ExecutionRow, _state: ExecutionState) -> None:
    """Nobody looks at each of many."""
