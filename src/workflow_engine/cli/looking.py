"""Databases, opened for reading only: beside the process that writes to them."""

from dataclasses import dataclass
from typing import Any

from workflow_engine.cli.session import run_on_loop, waiting_for, waits_for_input
from workflow_engine.models.execution import ExecutionState
from workflow_engine.models.json_value import decode_json
from workflow_engine.models.tenant import DEFAULT_TENANT
from workflow_engine.models.workflow import Definition
from workflow_engine.services.execution_resource import execution_resource
from workflow_engine.services.state_manager import fold
from workflow_engine.store import ExecutionRow, Store

UNFINISHED = ("running", "pending", "paused")


@dataclass(frozen=True, slots=True)
class Found:
    """An execution as a database has it."""

    row: ExecutionRow
    state: ExecutionState
    definition: Definition

    @property
    def resource(self) -> dict[str, Any]:
        """As the API shows it."""
        return execution_resource(self.row, self.state)

    @property
    def waiting_for(self) -> list[dict[str, Any]]:
        """What it waits for, if people or signals must come."""
        return waiting_for(self.state, self.definition) if waits_for_input(self.state) else []


async def find_execution(store: Store, tenant_id: str, execution_id: str) -> Found:
    """An execution and its definition; raises NotFound."""
    row, snapshot, log = await store.load(tenant_id, execution_id)
    stored = await store.definition(tenant_id, row.workflow_id, row.version)
    return Found(row, fold(row, snapshot, log), Definition.model_validate(decode_json(stored.definition)))


def look(url: str, execution_id: str, tenant_id: str = DEFAULT_TENANT) -> Found:
    """An execution of a database; raises NotFound, StoreUnavailable."""

    async def looked() -> Found:
        store = await Store.open(url, read_only=True)
        try:
            return await find_execution(store, tenant_id, execution_id)
        finally:
            await store.close()

    return run_on_loop(looked)


async def unfinished(store: Store, tenant_id: str) -> list[ExecutionRow]:
    """Executions that an engine on this database goes on with, the newest of each status."""
    rows: list[ExecutionRow] = []
    for status in UNFINISHED:
        rows += await store.executions(tenant_id, status=status, limit=500)
    return rows
