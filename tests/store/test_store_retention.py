import asyncio
from collections.abc import Callable

import pytest
from databases import SQLITE_ONLY, asked
from store_writes import first, later, outcomes

from workflow_engine.models.errors import Fenced, NotFound, StorageFull
from workflow_engine.store import IdempotencyRow, Store, Summary, TaskRow, committer, database
from workflow_engine.store.schema import metadata

COMPLETED = Summary("completed", None, 100, 1_000, 2_000)


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is awaited happens in the writer's thread
            await asyncio.sleep(0.01)


def rows_of(url: str, execution_id: str) -> dict[str, int]:
    """Rows of an execution in every table that has some."""
    tables = [table.name for table in metadata.sorted_tables if "execution_id" in table.c]
    sql = "SELECT count(*) FROM {} WHERE execution_id = '{}'"
    counts = {table: asked(url, sql.format(table, execution_id))[0][0] for table in tables}
    return {table: count for table, count in counts.items() if count}


async def test_a_removed_execution_leaves_no_row_in_any_table(store: Store, url: str) -> None:
    await store.commit(first("e1", labels={"a": 1}, metadata={"b": 2}))
    await store.commit(later("e1", 2, tasks_put=[TaskRow("t", "human")], snapshot=b"2", summary=COMPLETED))
    assert set(rows_of(url, "e1")) == {"executions", "transitions", "snapshots", "tasks", "attributes"}
    assert await store.remove_executions([("acme", "e1")], before=2_001) == 1
    assert rows_of(url, "e1") == {}
    with pytest.raises(NotFound):
        await store.execution("acme", "e1")


async def test_only_what_ended_before_the_instant_is_removed(store: Store) -> None:
    await outcomes(store, [first("running"), first("fresh"), first("old"), first("old", tenant_id="other")])
    await store.commit(later("fresh", 2, summary=COMPLETED))
    await store.commit(later("old", 2, summary=Summary("failed", None, 10, 1_000, 1_500)))
    found = [("acme", name) for name in ("running", "fresh", "old", "unknown")]
    assert await store.remove_executions(found, before=2_000) == 1
    assert {row.execution_id for row in await store.executions("acme")} == {"running", "fresh"}
    assert [row.execution_id for row in await store.executions("other")] == ["old"]


async def test_a_transition_that_comes_after_the_removal_is_refused_and_leaves_nothing(store: Store, url: str) -> None:
    await store.commit(first("e1", status="failed", finished_at=1))
    await store.remove_executions([("acme", "e1")], before=10)
    late = later("e1", 2, summary=Summary("running"), tasks_put=[TaskRow("t", "timer", 1)])
    assert [type(error) for error in await outcomes(store, [late])] == [Fenced]
    assert rows_of(url, "e1") == {}


async def test_an_execution_that_goes_on_in_the_same_commit_is_not_removed(store: Store) -> None:
    await store.commit(first("e1", status="failed", finished_at=1))
    removal = asyncio.ensure_future(store.remove_executions([("acme", "e1")], before=10))
    revived = later("e1", 2, summary=Summary("running"))
    assert (await outcomes(store, [revived]), await removal) == ([None], 0)
    assert (await store.execution("acme", "e1")).status == "running"


async def test_a_log_is_trimmed_up_to_its_snapshot_and_no_further(store: Store) -> None:
    await store.commit(first("e1"))
    for number in range(2, 11):
        await store.commit(later("e1", number, snapshot=b"state" if number == 7 else None))
    assert await store.trim_log("acme", "e1", rows=5) == 5
    assert await store.trim_log("acme", "e1", rows=5) == 2
    assert await store.trim_log("acme", "e1", rows=5) == 0
    _, snapshot, log = await store.load("acme", "e1")
    assert snapshot == (7, b"state")
    assert [row.number for row in log] == [8, 9, 10]
    assert await store.trim_log("acme", "unknown", rows=5) == 0


async def test_old_executions_of_a_workflow_are_listed_page_by_page(store: Store) -> None:
    for position in range(5):
        await store.commit(first(f"e{position}", created_at=1_000 + position, finished_at=position or None))
    await store.commit(first("other", workflow_id="audit"))
    pages = []
    after = (0, "")
    while page := await store.created_before("acme", "orders", before=1_004, after=after, limit=3):
        pages.append([row[1] for row in page])
        after = page[-1][:2]
    assert pages == [["e0", "e1", "e2"], ["e3"]]
    assert (await store.created_before("acme", "orders", before=1_002))[0] == (1_000, "e0", None, 1)


@SQLITE_ONLY
async def test_deleted_space_goes_back_to_the_disk(store: Store, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "UPKEEP_S", 0.0)
    monkeypatch.setattr(committer, "TICK_S", 0.01)
    await outcomes(store, [first(f"e{position}", finished_at=1) for position in range(40)])
    for number in range(2, 22):
        await outcomes(store, [later(f"e{position}", number, events=bytes(20_000)) for position in range(40)])
    await store.remove_executions([("acme", f"e{position}") for position in range(40)], before=10)
    await wait_until(lambda: store.file_bytes() > 10_000_000)
    while await store.give_back(pages=500):
        pass
    await wait_until(lambda: store.file_bytes() < 2_000_000)
    await store.commit(first("after"))


async def test_idempotency_keys_are_forgotten_oldest_first(store: Store) -> None:
    for position in range(5):
        row = IdempotencyRow("POST /x", f"key-{position}", "hash", 200, b"{}")
        write = first(f"e{position}", created_at=1_000 + position)
        write.receipts = [row]
        await store.commit(write)
    assert await store.forget_receipts(before=1_004, limit=3) == 3
    assert await store.forget_receipts(before=1_004, limit=3) == 1
    assert await store.forget_receipts(before=1_004, limit=3) == 0
    assert await store.receipt("acme", "POST /x", "key-4") is not None


@SQLITE_ONLY
async def test_a_probe_meets_a_full_disk(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await Store.open(url)
    await store.probe()
    monkeypatch.setattr("workflow_engine.store.sqlite.probe", _fill)
    with pytest.raises(StorageFull):
        await store.probe()
    await store.close()


def _fill(connection: object) -> None:
    connection.execute("PRAGMA max_page_count=1")  # type: ignore[attr-defined]
    connection.execute("CREATE TABLE large AS SELECT zeroblob(1000000)")  # type: ignore[attr-defined]
