"""News between executions: put down by the sender's commit, taken away by the receiver's."""

import pytest
from databases import asked
from store_writes import execution_row, first, later, outcomes

from workflow_engine.models.errors import NotFound
from workflow_engine.store import Delivery, NewsRow, Store, Summary


def telling(execution_id: str, number: int, *news_ids: str, to: str = "parent", command: bytes = b"{}") -> object:
    return later(execution_id, number, news_put=[NewsRow(to, news_id, command) for news_id in news_ids])


async def ids(store: Store) -> list[tuple[str, str]]:
    return [(one.execution_id, one.news_id) for one in await store.news()]


async def test_news_stand_until_the_receivers_commit_takes_them_away(store: Store) -> None:
    await outcomes(store, [first("child"), first("parent")])
    await store.commit(telling("child", 2, "child/2/0", command=b"[1]"))
    assert await store.news() == [Delivery("acme", "parent", "child/2/0", b"[1]")]
    await store.commit(later("parent", 2, news_removed=["child/2/0"]))
    assert await store.news() == []


async def test_a_loser_of_the_fence_tells_nothing_and_folds_nothing(store: Store) -> None:
    await outcomes(store, [first("child"), first("parent")])
    await store.commit(telling("child", 2, "kept"))
    await store.commit(later("parent", 2))
    assert all(await outcomes(store, [telling("child", 2, "lost"), later("parent", 2, news_removed=["kept"])]))
    assert await ids(store) == [("parent", "kept")]


async def test_news_are_written_once_and_for_executions_that_need_not_exist(store: Store) -> None:
    await store.commit(first("child"))
    await store.commit(telling("child", 2, "n", to="nobody", command=b"first"))
    await store.commit(telling("child", 3, "n", to="nobody", command=b"again"))
    assert await store.news() == [Delivery("acme", "nobody", "n", b"first")]
    await store.remove_news([("acme", "nobody", "n"), ("acme", "nobody", "unknown")])
    assert await store.news() == []


async def test_news_of_all_tenants_come_page_by_page_in_order(store: Store) -> None:
    await outcomes(store, [first("child"), first("child", tenant_id="beta")])
    await store.commit(telling("child", 2, *(f"child/{number:012}" for number in range(5))))
    await store.commit(later("child", 2, tenant_id="beta", news_put=[NewsRow("parent", "x", b"{}")]))
    seen: list[tuple[str, str]] = []
    after = ("", "", "")
    while page := await store.news(after=after, limit=2):
        assert len(page) <= 2
        seen += [(one.tenant_id, one.news_id) for one in page]
        after = (page[-1].tenant_id, page[-1].execution_id, page[-1].news_id)
    assert seen == [*(("acme", f"child/{number:012}") for number in range(5)), ("beta", "x")]


async def test_a_page_of_large_news_ends_early(store: Store) -> None:
    await store.commit(first("child"))
    for number in range(2, 6):
        await store.commit(telling("child", number, f"{number}", command=bytes(3_000_000)))
    page = await store.news()
    assert [one.news_id for one in page] == ["2", "3", "4"]
    assert [one.news_id for one in await store.news(after=("acme", "parent", "4"))] == ["5"]


async def test_a_removed_execution_takes_its_news_along(store: Store, url: str) -> None:
    await outcomes(store, [first("child"), first("parent")])
    await store.commit(telling("child", 2, "n"))
    await store.commit(later("parent", 2, summary=Summary("completed", None, 100, 1, 2)))
    await store.remove_executions([("acme", "parent")], before=10)
    assert asked(url, "SELECT count(*) FROM inbox") == [(0,)]


async def test_the_parent_and_the_version_of_an_execution_are_read_back(store: Store) -> None:
    parent = {
        "parent_execution_id": "p",
        "parent_step_id": "call.1",
        "parent_attempt": 2,
        "parent_generation": 1,
        "depth": 3,
    }
    await store.commit(first("child", **parent))
    assert await store.execution("acme", "child") == execution_row("child", **parent, transition=1, sequence=2)
    await store.commit(later("child", 2, version=7))
    await store.commit(later("child", 3))
    assert (await store.execution("acme", "child")).version == 7


async def test_an_execution_is_loaded_as_it_stood_at_an_event(store: Store) -> None:
    await store.commit(first("e1"))  # events 1 and 2, then two in each transition
    for number in range(2, 8):
        await store.commit(later("e1", number, snapshot=b"state" if number == 4 else None))
    await store.commit(later("e1", 8, first_sequence=15, last_sequence=14))  # no event of its own

    async def numbers(sequence: int) -> tuple[int | None, list[int]]:
        _, snapshot, log = await store.load_until("acme", "e1", sequence)
        return snapshot and snapshot[0], [entry.number for entry in log]

    assert await numbers(1) == (None, [1])
    assert await numbers(2) == (None, [1])
    assert await numbers(6) == (None, [1, 2, 3])
    assert await numbers(7) == (4, [])
    assert await numbers(9) == (4, [5])
    assert await numbers(14) == (4, [5, 6, 7])
    for wrong in (0, 15):
        with pytest.raises(NotFound, match=f"has no event {wrong}; its last one is 14") as caught:
            await store.load_until("acme", "e1", wrong)
        assert caught.value.data == {"sequence": 14}
    await store.trim_log("acme", "e1", rows=3)
    assert await numbers(9) == (4, [5])
    with pytest.raises(NotFound, match="kept no longer"):
        await store.load_until("acme", "e1", 5)
    with pytest.raises(NotFound, match="there is no execution"):
        await store.load_until("acme", "unknown", 1)
