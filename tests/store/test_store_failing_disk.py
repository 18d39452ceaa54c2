import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from databases import SQLITE_ONLY
from pysqlite3 import dbapi2
from store_writes import first, later, outcomes

from workflow_engine.models.errors import Fenced, StorageFull, StoreUnavailable
from workflow_engine.store import Store, committer, database, sqlite, sqlite_database

HERE = Path(__file__).parent

pytestmark = SQLITE_ONLY


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is awaited happens in the writer's thread
            await asyncio.sleep(0.01)


async def test_a_full_disk_fails_the_whole_batch_and_goes_on_when_there_is_space(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections = []
    connect = sqlite.connect_writer

    def connect_limited(path: Path) -> Any:
        connections.append(connect(path))
        connections[-1].execute("PRAGMA max_page_count=200")
        return connections[-1]

    monkeypatch.setattr(sqlite, "connect_writer", connect_limited)
    store = await Store.open(url)
    await outcomes(store, [first(f"e{position}") for position in range(20)])
    number = 1
    while not any(results := await outcomes(store, _next(number + 1))):
        number += 1
    assert all(isinstance(error, StorageFull) for error in results if error is not None)
    written = [error is None for error in results]
    for position in range(20):
        row, _, log = await store.load("acme", f"e{position}")
        assert row.transition == log[-1].number == number + written[position]
    await wait_until(lambda: len(connections) == 2)
    connections[-1].execute("PRAGMA max_page_count=1000000")
    results = await outcomes(store, _next(number + 1))
    refused = [isinstance(error, Fenced) for error in results]
    assert refused == written
    assert {(await store.execution("acme", f"e{position}")).transition for position in range(20)} == {number + 1}
    await store.close()


def _next(number: int) -> list[Any]:
    return [later(f"e{position}", number, events=bytes(3_000)) for position in range(20)]


def test_writes_that_the_file_system_refuses_leave_nothing_behind_and_later_ones_succeed(url: str) -> None:
    command = [sys.executable, str(HERE / "full_disk_child.py"), url]
    assert subprocess.run(command, check=False, timeout=60).returncode == 0


class FailingCommit:
    """A writer's connection; while `failures` has entries, COMMIT does the next of them and reports an I/O error."""

    dialect = sqlite.DIALECT

    def __init__(self, connection: Any, failures: list[str | None]) -> None:
        self._connection = connection
        self._failures = failures

    @property
    def in_transaction(self) -> bool:
        return bool(self._connection.in_transaction)

    def execute(self, sql: str, *parameters: Any) -> Any:
        return self._connection.execute(sql, *parameters)

    def executemany(self, sql: str, rows: Any) -> Any:
        return self._connection.executemany(sql, rows)

    def commit(self) -> None:
        if self._failures:
            instead = self._failures.pop()
            if instead:
                self._connection.execute(instead)
            error = dbapi2.OperationalError("disk I/O error")
            error.sqlite_errorcode = dbapi2.SQLITE_IOERR
            raise error
        self._connection.commit()

    def close(self) -> None:
        self._connection.close()


async def test_an_unclear_commit_is_resolved_by_what_is_on_disk(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[str | None] = []
    connect = sqlite.connect_writer
    monkeypatch.setattr(sqlite, "connect_writer", lambda path: FailingCommit(connect(path), failures))
    store = await Store.open(url)
    await store.commit(first("e1"))
    failures.append("COMMIT")
    assert await outcomes(store, [later("e1", 2)]) == [None]
    failures.append("ROLLBACK")
    assert [type(error) for error in await outcomes(store, [later("e1", 3)])] == [StoreUnavailable]
    failures.append(None)
    assert [type(error) for error in await outcomes(store, [later("e1", 3)])] == [StoreUnavailable]
    assert await outcomes(store, [later("e1", 3)]) == [None]
    assert [row.number for row in await store.log("acme", "e1")] == [1, 2, 3]
    await store.close()


async def test_a_file_that_is_moved_away_takes_no_more_writes_until_it_is_back(url: str, tmp_path: Path) -> None:
    store = await Store.open(url)
    await store.commit(first("e1"))
    (tmp_path / "engine.db").rename(tmp_path / "elsewhere.db")
    with pytest.raises(StoreUnavailable, match="moved, replaced or deleted"):
        await store.commit(first("e2"))
    (tmp_path / "elsewhere.db").rename(tmp_path / "engine.db")
    await store.commit(first("e3"))
    await store.close()


async def test_the_wal_grows_while_a_reader_holds_its_view_and_shrinks_after(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cap_bytes = 1024 * 1024
    monkeypatch.setattr(sqlite, "WAL_BYTES_MAX", cap_bytes)
    monkeypatch.setattr(sqlite_database, "WAL_BYTES_ALARM", 2 * cap_bytes)
    monkeypatch.setattr(database, "UPKEEP_S", 0.0)
    monkeypatch.setattr(committer, "TICK_S", 0.01)
    store = await Store.open(url)
    await outcomes(store, [first(f"e{position}") for position in range(20)])
    reader = dbapi2.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM transitions").fetchone()
    for number in range(2, 12):
        await outcomes(store, [later(f"e{one}", number, events=bytes(20_000)) for one in range(20)])
    assert store.wal_bytes() > 2 * cap_bytes
    reader.execute("COMMIT")
    reader.close()
    await wait_until(lambda: store.wal_bytes() <= cap_bytes)
    assert await outcomes(store, [later("e1", 12)]) == [None]
    await store.close()


async def test_a_reader_that_never_ends_cannot_make_the_wal_fill_the_disk(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cap_bytes = 4 * 1024 * 1024
    monkeypatch.setattr(sqlite, "WAL_BYTES_MAX", 1024 * 1024)
    monkeypatch.setattr(sqlite_database, "WAL_BYTES_CAP", cap_bytes)
    monkeypatch.setattr(database, "UPKEEP_S", 0.0)
    monkeypatch.setattr(committer, "TICK_S", 0.01)
    store = await Store.open(url)
    await outcomes(store, [first(f"e{position}") for position in range(20)])
    reader = dbapi2.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM transitions").fetchone()
    number = 1
    while not any(results := await outcomes(store, _next(number + 1))):
        number += 1
        assert number < 500
    refusals = [error for error in results if error is not None]
    assert all(isinstance(error, StoreUnavailable) and "keeps a transaction open" in str(error) for error in refusals)
    assert store.wal_bytes() < 2 * cap_bytes
    assert len(await store.log("acme", "e1")) == number
    reader.execute("COMMIT")
    reader.close()
    await wait_until(lambda: store.wal_bytes() <= 1024 * 1024)
    assert await outcomes(store, _next(number + 1)) == [None] * 20
    await store.close()
