"""DBOS Transact, a library too, on SQLite and on PostgreSQL. Its step is recorded before the workflow goes on."""

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from importlib.metadata import version
from types import TracebackType
from typing import Self

from dbos import DBOS, DBOSConfig, SetWorkflowID, WorkflowHandle

from bench.peers.postgres_settings import postgres_settings
from bench.peers.works import Place, check, step

SQLITE_THREADS, POSTGRES_THREADS = 4, 8
"""W2 and W6: without a bound, and with coroutines, both were slower."""


@DBOS.step()
def next_number(n: int) -> int:
    """The step."""
    return step(n)


@DBOS.step()
async def next_number_async(n: int) -> int:
    """The step for workflows that are coroutines."""
    return step(n)


@DBOS.workflow(max_recovery_attempts=100)
def chain(length: int) -> int:
    """Steps in a row."""
    n = 0
    for _ in range(length):
        n = next_number(n)
    return n


@DBOS.workflow()
async def fan_out(count: int) -> int:
    """Steps side by side."""
    return sum(await asyncio.gather(*(next_number_async(number) for number in range(count))))


class Dbos:
    """One process. Workflows are plain functions on its thread pool, but for the fan-out, which needs coroutines."""

    def __init__(self, url: str, threads: int) -> None:
        self._url = url
        self._threads = threads

    def __enter__(self) -> Self:
        config: DBOSConfig = {
            "name": "bench",
            "system_database_url": self._url,
            "max_executor_threads": self._threads,
            "log_level": "ERROR",
        }
        DBOS(config=config)
        DBOS.launch()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        DBOS.destroy()

    def chains(self, length: int, repeats: int) -> list[float]:
        """See `Peer`."""
        times = []
        for _ in range(repeats):
            begun = time.perf_counter()
            result = chain(length)
            times.append(time.perf_counter() - begun)
            check(result, length)
        return times

    def many(self, length: int, ids: Sequence[str]) -> None:
        """See `Peer`."""
        for handle in [self._start(length, execution_id) for execution_id in ids]:
            check(handle.get_result(), length)

    def fan_out(self, count: int) -> None:
        """See `Peer`."""
        check(asyncio.run(fan_out(count)), count * (count + 1) // 2)

    def row(self, count: int) -> None:
        """See `Peer`."""
        self.chains(count, 1)

    def recover(self, length: int, ids: Sequence[str]) -> None:
        """DBOS goes on by itself at its launch. A start that was not recorded is repeated."""
        known = {status.workflow_id for status in DBOS.list_workflows(workflow_ids=list(ids), load_input=False)}
        for execution_id in ids:
            is_known = execution_id in known
            handle = DBOS.retrieve_workflow(execution_id) if is_known else self._start(length, execution_id)
            check(handle.get_result(), length)

    def _start(self, length: int, execution_id: str) -> WorkflowHandle[int]:
        with SetWorkflowID(execution_id):
            return DBOS.start_workflow(chain, length)


class DbosSqlite(Dbos):
    """In WAL mode, which is faster than the journal mode that DBOS leaves SQLite in."""

    def __init__(self, place: Place) -> None:
        self._path = place.folder / "dbos.db"
        super().__init__(f"sqlite:///{self._path}", SQLITE_THREADS)

    def __enter__(self) -> Self:
        with closing(sqlite3.connect(self._path)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
        return super().__enter__()

    def settings(self) -> dict[str, str]:
        """A connection as DBOS makes it: it sets neither, so that the file and SQLite's defaults decide."""
        with closing(sqlite3.connect(self._path)) as connection:
            mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
            synchronous = connection.execute("PRAGMA synchronous").fetchone()[0]
        return {
            "engine": f"dbos {version('dbos')}",
            "database": f"SQLite {sqlite3.sqlite_version}",
            "durability": f"{mode.upper()}, synchronous={'FULL' if synchronous == 2 else synchronous}",
        }


class DbosPostgres(Dbos):
    """With LISTEN/NOTIFY, as is its default."""

    def __init__(self, place: Place) -> None:
        super().__init__(place.postgres_url, POSTGRES_THREADS)

    def settings(self) -> dict[str, str]:
        """As the server reports them."""
        return {"engine": f"dbos {version('dbos')}", **postgres_settings(self._url)}
