"""SQL as text, compiled once from SQLAlchemy Core, and statements that take many rows at once.

A batch is written with ONE statement per table, not with one per row. The driver gives up the GIL in every step of a
statement and must win it back; while the event loop computes, that costs up to the interpreter's switch interval each.
Measured with a busy loop: `executemany` 700 rows a second, one wide statement 35,000.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from sqlalchemy import CTE, ClauseElement, Column, column
from sqlalchemy import values as table_of_values
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql import bindparam

WIDTH_MAX = 1024
"""Rows in one statement; more go in several."""


class Cursor(Protocol):
    """What we use of a DBAPI cursor."""

    rowcount: int

    def fetchone(self) -> Any: ...
    def fetchmany(self, size: int) -> list[Any]: ...
    def fetchall(self) -> list[Any]: ...


class Connection(Protocol):
    """What we use of a DBAPI connection whose transactions are begun and ended by hand."""

    in_transaction: bool

    def execute(self, sql: str, parameters: Any = ..., /) -> Cursor: ...
    def close(self) -> None: ...


def flat(rows: Iterable[Iterable[Any]]) -> list[Any]:
    """The values of rows, one row after another, as wide statements take them."""
    values: list[Any] = []
    extend: Callable[[Iterable[Any]], None] = values.extend
    for row in rows:
        extend(row)
    return values


def compiled(statement: ClauseElement) -> str:
    """The statement as text with `:name` parameters."""
    return str(statement.compile(dialect=sqlite.dialect(paramstyle="named")))


def given(*columns: Column[Any], **more: Any) -> CTE:
    """The rows that a wide statement gets, as a table `given` of these columns; `more` adds some by name and type."""
    named = [column(one.name, one.type) for one in columns] + [column(name, kind) for name, kind in more.items()]
    row = tuple(bindparam(one.name, type_=one.type) for one in named)
    return table_of_values(*named, name="given").data([row]).cte("given")


class WideStatement:
    """A statement over any number of rows: one execution per 1,024 of them.

    The text exists in widths of powers of two, so the driver's statement cache holds them all. Rows that are missing up
    to the width are NULL throughout; the statement must leave out those whose first column is NULL, as a join does.
    """

    def __init__(self, statement: ClauseElement, source: CTE) -> None:
        self._columns = len(source.c)
        self._text = str(statement.compile(dialect=sqlite.dialect(paramstyle="qmark")))
        self._row = f"({', '.join('?' * self._columns)})"
        assert self._text.count("?") == self._columns, self._text
        assert self._row in self._text, self._text
        self._texts: dict[int, str] = {}

    def change(self, connection: Connection, parameters: list[Any]) -> int:
        """Run over the rows, given flat and in the order of the columns; gives the number of rows changed."""
        return sum(cursor.rowcount for cursor in self._run(connection, parameters))

    def fetch(self, connection: Connection, parameters: list[Any]) -> list[Any]:
        """Run over the rows, given flat and in the order of the columns; gives the rows found."""
        return [row for cursor in self._run(connection, parameters) for row in cursor.fetchall()]

    def _run(self, connection: Connection, parameters: list[Any]) -> list[Cursor]:
        step = WIDTH_MAX * self._columns
        if len(parameters) <= step:
            return [self._run_once(connection, parameters)] if parameters else []
        return [self._run_once(connection, parameters[at : at + step]) for at in range(0, len(parameters), step)]

    def _run_once(self, connection: Connection, parameters: list[Any]) -> Cursor:
        rows = len(parameters) // self._columns
        width = 1 << (rows - 1).bit_length()
        if width > rows:
            parameters = parameters + [None] * ((width - rows) * self._columns)
        return connection.execute(self._text_of(width), parameters)

    def _text_of(self, width: int) -> str:
        if width not in self._texts:
            self._texts[width] = self._text.replace(self._row, ", ".join([self._row] * width), 1)
        return self._texts[width]
