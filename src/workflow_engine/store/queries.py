"""What is read, and how. Every function takes a connection inside a transaction and sees one consistent state."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Integer, LargeBinary, Select, bindparam, func, literal_column, select, tuple_

from workflow_engine.models.errors import NotFound
from workflow_engine.store.batch import attribute_text, attribute_value
from workflow_engine.store.records import (
    DefinitionRow,
    ExecutionRow,
    LatestDefinition,
    LogRow,
    OutstandingTask,
    WorkflowRow,
)
from workflow_engine.store.schema import attributes, definitions, executions, snapshots, tasks, transitions, workflows
from workflow_engine.store.statements import Connection, Holds, Statement, WideStatement, given

LIMIT_MAX = 501
"""Rows in one page of a list: 500, and one that says that there are more."""

PAGE_BYTES_MAX = 8 * 1024 * 1024
"""A page of definitions ends early once it holds this much."""

LOG_BYTES_MAX = 8 * 1024 * 1024
"""A page of the log ends early once it holds this much."""

_LIMIT = bindparam("limit", type_=Integer)
_NOTHING: ColumnElement[int] = literal_column("0")
"""An offset that is written out; left to itself the SQLite dialect asks for it as one more parameter."""

Position = tuple[int, str]
"""`created_at` and `execution_id` of the last row of a page."""


def _same(table: Any, *names: str) -> list[Any]:
    return [table.c[name] == bindparam(name) for name in names]


# Definitions

_DEFINITION_COLUMNS = [definitions.c[name] for name in DefinitionRow.__struct_fields__]
_DEFINITION = Statement(select(*_DEFINITION_COLUMNS).where(*_same(definitions, "tenant_id", "workflow_id", "version")))
_LATEST_DEFINITION = Statement(
    select(*_DEFINITION_COLUMNS)
    .join(
        workflows,
        (definitions.c.tenant_id == workflows.c.tenant_id)
        & (definitions.c.workflow_id == workflows.c.workflow_id)
        & (definitions.c.version == workflows.c.latest_version),
    )
    .where(*_same(workflows, "tenant_id", "workflow_id"))
)


def find_definition(connection: Connection, tenant_id: str, workflow_id: str, version: int | None) -> DefinitionRow:
    """One version, or the latest for None."""
    key: dict[str, Any] = {"tenant_id": tenant_id, "workflow_id": workflow_id}
    if version is None:
        row = _LATEST_DEFINITION.run(connection, key).fetchone()
    else:
        row = _DEFINITION.run(connection, key | {"version": version}).fetchone()
    if row is None:
        of_version = "" if version is None else f" with a version {version}"
        raise NotFound(f"there is no workflow {workflow_id!r}{of_version}")
    return DefinitionRow(*row)


_WORKFLOW_COLUMNS = [workflows.c[name] for name in WorkflowRow.__struct_fields__]
_WORKFLOW = Statement(select(*_WORKFLOW_COLUMNS).where(*_same(workflows, "tenant_id", "workflow_id")))
_of_latest = (
    (definitions.c.tenant_id == workflows.c.tenant_id)
    & (definitions.c.workflow_id == workflows.c.workflow_id)
    & (definitions.c.version == workflows.c.latest_version)
)


@cache
def _workflows(label_count: int) -> Statement:
    labels = [Holds(workflows.c.labels, bindparam(f"label_{number}")) for number in range(label_count)]
    return Statement(
        select(*_WORKFLOW_COLUMNS, *_DEFINITION_COLUMNS)
        .join(definitions, _of_latest)
        .where(*_same(workflows, "tenant_id"), workflows.c.workflow_id > bindparam("after"), *labels)
        .where(workflows.c.archived == literal_column("0"))
        .order_by(workflows.c.workflow_id)
        .limit(_LIMIT)
        .offset(_NOTHING)
    )


_VERSIONS = Statement(
    select(*_DEFINITION_COLUMNS)
    .where(*_same(definitions, "tenant_id", "workflow_id"), definitions.c.version < bindparam("before"))
    .order_by(definitions.c.version.desc())
    .limit(_LIMIT)
    .offset(_NOTHING)
)


def _workflow(row: Any) -> WorkflowRow:
    workflow_id, name, labels, archived, latest_version, created_at = row
    return WorkflowRow(workflow_id, name, msgspec.json.decode(labels), bool(archived), latest_version, created_at)


def find_workflow(connection: Connection, tenant_id: str, workflow_id: str) -> WorkflowRow:
    """A workflow's own row."""
    row = _WORKFLOW.run(connection, {"tenant_id": tenant_id, "workflow_id": workflow_id}).fetchone()
    if row is None:
        raise NotFound(f"there is no workflow {workflow_id!r}")
    return _workflow(row)


def list_workflows(
    connection: Connection, tenant_id: str, after: str, labels: dict[str, str], limit: int
) -> list[LatestDefinition]:
    """The workflows of a tenant by id with their latest definitions, without the archived ones."""
    parameters = {"tenant_id": tenant_id, "after": after, "limit": min(limit, LIMIT_MAX)}
    for number, pair in enumerate(labels.items()):
        # In JSON text a quotation mark that is not escaped ends a string, so this can only be the member itself.
        parameters[f"label_{number}"] = ":".join(msgspec.json.encode(part).decode() for part in pair)
    found = _workflows(len(labels)).stream(connection, parameters)
    return [
        LatestDefinition(_workflow(row[: len(_WORKFLOW_COLUMNS)]), DefinitionRow(*row[len(_WORKFLOW_COLUMNS) :]))
        for row in _rows_of_page(found, len(_WORKFLOW_COLUMNS) + _DEFINITION_AT)
    ]


_DEFINITION_AT = DefinitionRow.__struct_fields__.index("definition")


def _rows_of_page(found: Iterator[Any], payload_at: int) -> Iterator[Any]:
    """The rows up to the first that makes the page too large, which is the last."""
    size_bytes = 0
    for row in found:
        yield row
        size_bytes += len(row[payload_at] or b"")
        if size_bytes >= PAGE_BYTES_MAX:
            return


def list_versions(
    connection: Connection, tenant_id: str, workflow_id: str, before: int | None, limit: int
) -> list[DefinitionRow]:
    """The versions of a workflow, newest first."""
    find_workflow(connection, tenant_id, workflow_id)
    parameters = {
        "tenant_id": tenant_id,
        "workflow_id": workflow_id,
        "before": before if before is not None else 2**31 - 1,
        "limit": min(limit, LIMIT_MAX),
    }
    found = _VERSIONS.stream(connection, parameters)
    return [DefinitionRow(*row) for row in _rows_of_page(found, _DEFINITION_AT)]


# Executions

_EXECUTION_FIELDS = [name for name in ExecutionRow.__struct_fields__ if name not in ("labels", "metadata")]
_EXECUTION_COLUMNS = [executions.c[name] for name in _EXECUTION_FIELDS]
_EXECUTION = Statement(select(*_EXECUTION_COLUMNS).where(*_same(executions, "tenant_id", "execution_id")))


def _attributes_of() -> WideStatement:
    rows = given(executions.c.tenant_id, executions.c.execution_id)
    key = (attributes.c.tenant_id == rows.c.tenant_id) & (attributes.c.execution_id == rows.c.execution_id)
    chosen = (attributes.c.execution_id, attributes.c.kind, attributes.c.key, attributes.c.value, attributes.c.literal)
    return WideStatement(select(*chosen).select_from(rows.join(attributes, key)), rows)


_ATTRIBUTES = _attributes_of()


def _execution_row(*columns: Any) -> ExecutionRow:
    return ExecutionRow(**dict(zip(_EXECUTION_FIELDS, columns, strict=True)), labels={}, metadata={})


def _execution_rows(connection: Connection, found: list[Any]) -> list[ExecutionRow]:
    rows = {row[1]: _execution_row(*row) for row in found}
    keys = [part for row in found for part in row[:2]]
    for execution_id, kind, key, value, literal in _ATTRIBUTES.fetch(connection, keys):
        row = rows[execution_id]
        target = row.labels if kind == "label" else row.metadata
        target[key] = attribute_value(value, literal)
    return list(rows.values())


def find_execution(connection: Connection, tenant_id: str, execution_id: str) -> ExecutionRow:
    found = _EXECUTION.run(connection, {"tenant_id": tenant_id, "execution_id": execution_id}).fetchall()
    if not found:
        raise NotFound(f"there is no execution {execution_id!r}")
    return _execution_rows(connection, found)[0]


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which executions of a tenant to list; None and {} let all pass."""

    workflow_id: str | None = None
    status: str | None = None
    labels: dict[str, Any] = {}
    since: int | None = None
    """`created_at` from here on."""
    until: int | None = None
    """`created_at` before this."""
    metadata: dict[str, Any] = {}
    before: Position | None = None

    def attributes(self) -> list[tuple[str, str, str]]:
        """Kind, key and text of every attribute asked for."""
        chosen = (("label", self.labels), ("metadata", self.metadata))
        return [(kind, key, attribute_text(value)[0]) for kind, pairs in chosen for key, value in pairs.items()]


def list_executions(connection: Connection, tenant_id: str, chosen: Filter, limit: int) -> list[ExecutionRow]:
    """Newest first. An attribute matches by its text, so `3` finds the number and the string."""
    wanted = chosen.attributes()
    parameters: dict[str, Any] = {"tenant_id": tenant_id, "limit": min(limit, LIMIT_MAX)}
    for name in ("workflow_id", "status", "since", "until"):
        if (value := getattr(chosen, name)) is not None:
            parameters[name] = value
    for position, (kind, key, text) in enumerate(wanted):
        parameters |= {f"kind_{position}": kind, f"key_{position}": key, f"value_{position}": text}
    if chosen.before is not None:
        parameters["before_at"], parameters["before_id"] = chosen.before
    statement = _executions(frozenset(parameters), len(wanted))
    return _execution_rows(connection, statement.run(connection, parameters).fetchall())


@cache
def _executions(names: frozenset[str], attribute_count: int) -> Statement:
    """The statement for one shape of filter. The first attribute leads, if any: its index is in order of age."""
    conditions: dict[str, Callable[[], Any]] = {
        "workflow_id": lambda: executions.c.workflow_id == bindparam("workflow_id"),
        "status": lambda: executions.c.status == bindparam("status"),
        "since": lambda: order[0] >= bindparam("since"),
        "until": lambda: order[0] < bindparam("until"),
        "before_at": lambda: tuple_(*order) < tuple_(bindparam("before_at"), bindparam("before_id")),
    }
    statement: Select[Any] = select(*_EXECUTION_COLUMNS)
    lead: Any = executions
    for position in range(attribute_count):
        table = attributes.alias(f"attribute_{position}")
        key = (table.c.tenant_id == executions.c.tenant_id) & (table.c.execution_id == executions.c.execution_id)
        statement = statement.join(table, key).where(
            table.c.tenant_id == bindparam("tenant_id"),
            *(table.c[name] == bindparam(f"{name}_{position}") for name in ("kind", "key", "value")),
        )
        lead = table if position == 0 else lead
    order = (lead.c.created_at, lead.c.execution_id)
    statement = statement.where(
        executions.c.tenant_id == bindparam("tenant_id"),
        *(make() for name, make in conditions.items() if name in names),
    )
    newest_first = statement.order_by(*(one.desc() for one in order))
    return Statement(newest_first.limit(_LIMIT).offset(_NOTHING))


_unfinished_key = tuple_(executions.c.tenant_id, executions.c.execution_id)
_UNFINISHED = Statement(
    select(executions.c.tenant_id, executions.c.execution_id)
    .where(literal_column("status = 'running'"))
    .where(_unfinished_key > tuple_(bindparam("after_tenant"), bindparam("after_execution")))
    .order_by(executions.c.tenant_id, executions.c.execution_id)
    .limit(_LIMIT)
    .offset(_NOTHING)
)


def list_unfinished(connection: Connection, after: tuple[str, str] | None, limit: int) -> list[tuple[str, str]]:
    """Executions that are running, by tenant and id. The condition has the words of the partial index."""
    tenant_id, execution_id = after or ("", "")
    parameters = {"after_tenant": tenant_id, "after_execution": execution_id, "limit": limit}
    return _UNFINISHED.run(connection, parameters).fetchall()


# The log

_LOG_COLUMNS = [transitions.c[name] for name in LogRow.__struct_fields__]
_OF_EXECUTION = _same(transitions, "tenant_id", "execution_id")
_number = transitions.c.number
_LOG = Statement(select(*_LOG_COLUMNS).where(*_OF_EXECUTION, _number >= bindparam("number")).order_by(_number))
_LOG_UNTIL = Statement(
    select(*_LOG_COLUMNS)
    .where(*_OF_EXECUTION, _number.between(bindparam("number"), bindparam("until")))
    .order_by(_number)
)
_LOG_HOLDING = Statement(
    select(*_LOG_COLUMNS)
    .where(*_OF_EXECUTION, _number >= bindparam("number"))
    .where(Holds(transitions.c.events, bindparam("holding", type_=LargeBinary)))
    .order_by(_number)
)
_FIRST_NUMBER = Statement(select(func.min(_number)).where(*_OF_EXECUTION))
_LAST_NUMBER = Statement(select(func.max(_number)).where(*_OF_EXECUTION))
_LAST_SEQUENCE = Statement(select(transitions.c.last_sequence).where(*_OF_EXECUTION, _number == bindparam("number")))
_ROW = Statement(select(*_LOG_COLUMNS).where(*_OF_EXECUTION, _number == bindparam("number")))
_SNAPSHOT = Statement(
    select(snapshots.c.number, snapshots.c.state).where(*_same(snapshots, "tenant_id", "execution_id"))
)


def load_execution(
    connection: Connection, tenant_id: str, execution_id: str
) -> tuple[ExecutionRow, tuple[int, bytes] | None, list[LogRow]]:
    """The row, the latest snapshot, and the log after it."""
    row = find_execution(connection, tenant_id, execution_id)
    key: dict[str, Any] = {"tenant_id": tenant_id, "execution_id": execution_id}
    snapshot = _SNAPSHOT.run(connection, key).fetchone()
    after = snapshot[0] if snapshot else 0
    log = _LOG.run(connection, key | {"number": after + 1}).fetchall()
    return row, snapshot, [LogRow(*entry) for entry in log]


def load_until(
    connection: Connection, tenant_id: str, execution_id: str, sequence: int
) -> tuple[ExecutionRow, tuple[int, bytes] | None, list[LogRow]]:
    """The row, the snapshot if it is no younger, and the log up to the transition that holds the event."""
    row = find_execution(connection, tenant_id, execution_id)
    key: dict[str, Any] = {"tenant_id": tenant_id, "execution_id": execution_id}
    numbers = _numbers(connection, key)
    if numbers is None or not 1 <= sequence <= row.sequence:
        message = f"the execution {execution_id!r} has no event {sequence}; its last one is {row.sequence}"
        raise NotFound(message, sequence=row.sequence)
    until = _number_after(connection, key, numbers, sequence - 1)
    snapshot = _SNAPSHOT.run(connection, key).fetchone()
    if snapshot is not None and snapshot[0] > until:
        snapshot = None
    after = snapshot[0] if snapshot else 0
    holder = LogRow(*_ROW.run(connection, key | {"number": until}).fetchone())
    if holder.first_sequence > sequence or (snapshot is None and numbers[0] > 1):
        raise NotFound(
            f"the history of {execution_id!r} up to event {sequence} is kept no longer", sequence=row.sequence
        )
    log = _LOG_UNTIL.run(connection, key | {"number": after + 1, "until": until}).fetchall()
    return row, snapshot, [LogRow(*entry) for entry in log]


def read_log(
    connection: Connection, tenant_id: str, execution_id: str, after_sequence: int, limit: int, holding: bytes | None
) -> list[LogRow]:
    """Transitions that hold events after this sequence, in order; `holding`: only those with these bytes in them."""
    key: dict[str, Any] = {"tenant_id": tenant_id, "execution_id": execution_id}
    numbers = _numbers(connection, key)
    if numbers is None:
        find_execution(connection, tenant_id, execution_id)
        return []
    start = _number_after(connection, key, numbers, after_sequence)
    if holding is None:
        found = _LOG.stream(connection, key | {"number": start})
    else:
        found = _LOG_HOLDING.stream(connection, key | {"number": start, "holding": holding})
    rows: list[LogRow] = []
    size_bytes = 0
    for row in found:
        rows.append(LogRow(*row))
        size_bytes += len(rows[-1].events)
        if len(rows) >= limit or size_bytes >= LOG_BYTES_MAX:
            break
    return rows


def read_ends(connection: Connection, tenant_id: str, execution_id: str) -> tuple[LogRow, LogRow]:
    """The first and the last transition that are kept."""
    key: dict[str, Any] = {"tenant_id": tenant_id, "execution_id": execution_id}
    numbers = _numbers(connection, key)
    if numbers is None:
        raise NotFound(f"there is no execution {execution_id!r}")
    first, last = (LogRow(*_ROW.run(connection, key | {"number": number}).fetchone()) for number in numbers)
    return first, last


def _numbers(connection: Connection, key: dict[str, Any]) -> tuple[int, int] | None:
    first = _FIRST_NUMBER.run(connection, key).fetchone()[0]
    return None if first is None else (first, _LAST_NUMBER.run(connection, key).fetchone()[0])


def _number_after(connection: Connection, key: dict[str, Any], numbers: tuple[int, int], after_sequence: int) -> int:
    """The first transition that ends after the sequence, found by halving: sequences rise with numbers.

    An index on the sequence would cost every commit; this costs a reader seventeen look-ups in a log of 100,000.
    """
    low, high = numbers[0], numbers[1] + 1
    if after_sequence <= 0:
        return low
    while low < high:
        middle = (low + high) // 2
        last_sequence = _LAST_SEQUENCE.run(connection, key | {"number": middle}).fetchone()[0]
        if last_sequence > after_sequence:
            high = middle
        else:
            low = middle + 1
    return low


# Tasks

_DUE_KEY = (tasks.c.due_at, tasks.c.tenant_id, tasks.c.execution_id)
_DUE = Statement(
    select(*_DUE_KEY)
    .distinct()
    .where(literal_column("kind = 'timer'"), tasks.c.due_at <= bindparam("until"))
    .where(tuple_(*_DUE_KEY) > tuple_(bindparam("due_at"), bindparam("after_tenant"), bindparam("after_execution")))
    .order_by(*_DUE_KEY)
    .limit(_LIMIT)
    .offset(_NOTHING)
)
_TASK_COLUMNS = [tasks.c[name] for name in OutstandingTask.__struct_fields__]
_TASK_KEY = (tasks.c.created_at, tasks.c.execution_id, tasks.c.task_id)


def list_due(
    connection: Connection, until: int, limit: int, after: tuple[int, str, str] | None
) -> list[tuple[int, str, str]]:
    """Timers of all tenants that are due at or before `until`; two of one execution at one instant are one."""
    due_at, tenant_id, execution_id = after or (-(2**63), "", "")
    parameters = {"until": until, "limit": limit}
    parameters_after = {"due_at": due_at, "after_tenant": tenant_id, "after_execution": execution_id}
    return _DUE.run(connection, parameters | parameters_after).fetchall()


def list_tasks(
    connection: Connection,
    tenant_id: str,
    kind: str,
    execution_id: str | None,
    holding: Sequence[bytes],
    due_before: int | None,
    after: tuple[int, str, str] | None,
    limit: int,
) -> list[OutstandingTask]:
    """Tasks of one kind, oldest first; `holding`: only those with each of these bytes in their data."""
    parameters: dict[str, Any] = {"tenant_id": tenant_id, "kind": kind, "limit": min(limit, LIMIT_MAX)}
    if execution_id is not None:
        parameters["execution_id"] = execution_id
    if after is not None:
        parameters |= dict(zip(("after_at", "after_execution", "after_task"), after, strict=True))
    for number, part in enumerate(holding):
        parameters[f"holding_{number}"] = part
    if due_before is not None:
        parameters["due_before"] = due_before
    statement = _tasks(
        kind == "timer", execution_id is not None, after is not None, len(holding), due_before is not None
    )
    return [OutstandingTask(*row) for row in _rows_of_page(statement.stream(connection, parameters), _TASK_DATA_AT)]


_TASK_DATA_AT = OutstandingTask.__struct_fields__.index("data")


@cache
def _tasks(of_timers: bool, of_execution: bool, has_after: bool, holding_count: int, has_due: bool) -> Statement:
    statement = select(*_TASK_COLUMNS).where(*_same(tasks, "tenant_id", "kind"))
    if not of_timers:
        statement = statement.where(literal_column("kind <> 'timer'"))  # the words of the partial index
    if of_execution:
        statement = statement.where(*_same(tasks, "execution_id"))
    if has_after:
        after = tuple_(bindparam("after_at"), bindparam("after_execution"), bindparam("after_task"))
        statement = statement.where(tuple_(*_TASK_KEY) > after)
    if has_due:
        statement = statement.where(tasks.c.due_at < bindparam("due_before"))
    for number in range(holding_count):
        part = bindparam(f"holding_{number}", type_=LargeBinary)
        statement = statement.where(Holds(tasks.c.data, part))
    return Statement(statement.order_by(*_TASK_KEY).limit(_LIMIT).offset(_NOTHING))


_TASK = Statement(
    select(*_TASK_COLUMNS).where(literal_column("kind <> 'timer'"), *_same(tasks, "tenant_id", "task_id"))
)


def find_task(connection: Connection, tenant_id: str, task_id: str) -> OutstandingTask:
    """A task by its id, which is unique within a tenant for all but timers."""
    row = _TASK.run(connection, {"tenant_id": tenant_id, "task_id": task_id}).fetchone()
    if row is None:
        raise NotFound(f"there is no task {task_id!r}")
    return OutstandingTask(*row)
