"""New executions that begin where another one stood."""

import asyncio
from typing import Any

from uuid_utils import uuid7

from workflow_engine.engine.migration import rebase
from workflow_engine.models.command import Fork
from workflow_engine.models.errors import Conflict, InputInvalid, NotFound
from workflow_engine.models.execution import ExecutionState
from workflow_engine.models.problem import Problem
from workflow_engine.services.execution_resource import execution_resource
from workflow_engine.services.recorded_outputs import recorded_outputs
from workflow_engine.services.state_manager import fold
from workflow_engine.services.workflow_executor import Receipt, WorkflowExecutor
from workflow_engine.services.workflow_manager import Published, WorkflowManager
from workflow_engine.store import ExecutionRow, Store


class Forks:
    """Makes executions of what others were."""

    def __init__(self, store: Store, workflows: WorkflowManager, executor: WorkflowExecutor) -> None:
        self._store = store
        self._workflows = workflows
        self._executor = executor

    async def fork(
        self,
        tenant_id: str,
        execution_id: str,
        *,
        sequence: int | None,
        version: int | None,
        variables: dict[str, Any],
        receipt: Receipt | None = None,
    ) -> dict[str, Any]:
        """Start an execution that goes on from an event of another one; gives it as the API shows it.

        It has the labels and metadata of its origin, and a log of its own.

        Args:
            sequence: the event; rounded up to the end of its transition. None: the latest.
            version: of the definition to go on with; None: the one that the origin had then.
            variables: merged into those of that moment.

        Raises:
            NotFound: no such execution. InputInvalid: no such event or version.
            Conflict: the workflow is archived, or a token or step has no place in that version.
            CommandRejected: the origin had not begun there, was cancelled, or had undone what it did. StoreUnavailable.
        """
        row, state = await self._state_at(tenant_id, execution_id, sequence)
        origin_sequence = state.sequence
        published = await self._target(tenant_id, row.workflow_id, state, version)
        if published.version != state.version:
            before = await self._workflows.version(tenant_id, row.workflow_id, state.version)
            state.undo.clear()  # a fork undoes nothing that its origin did
            outputs = await recorded_outputs(self._store, state, before.graph, published.graph, {})
            problems = rebase(state, before.graph, published.graph, published.version, {}, outputs=outputs)
            if problems:
                raise Conflict("; ".join(problems), code="cannot_migrate")
        forked = ExecutionRow(
            tenant_id=tenant_id,
            execution_id=str(uuid7()),
            workflow_id=row.workflow_id,
            version=published.version,
            priority=row.priority,
            created_at=self._store.now(),
            labels=row.labels,
            metadata=row.metadata,
        )
        command = Fork(row.workflow_id, published.version, row.execution_id, origin_sequence, state, variables)
        return await self._executor.start(forked, published.graph, command, execution_resource, receipt)

    async def _state_at(
        self, tenant_id: str, execution_id: str, sequence: int | None
    ) -> tuple[ExecutionRow, ExecutionState]:
        try:
            if sequence is None:
                row, snapshot, log = await self._store.load(tenant_id, execution_id)
            else:
                row, snapshot, log = await self._store.load_until(tenant_id, execution_id, sequence)
        except NotFound as error:
            if "sequence" not in error.data:
                raise
            raise InputInvalid([_problem("/sequence", error.message)], "request") from None
        # In a thread: the log may be long, and others want the loop.
        return row, await asyncio.to_thread(fold, row, snapshot, log)

    async def _target(self, tenant_id: str, workflow_id: str, state: ExecutionState, version: int | None) -> Published:
        try:
            return await self._workflows.startable(tenant_id, workflow_id, version or state.version)
        except NotFound as error:
            raise InputInvalid([_problem("/version", error.message)], "request") from None


def _problem(path: str, message: str) -> Problem:
    return Problem(severity="error", code="not_found", path=path, message=message)
