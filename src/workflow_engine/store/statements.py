"""SQL, written once with SQLAlchemy Core and turned into each database's text once, and statements over many rows.

A batch is written with ONE statement per table, not with one per row. The driver gives up the GIL in every step of a
statement and must win it back; while the event loop computes, that costs up to the interpreter's switch interval each.
Measured on SQLite with a busy loop: `executemany` 700 rows a second, one wide statement 35,000.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from sqlalchemy import CTE, ClauseElement, Column, ColumnElement, Engine, column
from sqlalchemy import Dialect as SqlDialect
from sqlalchemy import values as table_of_values
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import bindparam
from sqlalchemy.types import Boolean

from workflow_engine.models.errors import StoreUnavailable

NO_PARAMETERS: Final[Mapping[str, Any]] = {}


class Cursor(Protocol):
    """What we use of a DBAPI cursor."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...


class Connection(Protocol):
    """What we use of a connection, whose transactions are begun and ended by hand."""

    @property
    def dialect(self) -> "Dialect": ...
    @property
    def in_transaction(self) -> bool: ...
    def execute(self, sql: Any, parameters: Any = ..., /) -> Cursor: ...
    def close(self) -> None: ...


class Form(Protocol):
    """A statement with named parameters, in one database's words."""

    text: str

    def run(self, connection: Any, parameters: Mapping[str, Any]) -> Cursor: ...
    def stream(self, connection: Any, parameters: Mapping[str, Any]) -> Iterator[Any]: ...


class WideForm(Protocol):
    """A statement over many rows, in one database's words. `values` are the rows, one after another, in one list."""

    def run(self, connection: Any, values: list[Any]) -> list[Cursor]: ...


class Dialect(Protocol):
    """What a database wants its SQL like, and what its errors mean."""

    sql: SqlDialect
    """SQLAlchemy's own."""
    error: type[Exception]
    """What every error of the driver is."""
    data_error: type[Exception]
    """Of these, that a value is none that the database can hold."""

    def form(self, clause: ClauseElement) -> Form: ...
    def wide_form(self, clause: ClauseElement, columns: Sequence[ColumnElement[Any]]) -> WideForm: ...
    def begin(self, connection: Any) -> None:
        """Begin a transaction that writes."""

    def commit(self, connection: Any) -> None:
        """End it; raises `error` where it has not become durable for certain."""

    def begin_reading(self, connection: Any) -> None:
        """Begin a transaction that reads, and sees everything as it stood at one instant."""

    def has_table(self, connection: Any, name: str | None = None) -> bool:
        """Whether a table of this name exists; without a name, any table."""

    def engine(self, connection: Any) -> Engine:
        """An SQLAlchemy engine that knows this connection alone."""

    def unavailable(self, error: BaseException) -> StoreUnavailable | None:
        """The error for a database that takes no writes or reads now; None where the statement or its data are to
        blame."""

    def is_too_big(self, error: BaseException) -> bool:
        """Whether the data were larger than the database takes at all."""


class Statement:
    """A statement with named parameters; its text is made when a database first needs it."""

    def __init__(self, clause: ClauseElement) -> None:
        self._clause = clause
        self._forms: dict[Dialect, Form] = {}

    def run(self, connection: Connection, parameters: Mapping[str, Any] = NO_PARAMETERS) -> Cursor:
        """Run it; all rows that it finds are in memory then, or are about to be."""
        return self.form(connection.dialect).run(connection, parameters)

    def stream(self, connection: Connection, parameters: Mapping[str, Any] = NO_PARAMETERS) -> Iterator[Any]:
        """The rows that it finds, a few at a time: for whoever may stop before the last. Within a transaction."""
        return self.form(connection.dialect).stream(connection, parameters)

    def form(self, dialect: Dialect) -> Form:
        """Its form for a database."""
        form = self._forms.get(dialect)
        if form is None:
            form = self._forms[dialect] = dialect.form(self._clause)
        return form


class WideStatement:
    """A statement over any number of rows, which it knows as the table `source`.

    Some rows of `source` may be NULL throughout; the statement must leave out those whose first column is NULL, as a
    join does.
    """

    def __init__(self, clause: ClauseElement, source: CTE) -> None:
        self._clause = clause
        self._columns = tuple(source.c)
        self._forms: dict[Dialect, WideForm] = {}

    def change(self, connection: Connection, values: list[Any]) -> int:
        """Run over the rows, given flat and in the order of the columns; gives the number of rows changed."""
        return sum(cursor.rowcount for cursor in self._run(connection, values))

    def fetch(self, connection: Connection, values: list[Any]) -> list[Any]:
        """Run over the rows, given flat and in the order of the columns; gives the rows found."""
        return [row for cursor in self._run(connection, values) for row in cursor.fetchall()]

    def _run(self, connection: Connection, values: list[Any]) -> list[Cursor]:
        return self.form(connection.dialect).run(connection, values) if values else []

    def form(self, dialect: Dialect) -> WideForm:
        """Its form for a database."""
        form = self._forms.get(dialect)
        if form is None:
            form = self._forms[dialect] = dialect.wide_form(self._clause, self._columns)
        return form


def flat(rows: Iterable[Iterable[Any]]) -> list[Any]:
    """The values of rows, one row after another, as wide statements take them."""
    values: list[Any] = []
    extend: Callable[[Iterable[Any]], None] = values.extend
    for row in rows:
        extend(row)
    return values


def given(*columns: Column[Any], **more: Any) -> CTE:
    """The rows that a wide statement gets, as a table `given` of these columns; `more` adds some by name and type."""
    named = [column(one.name, one.type) for one in columns] + [column(name, kind) for name, kind in more.items()]
    row = tuple(bindparam(one.name, type_=one.type) for one in named)
    return table_of_values(*named, name="given").data([row]).cte("given")


class Holds(ColumnElement[bool]):
    """Whether a value, text or bytes, has another one in it."""

    inherit_cache = False
    type = Boolean()

    def __init__(self, whole: ColumnElement[Any], part: ColumnElement[Any]) -> None:
        self.whole = whole
        self.part = part


@compiles(Holds, "sqlite")
def _instr(element: Holds, compiler: Any, **options: Any) -> str:
    return f"instr({compiler.process(element.whole, **options)}, {compiler.process(element.part, **options)}) > 0"


@compiles(Holds, "postgresql")
def _position(element: Holds, compiler: Any, **options: Any) -> str:
    part = compiler.process(element.part, **options)
    return f"position({part} IN {compiler.process(element.whole, **options)}) > 0"
