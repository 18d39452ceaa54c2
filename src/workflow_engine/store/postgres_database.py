"""One PostgreSQL database (or one schema of it): who may write, its connections and its upkeep."""

import os
import socket
import time
import zlib
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import psycopg
import structlog
from psycopg import conninfo
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from workflow_engine.models.errors import DatabaseInUse, NotPermitted, StoreUnavailable
from workflow_engine.store import migration, postgres
from workflow_engine.store.clock import Clock
from workflow_engine.store.database import WAYS_TO_NAME, Database
from workflow_engine.store.postgres import PostgresConnection
from workflow_engine.store.statements import Connection, Dialect

DRIVERS: Final = ("postgresql", "postgresql+psycopg")

LOCK_SPACE: Final = 0x5746_4C57
"""The first half of the advisory lock's key ("WFLW"); the second is drawn from the schema's name."""

LOCK_WAIT_MS = 1_000
"""The session of a process that was killed lives on until the server notices, mostly some milliseconds."""

RELOCK_WAIT_MS = 10_000
"""How long a lost session of our own may take to end."""

SIZE_S = 60.0
"""How often the database's size is looked at."""

PARAMETERS: Final = {
    "application_name": f"workflow-engine, process {os.getpid()} on {socket.gethostname()}",
    "client_encoding": "UTF8",
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""Unless the URL says otherwise. A server that has gone silent is given up after half a minute."""

SETTINGS: Final = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
"""Each statement is planned once, on a database that may be empty then: by the indexes that it was written for."""

WRITER_SETTINGS: Final = SETTINGS | {"synchronous_commit": "on"}
READER_SETTINGS: Final = SETTINGS | {"default_transaction_read_only": "on"}

_HOLDER = """
SELECT a.pid, a.application_name, coalesce(host(a.client_addr), 'this host')
FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND l.classid = $1::bigint AND l.objid = $2::bigint
AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_SESSION = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
_END_SESSION = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2"

log = structlog.get_logger(__name__)


def parameters_of(url: str) -> dict[str, Any]:
    """What libpq takes, from an SQLAlchemy URL.

    Raises:
        StoreUnavailable: it names no PostgreSQL database. The message doesn't repeat what may hold a password.
    """
    try:
        parsed = make_url(url)
        if parsed.drivername not in DRIVERS:
            raise StoreUnavailable(f"{parsed.drivername} databases are not supported; {WAYS_TO_NAME}")
        return PARAMETERS | conninfo.conninfo_to_dict(f"postgresql://{url.partition('://')[2]}")
    except (ArgumentError, psycopg.ProgrammingError) as error:
        raise StoreUnavailable(f"the database URL can't be read; {WAYS_TO_NAME}") from error


class PostgresDatabase(Database):
    """See `Database`. The writer's lock is an advisory one of its connection's session: who loses the connection has
    lost the lock, and gets it back only if nobody else has it.
    """

    dialect: Dialect = postgres.DIALECT

    def __init__(self, url: str) -> None:
        super().__init__()
        self._parameters = parameters_of(url)
        places = (self._parameters.get(name) for name in ("host", "port", "dbname"))
        self._name = "/".join(str(place) for place in places if place)
        self._session: tuple[int, datetime] | None = None
        """The writer's, as the server knows it."""
        self._sampled: PostgresConnection | None = None
        self._file_bytes = 0
        self._sized_s = -SIZE_S

    def open_writer(self) -> Connection:
        connection: PostgresConnection | None = None
        try:
            connection = self._connect_locked(LOCK_WAIT_MS)
            self._check_server(connection)
            migration.upgrade(connection)
            self._start_clock(connection)
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, psycopg.Error):
                raise self._unopened(error) from error
            raise
        return connection

    def check_reader(self) -> None:
        try:
            connection = self.connect_reader()
            try:
                migration.require_head(connection)
                self._start_clock(connection)
            finally:
                connection.close()
        except psycopg.Error as error:
            raise self._unopened(error) from error

    def connect_writer(self) -> PostgresConnection:
        """The session that was lost is ended first: only then is it certain what became of its last commit."""
        try:
            return self._connect_locked(RELOCK_WAIT_MS)
        except DatabaseInUse as error:
            raise StoreUnavailable(f"the connection was lost, and now {error}") from error
        except psycopg.Error as error:
            raise self.dialect.unavailable(error) or self._unopened(error) from error

    def connect_reader(self) -> PostgresConnection:
        return postgres.connect(self._parameters, READER_SETTINGS)

    def _look(self, connection: Connection, is_idle: bool) -> None:
        """Look at the size, at long intervals: the server must walk through its files for it."""
        assert isinstance(connection, PostgresConnection)
        self._sampled = connection
        if time.monotonic() - self._sized_s >= SIZE_S:
            self._sized_s = time.monotonic()
            self._file_bytes = _one(connection, "SELECT pg_database_size(current_database())")

    def probe(self, connection: Connection) -> None:
        """A message in the log of the server, which nobody reads, makes the commit wait for the disk."""
        connection.execute("SELECT pg_logical_emit_message(true, 'workflow_engine', 'probe')")

    def backup(self, target: Path) -> None:
        raise NotPermitted(
            "a PostgreSQL database is copied by its own tools: pg_dump --format=custom, or pg_basebackup for the whole "
            "server"
        )

    def require_unused(self) -> None:
        """A server that does not answer is used by nobody."""
        try:
            self._connect_locked(LOCK_WAIT_MS).close()
        except psycopg.Error:
            pass

    def file_bytes(self) -> int:
        return self._file_bytes

    def close(self) -> None:
        """The lock has gone with the connection."""

    def _connect_locked(self, wait_ms: int) -> PostgresConnection:
        connection = postgres.connect(self._parameters, WRITER_SETTINGS)
        try:
            if self._session is not None:
                connection.execute(_END_SESSION, self._session)
            self._lock(connection, wait_ms)
            self._session = connection.execute(_SESSION).fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    def _lock(self, connection: PostgresConnection, wait_ms: int) -> None:
        schema = _one(connection, "SELECT current_schema()")
        if schema is None:
            raise StoreUnavailable(f"the database {self._name} has no schema to keep tables in; see its search_path")
        key = (LOCK_SPACE, zlib.crc32(schema.encode()) & 0x7FFF_FFFF)
        connection.execute(f"SET lock_timeout = {wait_ms}")
        try:
            connection.execute("SELECT pg_advisory_lock($1::int, $2::int)", key)
        except psycopg.errors.LockNotAvailable:
            raise self._refusal(connection, key) from None
        connection.execute("RESET lock_timeout")

    def _refusal(self, connection: PostgresConnection, key: tuple[int, int]) -> DatabaseInUse:
        found = connection.execute(_HOLDER, key).fetchone()
        pid, program, client = found or (None, "another process", "a host that is not known")
        who = f"{program or 'another process'} (session {pid}, from {client})"
        return DatabaseInUse(
            f"{who} writes to {self._name}; stop it first, or name another database. If its host is gone for good, end "
            f"the session: SELECT pg_terminate_backend({pid}). Reading beside it is possible.",
            pid=pid,
        )

    def _check_server(self, connection: PostgresConnection) -> None:
        encoding = _one(connection, "SHOW server_encoding")
        if encoding != "UTF8":
            raise StoreUnavailable(f"the database {self._name} has the encoding {encoding}; make one with UTF8")
        for name in ("fsync", "full_page_writes"):
            if _one(connection, f"SHOW {name}") == "off":
                log.warning("store.server_not_durable", setting=f"{name}=off")

    def _start_clock(self, connection: PostgresConnection) -> None:
        self._sampled = connection
        self.clock = Clock(self._clock_at)

    def _clock_at(self) -> int:
        sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
        return int(_one(self._sampled, sql)) if self._sampled is not None else 0

    def _unopened(self, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(f"the database {self._name} cannot be opened: {str(error).strip()}")


def _one(connection: PostgresConnection, sql: str) -> Any:
    row = connection.execute(sql).fetchone()
    return row[0] if row is not None else None
