"""The slots of tenant-wide limits: who has one, who waits in which line, and who is next.

A slot is a row of a step that asks for it or has it, written by the commits of the step's own execution; nothing is
counted anywhere else, so no slot can leak. Slots are granted in the very transaction that changed a line. The writer's
transactions exclude each other, so no two of them can grant the same slot.
"""

from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import ColumnElement, Integer, bindparam, delete, func, literal_column, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from workflow_engine.store.records import Grant, SlotRow, TransitionWrite
from workflow_engine.store.schema import slots
from workflow_engine.store.statements import Connection, Statement, WideStatement, flat, given

HOLDERS_MAX = 100
"""Owners and waiting steps that are shown of one line."""

Line = tuple[str, str]
"""Tenant id and key of a limit."""

_YES: ColumnElement[int] = literal_column("1")
_NO: ColumnElement[int] = literal_column("0")
_KEY = (slots.c.tenant_id, slots.c.execution_id, slots.c.step_id)
_IN_LINE = (slots.c.asked_at, slots.c.execution_id, slots.c.place)
_GRANT = [slots.c[name] for name in Grant.__struct_fields__]


def _put() -> WideStatement:
    """A row of the same attempt stays where it stands in line, and keeps its slot."""
    rows = given(*slots.columns)
    chosen = select(*rows.c).where(rows.c.tenant_id.is_not(None))
    statement = insert(slots).from_select(list(rows.c.keys()), chosen)
    others = {one.name: statement.excluded[one.name] for one in slots.columns if not one.primary_key}
    is_other = (slots.c.attempt != statement.excluded.attempt) | (slots.c.generation != statement.excluded.generation)
    return WideStatement(
        statement.on_conflict_do_update(index_elements=[one.name for one in _KEY], set_=others, where=is_other), rows
    )


def _remove() -> WideStatement:
    rows = given(*_KEY)
    return WideStatement(delete(slots).where(tuple_(*_KEY).in_(select(*rows.c))), rows)


def _grant() -> WideStatement:
    rows = given(*_KEY)
    return WideStatement(update(slots).values(is_granted=_YES).where(tuple_(*_KEY).in_(select(*rows.c))), rows)


def _granted_among() -> WideStatement:
    """Of these steps those that have their slot."""
    rows = given(*_KEY)
    same = [one == rows.c[one.name] for one in _KEY]
    chosen = select(*_GRANT).select_from(rows.join(slots, same[0] & same[1] & same[2]))
    return WideStatement(chosen.where(slots.c.is_granted == _YES), rows)


def _with_room() -> WideStatement:
    """Of these lines those whose head can have a slot, and how many owners each has."""
    rows = given(slots.c.tenant_id, slots.c.key)
    line = (slots.c.tenant_id == rows.c.tenant_id, slots.c.key == rows.c.key)
    owners = select(func.count()).where(*line, slots.c.is_granted == _YES).scalar_subquery()
    waiting = select(slots.c.concurrency).where(*line, slots.c.is_granted == _NO)
    head = waiting.order_by(*_IN_LINE).limit(_YES).offset(_NO).scalar_subquery()
    chosen = select(*rows.c, owners).where(rows.c.tenant_id.is_not(None), owners < head)
    return WideStatement(chosen, rows)


_PUT = _put()
_REMOVE = _remove()
_GRANT_ALL = _grant()
_GRANTED_AMONG = _granted_among()
_WITH_ROOM = _with_room()
_LINE = (slots.c.tenant_id == bindparam("tenant_id"), slots.c.key == bindparam("key"))
_WAITING = Statement(select(*_GRANT, slots.c.concurrency).where(*_LINE, slots.c.is_granted == _NO).order_by(*_IN_LINE))
_HOLDERS = Statement(
    select(slots.c.execution_id, slots.c.step_id, slots.c.asked_at)
    .where(*_LINE, slots.c.is_granted == bindparam("is_granted"))
    .order_by(*_IN_LINE)
    .limit(bindparam("limit", type_=Integer))
    .offset(_NO)
)
_GRANTED_OF = Statement(
    select(*_GRANT).where(
        slots.c.tenant_id == bindparam("tenant_id"),
        slots.c.execution_id == bindparam("execution_id"),
        slots.c.is_granted == _YES,
    )
)
_GRANTED = Statement(select(*_GRANT).where(slots.c.is_granted == _YES))


def write_slots(connection: Connection, writes: Sequence[TransitionWrite]) -> None:
    """Free and ask for the slots of these transitions."""
    freed = [write for write in writes if write.slots_freed]
    asked = [write for write in writes if write.slots_asked]
    _REMOVE.change(
        connection,
        flat((write.tenant_id, write.execution_id, step_id) for write in freed for step_id, _ in write.slots_freed),
    )
    _PUT.change(
        connection,
        flat(
            (write.tenant_id, write.execution_id, *_columns(slot), 0, write.at, place)
            for write in asked
            for place, slot in enumerate(write.slots_asked)
        ),
    )


def _columns(slot: SlotRow) -> tuple[str, str, int, int, int]:
    return slot.step_id, slot.key, slot.attempt, slot.generation, slot.concurrency


def grant_slots(connection: Connection, writes: Iterable[TransitionWrite]) -> list[Grant]:
    """Grant what these transitions, which are written, made room for or asked for: the head of each line first.

    Gives what was granted now, and what those who asked (again) have already.
    """
    asked: list[str] = []
    lines: set[Line] = set()
    for write in [write for write in writes if write.slots_asked or write.slots_freed]:
        for slot in write.slots_asked:
            asked += (write.tenant_id, write.execution_id, slot.step_id)
            lines.add((write.tenant_id, slot.key))
        lines.update((write.tenant_id, key) for _, key in write.slots_freed)
    if not lines:
        return []
    known = [Grant(*row) for row in _GRANTED_AMONG.fetch(connection, asked)]
    granted: list[Grant] = []
    for tenant_id, key, owners in _WITH_ROOM.fetch(connection, flat(sorted(lines))):
        granted += _next_in_line(connection, tenant_id, key, owners)
    _GRANT_ALL.change(connection, flat((one.tenant_id, one.execution_id, one.step_id) for one in granted))
    return known + granted


def _next_in_line(connection: Connection, tenant_id: str, key: str, owners: int) -> Iterator[Grant]:
    """Nobody overtakes: the line stands still where its head finds too many owners."""
    for row in _WAITING.stream(connection, {"tenant_id": tenant_id, "key": key}):
        if owners >= row[-1]:
            return
        yield Grant(*row[:-1])
        owners += 1


def list_holders(connection: Connection, tenant_id: str, key: str) -> list[tuple[str, str, bool, int]]:
    """`(execution_id, step_id, is_granted, asked_at)`: the owners of a limit's slots, then who waits, in order."""
    shown: list[tuple[str, str, bool, int]] = []
    for is_granted in (1, 0):
        parameters = {"tenant_id": tenant_id, "key": key, "is_granted": is_granted, "limit": HOLDERS_MAX - len(shown)}
        for execution_id, step_id, asked_at in _HOLDERS.run(connection, parameters).fetchall():
            shown.append((execution_id, step_id, bool(is_granted), asked_at))
    return shown


def list_granted(connection: Connection, execution: tuple[str, str] | None) -> list[Grant]:
    """The slots that an execution (tenant and id) has; for None all that anybody has."""
    if execution is None:
        return [Grant(*row) for row in _GRANTED.run(connection).fetchall()]
    parameters = {"tenant_id": execution[0], "execution_id": execution[1]}
    return [Grant(*row) for row in _GRANTED_OF.run(connection, parameters).fetchall()]
