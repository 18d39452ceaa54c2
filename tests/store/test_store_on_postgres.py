"""What only a database server does: it loses connections, restarts, and is reached by several processes."""

import asyncio
import random
from pathlib import Path
from typing import Any

import psycopg
import pytest
from bench.peers.postgres import Server
from databases import POSTGRES_ONLY, asked, done
from sqlalchemy import Text
from store_writes import first, later, outcomes

from workflow_engine.models.errors import (
    DatabaseInUse,
    InvariantViolated,
    LimitExceeded,
    NotFound,
    NotPermitted,
    StorageFull,
    StoreUnavailable,
)
from workflow_engine.store import SlotRow, Store, TaskRow, committer, database, migration, postgres, postgres_database
from workflow_engine.store.schema import metadata

pytestmark = POSTGRES_ONLY


class FailingCommit(postgres.PostgresConnection):
    """The writer's connection; while `failures` has entries, it is lost at the next COMMIT: before it or after it."""

    failures: list[str] = []

    def execute(self, sql: Any, parameters: Any = None, /) -> Any:
        if sql != "COMMIT" or not self.failures:
            return super().execute(sql, parameters)
        if self.failures.pop() == "after":
            super().execute(sql)
        self.driver.pgconn.finish()
        raise psycopg.OperationalError("server closed the connection unexpectedly")


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(postgres, "PostgresConnection", FailingCommit)
    monkeypatch.setattr(FailingCommit, "failures", [])
    return FailingCommit.failures


async def test_a_commit_whose_connection_was_lost_is_resolved_by_what_the_database_holds(
    failures: list[str], url: str
) -> None:
    store = await Store.open(url)
    await store.commit(first("e1"))
    failures.append("after")
    assert await outcomes(store, [later("e1", 2)]) == [None]
    failures.append("before")
    assert [type(error) for error in await outcomes(store, [later("e1", 3)])] == [StoreUnavailable]
    assert await outcomes(store, [later("e1", 3)]) == [None]
    assert [row.number for row in await store.log("acme", "e1")] == [1, 2, 3]
    await store.close()


def writers(url: str) -> list[int]:
    """The sessions that hold a writer's lock."""
    return [pid for (pid,) in asked(url, "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted")]


async def test_a_lost_session_is_ended_before_its_last_commit_is_looked_for(store: Store, url: str) -> None:
    await store.commit(first("e1"))
    lost = store._database._session
    assert lost is not None
    (pid,) = writers(url)
    assert pid == lost[0]
    connection = await asyncio.to_thread(store._database.connect_writer)
    (successor,) = writers(url)
    assert successor not in (pid, None)
    connection.close()


async def test_writes_go_on_after_the_server_has_restarted(store: Store, server: Server) -> None:
    await store.commit(first("e1"))
    assert (await store.execution("acme", "e1")).transition == 1
    server.stop()
    assert [type(error) for error in await outcomes(store, [later("e1", 2)])] == [StoreUnavailable]
    with pytest.raises(StoreUnavailable):
        await store.execution("acme", "e1")
    server.start()
    assert await outcomes(store, [later("e1", 2)]) == [None]
    assert (await store.execution("acme", "e1")).transition == 2


async def test_a_reader_whose_session_was_ended_asks_again_by_itself(store: Store, url: str) -> None:
    await store.commit(first("e1"))
    await asyncio.gather(*(store.execution("acme", "e1") for _ in range(10)))
    done(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        " AND backend_type = 'client backend' AND pid NOT IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')",
    )
    assert (await store.execution("acme", "e1")).transition == 1


async def test_an_idle_writer_finds_its_lost_connection_before_the_next_write_does(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "UPKEEP_S", 0.0)
    monkeypatch.setattr(committer, "TICK_S", 0.01)
    store = await Store.open(url)
    (pid,) = writers(url)
    done(url, f"SELECT pg_terminate_backend({pid})")
    async with asyncio.timeout(10):
        while writers(url) in ([], [pid]):  # noqa: ASYNC110 - what is awaited happens in the writer's thread
            await asyncio.sleep(0.01)
    assert await outcomes(store, [first("e1")]) == [None]
    await store.close()


async def test_a_writer_that_lost_its_lock_to_another_process_does_not_go_on(store: Store, url: str) -> None:
    await store.commit(first("e1"))
    (pid,) = writers(url)
    done(url, f"SELECT pg_terminate_backend({pid})")
    rival = await Store.open(url)
    refused = await outcomes(store, [later("e1", 2)])
    refused += await outcomes(store, [later("e1", 2)])
    assert [type(error) for error in refused] == [StoreUnavailable] * 2
    assert "writes to" in str(refused[1])
    await rival.commit(later("e1", 2, events=b"the rival's"))
    await rival.close()
    assert [type(error).__name__ for error in await outcomes(store, [later("e1", 2)])] == ["Fenced"]
    await store.commit(later("e1", 3))


@pytest.fixture(autouse=True)
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_database, "LOCK_WAIT_MS", 300)
    monkeypatch.setattr(postgres_database, "RELOCK_WAIT_MS", 300)


async def test_the_refusal_names_the_session_and_the_way_out(store: Store, url: str) -> None:
    (pid,) = writers(url)
    with pytest.raises(DatabaseInUse, match=rf"pg_terminate_backend\({pid}\)") as refusal:
        await Store.open(url)
    assert refusal.value.data["pid"] == pid


async def test_two_schemas_of_one_database_are_two_databases(store: Store, url: str) -> None:
    schema = url.rpartition("%3D")[2]
    done(url, f"CREATE SCHEMA {schema}b")
    other = await Store.open(f"{url}b")
    await other.commit(first("e1"))
    with pytest.raises(NotFound):
        await store.execution("acme", "e1")
    await other.close()


async def test_a_backup_names_the_tool_that_makes_one(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotPermitted, match="pg_dump"):
        await store.backup(tmp_path / "copy")


async def test_text_with_a_nul_character_is_refused_and_not_found(store: Store) -> None:
    results = await outcomes(store, [first("e1"), first("e\0"), first("e2")])
    assert [type(error) for error in results] == [type(None), InvariantViolated, type(None)]
    with pytest.raises(NotFound):
        await store.execution("acme", "e\0")


async def test_a_key_longer_than_an_index_takes_is_too_large(store: Store) -> None:
    long = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=6_000))
    write = first("e1")
    write.tasks_put = [TaskRow(long, "human")]
    results = await outcomes(store, [write, first("e2")])
    assert [type(error) for error in results] == [LimitExceeded, type(None)]


async def test_the_migrations_make_the_same_schema_as_a_fresh_database(url: str) -> None:
    await (await Store.open(url)).close()
    done(url, f"CREATE SCHEMA {url.rpartition('%3D')[2]}m")
    connection = postgres_database.PostgresDatabase(f"{url}m").connect_writer()
    migration.run_migrations(connection)
    assert not connection.in_transaction
    connection.close()
    assert shape(url) == shape(f"{url}m")
    assert len(shape(url)) > 60


def shape(url: str) -> list[tuple[Any, ...]]:
    """Columns with their types and collations, keys, indexes and what is set for tables, in the schema of the URL."""
    columns = (
        "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, co.collname, c.reloptions"
        " FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid LEFT JOIN pg_collation co ON co.oid = attcollation"
        " WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND a.attnum > 0"
    )
    indexes = (
        "SELECT indexname, replace(indexdef, schemaname, ''), '', true, '', null FROM pg_indexes"
        " WHERE schemaname = current_schema()"
    )
    return asked(url, f"{columns} UNION ALL {indexes} ORDER BY 1, 2, 3")


async def test_all_text_is_in_the_order_of_its_bytes(store: Store, url: str) -> None:
    texts = {row[:2]: row[4] for row in shape(url) if row[2] == "text"}
    assert set(texts.values()) == {"C"}
    assert len(texts) == sum(isinstance(one.type, Text) for table in metadata.sorted_tables for one in table.columns)


@pytest.mark.parametrize(
    ("state", "expected"),
    [("53100", StorageFull), ("53300", StoreUnavailable), ("57P01", StoreUnavailable), ("40P01", StoreUnavailable)],
)
def test_what_the_servers_state_means(state: str, expected: type[Exception], url: str) -> None:
    error = postgres.DIALECT.unavailable(psycopg.errors.lookup(state)("told by the server"))
    assert type(error) is expected


def test_wrong_data_are_not_the_servers_fault(url: str) -> None:
    for error in (psycopg.DataError("NUL"), psycopg.errors.UniqueViolation("twice"), ValueError("ours")):
        assert postgres.DIALECT.unavailable(error) is None


async def test_a_slot_is_granted_although_its_line_is_long(store: Store) -> None:
    write = first("owner")
    write.slots_asked = [SlotRow("a.1", "bank", 1, 0, 1)]
    await store.commit(write)
    crowd = first("crowd", created_at=2_000)
    crowd.slots_asked = [SlotRow(f"each.1:{item}", "bank", 1, 0, 150) for item in range(500)]
    await store.commit(crowd)
    await store.commit(later("owner", 2, slots_freed=[("a.1", "bank")]))
    granted = await store.granted_slots()
    assert sorted(int(one.step_id.partition(":")[2]) for one in granted) == list(range(150))
