"""Transitions for the tests of the store."""

import asyncio
from typing import Any

from workflow_engine.store import ExecutionRow, Store, TransitionWrite


def execution_row(execution_id: str, **fields: Any) -> ExecutionRow:
    defaults: dict[str, Any] = {
        "tenant_id": "acme",
        "workflow_id": "orders",
        "version": 1,
        "priority": 5,
        "created_at": 1_000,
        "labels": {},
        "metadata": {},
        "status": "running",
    }
    return ExecutionRow(execution_id=execution_id, **(defaults | fields))


def first(execution_id: str, **fields: Any) -> TransitionWrite:
    row = execution_row(execution_id, **fields)
    return TransitionWrite(row.tenant_id, execution_id, 1, 1, 2, row.created_at, b"events 1", created=row)


def later(execution_id: str, number: int, **fields: Any) -> TransitionWrite:
    defaults: dict[str, Any] = {
        "tenant_id": "acme",
        "first_sequence": 2 * number - 1,
        "last_sequence": 2 * number,
        "at": 1_000 + number,
        "events": b"events %d" % number,
    }
    return TransitionWrite(execution_id=execution_id, number=number, **(defaults | fields))


async def outcomes(store: Store, writes: list[TransitionWrite]) -> list[Exception | None]:
    """Submit all at once; what became of each."""
    futures = [asyncio.get_running_loop().create_future() for _ in writes]
    for write, future in zip(writes, futures, strict=True):
        store.submit(write, future.set_result)
    return list(await asyncio.gather(*futures))
