"""What it takes to begin an execution: a version, values that were checked, and the row that it will have."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from uuid_utils import uuid7

from workflow_engine.engine.graph import Graph
from workflow_engine.models.command import Start
from workflow_engine.models.errors import DependencyUnavailable, LimitExceeded, WorkflowEngineError
from workflow_engine.models.json_value import JsonInvalid, check_json, decode_json
from workflow_engine.models.limits import Limits
from workflow_engine.services.attributes import check_attributes
from workflow_engine.services.workflow_manager import Published, WorkflowManager
from workflow_engine.store import ExecutionRow, Store

BATCH_MAX: Final = 1_000
"""Executions started at once: one commit, and some tenths of a second of work."""

TURN_STARTS: Final = 50
"""Starts that are checked before others get a turn of the event loop."""


class PreparedStart(NamedTuple):
    """An execution that may begin."""

    row: ExecutionRow
    graph: Graph
    command: Start


class Wanted(NamedTuple):
    """What a start asks for."""

    input: Any
    version: int | None
    """None: the latest."""
    execution_id: str | None
    """None: a new one."""
    variables: dict[str, Any]
    metadata: dict[str, Any]
    labels: dict[str, Any]
    priority: int
    delay_s: float


class Starts:
    """Prepares executions of all tenants, whoever asks for them."""

    def __init__(self, store: Store, workflows: WorkflowManager, limits: Limits) -> None:
        self._store = store
        self._workflows = workflows
        self._limits = limits

    async def prepare(
        self,
        tenant_id: str,
        workflow_id: str,
        input: Any,  # noqa: A002 - the contract's word
        *,
        version: int | None = None,
        execution_id: str | None = None,
        variables: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        labels: dict[str, Any] | None = None,
        priority: int = 5,
        delay_s: float = 0.0,
    ) -> PreparedStart:
        """Check everything that a start can be refused for.

        Raises:
            NotFound: no such workflow or version. Conflict: the workflow is archived.
            InputInvalid: the input does not fit its schema, or a label, metadata or the id is not valid.
            LimitExceeded: a value is too large.
        """
        published = await self._workflows.startable(tenant_id, workflow_id, version)
        return await self._prepare(
            tenant_id,
            published,
            Wanted(input, version, execution_id, variables or {}, metadata or {}, labels or {}, priority, delay_s),
        )

    async def prepare_all(
        self, tenant_id: str, workflow_id: str, wanted: Sequence[Wanted]
    ) -> list[PreparedStart | WorkflowEngineError]:
        """Check many starts of one workflow; gives of each what it takes, or what it is refused for.

        Raises:
            NotFound: no such workflow. Conflict: it is archived.
        """
        latest = await self._workflows.startable(tenant_id, workflow_id, None)
        versions: dict[int | None, Published] = {None: latest, latest.version: latest}
        prepared: list[PreparedStart | WorkflowEngineError] = []
        for number, one in enumerate(wanted):
            if number % TURN_STARTS == 0:
                await asyncio.sleep(0)
            try:
                if one.version not in versions:
                    versions[one.version] = await self._workflows.version(tenant_id, workflow_id, one.version)
                prepared.append(await self._prepare(tenant_id, versions[one.version], one))
            except DependencyUnavailable:
                raise
            except WorkflowEngineError as error:
                prepared.append(error)
        return prepared

    async def _prepare(self, tenant_id: str, published: Published, wanted: Wanted) -> PreparedStart:
        value = self.checked(wanted.input, "input")
        await published.input_schema.check(value)
        labels = {**published.definition.labels, **wanted.labels}
        check_attributes(labels, wanted.metadata, wanted.execution_id)
        row = ExecutionRow(
            tenant_id=tenant_id,
            execution_id=wanted.execution_id or str(uuid7()),
            workflow_id=published.workflow_id,
            version=published.version,
            priority=wanted.priority,
            created_at=self._store.now(),
            labels=self.checked(labels, "labels"),
            metadata=self.checked(wanted.metadata, "metadata"),
        )
        command = Start(
            published.workflow_id,
            published.version,
            value,
            {name: self.checked(value, f"variable {name}") for name, value in wanted.variables.items()},
            row.metadata,
            wanted.priority,
            wanted.delay_s,
        )
        return PreparedStart(row, published.graph, command)

    def checked(self, value: Any, name: str) -> Any:
        """A copy of a value from outside, sharing nothing with the caller's; raises LimitExceeded beyond the limits."""
        try:
            return decode_json(check_json(value, bytes_max=self._limits.payload_bytes_max))
        except JsonInvalid as error:
            code = "payload_too_large" if error.code == "too_large" else error.code
            raise LimitExceeded(f"the {name} can't be taken: {error}", code=code) from None
