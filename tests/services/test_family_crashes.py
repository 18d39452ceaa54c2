"""kill -9 between the two commits of a parent and its child, and of those who share a limit."""

import signal
from pathlib import Path

import pytest
from crowded_target import CrowdedTarget
from family_lives import live
from mortal import Mortal
from recording_target import RecordingTarget

from workflow_engine.models.event import StepCompleted, decode_facts
from workflow_engine.store import ExecutionRow, Store

LIMIT = 3
KILLS = 4
ORDERS = 40


class Lives:
    """Processes on a database, one at a time."""

    def __init__(self, folder: Path, target_url: str, kind: str, count: int) -> None:
        self.url = f"sqlite:///{folder / 'crash.db'}"
        self._arguments = (target_url, kind, count)

    def one(self, moment: str | None = None) -> Mortal:
        """A life, which ends at such a moment if not before."""
        return Mortal(live, self.url, *self._arguments, moment)

    async def until_dead(self, moment: str) -> None:
        """A life that ends at such a moment."""
        async with self.one(moment) as process:
            assert await process.ended() == -signal.SIGKILL

    async def to_the_end(self) -> None:
        """A life in which everything is completed."""
        async with self.one() as process:
            assert await process.ended() == 0

    async def rows(self, workflow_id: str) -> list[ExecutionRow]:
        store = await Store.open(self.url, read_only=True)
        try:
            return await store.executions("default", workflow_id=workflow_id, limit=500)
        finally:
            await store.close()

    async def is_settled(self) -> bool:
        """Whether no news are left and nobody holds or awaits a slot."""
        store = await Store.open(self.url, read_only=True)
        try:
            return not await store.news() and await store.slot_holders("default", "bank") == []
        finally:
            await store.close()

    async def completed(self) -> int:
        """Steps that were completed, of all executions."""
        store = await Store.open(self.url, read_only=True)
        try:
            count = 0
            for row in await store.executions("default", limit=500):
                for entry in await store.log("default", row.execution_id):
                    count += sum(isinstance(fact, StepCompleted) for fact in decode_facts(entry.events))
            return count
        finally:
            await store.close()


@pytest.mark.parametrize("moment", ["called", "begun", "ended", "folded"])
async def test_a_family_is_completed_whenever_its_process_dies(tmp_path: Path, moment: str) -> None:
    async with RecordingTarget() as target:
        lives = Lives(tmp_path, target.url, "family", 3)
        for _ in range(2):
            await lives.until_dead(moment)
        await lives.to_the_end()
        assert len(target.calls_by_key) == 3
    for workflow_id in ("order", "shipment", "payment"):
        rows = await lives.rows(workflow_id)
        assert [row.status for row in rows] == ["completed"] * 3, "each call made one child"
    assert await lives.completed() == 9
    assert await lives.is_settled()


async def test_a_cancellation_reaches_the_children_of_a_process_that_died(tmp_path: Path) -> None:
    async with RecordingTarget() as target:
        target.fall_silent_after(1)
        lives = Lives(tmp_path, target.url, "family", 1)
        async with lives.one():
            await target.silence()
        await lives.until_dead("cancelled")  # the parent is cancelled, its child has not heard it
        assert [row.status for row in await lives.rows("payment")] == ["running"]
        store = await Store.open(lives.url, read_only=True)
        assert len(await store.news()) == 1
        await store.close()
        await lives.until_dead("cancelled")  # the child is, and the child's child has not heard it
        await lives.to_the_end()
    for workflow_id in ("order", "shipment", "payment"):
        assert [row.status for row in await lives.rows(workflow_id)] == ["cancelled"]
    assert await lives.is_settled()


async def test_kills_in_the_middle_of_calls_lose_no_child_and_double_none(tmp_path: Path) -> None:
    async with RecordingTarget() as target:
        lives = Lives(tmp_path, target.url, "family", ORDERS)
        for _ in range(KILLS):
            target.fall_silent_after(4)
            async with lives.one():
                await target.silence()
        target.speak_again()
        await lives.to_the_end()
        assert len(target.calls_by_key) == ORDERS
        assert target.has_one_body_per_key
    for workflow_id in ("order", "shipment", "payment"):
        assert [row.status for row in await lives.rows(workflow_id)] == ["completed"] * ORDERS
    assert await lives.completed() == 3 * ORDERS
    assert await lives.is_settled()


@pytest.mark.parametrize("moment", ["asked", "freed"])
async def test_no_slot_is_lost_when_the_process_dies_with_its_commit(tmp_path: Path, moment: str) -> None:
    async with CrowdedTarget(LIMIT, 10) as target:
        lives = Lives(tmp_path, target.url, "limit", 10)
        for _ in range(2):
            await lives.until_dead(moment)
            target.speak_again()
        await lives.to_the_end()
        assert target.peak <= LIMIT
        assert len(target.arrivals) == 10
    assert [row.status for row in await lives.rows("order")] == ["completed"] * 10
    assert await lives.is_settled()


async def test_kills_in_the_middle_of_calls_leak_no_slot_and_double_none(tmp_path: Path) -> None:
    async with CrowdedTarget(LIMIT, ORDERS) as target:
        lives = Lives(tmp_path, target.url, "limit", ORDERS)
        for _ in range(KILLS):
            target.fall_silent_after(5)
            async with lives.one():
                await target.silence()
            target.speak_again()
        await lives.to_the_end()
        assert target.peak == LIMIT
        assert len(target.arrivals) == ORDERS
    assert [row.status for row in await lives.rows("order")] == ["completed"] * ORDERS
    assert await lives.is_settled()


async def test_a_call_that_is_made_at_most_once_is_lost_with_its_process(tmp_path: Path) -> None:
    async with RecordingTarget() as target:
        lives = Lives(tmp_path, target.url, "once", 3)
        target.fall_silent_after(3)
        async with lives.one():
            await target.silence()
        target.speak_again()
        calls = target.calls_by_key
        store = await Store.open(lives.url, read_only=True)
        completed = {row.execution_id for row in await store.executions("default", status="completed", limit=500)}
        await store.close()
        await lives.to_the_end()
        assert {calls[key] for key in calls} == {1}
        assert len(target.calls) == 3, "none was made a second time"
    store = await Store.open(lives.url, read_only=True)
    for row in await store.executions("default", limit=500):
        assert row.status == ("completed" if row.execution_id in completed else "failed")
        log = await store.log("default", row.execution_id)
        if row.status == "failed":
            assert b'"worker_lost"' in log[-1].events
    assert any(row.status == "failed" for row in await store.executions("default", limit=500))
    await store.close()
