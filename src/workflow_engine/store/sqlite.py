"""What is particular to SQLite: how a database is named, opened, copied and kept small, and what its errors mean."""

import os
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from pysqlite3 import dbapi2
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from workflow_engine.models.errors import AlreadyExists, StorageFull, StoreUnavailable
from workflow_engine.store.statements import Connection

Error: Final[type[Exception]] = dbapi2.Error

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


def path_of(url: str) -> Path:
    """The file that an SQLAlchemy URL names (`sqlite:////abs/path`, `sqlite:///rel/path`), links followed.

    Raises:
        StoreUnavailable: it names no SQLite file.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StoreUnavailable(f"{url!r} is no database URL; write sqlite:////absolute/path.db") from error
    if parsed.get_backend_name() != "sqlite":
        name = parsed.get_backend_name()
        raise StoreUnavailable(f"{name} databases are not supported by this release; write sqlite:////absolute/path.db")
    database = parsed.database or ""
    if database in ("", ":memory:") or database.startswith("file:") or parsed.query:
        raise StoreUnavailable(f"{url!r} names no file; write sqlite:////absolute/path.db, without anything after it")
    return Path(database).resolve()


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
    connection = dbapi2.connect(uri, uri=True, isolation_level=None, check_same_thread=False, cached_statements=512)
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    connection.execute(f"PRAGMA cache_size=-{cache_kib}")
    connection.execute("PRAGMA trusted_schema=OFF")
    return connection


def begin(connection: Connection) -> None:
    """Begin a transaction that writes; taking the write lock now means that no later statement can meet `locked`."""
    connection.execute("BEGIN IMMEDIATE")


def has_table(connection: Connection, name: str | None = None) -> bool:
    """Whether a table of this name exists; without a name, any table."""
    sql = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND (:name IS NULL OR name = :name)"
    return connection.execute(sql, {"name": name}).fetchone() is not None


def clock_at(_connection: Connection | None = None) -> int:
    """The database's clock, which for SQLite is this machine's."""
    return time.time_ns() // 1000


def unavailable(error: BaseException) -> StoreUnavailable | None:
    """The error for a database that takes no writes or reads now; None when the statement or its data are to blame."""
    if not isinstance(error, dbapi2.Error):
        return None
    code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE
    if code in _FULL:
        return StorageFull()
    return StoreUnavailable(f"the database does not answer: {error}") if code in _UNAVAILABLE else None


def is_too_big(error: BaseException) -> bool:
    """Whether the data were larger than the database takes at all."""
    return isinstance(error, dbapi2.DataError | OverflowError | MemoryError)


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
        raise unavailable(error) or StoreUnavailable(f"the backup could not be written: {error}") from error
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
