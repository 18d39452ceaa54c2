"""One SQLite file: its lock, its connections and its upkeep."""

import time
from pathlib import Path

import structlog
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from workflow_engine.models.errors import StoreUnavailable
from workflow_engine.store import migration, sqlite
from workflow_engine.store.clock import Clock
from workflow_engine.store.database import WAYS_TO_NAME, Database
from workflow_engine.store.lock import FileLock
from workflow_engine.store.statements import Connection, Dialect

WAL_BYTES_ALARM = 4 * sqlite.WAL_BYTES_MAX
"""A WAL of this size means that some reader, here or in another process, has held its view for too long."""

WAL_BYTES_CAP = 16 * sqlite.WAL_BYTES_MAX
"""At this size (1 GiB) no more is written until the reader is gone: better than to fill the disk for everybody."""

WAL_ALARM_S = 60.0

FREE_PAGES_KEPT = 256
"""Free pages (1 MiB) that stay in the file: what is deleted today makes room for what comes tomorrow."""

log = structlog.get_logger(__name__)


def path_of(url: str) -> Path:
    """The file that an SQLAlchemy URL names (`sqlite:////abs/path`, `sqlite:///rel/path`), links followed.

    Raises:
        StoreUnavailable: it names no SQLite file.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StoreUnavailable(f"{url!r} is no database URL; {WAYS_TO_NAME}") from error
    if parsed.get_backend_name() != "sqlite":
        raise StoreUnavailable(f"{parsed.get_backend_name()} databases are not supported; {WAYS_TO_NAME}")
    database = parsed.database or ""
    if database in ("", ":memory:") or database.startswith("file:") or parsed.query:
        raise StoreUnavailable(f"{url!r} names no file; write sqlite:////absolute/path.db, without anything after it")
    return Path(database).resolve()


class SqliteDatabase(Database):
    """See `Database`. The writer's lock is the operating system's, on a file beside the database."""

    dialect: Dialect = sqlite.DIALECT

    def __init__(self, url: str) -> None:
        super().__init__()
        self.path: Path = path_of(url)
        self.clock = Clock(sqlite.clock_at)
        self._lock = FileLock(self.path)
        self._identity = (0, 0)
        self._wants_checkpoint = False
        self._alarmed_s = -WAL_ALARM_S
        self._wal_bytes = 0

    def open_writer(self) -> Connection:
        try:
            sqlite.prepare_file(self.path)
            self._lock.acquire()
            self._identity = sqlite.identity_of(self.path)
            connection = sqlite.connect_writer(self.path)
            migration.upgrade(connection)
        except (OSError, self.dialect.error) as error:
            self.close()
            raise self._unopened(error) from error
        except BaseException:
            self.close()
            raise
        return connection

    def check_reader(self) -> None:
        if not self.path.exists():
            raise StoreUnavailable(f"there is no database at {self.path}")
        try:
            connection = sqlite.connect_reader(self.path)
            try:
                migration.require_head(connection)
            finally:
                connection.close()
        except self.dialect.error as error:
            raise self._unopened(error) from error

    def _unopened(self, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(f"the database {self.path} cannot be opened: {error}")

    def connect_writer(self) -> Connection:
        self.require_in_place()
        return sqlite.connect_writer(self.path)

    def connect_reader(self) -> Connection:
        return sqlite.connect_reader(self.path)

    def require_in_place(self) -> None:
        """Whoever moves or deletes the file of a running engine must not go on hearing that all is durable.

        Raises:
            StoreUnavailable: the path no longer leads to the file that was opened.
        """
        try:
            if sqlite.identity_of(self.path) == self._identity:
                return
        except OSError:
            pass
        raise StoreUnavailable(f"{self.path} was moved, replaced or deleted while in use; put it back or restart")

    def require_log_room(self) -> None:
        """The WAL is as large as it was when last looked at."""
        if self._wal_bytes > WAL_BYTES_CAP:
            raise StoreUnavailable(
                f"the write-ahead log has grown to {self._wal_bytes} bytes, because some program keeps a transaction "
                f"open; end it (lsof {self.path})"
            )

    def _look(self, connection: Connection, is_idle: bool) -> None:
        """Keep the WAL small."""
        self._wal_bytes = wal_bytes = self.wal_bytes()
        if is_idle and (wal_bytes > sqlite.WAL_BYTES_MAX or self._wants_checkpoint) and sqlite.shrink_wal(connection):
            self._wants_checkpoint = False
            self._wal_bytes = self.wal_bytes()
        now_s = time.monotonic()
        if wal_bytes > WAL_BYTES_ALARM and now_s - self._alarmed_s >= WAL_ALARM_S:
            self._alarmed_s = now_s
            log.warning("store.wal_grows", wal_bytes=wal_bytes, path=str(self.path))

    def probe(self, connection: Connection) -> None:
        sqlite.probe(connection)

    def give_back(self, connection: Connection, pages: int) -> int:
        """The file gets smaller with the next checkpoint."""
        spare = sqlite.free_pages(connection) - FREE_PAGES_KEPT
        if spare > 0:
            sqlite.give_back(connection, min(spare, pages))
            self._wants_checkpoint = True
        return max(0, spare - pages)

    def wal_bytes(self) -> int:
        return sqlite.wal_bytes(self.path)

    def file_bytes(self) -> int:
        return sqlite.file_bytes(self.path)

    def backup(self, target: Path) -> None:
        if not self.path.is_file():
            raise StoreUnavailable(f"there is no database at {self.path}")
        sqlite.backup(self.path, target)

    def require_unused(self) -> None:
        if self.path.parent.is_dir():
            self._lock.acquire()
            self._lock.release()

    def close(self) -> None:
        self._lock.release()
