"""Idempotency keys: the answers that requests got, kept so that a repeated request gets the same one."""

from typing import Any

import msgspec
from sqlalchemy import Integer, and_, bindparam, delete, insert, literal_column, select, tuple_, update

from workflow_engine.models.errors import AlreadyExists
from workflow_engine.store.records import IdempotencyRow
from workflow_engine.store.schema import idempotency_keys
from workflow_engine.store.statements import Connection, Statement, WideStatement, given

_KEY = and_(
    idempotency_keys.c.tenant_id == bindparam("tenant_id"),
    idempotency_keys.c.route == bindparam("route"),
    idempotency_keys.c.key == bindparam("key"),
)
_FIND = Statement(
    select(
        idempotency_keys.c.route,
        idempotency_keys.c.key,
        idempotency_keys.c.body_hash,
        idempotency_keys.c.status,
        idempotency_keys.c.answer,
    ).where(_KEY)
)
_UPDATE = Statement(
    update(idempotency_keys).values(status=bindparam("new_status"), answer=bindparam("new_answer")).where(_KEY)
)
_identity = (idempotency_keys.c.tenant_id, idempotency_keys.c.route, idempotency_keys.c.key)
_old = (
    select(*_identity)
    .where(idempotency_keys.c.created_at < bindparam("before"))
    .order_by(idempotency_keys.c.created_at)
    .limit(bindparam("limit", type_=Integer))
    .offset(literal_column("0"))
)
_FORGET = Statement(delete(idempotency_keys).where(tuple_(*_identity).in_(_old)))


def _taken() -> WideStatement:
    rows = given(idempotency_keys.c.tenant_id, idempotency_keys.c.route, idempotency_keys.c.key)
    same = and_(
        idempotency_keys.c.tenant_id == rows.c.tenant_id,
        idempotency_keys.c.route == rows.c.route,
        idempotency_keys.c.key == rows.c.key,
    )
    return WideStatement(select(*rows.c).select_from(rows.join(idempotency_keys, same)), rows)


def _insert() -> WideStatement:
    rows = given(*idempotency_keys.columns)
    chosen = select(*rows.c).where(rows.c.tenant_id.is_not(None))
    return WideStatement(insert(idempotency_keys).from_select(list(rows.c.keys()), chosen), rows)


_TAKEN = _taken()
_INSERT = _insert()

Owned = tuple[str, IdempotencyRow]
"""A receipt and its tenant."""


def find_receipt(connection: Connection, tenant_id: str, route: str, key: str) -> IdempotencyRow | None:
    """What a request with this key was answered; None where there was none."""
    row = _FIND.run(connection, {"tenant_id": tenant_id, "route": route, "key": key}).fetchone()
    return IdempotencyRow(*row) if row is not None else None


def taken_keys(connection: Connection, receipts: list[Owned]) -> set[tuple[str, str, str]]:
    """Which of these keys stand already, as (tenant, route, key)."""
    flat = [part for tenant_id, receipt in receipts for part in (tenant_id, receipt.route, receipt.key)]
    return set(_TAKEN.fetch(connection, flat))


def insert_receipts(connection: Connection, receipts: list[Owned], at: int) -> None:
    """Write new receipts into the open transaction."""
    flat: list[Any] = []
    for tenant_id, receipt in receipts:
        flat += (tenant_id, *msgspec.structs.astuple(receipt), at)
    _INSERT.change(connection, flat)


def insert_receipt(connection: Connection, tenant_id: str, receipt: IdempotencyRow, at: int) -> None:
    """Write one new receipt into the open transaction; raises AlreadyExists where its key stands."""
    if taken_keys(connection, [(tenant_id, receipt)]):
        raise AlreadyExists("a request with this Idempotency-Key was answered already", key=receipt.key)
    insert_receipts(connection, [(tenant_id, receipt)], at)


def update_receipt(connection: Connection, tenant_id: str, receipt: IdempotencyRow) -> None:
    """Replace the answer of a key: a start that waited has a fuller one in the end."""
    key = {"tenant_id": tenant_id, "route": receipt.route, "key": receipt.key}
    _UPDATE.run(connection, key | {"new_status": receipt.status, "new_answer": receipt.answer})


def forget_receipts(connection: Connection, before: int, limit: int) -> int:
    """Drop the oldest keys that are older than `before`, at most so many; gives their number."""
    return _FORGET.run(connection, {"before": before, "limit": limit}).rowcount
