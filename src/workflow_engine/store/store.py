"""The store: the one door to the database."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from workflow_engine.models.errors import InvariantViolated, LimitExceeded, NotPermitted, StoreUnavailable
from workflow_engine.store import queries, retention
from workflow_engine.store.committer import WRITE_BYTES_MAX, CommitMeasures, Committer, Entry, Group, OnDone, OnGranted
from workflow_engine.store.database import Database, database_of
from workflow_engine.store.inbox import list_news, remove_news
from workflow_engine.store.publishing import Expected, Publication, archive, publish
from workflow_engine.store.readers import Readers
from workflow_engine.store.receipts import find_receipt, forget_receipts, insert_receipt, update_receipt
from workflow_engine.store.records import (
    DefinitionRow,
    Delivery,
    ExecutionRow,
    Grant,
    IdempotencyRow,
    LatestDefinition,
    LogRow,
    OutstandingTask,
    Publishing,
    TransitionWrite,
    WorkflowRow,
)
from workflow_engine.store.server_key import ensure_server_key, find_server_key
from workflow_engine.store.slots import list_granted, list_holders
from workflow_engine.store.statements import Connection

QUEUE_MAX = 50_000
"""Writes that may wait; at some 300 bytes a few dozen MB."""

QUEUE_BYTES_MAX = 256 * 1024 * 1024
"""Bytes that may wait, for when the writes are large."""

Result = TypeVar("Result")


class Store:
    """The database of one process: writes through one thread, reads through a few. Use it from one event loop."""

    def __init__(
        self, database: Database, committer: Committer | None, readers: Readers, key: bytes | None = None
    ) -> None:
        self._database = database
        self._committer = committer
        self._readers = readers
        self._key = key
        self._is_closed = False

    @classmethod
    async def open(cls, url: str, *, read_only: bool = False, readers: int = 2) -> "Store":
        """Open the database, making it or bringing its schema up to date if need be.

        Args:
            url: as SQLAlchemy writes it: `sqlite:////absolute/path.db`, `sqlite:///relative/path.db`,
                `postgresql://user:password@host:port/database`.
            read_only: beside a process that writes; nothing can be written and no lock is taken.
            readers: threads that read.

        Raises:
            DatabaseInUse: another process writes to it; the message names its pid.
            StoreUnavailable: it cannot be opened, is not ours, or is newer than this release.
        """
        database = database_of(url)
        if read_only:
            await asyncio.to_thread(database.check_reader)
            reading = Readers(database, readers)
            return cls(database, None, reading, await reading.run(find_server_key))
        connection, key = await asyncio.to_thread(_open_writer, database)
        committer = Committer(database, connection)
        committer.start()
        return cls(database, committer, Readers(database, readers), key)

    async def close(self) -> None:
        """Commit what was submitted, then let go of the database. Safe to call twice."""
        if self._is_closed:
            return
        self._is_closed = True
        await self._readers.close()
        if self._committer is not None:
            await self._committer.close()
        self._database.close()

    def now(self) -> int:
        """Microseconds since 1970-01-01 UTC by the database's clock; never goes back."""
        return self._database.clock.now()

    @property
    def key(self) -> bytes:
        """The database's secret of 32 bytes; raises NotPermitted where it was opened for reading before it had one."""
        if self._key is None:
            raise NotPermitted("the database was opened for reading only")
        return self._key

    @property
    def queued(self) -> int:
        """Writes that were submitted and are not answered yet. Take no new work in while this is near `QUEUE_MAX`."""
        return self._committer.queued if self._committer else 0

    @property
    def queued_bytes(self) -> int:
        """The bytes of these writes."""
        return self._committer.queued_bytes if self._committer else 0

    @property
    def commits(self) -> CommitMeasures:
        """What the writer has done so far."""
        return self._committer.measures if self._committer else CommitMeasures()

    def wal_bytes(self) -> int:
        """The size of the write-ahead log."""
        return self._database.wal_bytes()

    def file_bytes(self) -> int:
        """The size of the database without its write-ahead log."""
        return self._database.file_bytes()

    # Writes

    def submit(self, write: TransitionWrite, on_done: OnDone) -> None:
        """Queue one transition. Transitions of one execution are committed in the order of submission.

        `on_done` runs on the event loop, with None once the transition is on stable storage, else with why it was not
        written: `Fenced` (someone else moved the execution on), `AlreadyExists` (with `created`), `StorageFull` or
        `StoreUnavailable` (not now; also while the queue is full), `LimitExceeded` (too large), `InvariantViolated`
        (cannot be stored). After `StoreUnavailable` load the execution again: a failing disk may leave it unknown.
        """
        size_bytes = _size_bytes(write)
        if (write.number == 1) != (write.created is not None):
            error: Exception | None = InvariantViolated("the first transition creates the execution, and only that one")
        elif size_bytes > WRITE_BYTES_MAX:
            error = LimitExceeded(f"a transition of {size_bytes} bytes is larger than {WRITE_BYTES_MAX}")
        else:
            error = None
        key = (write.tenant_id, write.execution_id)
        self._put(Entry(write, on_done, key, size_bytes), error)

    def submit_group(self, writes: Iterable[tuple[TransitionWrite, OnDone]]) -> None:
        """Queue the first transitions of different executions, to be written in one commit: all of them, or none.

        `on_done` of each is told what `submit` tells. Where one is refused, all others hear `GroupRefused`.
        """
        group = Group(
            Entry(write, on_done, (write.tenant_id, write.execution_id), _size_bytes(write))
            for write, on_done in writes
        )
        refusal = self._refusal_of(sum(entry.size_bytes for entry in group))
        if self._committer is not None and refusal is None:
            self._committer.put_group(group)
            return
        for entry in group:
            asyncio.get_running_loop().call_soon(entry.on_done, refusal)

    def on_granted(self, listener: OnGranted) -> None:
        """Who hears, on the event loop, of the slots of limits that a commit has granted.

        A grant is told once its commit is durable. One that could not be told (the process ended, a commit whose
        outcome nobody knew) is found by `granted_slots`.
        """
        if self._committer is not None:
            self._committer.on_granted = listener

    async def commit(self, write: TransitionWrite) -> None:
        """Write one transition and return once it is on stable storage; raises what `submit` would give."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.submit(write, partial(_settle, future))
        await future

    async def publish(
        self,
        tenant_id: str,
        workflow_id: str,
        *,
        name: str,
        labels: dict[str, Any],
        content_hash: str,
        definition: bytes,
        expected: Expected,
        expected_version: int | None = None,
        receipt: Callable[[Publishing], IdempotencyRow | None] = lambda _publishing: None,
    ) -> Publishing:
        """Store a definition; the latest version's content makes no new one.

        Raises:
            AlreadyExists: `expected` is "new" and the workflow exists.
            NotFound: `expected` is "existing" and it does not.
            Outdated: the latest version is not `expected_version`.

        Args:
            receipt: makes of what came of it the answer to keep under an `Idempotency-Key`.
        """
        publication = Publication(
            tenant_id, workflow_id, name, labels, content_hash, definition, expected, expected_version
        )

        def job(connection: Connection) -> Publishing:
            at = self.now()
            publishing = publish(connection, publication, at)
            row = receipt(publishing)
            if row is not None:
                insert_receipt(connection, tenant_id, row, at)
            return publishing

        return await self._run_job(job, len(definition))

    async def archive(self, tenant_id: str, workflow_id: str) -> None:
        """Take no new executions for a workflow; `NotFound` where there is none."""
        await self._run_job(lambda connection: archive(connection, tenant_id, workflow_id), 0)

    async def remove_news(self, keys: list[tuple[str, str, str]]) -> None:
        """Take news away that need no transition: tenant, execution and news id of each."""
        await self._run_job(lambda connection: remove_news(connection, keys), 0)

    async def update_receipt(self, tenant_id: str, receipt: IdempotencyRow) -> None:
        """Replace the answer that is kept under an `Idempotency-Key`."""
        await self._run_job(lambda connection: update_receipt(connection, tenant_id, receipt), len(receipt.answer))

    async def forget_receipts(self, *, before: int, limit: int = 500) -> int:
        """Drop the oldest `Idempotency-Key`s that are older than this, at most so many; gives their number."""
        return await self._run_job(lambda connection: forget_receipts(connection, before, limit), 0)

    async def trim_log(self, tenant_id: str, execution_id: str, *, rows: int) -> int:
        """Delete the oldest rows of a log that its snapshot makes superfluous, at most so many; gives their number."""
        return await self._run_job(
            lambda connection: retention.trim_log(connection, (tenant_id, execution_id), rows), 0
        )

    async def remove_executions(self, found: list[tuple[str, str]], *, before: int) -> int:
        """Delete executions with all they have, those of the given that ended before this instant; gives their number.

        Args:
            found: tenant and execution ids.
        """
        return await self._run_job(lambda connection: retention.remove_executions(connection, found, before), 0)

    async def give_back(self, *, pages: int) -> int:
        """Give so many free pages back to the file system, all but a small reserve; gives how many are left to give."""
        return await self._run_job(lambda connection: self._database.give_back(connection, pages), 0)

    async def probe(self) -> None:
        """Write something that means nothing; returns once it is on stable storage.

        Raises:
            StorageFull, StoreUnavailable: the database takes no writes now.
        """
        await self._run_job(self._database.probe, 0)

    async def _run_job(self, job: Callable[[Connection], Result], size_bytes: int) -> Result:
        results: list[Result] = []
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def run(connection: Connection) -> None:
            results[:] = [job(connection)]

        self._put(Entry(run, partial(_settle, future), None, size_bytes), None)
        await future
        return results[0]

    def _put(self, entry: Entry, error: Exception | None) -> None:
        error = error or self._refusal_of(entry.size_bytes)
        if error is not None:
            asyncio.get_running_loop().call_soon(entry.on_done, error)
        elif self._committer is not None:
            self._committer.put(entry)

    def _refusal_of(self, size_bytes: int) -> Exception | None:
        """Why nothing more is taken now, if so."""
        committer = self._committer
        if committer is None:
            return NotPermitted("the database was opened for reading only")
        if self._is_closed:
            return StoreUnavailable("the store is closed")
        if committer.queued >= QUEUE_MAX or committer.queued_bytes + size_bytes > QUEUE_BYTES_MAX:
            return StoreUnavailable("too many writes are waiting for the database")
        return None

    # Reads

    async def receipt(self, tenant_id: str, route: str, key: str) -> IdempotencyRow | None:
        """What a request with this `Idempotency-Key` was answered; None where there was none."""
        return await self._read(lambda c: find_receipt(c, tenant_id, route, key))

    async def workflow(self, tenant_id: str, workflow_id: str) -> WorkflowRow:
        """A workflow's own row; `NotFound` where there is none."""
        return await self._read(lambda c: queries.find_workflow(c, tenant_id, workflow_id))

    async def workflows(
        self, tenant_id: str, *, after: str = "", labels: dict[str, str] | None = None, limit: int = 50
    ) -> list[LatestDefinition]:
        """The workflows of a tenant that are not archived, by id. A page may end early, at 8 MiB; an empty one is the
        end.

        Args:
            after: the last id of the page before.
            labels: only those with all of these labels.
        """
        return await self._read(lambda c: queries.list_workflows(c, tenant_id, after, labels or {}, limit))

    async def versions(
        self, tenant_id: str, workflow_id: str, *, before: int | None = None, limit: int = 50
    ) -> list[DefinitionRow]:
        """The versions of a workflow, newest first. A page may end early, at 8 MiB; an empty one is the end.

        Args:
            before: the last version of the page before.
        """
        return await self._read(lambda c: queries.list_versions(c, tenant_id, workflow_id, before, limit))

    async def definition(self, tenant_id: str, workflow_id: str, version: int | None) -> DefinitionRow:
        """One version of a workflow, the latest for None; `NotFound` where there is none."""
        return await self._read(lambda c: queries.find_definition(c, tenant_id, workflow_id, version))

    async def execution(self, tenant_id: str, execution_id: str) -> ExecutionRow:
        """One execution; `NotFound` where there is none."""
        return await self._read(lambda c: queries.find_execution(c, tenant_id, execution_id))

    async def executions(
        self,
        tenant_id: str,
        *,
        workflow_id: str | None = None,
        status: str | None = None,
        labels: dict[str, Any] | None = None,
        since: int | None = None,
        until: int | None = None,
        metadata: dict[str, Any] | None = None,
        limit: int = 50,
        before: tuple[int, str] | None = None,
    ) -> list[ExecutionRow]:
        """Executions of a tenant, newest first, at most 500.

        Args:
            labels: all of these; values match by their text, so "3" finds the number 3 too. So do those of `metadata`.
            since: `created_at` at or after this.
            until: `created_at` before this.
            before: `(created_at, execution_id)` of the last row of the page before.
        """
        chosen = queries.Filter(
            workflow_id=workflow_id,
            status=status,
            labels=labels or {},
            since=since,
            until=until,
            metadata=metadata or {},
            before=before,
        )
        return await self._read(lambda c: queries.list_executions(c, tenant_id, chosen, limit))

    async def load(
        self, tenant_id: str, execution_id: str
    ) -> tuple[ExecutionRow, tuple[int, bytes] | None, list[LogRow]]:
        """The execution, its latest snapshot (number and state) and the log after it, as they stood at one instant."""
        return await self._read(lambda c: queries.load_execution(c, tenant_id, execution_id))

    async def load_until(
        self, tenant_id: str, execution_id: str, sequence: int
    ) -> tuple[ExecutionRow, tuple[int, bytes] | None, list[LogRow]]:
        """The execution as it stood at the end of the transition that holds the event `sequence`: its row as it is
        now, the snapshot to begin with (None: begin with nothing), and the log from there to that transition.

        Raises:
            NotFound: no such execution, or it has no such event; `data["sequence"]` is its last one.
        """
        return await self._read(lambda c: queries.load_until(c, tenant_id, execution_id, sequence))

    async def log(
        self,
        tenant_id: str,
        execution_id: str,
        *,
        after_sequence: int = 0,
        limit: int = 500,
        holding: bytes | None = None,
    ) -> list[LogRow]:
        """Transitions with events after this sequence, in order. A page may end early, at 8 MiB; an empty one is
        the end.

        The first row may hold events up to `after_sequence` as well: the cut goes between transitions.

        Args:
            holding: only transitions whose facts, as they are written, hold these bytes.
        """
        return await self._read(lambda c: queries.read_log(c, tenant_id, execution_id, after_sequence, limit, holding))

    async def first_and_last(self, tenant_id: str, execution_id: str) -> tuple[LogRow, LogRow]:
        """The first and the last transition of an execution."""
        return await self._read(lambda c: queries.read_ends(c, tenant_id, execution_id))

    async def unfinished(self, *, after: tuple[str, str] | None = None, limit: int = 500) -> list[tuple[str, str]]:
        """`(tenant_id, execution_id)` of what is running, of all tenants: what a start recovers."""
        return await self._read(lambda c: queries.list_unfinished(c, after, limit))

    async def slot_holders(self, tenant_id: str, key: str) -> list[tuple[str, str, bool, int]]:
        """`(execution_id, step_id, is_granted, asked_at)` of a limit: the owners of its slots, then who waits, in
        order; at most 100.
        """
        return await self._read(lambda c: list_holders(c, tenant_id, key))

    async def granted_slots(self, execution: tuple[str, str] | None = None) -> list[Grant]:
        """The slots that an execution (tenant and id) has; for None those of all tenants."""
        return await self._read(lambda c: list_granted(c, execution))

    async def news(self, *, after: tuple[str, str, str] = ("", "", ""), limit: int = 500) -> list[Delivery]:
        """News of all tenants that no transition has folded yet, by execution and in order. A page may end early, at
        8 MiB; an empty one is the end.

        Args:
            after: tenant, execution and news id of the last entry of the page before.
        """
        return await self._read(lambda c: list_news(c, after, limit))

    async def due(
        self, *, until: int, limit: int = 500, after: tuple[int, str, str] | None = None
    ) -> list[tuple[int, str, str]]:
        """`(due_at, tenant_id, execution_id)` of timers due at or before `until`, of all tenants, earliest first.

        Args:
            after: the last entry of the page before.
        """
        return await self._read(lambda c: queries.list_due(c, until, limit, after))

    async def tasks(
        self,
        tenant_id: str,
        *,
        kind: str,
        execution_id: str | None = None,
        holding: Sequence[bytes] = (),
        due_before: int | None = None,
        after: tuple[int, str, str] | None = None,
        limit: int = 50,
    ) -> list[OutstandingTask]:
        """Outstanding tasks of one kind, oldest first. A page may end early, at 8 MiB; an empty one is the end.

        Args:
            holding: only tasks whose data hold each of these bytes.
            due_before: only tasks with a `due_at` before this.
            after: `(created_at, execution_id, task_id)` of the last task of the page before.
        """
        return await self._read(
            lambda c: queries.list_tasks(c, tenant_id, kind, execution_id, holding, due_before, after, limit)
        )

    async def task(self, tenant_id: str, task_id: str) -> OutstandingTask:
        """A task that is no timer, by its id; `NotFound` where there is none."""
        return await self._read(lambda c: queries.find_task(c, tenant_id, task_id))

    async def workflow_keys(self, *, after: tuple[str, str] = ("", ""), limit: int = 500) -> list[tuple[str, str]]:
        """`(tenant_id, workflow_id)` of all tenants, archived ones too, in this order.

        Args:
            after: the last entry of the page before.
        """
        return await self._read(lambda c: retention.list_workflow_keys(c, after, limit))

    async def created_before(
        self, tenant_id: str, workflow_id: str, *, before: int, after: tuple[int, str] = (0, ""), limit: int = 500
    ) -> list[tuple[int, str, int | None, int]]:
        """`(created_at, execution_id, finished_at, transitions)` of a workflow's executions that are that old, oldest
        first.

        Args:
            after: `(created_at, execution_id)` of the last entry of the page before.
        """
        return await self._read(
            lambda c: retention.list_created_before(c, (tenant_id, workflow_id), before, after, limit)
        )

    async def backup(self, path: str | Path) -> None:
        """Copy the database as it stands to a new file, while it is in use.

        Raises:
            AlreadyExists: there is a file of that name.
            StoreUnavailable, StorageFull: the copy could not be written.
            NotPermitted: the database has a tool of its own for that; the message names it.
        """
        await asyncio.to_thread(self._database.backup, Path(path))

    async def _read(self, query: Callable[[Connection], Result]) -> Result:
        if self._is_closed:
            raise StoreUnavailable("the store is closed")
        return await self._readers.run(query)


def _open_writer(database: Database) -> tuple[Connection, bytes]:
    connection = database.open_writer()
    try:
        return connection, ensure_server_key(connection)
    except BaseException:
        connection.close()
        database.close()
        raise


def backup_database(url: str, path: Path) -> None:
    """Copy a database, of whatever schema and in use or not, as `Store.backup` does.

    Raises:
        StoreUnavailable: there is none, or the copy could not be written.
        AlreadyExists, StorageFull, NotPermitted.
    """
    database_of(url).backup(path)


def require_unused(url: str) -> None:
    """Raise DatabaseInUse, with the pid, while another process writes to the database."""
    database_of(url).require_unused()


def _settle(future: asyncio.Future[None], error: Exception | None) -> None:
    if future.done():
        return  # whoever waited was cancelled
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def _size_bytes(write: TransitionWrite) -> int:
    size_bytes = len(write.events)
    if write.snapshot is not None:
        size_bytes += len(write.snapshot)
    for news in write.news_put:
        size_bytes += len(news.command)
    for task in write.tasks_put:
        size_bytes += len(task.data) if task.data is not None else 0
    return size_bytes
