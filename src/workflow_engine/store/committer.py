"""The group committer: one thread writes everything, and one fsync makes many writes durable.

While a batch is being synced the next one collects. So a single writer waits for its own fsync only, and under load the
batches grow by themselves; there is no artificial delay.
"""

import asyncio
import queue
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any

import structlog

from workflow_engine.models.errors import (
    GroupRefused,
    InvariantViolated,
    LimitExceeded,
    StoreUnavailable,
    WorkflowEngineError,
)
from workflow_engine.models.histogram import GROUP_SIZES, Histogram
from workflow_engine.store.batch import Key, landed, write_transitions
from workflow_engine.store.database import Database
from workflow_engine.store.records import Grant, TransitionWrite
from workflow_engine.store.slots import grant_slots
from workflow_engine.store.statements import Connection

BATCH_WRITES_MAX = 1000
"""One wide statement per table (`sqlite.WIDTH_MAX` rows)."""

BATCH_BYTES_MAX = 8 * 1024 * 1024
"""Keeps a batch of large writes from holding up the small ones behind it; a single larger write goes alone."""

WRITE_BYTES_MAX = 128 * 1024 * 1024
"""Twice the largest state of an execution; the databases' own limit for a value is 1 GB."""

ANSWERS_AT_ONCE = 32
"""Callers that are told in one go. What they do next follows before the others are told: what their transitions have
touched is still in the processor's cache then, and the loop comes to other work in between.
"""

TICK_S = 1.0
"""How often the thread looks around when nothing is to be written."""

log = structlog.get_logger(__name__)

OnDone = Callable[[Exception | None], None]
OnGranted = Callable[[list[Grant]], None]
"""Hears, on the loop, of the slots that a commit has granted, after the callers of that commit."""

Job = Callable[[Connection], None]
"""A small write of another kind; it runs in the transaction of a batch."""


class Entry:
    """A write on its way, and what became of it."""

    __slots__ = ("error", "key", "on_done", "size_bytes", "write")

    def __init__(self, write: TransitionWrite | Job, on_done: OnDone, key: Key | None, size_bytes: int) -> None:
        self.write = write
        self.on_done = on_done
        self.key = key
        self.size_bytes = size_bytes
        self.error: Exception | None = None


class Group(list[Entry]):
    """First transitions of different executions, written in a transaction of their own: all of them, or none."""

    key = None
    """It stands in no line."""


class CommitMeasures:
    """What the writer has done so far; its thread counts, others look."""

    def __init__(self) -> None:
        self.group_sizes = Histogram(GROUP_SIZES)
        """Writes in each transaction."""
        self.seconds = Histogram()
        """From the begin of a transaction to the end of its sync."""
        self.failures: Counter[str] = Counter()
        """Transactions that were not committed, by the code of the error."""


class Lines:
    """Writes in order of arrival, one line per execution: only the head of a line may go into the next batch.

    Every operation costs the same however long the lines are.
    """

    def __init__(self) -> None:
        self._heads: deque[Entry | Group] = deque()
        self._behind: dict[Key, deque[Entry] | None] = {}

    def __len__(self) -> int:
        """How many writes may go now."""
        return len(self._heads)

    def add(self, entry: Entry | Group) -> None:
        key = entry.key
        if key is None or key not in self._behind:
            if key is not None:
                self._behind[key] = None
            self._heads.append(entry)
            return
        assert not isinstance(entry, Group)
        behind = self._behind[key]
        if behind is None:
            self._behind[key] = deque([entry])
        else:
            behind.append(entry)

    def take(self) -> list[Entry]:
        """The next batch, at most one transition per execution; a group is one by itself."""
        batch: list[Entry] = []
        size_bytes = 0
        heads = self._heads
        for _ in range(min(len(heads), BATCH_WRITES_MAX)):
            head = heads[0]
            if isinstance(head, Group):
                return batch or heads.popleft()  # type: ignore[return-value]  # the group itself
            size_bytes += head.size_bytes
            if size_bytes > BATCH_BYTES_MAX and batch:
                break
            batch.append(head)
            heads.popleft()
        return batch

    def release(self, batch: list[Entry]) -> None:
        """The batch is done: those that stood right behind it come to the head."""
        if isinstance(batch, Group):
            return
        for entry in batch:
            key = entry.key
            if key is None:
                continue
            behind = self._behind.pop(key)
            if behind:
                self._heads.append(behind.popleft())
                self._behind[key] = behind


class Committer:
    """Owns the thread and, in it, the only connection that writes.

    Called from the event loop only. After an I/O error the thread opens a new connection.
    """

    def __init__(self, database: Database, connection: Connection) -> None:
        self._database = database
        self._loop = asyncio.get_running_loop()
        self._inbox: queue.SimpleQueue[Entry | Group | None] = queue.SimpleQueue()
        self._lines = Lines()
        self._connection: Connection | None = connection
        self._is_closing = False
        self._ended = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name="workflow-engine-writer", daemon=True)
        self._unanswered: set[Entry] = set()
        self._answers: deque[Entry | list[Grant]] = deque()
        """What was written or has failed and is still to be told, in the order of the commits."""
        self._is_answering = False
        self._failure: StoreUnavailable | None = None
        self.queued_bytes = 0
        self.on_granted: OnGranted = lambda _grants: None
        self.measures = CommitMeasures()

    @property
    def queued(self) -> int:
        """Writes that are not answered yet."""
        return len(self._unanswered)

    def start(self) -> None:
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Queue it; its `on_done` runs on the loop once it is durable or has failed."""
        if self._failure is not None:
            self._loop.call_soon(entry.on_done, self._failure)
            return
        self._unanswered.add(entry)
        self.queued_bytes += entry.size_bytes
        self._inbox.put(entry)

    def put_group(self, group: Group) -> None:
        """Queue a group; `on_done` of each entry runs as with `put`."""
        if self._failure is not None:
            for entry in group:
                self._loop.call_soon(entry.on_done, self._failure)
            return
        self._unanswered.update(group)
        self.queued_bytes += sum(entry.size_bytes for entry in group)
        self._inbox.put(group)

    async def close(self) -> None:
        """Write what is queued, then end the thread and its connection."""
        self._inbox.put(None)
        await asyncio.shield(self._ended)
        self._thread.join()

    def _resolve(self, batch: list[Entry], grants: list[Grant]) -> None:
        self._answers += batch
        if grants:
            self._answers.append(grants)
        if not self._is_answering:
            self._is_answering = True
            self._answer_some()

    def _answer_some(self) -> None:
        self._answer(min(len(self._answers), ANSWERS_AT_ONCE))
        self._is_answering = bool(self._answers)
        if self._is_answering:
            self._loop.call_soon(self._answer_some)

    def _answer(self, count: int) -> None:
        for _ in range(count):
            answer = self._answers.popleft()
            try:
                if isinstance(answer, Entry):
                    self._unanswered.discard(answer)
                    self.queued_bytes -= answer.size_bytes
                    answer.on_done(answer.error)
                else:
                    self.on_granted(answer)
            except Exception as error:  # noqa: BLE001 - one caller's bug must not keep the answer from the others
                self._loop.call_exception_handler({"message": "on_done of a write failed", "exception": error})

    def _stop(self, failure: StoreUnavailable | None) -> None:
        """The thread has ended. If by a bug, whoever waits hears of it, and so does everyone who comes after."""
        self._failure = failure
        self._answer(len(self._answers))
        for entry in self._unanswered:
            entry.error = failure or StoreUnavailable("the store is closed")
        self._answers += self._unanswered
        self._answer(len(self._answers))
        if not self._ended.done():
            self._ended.set_result(None)

    # From here on everything runs in the thread.

    def _run(self) -> None:
        failure = None
        try:
            self._work()
        except Exception as error:
            log.critical("store.writer_stopped", exc_info=True)
            failure = StoreUnavailable(f"the database's writer has stopped, restart the process: {error!r}")
        self._disconnect()
        self._report(self._stop, failure)

    def _work(self) -> None:
        while True:
            self._collect()
            batch = self._lines.take()
            if batch:
                self._serve(batch)
            elif self._is_closing:
                break
            self._look_around(is_idle=not self._lines and not self._inbox.qsize())

    def _serve(self, batch: list[Entry]) -> None:
        """Write a batch, and have everybody told what came of it."""
        grants = self._write(batch)
        self._lines.release(batch)
        self._report(self._resolve, batch, grants)

    def _report(self, callback: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            pass  # the loop is closed: nobody is left to hear it

    def _collect(self) -> None:
        """Move what has arrived into the lines, waiting a tick for the first."""
        if not self._lines and not self._is_closing:
            try:
                self._admit(self._inbox.get(timeout=TICK_S))
            except queue.Empty:
                return
        for _ in range(min(self._inbox.qsize(), BATCH_WRITES_MAX - len(self._lines))):
            self._admit(self._inbox.get())

    def _admit(self, entry: Entry | Group | None) -> None:
        if entry is None:
            self._is_closing = True
        else:
            self._lines.add(entry)

    def _write(self, batch: list[Entry]) -> list[Grant]:
        """Write it as one transaction; gives the slots that it has granted."""
        batch.sort(key=lambda entry: entry.key or ("", ""))
        begun_s = time.perf_counter()
        first, then = (_write_whole, _write_whole) if isinstance(batch, Group) else (_write_together, _write_apart)
        try:
            self._database.require_log_room()
            connection = self._connected()
            try:
                grants = self._transact(connection, batch, first)
            except Exception as error:
                if connection.dialect.unavailable(error) or isinstance(error, StoreUnavailable):
                    raise
                _roll_back(connection)
                grants = self._transact(connection, batch, then)
            self.measures.group_sizes.observe(len(batch))
            self.measures.seconds.observe(time.perf_counter() - begun_s)
            return grants
        except Exception as error:  # noqa: BLE001 - the thread outlives every failure; the callers hear of it
            self._fail(batch, error)
            return []

    def _transact(
        self, connection: Connection, batch: list[Entry], write: Callable[[Connection, list[Entry], int], None]
    ) -> list[Grant]:
        for entry in batch:
            entry.error = None
        commit_id = secrets.randbits(63)
        transitions = [entry for entry in batch if entry.key is not None]
        connection.dialect.begin(connection)
        if transitions:
            write(connection, transitions, commit_id)
        grants = grant_slots(connection, _written(transitions))
        if len(transitions) < len(batch):
            for entry in batch:
                if entry.key is None:
                    _run_job(connection, entry)
        self._commit(connection, transitions, commit_id)
        self._database.require_in_place()
        return grants

    def _commit(self, connection: Connection, transitions: list[Entry], commit_id: int) -> None:
        try:
            connection.dialect.commit(connection)
        except self._database.dialect.error as error:
            if connection.in_transaction or not self._has_landed(transitions, commit_id):
                raise
            log.warning("store.commit_unclear_but_durable", error=str(error))

    def _has_landed(self, transitions: list[Entry], commit_id: int) -> bool:
        """Whether a COMMIT that failed took effect all the same; asked on a new connection, which trusts no cache."""
        witness = next(_written(transitions), None)
        self._disconnect()
        return witness is not None and landed(self._connected(), witness, commit_id)

    def _fail(self, batch: list[Entry], error: Exception) -> None:
        """Nothing of the batch was written and all of it hears why. The connection is not trusted any more."""
        cause = error if isinstance(error, StoreUnavailable) else self._database.dialect.unavailable(error)
        if cause is None:
            cause = StoreUnavailable(f"the database does not take the write: {error!r}")
        self.measures.failures[cause.code] += 1
        log.error("store.batch_failed", writes=len(batch), code=cause.code, error=str(error))
        for entry in batch:
            entry.error = cause
        self._disconnect()

    def _look_around(self, *, is_idle: bool) -> None:
        try:
            self._database.look_around(self._connected(), is_idle)
        except Exception as error:  # noqa: BLE001 - housekeeping; the next tick tries again
            log.warning("store.housekeeping_failed", error=str(error))
            self._disconnect()

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._database.connect_writer()
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.close()
        except self._database.dialect.error as error:
            log.warning("store.close_failed", error=str(error))


def _written(entries: list[Entry]) -> Iterator[TransitionWrite]:
    """The transitions that were written; a loser has an error."""
    for entry in entries:
        if entry.error is None and isinstance(entry.write, TransitionWrite):
            yield entry.write


def _roll_back(connection: Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _write_together(connection: Connection, entries: list[Entry], commit_id: int) -> None:
    writes = [entry.write for entry in entries]
    losers = write_transitions(connection, writes, commit_id)  # type: ignore[arg-type]  # entries with a key hold them
    if losers:
        for entry in entries:
            entry.error = losers.get(entry.key)  # type: ignore[arg-type]


def _write_apart(connection: Connection, entries: list[Entry], commit_id: int) -> None:
    """Write what can be written of a batch that holds a poisonous write: halve it until that one stands alone."""
    error = _in_savepoint(connection, lambda: _write_together(connection, entries, commit_id))
    if error is None:
        return
    if len(entries) == 1:
        entries[0].error = _refusal(connection, error)
        return
    middle = len(entries) // 2
    _write_apart(connection, entries[:middle], commit_id)
    _write_apart(connection, entries[middle:], commit_id)


def _write_whole(connection: Connection, entries: list[Entry], commit_id: int) -> None:
    """Write all of a group, or nothing where one can't be written: that one hears why, the others that they may come
    again.
    """

    def write() -> None:
        _write_together(connection, entries, commit_id)
        if any(entry.error is not None for entry in entries):
            raise GroupRefused

    error = _in_savepoint(connection, write)
    if error is not None:
        for entry in entries:
            entry.error = entry.error or _refusal(connection, error)


def _run_job(connection: Connection, entry: Entry) -> None:
    error = _in_savepoint(connection, lambda: entry.write(connection))  # type: ignore[operator]  # no key: a job
    entry.error = _refusal(connection, error) if error else None


def _in_savepoint(connection: Connection, work: Callable[[], None]) -> Exception | None:
    """Do the work or leave no trace of it; an error that ends the whole transaction is raised, any other is given."""
    connection.execute("SAVEPOINT part")
    try:
        work()
    except Exception as error:  # the caller gives it to whom it concerns
        if connection.dialect.unavailable(error):
            raise
        connection.execute("ROLLBACK TO part")
        connection.execute("RELEASE part")
        return error
    connection.execute("RELEASE part")
    return None


def _refusal(connection: Connection, error: Exception) -> WorkflowEngineError:
    """What the author of a poisonous write hears: trying again will not help."""
    if isinstance(error, WorkflowEngineError):
        return error
    if connection.dialect.is_too_big(error):
        return LimitExceeded("the write is larger than the database takes")
    return InvariantViolated(f"the write cannot be stored: {error!r}")
