"""What one commit does: many transitions of different executions, each whole or not at all.

First the compare-and-set on the executions' rows, which is the fence; then everything else for the winners only.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Integer, Text, bindparam, insert, literal_column, select, tuple_, update
from sqlalchemy import delete as delete_from
from sqlalchemy.dialects.postgresql import insert as insert_or  # what it says of conflicts SQLite says the same way

from workflow_engine.models.errors import AlreadyExists, Fenced, WorkflowEngineError
from workflow_engine.store.inbox import write_news
from workflow_engine.store.receipts import insert_receipts, taken_keys
from workflow_engine.store.records import ExecutionRow, Summary, TransitionWrite
from workflow_engine.store.schema import attributes, executions, snapshots, tasks, transitions
from workflow_engine.store.slots import write_slots
from workflow_engine.store.statements import Connection, Statement, WideStatement, flat, given

Key = tuple[str, str]
"""Tenant id and execution id."""


def _insert(table: Any) -> WideStatement:
    rows = given(*table.columns)
    chosen = select(*rows.c).where(rows.c.tenant_id.is_not(None))
    return WideStatement(insert(table).from_select(list(rows.c.keys()), chosen), rows)


def _insert_new(table: Any) -> WideStatement:
    rows = given(*table.columns)
    chosen = select(*rows.c).where(rows.c.tenant_id.is_not(None))
    statement = insert_or(table).from_select(list(rows.c.keys()), chosen).on_conflict_do_nothing()
    return WideStatement(statement, rows)


def _put(table: Any) -> WideStatement:
    rows = given(*table.columns)
    chosen = select(*rows.c).where(rows.c.tenant_id.is_not(None))
    statement = insert_or(table).from_select(list(rows.c.keys()), chosen)
    keys = [one.name for one in table.primary_key]
    others = {one.name: statement.excluded[one.name] for one in table.columns if one.name not in keys}
    return WideStatement(statement.on_conflict_do_update(index_elements=keys, set_=others), rows)


def _advance(*columns: Any) -> WideStatement:
    """The compare-and-set: an execution moves to `number` only if it stands right before it."""
    rows = given(executions.c.tenant_id, executions.c.execution_id, *columns, number=BigInteger())
    changes = {one.name: rows.c[one.name] for one in columns}
    statement = update(executions).values(transition=rows.c.number, **changes)
    return WideStatement(
        statement.where(
            executions.c.tenant_id == rows.c.tenant_id,
            executions.c.execution_id == rows.c.execution_id,
            executions.c.transition == rows.c.number - literal_column("1"),
        ),
        rows,
    )


def _remove_tasks() -> WideStatement:
    rows = given(tasks.c.tenant_id, tasks.c.execution_id, tasks.c.task_id)
    key = tuple_(tasks.c.tenant_id, tasks.c.execution_id, tasks.c.task_id)
    return WideStatement(delete_from(tasks).where(key.in_(select(*rows.c))), rows)


def _change_versions() -> WideStatement:
    rows = given(executions.c.tenant_id, executions.c.execution_id, new_version=Integer())
    same = (executions.c.tenant_id == rows.c.tenant_id) & (executions.c.execution_id == rows.c.execution_id)
    return WideStatement(update(executions).values(version=rows.c.new_version).where(same), rows)


def _losers() -> WideStatement:
    """Which of these executions the compare-and-set has NOT just moved to `number`.

    A winner's row stands at `number` while its log has no such row yet; a rival who came first has written both.
    """
    rows = given(number=BigInteger(), tenant_id=Text(), execution_id=Text())
    row = (executions.c.tenant_id == rows.c.tenant_id) & (executions.c.execution_id == rows.c.execution_id)
    log = (transitions.c.tenant_id == rows.c.tenant_id) & (transitions.c.execution_id == rows.c.execution_id)
    both = rows.outerjoin(executions, row).outerjoin(transitions, log & (transitions.c.number == rows.c.number))
    moved = (executions.c.transition == rows.c.number) & transitions.c.number.is_(None)
    lost = executions.c.transition.is_(None) | ~moved
    statement = select(rows.c.tenant_id, rows.c.execution_id).select_from(both)
    return WideStatement(statement.where(rows.c.number.is_not(None), lost), rows)


_SUMMARY = [executions.c[name] for name in Summary.__struct_fields__]
INSERT_EXECUTIONS = _insert_new(executions)
ADVANCE = _advance(executions.c.sequence)
ADVANCE_WITH_SUMMARY = _advance(executions.c.sequence, *_SUMMARY)
LOSERS = _losers()
INSERT_TRANSITIONS = _insert(transitions)
INSERT_ATTRIBUTES = _insert(attributes)
REMOVE_TASKS = _remove_tasks()
PUT_TASKS = _put(tasks)
CHANGE_VERSIONS = _change_versions()
PUT_SNAPSHOTS = _put(snapshots)
COMMIT_ID = Statement(
    select(transitions.c.commit_id).where(
        transitions.c.tenant_id == bindparam("tenant_id"),
        transitions.c.execution_id == bindparam("execution_id"),
        transitions.c.number == bindparam("number"),
    )
)


def write_transitions(
    connection: Connection, writes: Sequence[TransitionWrite], commit_id: int
) -> dict[Key, WorkflowEngineError]:
    """Write them into the open transaction, at most one per execution; gives the losers, who wrote nothing."""
    repeated = _find_repeated(connection, [write for write in writes if write.receipts])
    if repeated:
        writes = [write for write in writes if (write.tenant_id, write.execution_id) not in repeated]
    moved = _move(connection, writes)
    losers = {} if moved == len(writes) else _find_losers(connection, writes)
    winners = [write for write in writes if (write.tenant_id, write.execution_id) not in losers] if losers else writes
    INSERT_TRANSITIONS.change(connection, _log_rows(winners, commit_id))
    _write_the_rest(connection, [write for write in winners if not write.is_plain])
    return losers | repeated


def _write_the_rest(connection: Connection, writes: Sequence[TransitionWrite]) -> None:
    """What most transitions do not have."""
    if not writes:
        return
    for write in writes:
        if write.receipts:
            insert_receipts(connection, [(write.tenant_id, receipt) for receipt in write.receipts], write.at)
    REMOVE_TASKS.change(connection, flat(_removed_tasks(write) for write in writes if write.tasks_removed))
    PUT_TASKS.change(connection, flat(_put_tasks(write) for write in writes if write.tasks_put))
    PUT_SNAPSHOTS.change(connection, flat(_snapshot(write) for write in writes if write.snapshot is not None))
    INSERT_ATTRIBUTES.change(connection, flat(_attributes(write, write.created) for write in writes if write.created))
    CHANGE_VERSIONS.change(connection, flat(_version(write) for write in writes if write.version is not None))
    write_slots(connection, writes)
    write_news(connection, writes)


def _find_repeated(connection: Connection, writes: Sequence[TransitionWrite]) -> dict[Key, WorkflowEngineError]:
    """The writes whose `Idempotency-Key` was used before, also by a write earlier in the same batch."""
    if not writes:
        return {}
    seen = taken_keys(connection, [(write.tenant_id, receipt) for write in writes for receipt in write.receipts])
    repeated: dict[Key, WorkflowEngineError] = {}
    for write in writes:
        keys = {(write.tenant_id, receipt.route, receipt.key) for receipt in write.receipts}
        if keys & seen:
            error = AlreadyExists("a request with this Idempotency-Key was answered already", key=min(keys & seen)[2])
            repeated[write.tenant_id, write.execution_id] = error
        seen |= keys
    return repeated


def landed(connection: Connection, write: TransitionWrite, commit_id: int) -> bool:
    """Whether this transition stands in the log, and by that commit."""
    key = {"tenant_id": write.tenant_id, "execution_id": write.execution_id, "number": write.number}
    row = COMMIT_ID.run(connection, key).fetchone()
    return row is not None and row[0] == commit_id


def _move(connection: Connection, writes: Sequence[TransitionWrite]) -> int:
    new: list[Any] = []
    bare: list[Any] = []
    summed: list[Any] = []
    for write in writes:
        if write.created is not None:
            new += _execution_row(write, write.created)
        elif (summary := write.summary) is None:
            bare += (write.tenant_id, write.execution_id, write.last_sequence, write.number)
        else:
            summed += (write.tenant_id, write.execution_id, write.last_sequence)
            summed += (*msgspec.structs.astuple(summary), write.number)
    return (
        INSERT_EXECUTIONS.change(connection, new)
        + ADVANCE.change(connection, bare)
        + ADVANCE_WITH_SUMMARY.change(connection, summed)
    )


def _find_losers(connection: Connection, writes: Sequence[TransitionWrite]) -> dict[Key, WorkflowEngineError]:
    sought = flat((write.number, write.tenant_id, write.execution_id) for write in writes)
    keys = {(tenant_id, execution_id) for tenant_id, execution_id in LOSERS.fetch(connection, sought)}
    return {
        (write.tenant_id, write.execution_id): _defeat(write)
        for write in writes
        if (write.tenant_id, write.execution_id) in keys
    }


def _defeat(write: TransitionWrite) -> WorkflowEngineError:
    if write.created is not None:
        return AlreadyExists(f"an execution {write.execution_id!r} exists already", execution_id=write.execution_id)
    return Fenced(execution_id=write.execution_id, number=write.number)


def _execution_row(write: TransitionWrite, row: ExecutionRow) -> tuple[Any, ...]:
    summary: Summary | ExecutionRow = write.summary or row
    return (
        write.tenant_id,
        write.execution_id,
        row.workflow_id,
        row.version,
        row.priority,
        row.created_at,
        summary.status,
        summary.reason,
        summary.progress,
        summary.started_at,
        summary.finished_at,
        write.number,
        write.last_sequence,
        row.parent_execution_id,
        row.parent_step_id,
        row.parent_attempt,
        row.parent_generation,
        row.depth,
    )


def _version(write: TransitionWrite) -> tuple[Any, ...]:
    return write.tenant_id, write.execution_id, write.version


def _log_rows(writes: Sequence[TransitionWrite], commit_id: int) -> list[Any]:
    rows: list[Any] = []
    for write in writes:
        rows += (
            write.tenant_id,
            write.execution_id,
            write.number,
            write.first_sequence,
            write.last_sequence,
            write.at,
            commit_id,
            write.events,
        )
    return rows


def _removed_tasks(write: TransitionWrite) -> list[Any]:
    return flat((write.tenant_id, write.execution_id, task_id) for task_id in write.tasks_removed)


def _put_tasks(write: TransitionWrite) -> list[Any]:
    return flat(
        (write.tenant_id, write.execution_id, task.task_id, task.kind, task.due_at, task.data, write.at)
        for task in write.tasks_put
    )


def _snapshot(write: TransitionWrite) -> tuple[Any, ...]:
    return write.tenant_id, write.execution_id, write.number, write.snapshot


def _attributes(write: TransitionWrite, row: ExecutionRow) -> list[Any]:
    kinds = (("label", row.labels), ("metadata", row.metadata))
    return flat(
        (write.tenant_id, write.execution_id, kind, key, *attribute_text(value), row.created_at)
        for kind, entries in kinds
        for key, value in entries.items()
    )


def attribute_text(value: Any) -> tuple[str, int]:
    """A scalar as the text that filters compare, and whether that text is a JSON literal rather than a string.

    >>> attribute_text("red"), attribute_text(3), attribute_text("3")
    (('red', 0), ('3', 1), ('3', 0))
    """
    return (value, 0) if isinstance(value, str) else (msgspec.json.encode(value).decode(), 1)


def attribute_value(text: str, literal: int) -> Any:
    """The scalar that `attribute_text` was given."""
    return msgspec.json.decode(text) if literal else text
