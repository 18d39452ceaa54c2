"""Where a store's data are: what the committer and the readers ask of a database, whichever it is."""

import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Final

from workflow_engine.store.clock import Clock
from workflow_engine.store.statements import Connection, Dialect

WAYS_TO_NAME: Final = "write sqlite:////absolute/path.db or postgresql://user:password@host/database"

UPKEEP_S = 1.0
"""How often the clock is sampled and a log's size looked at."""


class Database(ABC):
    """One database, to which one process writes; made by `Store.open`."""

    dialect: Dialect
    clock: Clock
    """The database's; there once the database is open."""

    def __init__(self) -> None:
        self._looked_s = 0.0

    @abstractmethod
    def open_writer(self) -> Connection:
        """Lock it, making it if need be, bring its schema up to date, and give the connection that writes.

        Raises:
            DatabaseInUse: another process writes to it.
            StoreUnavailable: it cannot be opened, is not ours, or is newer than this release.
        """

    @abstractmethod
    def check_reader(self) -> None:
        """Make sure that there is a database of the present schema to read.

        Raises:
            StoreUnavailable: there is none.
        """

    @abstractmethod
    def connect_writer(self) -> Connection:
        """Another connection that writes, after the one before was given up. What that one had begun has ended then:
        it is there for good, or never will be.

        Raises:
            StoreUnavailable: not now.
        """

    @abstractmethod
    def connect_reader(self) -> Connection:
        """A connection that cannot write, even by mistake."""

    def look_around(self, connection: Connection, is_idle: bool) -> None:
        """Sample the clock and see to the database; does nothing until `UPKEEP_S` has passed. In the writer's thread,
        with its connection.
        """
        now_s = time.monotonic()
        if now_s - self._looked_s >= UPKEEP_S:
            self._looked_s = now_s
            self._look(connection, is_idle)
            self.clock.sample()

    @abstractmethod
    def _look(self, connection: Connection, is_idle: bool) -> None:
        """What there is to see to."""

    @abstractmethod
    def probe(self, connection: Connection) -> None:
        """Write something that means nothing, into the open transaction: does the database take writes?"""

    @abstractmethod
    def backup(self, target: Path) -> None:
        """Copy the database as it stands at one instant to a new file.

        Raises:
            AlreadyExists: there is a file of that name.
            StoreUnavailable, StorageFull: the copy could not be written.
            NotPermitted: this database has a tool of its own for that; the message names it.
        """

    @abstractmethod
    def require_unused(self) -> None:
        """Raise DatabaseInUse while another process writes to it."""

    @abstractmethod
    def file_bytes(self) -> int:
        """The size of the database, as it was when last looked at, without a write-ahead log."""

    @abstractmethod
    def close(self) -> None:
        """Let others write."""

    # The rest is for databases that are files of ours.

    def require_log_room(self) -> None:  # noqa: B027 - a server looks after its own log
        """Raise StoreUnavailable while the write-ahead log is as large as it may get."""

    def require_in_place(self) -> None:  # noqa: B027 - nobody moves a server's files away
        """Whoever moves or deletes the file of a running engine must not go on hearing that all is durable.

        Raises:
            StoreUnavailable: the path no longer leads to the file that was opened.
        """

    def give_back(self, connection: Connection, pages: int) -> int:
        """Give up to so many free pages back to the file system; gives how many are left to give."""
        return 0

    def wal_bytes(self) -> int:
        """The size of the write-ahead log."""
        return 0


def database_of(url: str) -> Database:
    """The database that an SQLAlchemy URL names.

    Raises:
        StoreUnavailable: it names none that is supported.
    """
    if url.startswith("postgresql"):
        from workflow_engine.store.postgres_database import PostgresDatabase  # its driver is loaded for it alone

        return PostgresDatabase(url)
    from workflow_engine.store.sqlite_database import SqliteDatabase

    return SqliteDatabase(url)
