"""What the simulation has found, each at its smallest: a real engine, and the one thing that has to go wrong."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from sim_disk import FINE, LANDED_UNSEEN, LOST, Disk

from workflow_engine import Engine
from workflow_engine.config.settings import Settings
from workflow_engine.models.errors import StoreUnavailable
from workflow_engine.models.step import Completed, Outcome, StepCall
from workflow_engine.models.tenant import DEFAULT_TENANT
from workflow_engine.services.step_processor import StepProcessor
from workflow_engine.steps.function_registry import FunctionRegistry, StepContext, StepFailed
from workflow_engine.steps.registry import Handlers
from workflow_engine.store import sqlite

WORK = {"id": "work", "type": "function", "with": {"name": "work"}}


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """The disk of the engines of a test."""
    disk = Disk()
    monkeypatch.setattr(sqlite, "connect_writer", disk.connect_writer)
    return disk


@pytest.fixture
def engine(tmp_path: Path, disk: Disk) -> Callable[[FunctionRegistry], Engine]:
    """Makes an engine on a fresh database."""
    settings = Settings(_env_file=None, worker_concurrency=1)  # type: ignore[call-arg]
    return lambda functions: Engine(f"sqlite:///{tmp_path}/engine.db", functions=functions, settings=settings)


def once(disk: Disk, fate: str) -> None:
    """What becomes of the next commit, and of no other."""
    fates = [fate]
    disk.fate = lambda: fates.pop() if fates else FINE


async def test_lists_show_the_end_of_a_retry_that_failed_at_once(
    engine: Callable[[FunctionRegistry], Engine],
) -> None:
    async with engine(FunctionRegistry()) as service:
        await service.publish({"id": "broken", "nodes": [{"id": "a", "type": "set", "output": "${ vars.missing }"}]})
        execution = await service.start("broken")
        first = await execution.wait()
        await execution.retry()
        state = await service.services.executions.state(DEFAULT_TENANT, execution.id)
        row = await service.store.execution(DEFAULT_TENANT, execution.id)
        assert first["status"] == row.status == "failed"
        assert row.finished_at == state.finished_at


async def test_an_execution_whose_start_was_durable_and_not_answered_runs_all_the_same(
    engine: Callable[[FunctionRegistry], Engine], disk: Disk
) -> None:
    functions = FunctionRegistry()

    @functions.function("work")
    async def work() -> str:
        return "done"

    async with engine(functions) as service:
        await service.publish({"id": "one", "nodes": [WORK]})
        once(disk, LANDED_UNSEEN)
        with pytest.raises(StoreUnavailable):
            await service.start("one", execution_id="unanswered")
        async with asyncio.timeout(20):
            assert await service.execution("unanswered").result() == "done"


async def test_a_result_that_met_an_outage_is_not_asked_for_again(
    engine: Callable[[FunctionRegistry], Engine], disk: Disk
) -> None:
    functions = FunctionRegistry()
    calls: list[int] = []

    @functions.function("work")
    async def work(context: StepContext) -> str:
        calls.append(context.attempt)
        if len(calls) == 1:
            once(disk, LOST)
            raise StepFailed("unavailable", "away")
        return "done"

    async with engine(functions) as service:
        retry = {"max_attempts": 3, "initial": "10ms", "jitter": 0}
        await service.publish({"id": "one", "nodes": [{**WORK, "retry": retry}]})
        execution = await service.start("one")
        async with asyncio.timeout(20):
            assert await execution.result() == "done"
    assert calls == [1, 2]


async def test_calls_are_ended_by_a_cancellation_that_was_durable_and_not_answered(
    engine: Callable[[FunctionRegistry], Engine], disk: Disk
) -> None:
    functions = FunctionRegistry()
    begun, ended = asyncio.Event(), asyncio.Event()
    calls: list[str] = []

    @functions.function("work")
    async def work(context: StepContext) -> None:
        calls.append(context.step_id)
        begun.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    async with engine(functions) as service:
        await service.publish({"id": "two", "nodes": [WORK, {**WORK, "id": "more"}]})
        execution = await service.start("two")
        await begun.wait()
        once(disk, LANDED_UNSEEN)
        with pytest.raises(StoreUnavailable):
            await execution.cancel()
        async with asyncio.timeout(20):
            await ended.wait()
            assert (await execution.wait())["status"] == "cancelled"
    assert calls == ["work.1"]


class Slow:
    """A handler whose first attempt never ends."""

    def __init__(self) -> None:
        self.aborted: list[int] = []

    async def __call__(self, call: StepCall) -> Outcome:
        if call.attempt == 1:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                self.aborted.append(call.attempt)
                raise
        return Completed(call.attempt)

    async def close(self) -> None:
        """Nothing is held."""


async def test_the_next_attempt_is_called_though_the_call_of_the_one_before_is_still_under_way() -> None:
    slow = Slow()
    outcomes: asyncio.Queue[Outcome] = asyncio.Queue()
    processor = StepProcessor(
        Handlers({"function": slow}),
        concurrency=1,
        on_outcome=lambda _call, _generation, outcome: outcomes.put_nowait(outcome),
    )
    for attempt in (1, 1, 2):
        call = StepCall("acme", "flow", 1, "e1", "work", "work.1", "function", attempt, lambda: "key", None, None)
        processor.submit(call, generation=0, priority=5)
        await asyncio.sleep(0)
    assert await outcomes.get() == Completed(2)
    await processor.close(grace_s=0)
    assert slow.aborted == [1]
