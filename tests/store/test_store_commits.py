import asyncio
from functools import partial
from itertools import pairwise

import pytest
from store_writes import execution_row, first, later, outcomes

from workflow_engine.models.errors import (
    AlreadyExists,
    Fenced,
    InvariantViolated,
    LimitExceeded,
    NotFound,
    NotPermitted,
    StoreUnavailable,
)
from workflow_engine.store import Store, Summary, TaskRow, TransitionWrite, committer
from workflow_engine.store import store as store_module
from workflow_engine.store.records import Grant


async def test_what_was_committed_is_read_back(store: Store) -> None:
    labels = {"team": "red", "prio": 3, "big": 2**70, "share": 0.1, "text": "3", "flag": True, "none": None}
    await store.commit(first("e1", labels=labels, metadata={"customer": "ä"}, priority=7, started_at=5))
    await store.commit(later("e1", 2, summary=Summary("completed", None, 100, 5, 9)))
    row, snapshot, log = await store.load("acme", "e1")
    assert row == execution_row(
        "e1",
        labels=labels,
        metadata={"customer": "ä"},
        priority=7,
        status="completed",
        progress=100,
        started_at=5,
        finished_at=9,
        transition=2,
        sequence=4,
    )
    assert snapshot is None
    assert [(one.number, one.first_sequence, one.last_sequence, one.at, one.events) for one in log] == [
        (1, 1, 2, 1_000, b"events 1"),
        (2, 3, 4, 1_002, b"events 2"),
    ]


async def test_an_unchanged_summary_stays(store: Store) -> None:
    await store.commit(first("e1", status="paused", reason="timer", progress=40))
    await store.commit(later("e1", 2))
    row = await store.execution("acme", "e1")
    assert (row.status, row.reason, row.progress, row.transition, row.sequence) == ("paused", "timer", 40, 2, 4)


async def test_a_summary_given_with_the_first_transition_counts(store: Store) -> None:
    write = first("e1", status="pending")
    write.summary = Summary("failed", None, 10, 1, 2)
    await store.commit(write)
    row = await store.execution("acme", "e1")
    assert (row.status, row.progress, row.finished_at) == ("failed", 10, 2)


async def test_of_two_writes_with_one_number_one_wins_and_the_others_of_the_batch_commit(store: Store) -> None:
    ids = [f"e{position}" for position in range(49)]
    await outcomes(store, [first(execution_id) for execution_id in ids])
    rivals = [later("e7", 2, events=b"rival")]
    results = await outcomes(store, [later(execution_id, 2) for execution_id in ids] + rivals)
    assert results[:49] == [None] * 49
    assert isinstance(results[49], Fenced)
    assert [(await store.load("acme", one))[0].transition for one in ids] == [2] * 49


async def test_a_loser_inside_a_batch_writes_nothing_and_the_other_49_commit(store: Store) -> None:
    await outcomes(store, [first(f"e{position}") for position in range(50)])
    await store.commit(later("e7", 2, events=b"the rival came first"))
    late = later("e7", 2, tasks_put=[TaskRow("t", "timer", 1)], snapshot=b"late", summary=Summary("failed"))
    writes = [late if position == 7 else later(f"e{position}", 2) for position in range(50)]
    results = await outcomes(store, writes)
    assert [position for position, error in enumerate(results) if error is not None] == [7]
    row, snapshot, log = await store.load("acme", "e7")
    assert (row.status, row.transition, snapshot) == ("running", 2, None)
    assert [one.events for one in log] == [b"events 1", b"the rival came first"]
    assert await store.due(until=10) == []


async def test_a_number_that_is_too_high_is_fenced(store: Store) -> None:
    await store.commit(first("e1"))
    with pytest.raises(Fenced):
        await store.commit(later("e1", 3))
    with pytest.raises(Fenced):
        await store.commit(later("unknown", 2))
    assert (await store.execution("acme", "e1")).transition == 1


async def test_an_execution_id_that_is_taken_is_refused_and_its_neighbours_are_created(store: Store) -> None:
    await store.commit(first("e3", workflow_id="original"))
    results = await outcomes(store, [first(f"e{position}", labels={"a": 1}) for position in range(6)])
    assert [type(error) for error in results if error] == [AlreadyExists]
    assert isinstance(results[3], AlreadyExists)
    row = await store.execution("acme", "e3")
    assert (row.workflow_id, row.labels) == ("original", {})
    assert (await store.execution("acme", "e5")).labels == {"a": 1}


async def test_the_same_id_belongs_to_each_tenant_alone(store: Store) -> None:
    assert await outcomes(store, [first("e1"), first("e1", tenant_id="other")]) == [None, None]
    with pytest.raises(NotFound):
        await store.execution("third", "e1")


async def test_transitions_of_one_execution_submitted_together_are_committed_in_order(store: Store) -> None:
    writes = [first("e1")] + [later("e1", number) for number in range(2, 201)]
    assert await outcomes(store, writes) == [None] * 200
    assert [one.number for one in await store.log("acme", "e1")] == list(range(1, 201))


async def test_many_writes_share_few_transactions(store: Store) -> None:
    seen: list[int] = []
    resolve = store._committer._resolve

    def count(batch: list[committer.Entry], grants: list[Grant]) -> None:
        seen.append(len(batch))
        resolve(batch, grants)

    store._committer._resolve = count  # type: ignore[method-assign]
    await outcomes(store, [first(f"e{position}") for position in range(2500)])
    assert sum(seen) == 2500
    assert len(seen) <= 12
    assert max(seen) <= committer.BATCH_WRITES_MAX


async def test_who_is_told_of_a_large_commit_does_not_keep_the_loop_from_other_work(store: Store) -> None:
    loop = asyncio.get_running_loop()
    told: list[int] = []
    seen: list[int] = []
    is_over = loop.create_future()

    def on_done(number: int, error: Exception | None) -> None:
        told.append(number)
        if len(told) == 500:
            is_over.set_result(error)

    def look() -> None:
        seen.append(len(told))
        if not is_over.done():
            loop.call_soon(look)

    store.submit_group((first(f"e{number}"), partial(on_done, number)) for number in range(500))
    look()
    assert await is_over is None
    assert sorted(told) == list(range(500))
    assert max(after - before for before, after in pairwise([*seen, 500])) <= committer.ANSWERS_AT_ONCE


@pytest.mark.parametrize(
    "poison",
    [
        later("e7", 2, tasks_put=[TaskRow("\ud800", "timer", 1)]),
        later("e7", 2, at=2**70),
        later("e7", 2, tasks_put=[TaskRow("t", "timer", object())]),  # type: ignore[arg-type]
        later("e7", 2, tasks_put=[TaskRow("t", None, 1)]),  # type: ignore[arg-type]
    ],
)
async def test_a_poisonous_write_does_not_fail_its_neighbours(store: Store, poison: TransitionWrite) -> None:
    await outcomes(store, [first(f"e{position}") for position in range(50)])
    results = await outcomes(store, [poison if one == 7 else later(f"e{one}", 2) for one in range(50)])
    assert [position for position, error in enumerate(results) if error is not None] == [7]
    assert isinstance(results[7], InvariantViolated | LimitExceeded)
    assert (await store.execution("acme", "e7")).transition == 1
    assert (await store.execution("acme", "e8")).transition == 2
    assert await store.commit(later("e7", 2)) is None  # type: ignore[func-returns-value]


async def test_a_job_that_is_refused_does_not_fail_the_transitions_beside_it(store: Store) -> None:
    pending = asyncio.ensure_future(outcomes(store, [first(f"e{position}") for position in range(20)]))
    with pytest.raises(NotFound):
        await store.publish("acme", "w", name="w", labels={}, content_hash="h", definition=b"{}", expected="existing")
    assert await pending == [None] * 20


async def test_an_oversize_transition_is_refused_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "WRITE_BYTES_MAX", 1000)
    await store.commit(first("e1"))
    with pytest.raises(LimitExceeded, match="1001 bytes"):
        await store.commit(later("e1", 2, events=bytes(1001)))


async def test_large_writes_go_in_batches_of_bounded_size(store: Store) -> None:
    await outcomes(store, [first(f"e{position}") for position in range(5)])
    large = [later(f"e{position}", 2, events=bytes(5 * 1024 * 1024)) for position in range(5)]
    assert await outcomes(store, large) == [None] * 5


async def test_only_the_first_transition_creates_and_it_must(store: Store) -> None:
    with pytest.raises(InvariantViolated):
        await store.commit(later("e1", 1))
    wrong = first("e1")
    wrong.number = 2
    with pytest.raises(InvariantViolated):
        await store.commit(wrong)


async def test_one_callers_error_does_not_keep_the_answer_from_the_others(store: Store) -> None:
    reported: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["message"]))

    def broken(_: Exception | None) -> None:
        raise ValueError("a bug of the caller")

    store.submit(first("e1"), broken)
    assert await outcomes(store, [first("e2")]) == [None]
    assert reported == ["on_done of a write failed"]
    assert (await store.execution("acme", "e1")).transition == 1


async def test_a_bug_that_ends_the_writer_is_told_to_everyone_who_waits_or_comes_after(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: committer.Lines, batch: list[committer.Entry]) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(committer.Lines, "release", broken)
    assert {type(error) for error in await outcomes(store, [first("e1"), first("e2")])} == {StoreUnavailable}
    with pytest.raises(StoreUnavailable, match="writer has stopped"):
        await store.commit(first("e3"))


async def test_tasks_are_put_replaced_and_removed_with_their_transition(store: Store) -> None:
    write = first("e1")
    write.tasks_put = [TaskRow("a", "timer", 10), TaskRow("b", "human", None, b"form")]
    await store.commit(write)
    await store.commit(later("e1", 2, tasks_put=[TaskRow("a", "timer", 20)], tasks_removed=["b", "gone already"]))
    assert await store.due(until=100) == [(20, "acme", "e1")]
    assert await store.tasks("acme", kind="human") == []
    await store.commit(later("e1", 3, tasks_put=[TaskRow("a", "timer", 30)], tasks_removed=["a"]))
    assert await store.due(until=100) == [(30, "acme", "e1")]


async def test_only_the_latest_snapshot_is_kept_and_the_log_after_it_loaded(store: Store) -> None:
    await store.commit(first("e1"))
    await store.commit(later("e1", 2, snapshot=b"state 2"))
    await store.commit(later("e1", 3, snapshot=b"state 3"))
    await store.commit(later("e1", 4))
    _, snapshot, log = await store.load("acme", "e1")
    assert snapshot == (3, b"state 3")
    assert [one.number for one in log] == [4]


async def test_close_commits_what_was_submitted(url: str) -> None:
    store = await Store.open(url)
    pending = asyncio.ensure_future(outcomes(store, [first(f"e{position}") for position in range(3000)]))
    await asyncio.sleep(0)
    await store.close()
    assert await pending == [None] * 3000
    assert await outcomes(store, [first("late")]) != [None]
    with pytest.raises(StoreUnavailable):
        await store.execution("acme", "e1")
    await store.close()


async def test_a_full_queue_says_so_and_counts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "QUEUE_MAX", 10)
    pending = asyncio.ensure_future(outcomes(store, [first(f"e{position}") for position in range(15)]))
    await asyncio.sleep(0)
    assert store.queued == 10
    results = await pending
    assert [type(error) for error in results] == [type(None)] * 10 + [StoreUnavailable] * 5
    assert store.queued == 0


async def test_a_store_opened_for_reading_takes_no_writes(store: Store, url: str) -> None:
    await store.commit(first("e1"))
    reader = await Store.open(url, read_only=True)
    assert (await reader.execution("acme", "e1")).execution_id == "e1"
    with pytest.raises(NotPermitted):
        await reader.commit(later("e1", 2))
    await reader.close()


async def test_a_reader_never_sees_half_a_transition(store: Store) -> None:
    writes = [first("e1")] + [
        later("e1", number, summary=Summary("running", None, number % 100), snapshot=b"%d" % number)
        for number in range(2, 400)
    ]
    pending = asyncio.ensure_future(outcomes(store, writes))
    seen = 0
    while not pending.done() or seen == 0:
        try:
            row, snapshot, log = await store.load("acme", "e1")
        except NotFound:
            continue
        seen += 1
        assert log == [] or row.transition == log[-1].number == 1
        assert row.transition == 1 or snapshot == (row.transition, b"%d" % row.transition)
        assert row.transition == 1 or row.progress == row.transition % 100
    assert await pending == [None] * 399
