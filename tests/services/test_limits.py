"""`limit`: so many steps of a tenant at once per key, in the order in which they asked, and no slot ever lost."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from crowded_target import CrowdedTarget
from family import end_of, quiet

from workflow_engine import Engine, Execution
from workflow_engine.config.settings import Settings
from workflow_engine.steps.function_registry import FunctionRegistry

EXECUTIONS = 200
LIMIT = 3


class Doors:
    """A function that says when it is called and returns when it is let go."""

    def __init__(self) -> None:
        self.entered: list[str] = []
        self._open: dict[str, asyncio.Event] = {}
        self._changed = asyncio.Condition()

    async def enter(self, name: str) -> str:
        """Wait at the door of this name."""
        async with self._changed:
            self.entered.append(name)
            self._changed.notify_all()
        await self._open.setdefault(name, asyncio.Event()).wait()
        return name

    def let_go(self, name: str) -> None:
        self._open.setdefault(name, asyncio.Event()).set()

    async def until_entered(self, count: int) -> list[str]:
        """Who has come, once there are so many."""
        async with self._changed:
            await asyncio.wait_for(self._changed.wait_for(lambda: len(self.entered) >= count), 20)
        return list(self.entered)


@pytest.fixture
def doors() -> Doors:
    return Doors()


@pytest.fixture
async def engine(tmp_path: Path, doors: Doors) -> AsyncIterator[Engine]:
    """An engine that holds no slot when the test is over."""
    functions = FunctionRegistry()
    functions.function("enter")(doors.enter)
    async with Engine(f"sqlite:///{tmp_path / 'engine.db'}", functions=functions) as opened:
        yield opened
        await quiet(opened)
        assert await opened.store.granted_slots() == []


def entering(workflow_id: str, *, key: str = "door", concurrency: int = 1, **more: Any) -> dict[str, Any]:
    """A workflow with one limited step, which waits at the door that its input names."""
    arguments = {"name": "enter", "arguments": {"name": "${ input }"}}
    node = {
        "id": "in",
        "type": "function",
        "with": arguments,
        "limit": {"key": key, "concurrency": concurrency},
        **more,
    }
    return {"id": workflow_id, "nodes": [node]}


async def waiting(engine: Engine, key: str = "door") -> list[tuple[str, bool]]:
    return [
        (execution_id, is_granted) for execution_id, _, is_granted, _ in await engine.store.slot_holders("default", key)
    ]


async def events_of(execution: Execution) -> list[str]:
    return [event["event"] async for event in execution.events(follow=False)]


async def test_two_hundred_executions_never_call_more_than_three_at_once(tmp_path: Path) -> None:
    async with CrowdedTarget(LIMIT, EXECUTIONS) as target:
        definition = {
            "id": "order",
            "nodes": [
                {
                    "id": "pay",
                    "type": "http",
                    "with": {"method": "POST", "url": target.url, "json": "${ input }"},
                    "limit": {"key": "bank", "concurrency": LIMIT},
                }
            ],
        }
        settings = Settings(http_allow=("127.0.0.0/8",))
        async with Engine(f"sqlite:///{tmp_path / 'engine.db'}", settings=settings) as engine:
            await engine.publish(definition)
            started = [await engine.start("order", number) for number in range(EXECUTIONS)]
            async with asyncio.timeout(100):
                for execution in started:
                    await execution.result()
            await quiet(engine)
            assert await engine.store.slot_holders("default", "bank") == []
    assert target.peak == LIMIT
    arrived = [int(body) for body in target.arrivals]
    assert sorted(arrived) == list(range(EXECUTIONS))
    assert max(abs(number - place) for place, number in enumerate(arrived)) < LIMIT


async def test_a_step_that_waits_is_pending_and_its_execution_leaves_the_memory(engine: Engine, doors: Doors) -> None:
    await engine.publish(entering("guest"))
    first = await engine.start("guest", "a")
    await doors.until_entered(1)
    others = [await engine.start("guest", name) for name in "bcdef"]
    async with asyncio.timeout(30):
        while engine.services.executor.residents > 1:
            await engine.store.probe()
    state = await engine.services.executions.state("default", others[0].id)
    assert (state.status, state.steps["in.1"].status) == ("running", "pending")
    assert await events_of(others[0]) == ["workflow_started"]
    assert await waiting(engine) == [(first.id, True), *((other.id, False) for other in others)]
    for name in "abcdef":
        doors.let_go(name)
    for execution in (first, *others):
        await execution.result()
    assert doors.entered == list("abcdef")


async def test_one_key_is_one_line_across_workflows_and_templates_make_many(engine: Engine, doors: Doors) -> None:
    await engine.publish(entering("guest"))
    await engine.publish(entering("visitor", key="${ 'door' }"))
    await engine.publish(entering("other", key="${ 'door-' + input }"))
    started = [await engine.start("guest", "a"), await engine.start("visitor", "b")]
    started += [await engine.start("other", "c"), await engine.start("other", "d")]
    assert sorted(await doors.until_entered(3)) == ["a", "c", "d"]
    for name in "abcd":
        doors.let_go(name)
    for execution in started:
        await execution.result()


async def test_tenants_have_lines_of_their_own(tmp_path: Path, doors: Doors) -> None:
    functions = FunctionRegistry()
    functions.function("enter")(doors.enter)
    async with Engine(f"sqlite:///{tmp_path / 'engine.db'}", functions=functions) as engine:
        for tenant_id in ("one", "two"):
            await engine.services.workflows.publish(tenant_id, entering("guest"))
            await engine.services.executions.start(tenant_id, "guest", tenant_id)
        assert sorted(await doors.until_entered(2)) == ["one", "two"]
        assert len(await engine.store.slot_holders("one", "door")) == 1
        doors.let_go("one")
        doors.let_go("two")


@pytest.mark.parametrize("how", ["cancel", "terminate"])
async def test_who_is_withdrawn_leaves_the_line_and_gives_its_slot_back(engine: Engine, doors: Doors, how: str) -> None:
    await engine.publish(entering("guest"))
    owner, quitter, last = [await engine.start("guest", name) for name in "abc"]
    await doors.until_entered(1)
    await getattr(quitter, how)()
    assert await waiting(engine) == [(owner.id, True), (last.id, False)]
    await getattr(owner, how)()
    assert await doors.until_entered(2) == ["a", "c"]
    doors.let_go("c")
    assert await last.result() == "c"


async def test_a_failure_elsewhere_gives_the_slots_of_its_execution_back(engine: Engine, doors: Doors) -> None:
    failing = entering("failing")
    failing["nodes"] += [
        {**failing["nodes"][0], "id": "also"},
        {"id": "go", "type": "wait", "with": {"signal": "go"}},
        {"id": "stop", "type": "fail", "with": {"type": "enough", "message": "stop"}},
    ]
    failing["connections"] = [{"from": "go", "to": "stop"}]
    await engine.publish(failing)
    await engine.publish(entering("guest"))
    owner, last = await engine.start("failing", "a"), await engine.start("guest", "b")
    await doors.until_entered(1)
    assert await waiting(engine) == [(owner.id, True), (owner.id, False), (last.id, False)]
    await owner.signal("go")
    assert (await owner.wait())["status"] == "failed"
    assert await doors.until_entered(2) == ["a", "b"]
    doors.let_go("b")
    assert await last.result() == "b"


async def test_a_timeout_gives_the_slot_back(engine: Engine, doors: Doors) -> None:
    await engine.publish(entering("guest", timeout="200ms", retry={"max_attempts": 1}))
    owner, last = [await engine.start("guest", name) for name in "ab"]
    assert await doors.until_entered(2) == ["a", "b"]
    doors.let_go("b")
    assert await last.result() == "b"
    assert (await owner.wait())["error"]["type"] == "timeout"


async def test_a_back_off_gives_the_slot_to_the_next(tmp_path: Path) -> None:
    calls: list[str] = []
    functions = FunctionRegistry()

    @functions.function
    async def enter(name: str) -> str:
        calls.append(name)
        if calls.count(name) == 1 and name == "a":
            raise TimeoutError("try again")
        return name

    async with Engine(f"sqlite:///{tmp_path / 'engine.db'}", functions=functions) as engine:
        await engine.publish(entering("guest", retry={"max_attempts": 3, "initial": "300ms", "jitter": 0}))
        first, second = [await engine.start("guest", name) for name in "ab"]
        assert (await first.result(), await second.result()) == ("a", "b")
        await quiet(engine)
        assert await engine.store.granted_slots() == []
    assert calls == ["a", "b", "a"]


async def test_an_operators_pause_keeps_its_place_and_starts_nothing(engine: Engine, doors: Doors) -> None:
    await engine.publish(entering("guest"))
    owner, paused, last = [await engine.start("guest", name) for name in "abc"]
    await doors.until_entered(1)
    await paused.pause()
    doors.let_go("a")
    await owner.result()
    async with asyncio.timeout(30):
        while await waiting(engine) != [(paused.id, True), (last.id, False)]:
            await engine.store.probe()
    assert doors.entered == ["a"]
    await paused.resume()
    doors.let_go("b")
    doors.let_go("c")
    assert (await paused.result(), await last.result()) == ("b", "c")


async def test_items_wait_each_for_a_slot(engine: Engine, doors: Doors) -> None:
    definition = entering("guests", concurrency=2, foreach={"items": "${ input }", "concurrency": 10})
    definition["nodes"][0]["with"]["arguments"]["name"] = "${ item }"
    await engine.publish(definition)
    execution = await engine.start("guests", list("abcde"))
    assert await doors.until_entered(2) == ["a", "b"]
    for place, name in enumerate("abcde"):
        doors.let_go(name)
        await doors.until_entered(min(place + 3, 5))
    assert await execution.result() == list("abcde")
    assert doors.entered == list("abcde")


async def test_a_line_outlives_its_process(tmp_path: Path, doors: Doors) -> None:
    url = f"sqlite:///{tmp_path / 'engine.db'}"
    functions = FunctionRegistry()
    functions.function("enter")(doors.enter)
    settings = Settings(shutdown_grace=0)
    async with Engine(url, functions=functions, settings=settings) as engine:
        await engine.publish(entering("guest", concurrency=2))
        started = [(await engine.start("guest", name)).id for name in "abcde"]
        await doors.until_entered(2)
    async with Engine(url, functions=functions, settings=settings) as engine:
        assert sorted(await doors.until_entered(4)) == ["a", "a", "b", "b"], "those who had a slot have it still"
        for name in "abcde":
            doors.let_go(name)
        for execution_id in started:
            assert (await end_of(engine, execution_id))["status"] == "completed"
        assert sorted(doors.entered[4:]) == ["c", "d", "e"]
        await quiet(engine)
        assert await engine.store.granted_slots() == []
