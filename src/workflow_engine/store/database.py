"""One database file: its lock, its connections and its upkeep."""

import time
from pathlib import Path

import structlog

from workflow_engine.models.errors import StoreUnavailable
from workflow_engine.store import migration, sqlite
from workflow_engine.store.clock import Clock
from workflow_engine.store.lock import FileLock
from workflow_engine.store.statements import Connection

UPKEEP_S = 1.0
"""How often the clock is sampled and the WAL looked at."""

WAL_BYTES_ALARM = 4 * sqlite.WAL_BYTES_MAX
"""A WAL of this size means that some reader, here or in another process, has held its view for too long."""

WAL_BYTES_CAP = 16 * sqlite.WAL_BYTES_MAX
"""At this size (1 GiB) no more is written until the reader is gone: better than to fill the disk for everybody."""

WAL_ALARM_S = 60.0

log = structlog.get_logger(__name__)


class Database:
    """What the committer and the readers share; made by `Store.open`."""

    def __init__(self, url: str) -> None:
        self.path: Path = sqlite.path_of(url)
        self.clock = Clock(sqlite.clock_at)
        self._lock = FileLock(self.path)
        self._identity = (0, 0)
        self._looked_s = 0.0
        self.wants_checkpoint = False
        """Set, by the thread that writes, where the file can get smaller."""
        self._alarmed_s = -WAL_ALARM_S
        self._wal_bytes = 0

    def open_writer(self) -> Connection:
        """Lock the file, making it if need be, bring its schema up to date, and give the connection that writes.

        Raises:
            DatabaseInUse: another process writes to it.
            StoreUnavailable: it cannot be opened, is not ours, or is newer than this release.
        """
        try:
            sqlite.prepare_file(self.path)
            self._lock.acquire()
            self._identity = sqlite.identity_of(self.path)
            connection = sqlite.connect_writer(self.path)
            migration.upgrade(connection)
        except (OSError, sqlite.Error) as error:
            self.close()
            raise self._unopened(error) from error
        except BaseException:
            self.close()
            raise
        return connection

    def check_reader(self) -> None:
        """Make sure that there is a database of the present schema to read.

        Raises:
            StoreUnavailable: there is none.
        """
        if not self.path.exists():
            raise StoreUnavailable(f"there is no database at {self.path}")
        try:
            connection = sqlite.connect_reader(self.path)
            try:
                migration.require_head(connection)
            finally:
                connection.close()
        except sqlite.Error as error:
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
        """Raise StoreUnavailable while the WAL is as large as it may get, as it was when last looked at."""
        if self._wal_bytes > WAL_BYTES_CAP:
            raise StoreUnavailable(
                f"the write-ahead log has grown to {self._wal_bytes} bytes, because some program keeps a transaction "
                f"open; end it (lsof {self.path})"
            )

    def look_around(self, connection: Connection, is_idle: bool) -> None:
        """Sample the clock and keep the WAL small; does nothing until a second has passed."""
        now_s = time.monotonic()
        if now_s - self._looked_s < UPKEEP_S:
            return
        self._looked_s = now_s
        self.clock.sample()
        self._wal_bytes = wal_bytes = sqlite.wal_bytes(self.path)
        if is_idle and (wal_bytes > sqlite.WAL_BYTES_MAX or self.wants_checkpoint) and sqlite.shrink_wal(connection):
            self.wants_checkpoint = False
            self._wal_bytes = sqlite.wal_bytes(self.path)
        if wal_bytes > WAL_BYTES_ALARM and now_s - self._alarmed_s >= WAL_ALARM_S:
            self._alarmed_s = now_s
            log.warning("store.wal_grows", wal_bytes=wal_bytes, path=str(self.path))

    def close(self) -> None:
        """Let others write."""
        self._lock.release()
