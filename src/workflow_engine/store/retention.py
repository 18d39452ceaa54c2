"""Deleting what nobody needs any more, in small portions, and giving the disk its space back.

An execution goes in two moves. First the part of its log that its snapshot covers, so many rows at a time: the state
can still be loaded, only the history begins later. Then the rest, with everything else that it had, in one transaction.
So no commit waits long behind a deletion, and a crash in between leaves nothing that would not be found again.
"""

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Table,
    bindparam,
    delete,
    func,
    literal_column,
    select,
    tuple_,
)

from workflow_engine.store.schema import executions, metadata, snapshots, transitions, workflows
from workflow_engine.store.statements import Connection, Statement, WideStatement, given

Key = tuple[str, str]
"""Tenant id, and workflow or execution id."""

_LIMIT = bindparam("limit", type_=Integer)
_NOTHING: ColumnElement[int] = literal_column("0")

_workflow_key = tuple_(workflows.c.tenant_id, workflows.c.workflow_id)
_WORKFLOWS = Statement(
    select(workflows.c.tenant_id, workflows.c.workflow_id)
    .where(_workflow_key > tuple_(bindparam("after_tenant"), bindparam("after_workflow")))
    .order_by(workflows.c.tenant_id, workflows.c.workflow_id)
    .limit(_LIMIT)
    .offset(_NOTHING)
)
_place = tuple_(executions.c.created_at, executions.c.execution_id)
_CREATED_BEFORE = Statement(
    select(executions.c.created_at, executions.c.execution_id, executions.c.finished_at, executions.c.transition)
    .where(executions.c.tenant_id == bindparam("tenant_id"), executions.c.workflow_id == bindparam("workflow_id"))
    # No execution ends before it is made: the index by age leaves out what is too young.
    .where(executions.c.created_at < bindparam("before"))
    .where(_place > tuple_(bindparam("after_at"), bindparam("after_execution")))
    .order_by(executions.c.created_at, executions.c.execution_id)
    .limit(_LIMIT)
    .offset(_NOTHING)
)
_OF_EXECUTION = (
    transitions.c.tenant_id == bindparam("tenant_id"),
    transitions.c.execution_id == bindparam("execution_id"),
)
_SNAPSHOT_NUMBER = Statement(
    select(snapshots.c.number).where(
        snapshots.c.tenant_id == bindparam("tenant_id"), snapshots.c.execution_id == bindparam("execution_id")
    )
)
_FIRST_NUMBER = Statement(select(func.min(transitions.c.number)).where(*_OF_EXECUTION))
_TRIM = Statement(delete(transitions).where(*_OF_EXECUTION, transitions.c.number < bindparam("number")))


def _finished() -> WideStatement:
    rows = given(executions.c.tenant_id, executions.c.execution_id, before=BigInteger())
    same = (executions.c.tenant_id == rows.c.tenant_id) & (executions.c.execution_id == rows.c.execution_id)
    chosen = select(rows.c.tenant_id, rows.c.execution_id).select_from(rows.join(executions, same))
    return WideStatement(chosen.where(executions.c.finished_at < rows.c.before), rows)


def _remove(table: Table) -> WideStatement:
    rows = given(table.c.tenant_id, table.c.execution_id)
    key = tuple_(table.c.tenant_id, table.c.execution_id)
    return WideStatement(delete(table).where(key.in_(select(*rows.c))), rows)


_FINISHED = _finished()
_REMOVE = [_remove(table) for table in metadata.sorted_tables if "execution_id" in table.c]


def list_workflow_keys(connection: Connection, after: Key, limit: int) -> list[Key]:
    """The workflows of all tenants, archived ones too, by tenant and id."""
    parameters = {"after_tenant": after[0], "after_workflow": after[1], "limit": limit}
    return _WORKFLOWS.run(connection, parameters).fetchall()


def list_created_before(
    connection: Connection, workflow: Key, before: int, after: tuple[int, str], limit: int
) -> list[tuple[int, str, int | None, int]]:
    """`(created_at, execution_id, finished_at, transitions)` of a workflow's old executions, oldest first."""
    parameters = {"tenant_id": workflow[0], "workflow_id": workflow[1], "before": before}
    parameters |= {"after_at": after[0], "after_execution": after[1], "limit": limit}
    return _CREATED_BEFORE.run(connection, parameters).fetchall()


def trim_log(connection: Connection, execution: Key, rows: int) -> int:
    """Delete the oldest rows of a log, at most so many, that its snapshot makes superfluous; gives their number."""
    key = {"tenant_id": execution[0], "execution_id": execution[1]}
    snapshot = _SNAPSHOT_NUMBER.run(connection, key).fetchone()
    first = _FIRST_NUMBER.run(connection, key).fetchone()[0]
    if snapshot is None or first is None:
        return 0
    number = min(first + rows, snapshot[0] + 1)
    return _TRIM.run(connection, key | {"number": number}).rowcount if number > first else 0


def remove_executions(connection: Connection, found: list[Key], before: int) -> int:
    """Delete executions with all they have, those that (still) ended before this instant; gives their number."""
    asked = [part for key in found for part in (*key, before)]
    ended = [part for key in _FINISHED.fetch(connection, asked) for part in key]
    for statement in _REMOVE:
        statement.change(connection, ended)
    return len(ended) // 2
