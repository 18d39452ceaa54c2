"""The slots of tenant-wide limits: granted by the commits that ask for and free them, in the order of asking."""

from databases import SQLITE_ONLY
from pysqlite3 import dbapi2
from store_writes import first, later, outcomes

from workflow_engine.store import Grant, SlotRow, Store, Summary, TransitionWrite, slots, sqlite


class Told:
    """The grants that a store has told of, in order."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.grants: list[Grant] = []
        store.on_granted(self.grants.extend)

    async def take(self) -> list[str]:
        """The steps that were told of since the last time, as `execution/step`."""
        await self._store.probe()  # a later write is answered after the grants of an earlier one
        taken, self.grants[:] = list(self.grants), []
        return [f"{grant.execution_id}/{grant.step_id}" for grant in taken]


def slot(step_id: str, *, key: str = "bank", concurrency: int = 1, attempt: int = 1) -> SlotRow:
    return SlotRow(step_id, key, attempt, 0, concurrency)


def asking(execution_id: str, *slots: SlotRow, at: int = 1_000, tenant_id: str = "acme") -> TransitionWrite:
    write = first(execution_id, created_at=at, tenant_id=tenant_id)
    write.slots_asked = list(slots)
    return write


def freeing(execution_id: str, number: int, *step_ids: str, key: str = "bank") -> TransitionWrite:
    return later(execution_id, number, slots_freed=[(step_id, key) for step_id in step_ids])


async def test_the_head_of_the_line_is_granted_with_the_commit_that_asks(store: Store) -> None:
    told = Told(store)
    await store.commit(asking("e1", slot("a.1", concurrency=2)))
    await store.commit(asking("e2", slot("a.1", concurrency=2)))
    await store.commit(asking("e3", slot("a.1", concurrency=2)))
    assert await told.take() == ["e1/a.1", "e2/a.1"]
    assert await store.slot_holders("acme", "bank") == [
        ("e1", "a.1", True, 1_000),
        ("e2", "a.1", True, 1_000),
        ("e3", "a.1", False, 1_000),
    ]


async def test_the_commit_that_frees_a_slot_grants_it_to_the_next(store: Store) -> None:
    told = Told(store)
    for number in range(3):
        await store.commit(asking(f"e{number}", slot("a.1"), at=1_000 + number))
    assert await told.take() == ["e0/a.1"]
    await store.commit(freeing("e0", 2, "a.1"))
    assert await told.take() == ["e1/a.1"]
    await store.commit(freeing("e2", 2, "a.1"))  # gives up while it waits
    await store.commit(freeing("e1", 2, "a.1"))
    assert await told.take() == []
    assert await store.slot_holders("acme", "bank") == []


async def test_the_order_of_asking_is_kept_whatever_the_names_and_whoever_commits_first(store: Store) -> None:
    told = Told(store)
    await store.commit(asking("owner", slot("a.1")))
    await store.commit(asking("late", slot("a.1"), at=3_000))
    many = [slot(f"each.1:{number}") for number in (0, 2, 10, 1)]
    await store.commit(asking("early", *many, at=2_000))
    assert await told.take() == ["owner/a.1"]
    granted = []
    owner, number = "owner", {"owner": 2, "early": 2, "late": 2}
    step = "a.1"
    for _ in range(5):
        await store.commit(freeing(owner, number[owner], step))
        number[owner] += 1
        (name,) = await told.take()
        owner, _, step = name.partition("/")
        granted.append(name)
    assert granted == ["early/each.1:0", "early/each.1:2", "early/each.1:10", "early/each.1:1", "late/a.1"]


async def test_nobody_overtakes_a_head_that_finds_too_many_owners(store: Store) -> None:
    told = Told(store)
    await store.commit(asking("e1", slot("a.1", concurrency=5), at=1))
    await store.commit(asking("e2", slot("a.1", concurrency=5), at=2))
    await store.commit(asking("e3", slot("a.1", concurrency=2), at=3))
    await store.commit(asking("e4", slot("a.1", concurrency=5), at=4))
    assert await told.take() == ["e1/a.1", "e2/a.1"]
    await store.commit(freeing("e2", 2, "a.1"))
    assert await told.take() == ["e3/a.1", "e4/a.1"], (
        "e3 finds one owner, e4 then two, and each has its own concurrency"
    )


async def test_asking_again_for_the_same_attempt_gives_the_same_answer_and_the_same_place(store: Store) -> None:
    told = Told(store)
    await store.commit(asking("e1", slot("a.1"), at=1))
    await store.commit(asking("e2", slot("a.1"), at=2))
    await store.commit(asking("e3", slot("a.1"), at=3))
    await told.take()
    await store.commit(later("e2", 2, slots_asked=[slot("a.1")]))
    assert await told.take() == []
    await store.commit(later("e1", 2, slots_asked=[slot("a.1")]))
    assert await told.take() == ["e1/a.1"], "it has its slot, and hears of it again"
    await store.commit(freeing("e1", 3, "a.1"))
    assert await told.take() == ["e2/a.1"]


async def test_the_next_attempt_stands_at_the_end_of_the_line(store: Store) -> None:
    told = Told(store)
    await store.commit(asking("e1", slot("a.1"), at=1))
    await store.commit(asking("e2", slot("a.1"), at=2))
    again = freeing("e1", 2, "a.1")
    again.slots_asked = [slot("a.1", attempt=2)]
    await store.commit(again)
    assert await told.take() == ["e1/a.1", "e2/a.1"]
    await store.commit(freeing("e2", 2, "a.1"))
    (grant,) = told.grants or await store.granted_slots(("acme", "e1"))
    assert (grant.execution_id, grant.attempt) == ("e1", 2)


async def test_lines_are_apart_by_key_and_by_tenant(store: Store) -> None:
    told = Told(store)
    await store.commit(asking("e1", slot("a.1"), slot("b.1", key="mail"), slot("c.1", key="mail")))
    await store.commit(asking("e1", slot("a.1"), tenant_id="other"))
    assert await told.take() == ["e1/a.1", "e1/b.1", "e1/a.1"]
    assert await store.slot_holders("other", "mail") == []


async def test_a_loser_of_the_fence_asks_for_nothing_and_frees_nothing(store: Store) -> None:
    told = Told(store)
    await store.commit(asking("e1", slot("a.1")))
    await store.commit(later("e1", 2))
    await told.take()
    stale = freeing("e1", 2, "a.1")
    stale.slots_asked = [slot("b.1", key="mail")]
    assert all(await outcomes(store, [stale]))
    assert await told.take() == []
    assert [row[:3] for row in await store.slot_holders("acme", "bank")] == [("e1", "a.1", True)]
    assert await store.slot_holders("acme", "mail") == []


async def test_a_batch_of_many_never_grants_more_than_the_limit(store: Store) -> None:
    told = Told(store)
    assert not any(
        await outcomes(store, [asking(f"e{number:03}", slot("a.1", concurrency=7)) for number in range(300)])
    )
    owners = [name.partition("/")[0] for name in await told.take()]
    assert owners == [f"e{number:03}" for number in range(7)]
    seen = list(owners)
    while owners:
        assert not any(await outcomes(store, [freeing(owner, 2, "a.1") for owner in owners]))
        owners = [name.partition("/")[0] for name in await told.take()]
        holders = await store.slot_holders("acme", "bank")
        assert sum(is_granted for _, _, is_granted, _ in holders) == len(owners) <= 7
        seen += owners
    assert seen == [f"e{number:03}" for number in range(300)]


async def test_slots_outlive_the_process_and_are_told_again_on_demand(store: Store, url: str) -> None:
    await store.commit(asking("e1", slot("a.1")))
    await store.commit(asking("e2", slot("a.1")))
    await store.close()
    again = await Store.open(url)
    assert [grant.execution_id for grant in await again.granted_slots()] == ["e1"]
    assert await again.granted_slots(("acme", "e2")) == []
    await again.close()


async def test_a_removed_execution_takes_its_slots_along(store: Store) -> None:
    await store.commit(asking("e1", slot("a.1"), at=1))
    await store.commit(later("e1", 2, summary=Summary("completed", None, 100, 1, 2)))
    await store.remove_executions([("acme", "e1")], before=10)
    assert await store.slot_holders("acme", "bank") == []


@SQLITE_ONLY
async def test_a_line_is_found_by_its_index_and_read_in_its_order(store: Store) -> None:
    connection = dbapi2.connect(str(store._database.path))
    line = {"tenant_id": "acme", "key": "bank", "is_granted": 0, "limit": 100}
    for statement in (slots._WAITING, slots._HOLDERS):
        sql = statement.form(sqlite.DIALECT).text
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", line)]
        assert len(plan) == 1, plan
        assert "slots_in_line (tenant_id=? AND key=? AND is_granted=?)" in plan[0]
    connection.close()


@SQLITE_ONLY
async def test_a_grant_costs_the_same_behind_a_hundred_steps_and_behind_a_hundred_thousand(store: Store) -> None:
    few = await instructions_of_a_grant(store, "few", 100)
    many = await instructions_of_a_grant(store, "many", 100_000)
    assert few <= many < 1.5 * few


async def instructions_of_a_grant(store: Store, key: str, waiting: int) -> int:
    """What SQLite does to free the one slot and grant it to the next of so many, in instructions of its machine."""
    await store.commit(asking(f"{key}-owner", slot("a.1", key=key), at=1))
    for number in range(10):
        items = [slot(f"each.1:{item}", key=key) for item in range(waiting // 10)]
        await store.commit(asking(f"{key}-{number}", *items, at=10 + number))
    done = [0]

    def count() -> int:
        done[0] += 1
        return 0

    connection = sqlite.connect_writer(store._database.path)
    write = freeing(f"{key}-owner", 2, "a.1", key=key)
    connection.set_progress_handler(count, 1)
    slots.write_slots(connection, [write])
    (grant,) = slots.grant_slots(connection, [write])
    connection.close()
    assert (grant.execution_id, grant.step_id) == (f"{key}-0", "each.1:0")
    return done[0]
