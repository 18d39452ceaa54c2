"""What is particular to PostgreSQL: how it is asked, and what its errors mean.

Many rows go in as one array for each column, so that one prepared text serves every number of rows.
"""

import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain, repeat
from typing import Any, Final

import psycopg
from psycopg import adapt, pq
from psycopg.types.numeric import Int8Dumper
from sqlalchemy import ClauseElement, ColumnElement, Engine, Integer, LargeBinary, create_engine
from sqlalchemy import Dialect as SqlDialect
from sqlalchemy.dialects import postgresql
from sqlalchemy.pool import StaticPool

from workflow_engine.models.errors import StorageFull, StoreUnavailable
from workflow_engine.store.statements import Cursor

_ROWS_FIRST, _ROWS_MAX = 8, 64
"""Rows that are fetched at a time where the reader may stop: few at first, because rows may be large."""

DISK_FULL = "53100"
_UNAVAILABLE_CLASSES = {"08", "40", "53", "57", "58", "F0", "XX"}
"""By SQLSTATE: the connection, a rollback that another transaction caused, resources, an operator, the system."""
_UNAVAILABLE = {
    "25006",  # read only: a standby, or a disk that an operator protects
    "25P03",  # idle in a transaction for too long
    "42501",  # a right was taken away
    "42P01",  # a table was taken away
    "55P03",  # a lock was not to be had
}
_TOO_BIG = {"54000"}

_OID: Final = {bytes: 17, int: 20, str: 25}
_ARRAY_OID: Final = {bytes: 1001, int: 1016, str: 1009}
_HEADER = struct.Struct(">iiIii").pack
_LENGTH = struct.Struct(">i").pack
_NUMBER = struct.Struct(">iq").pack
_NULL = _LENGTH(-1)


class Array(ABC):
    """The values of a column, in PostgreSQL's binary form."""

    __slots__ = ("data",)
    kind: type

    def __init__(self, values: list[Any]) -> None:
        header = _HEADER(1, 1, _OID[self.kind], len(values), 1)
        self.data = header + b"".join(self.parts(values))

    @staticmethod
    @abstractmethod
    def parts(values: list[Any]) -> Iterator[bytes]:
        """Each value, after its length."""


class Texts(Array):
    """Of type text[]."""

    kind = str

    @staticmethod
    def parts(values: list[Any]) -> Iterator[bytes]:
        return Blobs.parts([None if value is None else value.encode() for value in values])


class Blobs(Array):
    """Of type bytea[]."""

    kind = bytes

    @staticmethod
    def parts(values: list[Any]) -> Iterator[bytes]:
        if None in values:
            return chain.from_iterable((_NULL,) if one is None else (_LENGTH(len(one)), one) for one in values)
        return chain.from_iterable(zip(map(_LENGTH, map(len, values)), values, strict=True))


class Numbers(Array):
    """Of type bigint[]."""

    kind = int

    @staticmethod
    def parts(values: list[Any]) -> Iterator[bytes]:
        if None in values:
            return iter([_NULL if value is None else _NUMBER(8, value) for value in values])
        return map(_NUMBER, repeat(8), values)


def _dumper(array: type[Array]) -> type[adapt.Dumper]:
    class ArrayDumper(adapt.Dumper):
        oid = _ARRAY_OID[array.kind]
        format = pq.Format.BINARY

        def dump(self, obj: Array) -> bytes:
            return obj.data

    return ArrayDumper


ADAPTERS: Final = adapt.AdaptersMap(psycopg.adapters)
"""Every integer is a bigint, whatever its value: a statement is prepared once and not for each width of number."""
ADAPTERS.register_dumper(int, Int8Dumper)
for _array in (Texts, Blobs, Numbers):
    ADAPTERS.register_dumper(_array, _dumper(_array))


def _array_of(column: ColumnElement[Any]) -> type[Array]:
    match column.type:
        case LargeBinary():
            return Blobs
        case Integer():
            return Numbers
        case _:
            return Texts


_SQL_TYPE: Final = {Texts: "text[]", Blobs: "bytea[]", Numbers: "bigint[]"}


class NumberedText:
    """A statement with parameters `$1`, `$2` ..., given by name."""

    def __init__(self, clause: ClauseElement) -> None:
        compiled: Any = clause.compile(dialect=postgresql.dialect(paramstyle="numeric_dollar"))  # type: ignore[no-untyped-call]
        self.text = str(compiled)
        self._sql = self.text.encode()
        self._names: list[str] = compiled.positiontup or []

    def run(self, connection: "PostgresConnection", parameters: Mapping[str, Any]) -> Cursor:
        return connection.execute(self._sql, [parameters[name] for name in self._names])

    def stream(self, connection: "PostgresConnection", parameters: Mapping[str, Any]) -> Iterator[Any]:
        """By a cursor of the server's: what is not asked for never leaves it."""
        size = _ROWS_FIRST
        with closing(psycopg.RawServerCursor(connection.driver, "page")) as cursor:
            cursor.execute(self._sql, [parameters[name] for name in self._names], binary=True)
            while rows := cursor.fetchmany(size):
                yield from rows
                if len(rows) < size:
                    return
                size = min(2 * size, _ROWS_MAX)


class ArraysText:
    """A statement over rows that it takes as arrays, one for each column."""

    def __init__(self, clause: ClauseElement, columns: Sequence[ColumnElement[Any]]) -> None:
        self._arrays = [_array_of(one) for one in columns]
        compiled: Any = clause.compile(dialect=postgresql.dialect(paramstyle="numeric_dollar"))  # type: ignore[no-untyped-call]
        text = str(compiled)
        assert len(compiled.positiontup) == len(columns), text
        begin = text.index("(VALUES (")
        end = text.index("))", begin) + 2
        arrays = ", ".join(f"${number}::{_SQL_TYPE[array]}" for number, array in enumerate(self._arrays, start=1))
        self._sql = f"{text[:begin]}(SELECT * FROM unnest({arrays})){text[end:]}".encode()

    def run(self, connection: "PostgresConnection", values: list[Any]) -> list[Cursor]:
        step = len(self._arrays)
        return [connection.execute(self._sql, [array(values[at::step]) for at, array in enumerate(self._arrays)])]


class PostgresDialect:
    """See `statements.Dialect`."""

    sql: SqlDialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    error: type[Exception] = psycopg.Error
    data_error: type[Exception] = psycopg.DataError

    def form(self, clause: ClauseElement) -> NumberedText:
        return NumberedText(clause)

    def wide_form(self, clause: ClauseElement, columns: Sequence[ColumnElement[Any]]) -> ArraysText:
        return ArraysText(clause, columns)

    def begin(self, connection: "PostgresConnection") -> None:
        """Every statement sees what others have committed; the compare-and-set and the rows' locks do the rest."""
        connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")

    def commit(self, connection: "PostgresConnection") -> None:
        connection.execute("COMMIT")

    def begin_reading(self, connection: "PostgresConnection") -> None:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def has_table(self, connection: "PostgresConnection", name: str | None = None) -> bool:
        sql = (
            "SELECT 1 FROM pg_tables WHERE schemaname = current_schema() AND ($1::text IS NULL OR tablename = $1::text)"
        )
        return connection.execute(sql, [name]).fetchone() is not None

    def engine(self, connection: "PostgresConnection") -> Engine:
        return create_engine("postgresql+psycopg://", creator=lambda: connection.driver, poolclass=StaticPool)

    def unavailable(self, error: BaseException) -> StoreUnavailable | None:
        if not isinstance(error, psycopg.Error):
            return None
        state = error.sqlstate
        if state == DISK_FULL:
            return StorageFull()
        if state is None:  # the driver's own word: the connection is gone, or the data are wrong
            is_out = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        else:
            is_out = state[:2] in _UNAVAILABLE_CLASSES or state in _UNAVAILABLE
        return StoreUnavailable(f"the database does not answer: {_first_line(error)}") if is_out else None

    def is_too_big(self, error: BaseException) -> bool:
        if isinstance(error, psycopg.Error):
            return error.sqlstate in _TOO_BIG
        return isinstance(error, OverflowError | MemoryError)


DIALECT: Final = PostgresDialect()


class PostgresConnection:
    """A connection of psycopg's, whose transactions are begun and ended by hand."""

    dialect = DIALECT

    def __init__(self, driver: psycopg.Connection[Any]) -> None:
        self.driver = driver

    @property
    def in_transaction(self) -> bool:
        """Also of one that has failed and waits to be rolled back; False where the connection is lost."""
        return self.driver.pgconn.transaction_status not in (pq.TransactionStatus.IDLE, pq.TransactionStatus.UNKNOWN)

    def execute(self, sql: str | bytes, parameters: Sequence[Any] | None = None, /) -> psycopg.RawCursor[Any]:
        """With parameters it is prepared, once for the connection.

        Raises:
            psycopg.Error: also where a COMMIT has rolled back, which the server takes for no error.
        """
        cursor = psycopg.RawCursor(self.driver)
        cursor.execute(sql, parameters, prepare=parameters is not None, binary=True)
        if sql == "COMMIT" and cursor.statusmessage != "COMMIT":
            raise psycopg.errors.InFailedSqlTransaction("the transaction had failed and was rolled back")
        return cursor

    def close(self) -> None:
        self.driver.close()


def connect(parameters: Mapping[str, Any], settings: Mapping[str, str]) -> PostgresConnection:
    """Connect, and set so for the session.

    Args:
        parameters: what libpq takes.
    """
    driver = psycopg.connect(**parameters, autocommit=True, context=_Context())
    driver.prepared_max = None
    connection = PostgresConnection(driver)
    try:
        calls = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in settings.items())
        connection.execute(f"SELECT {calls}")
    except BaseException:
        connection.close()
        raise
    return connection


class _Context:
    """How values are written, in the shape in which psycopg asks for it."""

    adapters = ADAPTERS
    connection = None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
