import itertools

import pytest
from databases import SQLITE_ONLY
from pysqlite3 import dbapi2
from store_writes import first, later, outcomes

from workflow_engine.models.errors import NotFound
from workflow_engine.store import Store, Summary, TaskRow, queries, sqlite


async def test_pages_show_every_execution_once_newest_first(store: Store) -> None:
    writes = [first(f"e{position:02}", created_at=1_000 + position // 4) for position in range(30)]
    await outcomes(store, [*writes, first("foreign", tenant_id="other")])
    seen: list[tuple[int, str]] = []
    before: tuple[int, str] | None = None
    while rows := await store.executions("acme", limit=7, before=before):
        seen += [(row.created_at, row.execution_id) for row in rows]
        before = seen[-1]
    assert seen == sorted(((1_000 + one // 4, f"e{one:02}") for one in range(30)), reverse=True)


async def test_filters_combine(store: Store) -> None:
    for position in range(24):
        await store.commit(
            first(
                f"e{position:02}",
                created_at=position,
                workflow_id=f"w{position % 2}",
                status=["running", "failed", "completed"][position % 3],
                labels={"team": "red" if position % 4 else "blue", "n": position},
                metadata={"a": position % 2, "b": "x"},
            )
        )

    async def ids(**chosen: object) -> list[int]:
        return [int(row.execution_id[1:]) for row in await store.executions("acme", **chosen)]  # type: ignore[arg-type]

    everything = list(range(23, -1, -1))
    assert await ids(workflow_id="w1") == [one for one in everything if one % 2]
    assert await ids(status="failed") == [one for one in everything if one % 3 == 1]
    assert await ids(labels={"team": "blue"}) == [one for one in everything if one % 4 == 0]
    assert await ids(labels={"n": "7"}) == await ids(labels={"n": 7}) == [7]
    assert await ids(since=5, until=8) == [7, 6, 5]
    assert await ids(metadata={"a": "1", "b": "x"}) == [one for one in everything if one % 2]
    assert await ids(metadata={"a": "1", "b": "y"}) == []
    combined = await ids(labels={"team": "red"}, metadata={"a": 1}, workflow_id="w1", status="running", limit=2)
    assert combined == [21, 15]
    rest = await ids(labels={"team": "red"}, metadata={"a": 1}, workflow_id="w1", before=(15, "e15"))
    assert rest == [13, 11, 9, 7, 5, 3, 1]


async def test_the_log_goes_on_after_any_sequence(store: Store) -> None:
    ends = [2, 2, 5, 6, 6, 6, 9]
    await store.commit(first("e1"))
    for number, (before, end) in enumerate(itertools.pairwise(ends), start=2):
        await store.commit(later("e1", number, first_sequence=before + 1, last_sequence=end))
    for after in range(11):
        numbers = [row.number for row in await store.log("acme", "e1", after_sequence=after)]
        first_number = next((number for number, end in enumerate(ends, start=1) if end > after), 8)
        assert numbers == list(range(first_number, 8)), after
    assert [row.number for row in await store.log("acme", "e1", after_sequence=2, limit=2)] == [3, 4]
    ends_of_log = await store.first_and_last("acme", "e1")
    assert [row.number for row in ends_of_log] == [1, 7]


async def test_a_page_of_the_log_is_bounded_in_bytes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "LOG_BYTES_MAX", 20)
    await outcomes(store, [first("e1")] + [later("e1", number) for number in range(2, 9)])
    assert [row.number for row in await store.log("acme", "e1")] == [1, 2, 3]
    assert [row.number for row in await store.log("acme", "e1", after_sequence=6)] == [4, 5, 6]
    assert await store.log("acme", "e1", after_sequence=16) == []


async def test_an_unknown_id_is_not_found_and_so_is_another_tenants(store: Store) -> None:
    await store.commit(first("e1"))
    for tenant_id, execution_id in (("acme", "e2"), ("other", "e1")):
        for read in (store.execution, store.load, store.log, store.first_and_last):
            with pytest.raises(NotFound) as refusal:
                await read(tenant_id, execution_id)
            assert str(refusal.value) == f"there is no execution {execution_id!r}"


async def test_running_executions_of_all_tenants_come_in_pages(store: Store) -> None:
    statuses = ["pending", "running", "paused", "completed", "failed", "cancelled"]
    writes = [first(f"e{one:02}", tenant_id=f"t{one % 2}", status=statuses[one % 6]) for one in range(24)]
    await outcomes(store, writes)
    await store.commit(later("e07", 2, tenant_id="t1", summary=Summary("completed")))
    seen: list[tuple[str, str]] = []
    while page := await store.unfinished(after=seen[-1] if seen else None, limit=3):
        seen += page
    expected = [(f"t{one % 2}", f"e{one:02}") for one in range(24) if one % 6 == 1 and one != 7]
    assert seen == sorted(expected)


async def test_due_timers_come_by_their_time_in_pages(store: Store) -> None:
    for position in range(12):
        write = first(f"e{position:02}", tenant_id=f"t{position % 3}")
        write.tasks_put = [TaskRow("a", "timer", position % 4), TaskRow("b", "timer", position % 4)]
        write.tasks_put += [TaskRow("c", "human", 0)]
        await store.commit(write)
    seen: list[tuple[int, str, str]] = []
    while page := await store.due(until=2, limit=2, after=seen[-1] if seen else None):
        seen += page
    assert seen == sorted((one % 4, f"t{one % 3}", f"e{one:02}") for one in range(12) if one % 4 <= 2)


async def test_tasks_of_people_are_listed_oldest_first_and_by_execution(store: Store) -> None:
    for position in range(5):
        write = first(f"e{position}", created_at=100 - position)
        write.tasks_put = [TaskRow("ask", "human", None, b"form"), TaskRow("t", "timer", 7)]
        await store.commit(write)
    page = await store.tasks("acme", kind="human", limit=2)
    assert [(task.execution_id, task.created_at, task.data) for task in page] == [
        ("e4", 96, b"form"),
        ("e3", 97, b"form"),
    ]
    after = (page[-1].created_at, page[-1].execution_id, page[-1].task_id)
    assert [task.execution_id for task in await store.tasks("acme", kind="human", after=after)] == ["e2", "e1", "e0"]
    assert [task.execution_id for task in await store.tasks("acme", kind="human", execution_id="e2")] == ["e2"]
    assert [task.due_at for task in await store.tasks("acme", kind="timer", execution_id="e2")] == [7]
    assert await store.tasks("other", kind="human") == []


@SQLITE_ONLY
async def test_hot_queries_walk_an_index_and_sort_nothing(store: Store, url: str) -> None:
    connection = dbapi2.connect(url.removeprefix("sqlite:///"))

    def plan(sql: str) -> str:
        names = dict.fromkeys(word.strip("(),") for word in sql.replace(":", " :").split() if word.startswith(":"))
        return " / ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", [None] * len(names)))

    shape = frozenset({"tenant_id", "limit", "before_at", "before_id"})
    plans = {
        "executions_unfinished": plan(queries._UNFINISHED.form(sqlite.DIALECT).text),
        "tasks_due": plan(queries._DUE.form(sqlite.DIALECT).text),
        "tasks_by_kind": plan(queries._tasks(False, False, True, 2, True).form(sqlite.DIALECT).text),
        "sqlite_autoindex_definitions_1": plan(queries._workflows(1).form(sqlite.DIALECT).text),
        "executions_by_age": plan(queries._executions(shape, 0).form(sqlite.DIALECT).text),
        "executions_by_workflow": plan(queries._executions(shape | {"workflow_id"}, 0).form(sqlite.DIALECT).text),
        "executions_by_status": plan(queries._executions(shape | {"status"}, 0).form(sqlite.DIALECT).text),
        "attributes_by_value": plan(queries._executions(shape, 1).form(sqlite.DIALECT).text),
    }
    connection.close()
    for index, text in plans.items():
        assert f"INDEX {index}" in text, (index, text)
        assert "TEMP B-TREE" not in text, (index, text)
        assert "SCAN" not in text or "COVERING INDEX" in text, (index, text)


async def test_the_log_gives_only_transitions_that_hold_the_bytes_asked_for(store: Store) -> None:
    await store.commit(first("e1"))
    for number in range(2, 8):
        step = "a" if number % 2 else "b"
        await store.commit(later("e1", number, events=b'[{"step":"%s.%d"}]' % (step.encode(), number)))

    async def numbers(**chosen: object) -> list[int]:
        return [row.number for row in await store.log("acme", "e1", **chosen)]  # type: ignore[arg-type]

    assert await numbers(holding=b'"step":"a.') == [3, 5, 7]
    assert await numbers(holding=b'"step":"a.5"') == [5]
    assert await numbers(holding=b'"step":"a.', after_sequence=6) == [5, 7]
    assert await numbers(holding=b"nothing") == []


async def test_tasks_are_found_by_what_their_data_hold_and_by_when_they_are_due(store: Store) -> None:
    for position in range(4):
        who = b'{"who":"%s","status":"waiting"}' % (b"anna" if position % 2 else b"ben")
        task = TaskRow(f"t{position}", "human", 100 + position, who)
        await store.commit(first(f"e{position}", created_at=1_000 + position))
        await store.commit(later(f"e{position}", 2, at=2_000 + position, tasks_put=[task]))

    async def found(**chosen: object) -> list[str]:
        return [task.task_id for task in await store.tasks("acme", kind="human", **chosen)]  # type: ignore[arg-type]

    assert await found(holding=[b'"anna"']) == ["t1", "t3"]
    assert await found(holding=[b'"anna"', b'"waiting"'], due_before=103) == ["t1"]
    assert await found(due_before=102) == ["t0", "t1"]
    assert await found(holding=[b'"ann"']) == []


async def test_a_page_of_tasks_ends_early_where_they_are_large(store: Store) -> None:
    for position in range(4):
        task = TaskRow(f"t{position}", "human", None, b"x" * (3 << 20))
        await store.commit(first(f"e{position}", created_at=1_000 + position))
        await store.commit(later(f"e{position}", 2, at=2_000 + position, tasks_put=[task]))
    page = await store.tasks("acme", kind="human")
    assert [task.task_id for task in page] == ["t0", "t1", "t2"]
    rest = await store.tasks("acme", kind="human", after=(page[-1].created_at, page[-1].execution_id, "t2"))
    assert [task.task_id for task in rest] == ["t3"]
