"""First transitions that are written together, or not at all."""

import asyncio

from databases import asked
from store_writes import first, later, outcomes

from workflow_engine.models.errors import AlreadyExists, GroupRefused, StoreUnavailable
from workflow_engine.store import IdempotencyRow, Store, TransitionWrite

RECEIPT = IdempotencyRow("POST /x", "key", "hash", 202, b"{}")


async def together(store: Store, writes: list[TransitionWrite]) -> list[Exception | None]:
    """Submit them as a group; what became of each."""
    futures = [asyncio.get_running_loop().create_future() for _ in writes]
    store.submit_group([(write, future.set_result) for write, future in zip(writes, futures, strict=True)])
    return list(await asyncio.gather(*futures))


async def count(store: Store) -> int:
    return len(await store.executions("acme", limit=5_000))


async def test_a_group_is_one_commit_by_itself(store: Store, url: str) -> None:
    names = [f"e{number}" for number in range(100)]
    single = outcomes(store, [first(f"s-{name}") for name in names])
    group = together(store, [first(f"g-{name}") for name in names])
    after = outcomes(store, [later(f"s-{name}", 2) for name in names])
    results = await asyncio.gather(single, group, after)
    assert [set(result) for result in results] == [{None}] * 3
    commits: dict[int, set[str]] = {}
    for commit_id, execution_id in asked(url, "SELECT commit_id, execution_id FROM transitions"):
        commits.setdefault(commit_id, set()).add(execution_id)
    assert [ids for ids in commits.values() if any(one.startswith("g") for one in ids)] == [{f"g-{n}" for n in names}]


async def test_where_one_is_refused_none_is_written_and_the_others_hear_that_they_may_come_again(store: Store) -> None:
    await store.commit(first("e7"))
    results = await together(store, [first(f"e{number}") for number in range(20)])
    assert [type(error) for error in results] == [AlreadyExists if n == 7 else GroupRefused for n in range(20)]
    assert await count(store) == 1
    assert set(await together(store, [first(f"e{number}") for number in range(20) if number != 7])) == {None}
    assert await count(store) == 20


async def test_a_key_that_was_used_refuses_the_whole_group(store: Store) -> None:
    for name, expected in (("a", None), ("b", AlreadyExists)):
        writes = [first(f"{name}{number}") for number in range(10)]
        writes[0].receipts = [RECEIPT]
        results = await together(store, writes)
        if expected is None:
            assert set(results) == {None}
        else:
            assert [type(error) for error in results] == [AlreadyExists] + [GroupRefused] * 9
    assert await count(store) == 10
    assert await store.receipt("acme", "POST /x", "key") == RECEIPT


async def test_a_write_that_can_not_be_stored_takes_the_group_and_nobody_else_with_it(store: Store) -> None:
    poisonous = first("poison")
    poisonous.at = "no instant" * 10**6  # type: ignore[assignment]
    poisonous.last_sequence = 2**70
    group = together(store, [first("a"), poisonous, first("b")])
    single = outcomes(store, [first("c")])
    grouped, alone = await asyncio.gather(group, single)
    assert None not in grouped
    assert alone == [None]
    assert [row.execution_id for row in await store.executions("acme", limit=10)] == ["c"]


async def test_a_closed_store_refuses_all(url: str) -> None:
    store = await Store.open(url)
    await store.close()
    assert {type(error) for error in await together(store, [first("a"), first("b")])} == {StoreUnavailable}
