"""What is particular to SQLite: how a file is opened, asked, copied and kept small, and what its errors mean."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from pysqlite3 import dbapi2
from sqlalchemy import ClauseElement, ColumnElement, Engine, Select, create_engine
from sqlalchemy import Dialect as SqlDialect
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.pool import StaticPool

from workflow_engine.models.errors import AlreadyExists, StorageFull, StoreUnavailable
from workflow_engine.store.statements import Connection, Cursor

PAGE_BYTES = 4096
"""The file system's own page: a small commit writes three of them."""

CHECKPOINT_PAGES = 4000
"""WAL pages (16 MiB) after which a commit moves them into the database. Fewer slow bursts down, more a start."""

WAL_BYTES_MAX = 64 * 1024 * 1024
"""A larger WAL is cut back to this as soon as no reader needs it any more."""

BUSY_TIMEOUT_MS = 5000
"""Only another program that opened the file (a backup tool, a shell) can make us wait."""

WRITER_CACHE_KIB = 16384
"""Twice a batch (`committer.BATCH_BYTES_MAX`). Four times as much saved no time: the system holds the pages."""
READER_CACHE_KIB = 8192

WIDTH_MAX = 1024
"""Rows in one statement; more go in several."""

_FULL = {dbapi2.SQLITE_FULL}
_UNAVAILABLE = {
    dbapi2.SQLITE_BUSY,
    dbapi2.SQLITE_CANTOPEN,
    dbapi2.SQLITE_CORRUPT,
    dbapi2.SQLITE_IOERR,
    dbapi2.SQLITE_LOCKED,
    dbapi2.SQLITE_NOTADB,
    dbapi2.SQLITE_PROTOCOL,
    dbapi2.SQLITE_READONLY,
}
_PRIMARY_CODE = 0xFF


class NamedText:
    """A statement with `:name` parameters."""

    def __init__(self, clause: ClauseElement) -> None:
        self.text = str(clause.compile(dialect=sqlite_dialect.dialect(paramstyle="named")))

    def run(self, connection: Connection, parameters: Mapping[str, Any]) -> Cursor:
        return connection.execute(self.text, parameters)

    def stream(self, connection: Connection, parameters: Mapping[str, Any]) -> Iterator[Any]:
        """SQLite finds each row when it is asked for."""
        cursor = connection.execute(self.text, parameters)
        while (row := cursor.fetchone()) is not None:
            yield row


class WideText:
    """A statement over rows that stand in its text as placeholders: one execution per 1,024 of them.

    The text exists in some widths only (see `_width`), so that the driver's cache holds its statements. Rows that are
    missing up to the width are NULL throughout.
    """

    def __init__(self, clause: ClauseElement, columns: Sequence[ColumnElement[Any]]) -> None:
        self._columns = len(columns)
        self._is_read = isinstance(clause, Select)
        self._text = str(clause.compile(dialect=sqlite_dialect.dialect(paramstyle="qmark")))
        self._row = f"({', '.join('?' * self._columns)})"
        assert self._text.count("?") == self._columns, self._text
        assert self._row in self._text, self._text
        self._texts: dict[int, str] = {}

    def run(self, connection: Any, values: list[Any]) -> list[Cursor]:
        step = WIDTH_MAX * self._columns
        if len(values) <= step:
            return [self._run_once(connection, values)]
        return [self._run_once(connection, values[at : at + step]) for at in range(0, len(values), step)]

    def _run_once(self, connection: Any, values: list[Any]) -> Cursor:
        rows = len(values) // self._columns
        width = _width(rows)
        if width > rows:
            values = values + [None] * ((width - rows) * self._columns)
        text = self._text_of(width)
        # `execute` gives up the GIL once more, to ask for the id of the last row.
        cursor: Cursor = connection.execute(text, values) if self._is_read else connection.executemany(text, [values])
        return cursor

    def _text_of(self, width: int) -> str:
        if width not in self._texts:
            self._texts[width] = self._text.replace(self._row, ", ".join([self._row] * width), 1)
        return self._texts[width]


def _width(rows: int) -> int:
    """The width for so many rows: eight widths between one power of two and the next, so at most an eighth is padding.

    >>> [_width(rows) for rows in (1, 9, 16, 17, 100, 1000)]
    [1, 9, 16, 18, 104, 1024]
    """
    step = 1 << max(0, (rows - 1).bit_length() - 4)
    return -(-rows // step) * step


class SqliteDialect:
    """See `statements.Dialect`."""

    sql: SqlDialect = sqlite_dialect.dialect()
    error: type[Exception] = dbapi2.Error
    data_error: type[Exception] = dbapi2.DataError

    def form(self, clause: ClauseElement) -> NamedText:
        return NamedText(clause)

    def wide_form(self, clause: ClauseElement, columns: Sequence[ColumnElement[Any]]) -> WideText:
        return WideText(clause, columns)

    def begin(self, connection: Connection) -> None:
        """Taking the write lock now means that no later statement can meet `locked`."""
        connection.execute("BEGIN IMMEDIATE")

    def commit(self, connection: Any) -> None:
        if not connection.in_transaction:  # the driver would do nothing, and not say so
            raise dbapi2.OperationalError("cannot commit: the transaction has ended already")
        connection.commit()  # as a statement it would be stepped and reset, and give up the GIL for each

    def begin_reading(self, connection: Connection) -> None:
        connection.execute("BEGIN")

    def has_table(self, connection: Connection, name: str | None = None) -> bool:
        sql = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND (:name IS NULL OR name = :name)"
        return connection.execute(sql, {"name": name}).fetchone() is not None

    def engine(self, connection: Connection) -> Engine:
        return create_engine("sqlite+pysqlite://", module=dbapi2, creator=lambda: connection, poolclass=StaticPool)

    def unavailable(self, error: BaseException) -> StoreUnavailable | None:
        if not isinstance(error, dbapi2.Error):
            return None
        code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE
        if code in _FULL:
            return StorageFull()
        return StoreUnavailable(f"the database does not answer: {error}") if code in _UNAVAILABLE else None

    def is_too_big(self, error: BaseException) -> bool:
        return isinstance(error, dbapi2.DataError | OverflowError | MemoryError)


DIALECT: Final = SqliteDialect()


class SqliteConnection(dbapi2.Connection):  # type: ignore[misc]  # the driver has no types
    """The driver's own, which knows its dialect."""

    dialect = DIALECT


def prepare_file(path: Path) -> None:
    """Make the folder and an empty file that only its owner may read: it will hold everybody's data."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def connect_writer(path: Path) -> Connection:
    """The connection that writes; a fresh file gets page size, incremental vacuum and WAL here, before any table."""
    connection: Connection = _connect(path, "rw", WRITER_CACHE_KIB)
    connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
    connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
    mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    if mode != "wal":
        raise StoreUnavailable(f"{path} cannot be used with a write-ahead log; is it on a network file system?")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit={WAL_BYTES_MAX}")
    return connection


def connect_reader(path: Path) -> Connection:
    """A connection that cannot write, even by mistake."""
    connection: Connection = _connect(path, "ro", READER_CACHE_KIB)
    connection.execute("PRAGMA query_only=ON")
    return connection


def _connect(path: Path, mode: str, cache_kib: int) -> Any:
    uri = f"file:{quote(str(path))}?mode={mode}"
    connection = dbapi2.connect(
        uri,
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=512,
        factory=SqliteConnection,
    )
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    connection.execute(f"PRAGMA cache_size=-{cache_kib}")
    connection.execute("PRAGMA trusted_schema=OFF")
    return connection


def clock_at() -> int:
    """The database's clock, which for SQLite is this machine's."""
    return time.time_ns() // 1000


def wal_bytes(path: Path) -> int:
    """The size of the write-ahead log."""
    return file_bytes(Path(f"{path}-wal"))


def file_bytes(path: Path) -> int:
    """The size of a file; 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def probe(connection: Connection) -> None:
    """Write something that means nothing, into the open transaction: does the database take writes?"""
    connection.execute(f"PRAGMA user_version={time.time_ns() & 0x7FFF_FFFF}")


def free_pages(connection: Connection) -> int:
    """Pages of the file that hold nothing."""
    return int(connection.execute("PRAGMA freelist_count").fetchone()[0])


def give_back(connection: Connection, pages: int) -> None:
    """Cut up to so many free pages off the file; it gets smaller with the next checkpoint."""
    connection.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()


def shrink_wal(connection: Connection) -> bool:
    """Move the whole WAL into the database and empty it; waits for nobody. False: a reader still needs it."""
    connection.execute("PRAGMA busy_timeout=0")
    try:
        is_busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not is_busy
    finally:
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")


def identity_of(path: Path) -> tuple[int, int]:
    """Device and inode."""
    found = path.stat()
    return found.st_dev, found.st_ino


def backup(path: Path, target: Path) -> None:
    """Copy the database as it stands at one instant, while others write; the copy gets its name when it is whole.

    Raises:
        AlreadyExists: there is a file of that name; backups are never overwritten.
        StorageFull, StoreUnavailable: it could not be written; nothing is left behind.
    """
    if target.exists():
        raise AlreadyExists(f"{target} exists already; a backup never overwrites a file")
    partial = target.with_name(f"{target.name}.partial")
    try:
        partial.unlink(missing_ok=True)
        prepare_file(partial)
        _copy(path, partial)
        os.link(partial, target)
        _sync(target.parent)
    except FileExistsError:
        raise AlreadyExists(f"{target} exists already; a backup never overwrites a file") from None
    except (OSError, dbapi2.Error) as error:
        raise DIALECT.unavailable(error) or StoreUnavailable(f"the backup could not be written: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _copy(path: Path, partial: Path) -> None:
    source: Any = connect_reader(path)
    target: Any = _connect(partial, "rw", READER_CACHE_KIB)
    try:
        target.execute("PRAGMA synchronous=OFF")
        source.backup(target)
        target.execute("PRAGMA journal_mode=DELETE")
    finally:
        target.close()
        source.close()
    _sync(partial)


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
