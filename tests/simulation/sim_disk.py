"""The disk, and the thread that writes to it, as the simulation has them: SQLite, and what can go wrong with it."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from typing import Any

from pysqlite3 import dbapi2
from sim_loop import Killed, SimLoop, current_process

from workflow_engine.models.errors import StoreUnavailable
from workflow_engine.store import sqlite
from workflow_engine.store.committer import Committer, Entry

TICK_S = 5.0
"""How often an idle writer looks around."""

FINE, KILL_BEFORE, KILL_AFTER, LOST, LANDED, LANDED_UNSEEN, FULL = (
    "fine",
    "killed before a commit",
    "killed after a commit",
    "commit lost",
    "commit landed, answered by an error",
    "commit landed, and nobody could look",
    "disk full at a commit",
)
"""What may become of a commit."""


def disk_error(code: int, text: str) -> Exception:
    """An error of SQLite, as the driver raises it."""
    error = dbapi2.OperationalError(text)
    error.sqlite_errorcode = code
    return error


class Disk:
    """What befalls the next commits, openings and reads; the nemesis sets it."""

    def __init__(self) -> None:
        self.is_out = False
        """No write succeeds."""
        self.reads_fail = False
        self.fate: Callable[[], str] = lambda: FINE
        """Asked before every commit."""
        self.blind = 0
        """So many new connections fail to open."""
        self.commits = 0
        self.note: Callable[[str], None] = lambda _line: None
        self.on_commit: Callable[[], None] = lambda: None
        self.happened: Counter[str] = Counter()

    def connect_writer(self, path: Any) -> "WriterConnection":
        """Stands before `sqlite.connect_writer`."""
        if self.blind:
            self.blind -= 1
            raise disk_error(dbapi2.SQLITE_CANTOPEN, "unable to open database file")
        connection = WriterConnection(CONNECT_WRITER(path), self)
        _close_with_process(connection)
        return connection

    def connect_reader(self, path: Any) -> "ReaderConnection":
        """Stands before `sqlite.connect_reader`."""
        connection = ReaderConnection(CONNECT_READER(path), self)
        _close_with_process(connection)
        return connection


CONNECT_WRITER = sqlite.connect_writer
CONNECT_READER = sqlite.connect_reader


def _close_with_process(connection: Any) -> None:
    process = current_process()
    if process is not None:
        process.on_death.append(connection.close)


class WriterConnection:
    """A connection whose commits meet their fate."""

    dialect = sqlite.DIALECT

    def __init__(self, real: Any, disk: Disk) -> None:
        self._real = real
        self._disk = disk

    @property
    def in_transaction(self) -> bool:
        """As the driver says."""
        return bool(self._real.in_transaction)

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        """Run it, or fail as a disk fails."""
        if sql == "BEGIN IMMEDIATE" and self._disk.is_out:
            self._disk.happened["writes refused by an outage"] += 1
            raise disk_error(dbapi2.SQLITE_FULL, "database or disk is full")
        return self._real.execute(sql, parameters)

    def executemany(self, sql: str, rows: Any, /) -> Any:
        """Run it."""
        return self._real.executemany(sql, rows)

    def close(self) -> None:
        """Let go of the file; an open transaction is rolled back, as a dead process's is."""
        self._real.close()

    def commit(self) -> None:
        """End the transaction as fate has it."""
        disk = self._disk
        disk.commits += 1
        fate = disk.fate()
        if fate != FINE:
            disk.happened[fate] += 1
            disk.note(f"*** {fate}")
        if fate == KILL_BEFORE:
            raise Killed
        if fate == FULL:
            raise disk_error(dbapi2.SQLITE_FULL, "database or disk is full")
        if fate == LOST:
            self._real.execute("ROLLBACK")
            raise disk_error(dbapi2.SQLITE_IOERR, "disk I/O error")
        self._real.commit()
        disk.on_commit()
        if fate == KILL_AFTER:
            raise Killed
        if fate in (LANDED, LANDED_UNSEEN):
            disk.blind = 2 if fate == LANDED_UNSEEN else 0
            raise disk_error(dbapi2.SQLITE_IOERR, "disk I/O error")


class ReaderConnection:
    """A connection that reads, unless the disk says otherwise."""

    dialect = sqlite.DIALECT

    def __init__(self, real: Any, disk: Disk) -> None:
        self._real = real
        self._disk = disk

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        """Run it, or fail as a disk fails."""
        if sql == "BEGIN" and self._disk.reads_fail:
            self._disk.happened["reads refused by an outage"] += 1
            raise disk_error(dbapi2.SQLITE_IOERR, "disk I/O error")
        return self._real.execute(sql, parameters)

    def close(self) -> None:
        """Let go of the file."""
        self._real.close()


class LoopCommitter(Committer):
    """The group committer without its thread: each round of it is a step of the loop.

    What it does in a round is the committer's own code; only the waiting between rounds is ours.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._inbox = _Doorbell(self._on_arrival)  # type: ignore[assignment]
        self._thread = _NoThread(self._wait)  # type: ignore[assignment]
        self._is_due = False
        self._on_their_way: deque[Callable[[], None]] = deque()

    @property
    def _machine(self) -> SimLoop:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        return loop

    def _on_arrival(self, entry: Entry | None) -> None:
        self._admit(entry)
        self._come()

    def _come(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._machine.call_later(self._machine.disk_delay_s(), self._round)

    def _wait(self) -> None:
        """What the thread does while nothing arrives: a look around now and then."""
        if not self._is_closing:
            if not self._lines:
                self._look_around(is_idle=True)
            self._machine.call_later(TICK_S, self._wait)

    def _round(self) -> None:
        """One turn of `_work`."""
        self._is_due = False
        batch = self._lines.take()
        if batch:
            try:
                self._serve(batch)
            except Exception as error:
                self._report(self._stop, StoreUnavailable(f"the database's writer has stopped: {error!r}"))
                raise
        elif self._is_closing:
            self._disconnect()
            self._report(self._stop, None)
            return
        self._look_around(is_idle=not self._lines)
        if self._lines or self._is_closing:
            self._come()

    def _report(self, callback: Callable[..., None], *arguments: Any) -> None:
        """What the thread tells the loop arrives in the order in which it was told."""
        self._on_their_way.append(partial(callback, *arguments))
        self._machine.call_later(self._machine.disk_delay_s(), lambda: self._on_their_way.popleft()())


class _Doorbell:
    """In the place of the queue between loop and thread."""

    def __init__(self, on_arrival: Callable[[Entry | None], None]) -> None:
        self.put = on_arrival


class _NoThread:
    """In the place of the thread."""

    def __init__(self, start: Callable[[], None]) -> None:
        self.start = start

    def join(self) -> None:
        """There is nothing to wait for."""
