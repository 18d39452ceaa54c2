"""Counts that come out the same however busy the machine is: Python's instructions, by thread, and SQLite's."""

import gc
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from types import FrameType
from typing import Any

from pysqlite3 import dbapi2

from workflow_engine import Engine
from workflow_engine.store import sqlite

Trace = Callable[[FrameType, str, Any], Any]


@dataclass(slots=True)
class Counts:
    """What was executed and written since some moment."""

    loop: int = 0
    """Python instructions of the event loop's thread."""
    writer: int = 0
    """Python instructions of the thread that writes to the database."""
    sqlite: int = 0
    """Instructions of SQLite's virtual machine, in the connection that writes."""
    statements: int = 0
    commits: int = 0
    log_bytes: int = 0
    wal_bytes: int = 0

    def __sub__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, one.name) - getattr(other, one.name) for one in fields(Counts)))


class Counter:
    """Counts one engine, which must be opened inside `counter()`."""

    def __init__(self) -> None:
        self._now = Counts()
        self._is_on = False
        self._loop_thread = threading.get_ident()

    def connected(self, connection: Any) -> None:
        """Watch the connection that writes."""

        def on_instruction() -> None:
            if self._is_on:
                self._now.sqlite += 1

        def on_statement(_: str) -> None:
            if self._is_on:
                self._now.statements += 1

        connection.set_progress_handler(on_instruction, 1)
        connection.set_trace_callback(on_statement)

    def trace(self, frame: FrameType, event: str, argument: Any) -> Trace | None:
        """Every function that is called while the counter is on is counted instruction by instruction."""
        if not self._is_on or frame.f_code.co_filename == __file__:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._in_loop if threading.get_ident() == self._loop_thread else self._in_writer

    def _in_loop(self, frame: FrameType, event: str, argument: Any) -> Trace:
        if event == "opcode" and self._is_on:
            self._now.loop += 1
        return self._in_loop

    def _in_writer(self, frame: FrameType, event: str, argument: Any) -> Trace:
        if event == "opcode" and self._is_on:
            self._now.writer += 1
        return self._in_writer

    def begin(self, engine: Engine, database: Path) -> None:
        """Count from here on; the garbage collector, whose moments vary, rests meanwhile."""
        gc.collect()
        gc.disable()
        self._now = Counts()
        self._before = self._written(engine, database)
        self._is_on = True
        sys.settrace(self.trace)

    def end(self, engine: Engine, database: Path) -> Counts:
        """What there was since `begin`."""
        sys.settrace(None)
        self._is_on = False
        gc.enable()
        written = self._written(engine, database) - self._before
        now = self._now
        return Counts(
            now.loop,
            now.writer,
            now.sqlite,
            now.statements,
            written.commits,
            written.log_bytes,
            written.wal_bytes,
        )

    async def of(self, engine: Engine, database: Path, work: Callable[[], Awaitable[Any]]) -> Counts:
        """What a piece of work takes."""
        self.begin(engine, database)
        await work()
        return self.end(engine, database)

    @staticmethod
    def _written(engine: Engine, database: Path) -> Counts:
        reader = dbapi2.connect(str(database))
        try:
            (log_bytes,) = reader.execute("SELECT coalesce(sum(length(events)), 0) FROM transitions").fetchone()
        finally:
            reader.close()
        return Counts(
            commits=engine.store.commits.group_sizes.count, log_bytes=log_bytes, wal_bytes=sqlite.wal_bytes(database)
        )


@contextmanager
def counter() -> Iterator[Counter]:
    """A counter of the engine that is opened in this block, on this thread."""
    made = Counter()
    connect = sqlite.connect_writer

    def connect_counted(path: Path) -> Any:
        connection = connect(path)
        made.connected(connection)
        return connection

    sqlite.connect_writer = connect_counted
    threading.settrace(made.trace)
    try:
        yield made
    finally:
        threading.settrace(None)
        sqlite.connect_writer = connect
