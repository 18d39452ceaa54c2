"""The slots in which calls run: a task may make several calls, and nothing of one may reach the next."""

import asyncio
from collections.abc import AsyncIterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest

from workflow_engine.models.step import Completed, Failed, Outcome, StepCall
from workflow_engine.services.step_processor import CALLS_PER_TASK, StepProcessor
from workflow_engine.steps.function import FunctionHandler
from workflow_engine.steps.function_registry import FunctionRegistry
from workflow_engine.steps.registry import Handlers

BOUND_S = 10.0
"""A call that is never reported fails the test, and does not hang it."""


@dataclass
class Slot:
    """One slot, what it calls, and what is reported of it."""

    processor: StepProcessor
    reported: list[tuple[str, Outcome]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def submit(self, step_id: str, function: str) -> None:
        self.processor.submit(call(step_id, function), generation=0, priority=5)

    async def until(self, count: int) -> list[tuple[str, Outcome]]:
        async with asyncio.timeout(BOUND_S):
            while len(self.reported) < count:
                self.news.clear()
                await self.news.wait()
        return self.reported


def call(step_id: str, function: str) -> StepCall:
    return StepCall(
        tenant_id="t",
        workflow_id="w",
        version=1,
        execution_id="e",
        node_id="n",
        step_id=step_id,
        type="function",
        attempt=1,
        make_idempotency_key=lambda: "key-1",
        input={"name": function},
        timeout_s=None,
    )


@pytest.fixture
def registry() -> FunctionRegistry:
    return FunctionRegistry()


@pytest.fixture
async def slot(registry: FunctionRegistry) -> AsyncIterator[Slot]:
    handlers = Handlers({"function": FunctionHandler(registry)})

    def on_outcome(call: StepCall, generation: int, outcome: Outcome) -> None:
        slot.reported.append((call.step_id, outcome))
        slot.news.set()

    slot = Slot(StepProcessor(handlers, concurrency=1, on_outcome=on_outcome))
    yield slot
    await slot.processor.close(grace_s=0)
    await handlers.close()


async def test_calls_that_wait_are_made_by_the_task_of_the_call_before_them(
    registry: FunctionRegistry, slot: Slot
) -> None:
    tasks: list[Any] = []

    @registry.function
    async def noting() -> None:
        tasks.append(asyncio.current_task())

    for number in range(2 * CALLS_PER_TASK):
        slot.submit(f"n.{number}", "noting")
    reported = await slot.until(2 * CALLS_PER_TASK)
    assert [step_id for step_id, _ in reported] == [f"n.{number}" for number in range(2 * CALLS_PER_TASK)]
    assert [len({*tasks[:CALLS_PER_TASK]}), len({*tasks})] == [1, 2]
    assert (slot.processor.running, slot.processor.queued) == (0, 0)


async def test_a_variable_of_the_context_that_a_call_has_set_is_not_seen_by_the_next(
    registry: FunctionRegistry, slot: Slot
) -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="nobody")

    @registry.function
    async def signing() -> str:
        seen = tenant.get()
        tenant.set("acme")
        return seen

    for number in range(3):
        slot.submit(f"n.{number}", "signing")
    assert [outcome for _, outcome in await slot.until(3)] == [Completed("nobody")] * 3


async def test_calls_that_wait_for_nothing_do_not_keep_the_loop_from_other_work(
    registry: FunctionRegistry, slot: Slot
) -> None:
    made: list[int] = []
    seen: list[int] = []

    def look() -> None:
        seen.append(len(made))
        asyncio.get_running_loop().call_soon(look)

    @registry.function
    async def quick() -> None:
        made.append(1)

    for number in range(10 * CALLS_PER_TASK):
        slot.submit(f"n.{number}", "quick")
    asyncio.get_running_loop().call_soon(look)
    await slot.until(10 * CALLS_PER_TASK)
    assert max(after - before for before, after in pairwise(seen)) <= CALLS_PER_TASK


@pytest.mark.parametrize("how", ["withdrawn", "by itself"])
async def test_what_is_cancelled_is_one_call_alone(registry: FunctionRegistry, slot: Slot, how: str) -> None:
    begun = asyncio.Event()

    @registry.function
    async def quick() -> str:
        return "done"

    @registry.function
    async def cancelled() -> str:
        begun.set()
        if how == "by itself":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            return "cancelled too late"
        return await asyncio.get_running_loop().create_future()

    for step_id, function in [("n.1", "quick"), ("n.2", "cancelled"), ("n.3", "quick"), ("n.4", "quick")]:
        slot.submit(step_id, function)
    await begun.wait()
    if how == "withdrawn":
        slot.processor.withdraw("t", "e", "n.2")
        slot.submit("n.5", "quick")
        expected = ["n.1", "n.3", "n.4", "n.5"]
    else:
        expected = ["n.1", "n.2", "n.3", "n.4"]
    reported = await slot.until(4)
    assert [step_id for step_id, _ in reported] == expected
    assert not [outcome for _, outcome in reported if isinstance(outcome, Failed)]


async def test_a_call_that_is_withdrawn_before_it_has_begun_leaves_its_slot_to_the_next(
    registry: FunctionRegistry, slot: Slot
) -> None:
    registry.function("quick")(lambda: "done")
    slot.submit("n.1", "quick")
    slot.submit("n.2", "quick")
    slot.processor.withdraw("t", "e", "n.1")
    assert await slot.until(1) == [("n.2", Completed("done"))]
