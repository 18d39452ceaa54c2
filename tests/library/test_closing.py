"""An engine that is closed while somebody still wants something of it, in whatever way it is closed."""

import asyncio
from pathlib import Path

import pytest
from library_engines import GATE, event_of, opened

from workflow_engine import Engine, EngineClosed, Execution, FunctionRegistry

CALL = {"id": "call", "nodes": [{"id": "a", "type": "function", "with": {"name": "work"}}]}


async def waiting(engine: Engine) -> Execution:
    """An execution that waits for a signal."""
    await engine.publish(GATE)
    execution = await engine.start("gate")
    await event_of(execution, "workflow_paused")
    return execution


async def test_whoever_waits_for_an_end_hears_that_the_engine_was_closed(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db") as engine:
        execution = await waiting(engine)
        seen = asyncio.Event()

        async def follow() -> None:
            async for event in execution.events():
                if event["event"] == "workflow_paused":
                    seen.set()

        asked = [asyncio.create_task(one) for one in (execution.result(), execution.wait(), follow())]
        await seen.wait()
    for found in await asyncio.gather(*asked, return_exceptions=True):
        assert isinstance(found, EngineClosed)
    async with opened(tmp_path / "a.db") as engine:
        await engine.execution(execution.id).signal("go", "later")
        assert await engine.execution(execution.id).result() == "later"


async def test_calls_under_way_are_answered_or_refused_when_the_engine_closes(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db") as engine:
        execution = await waiting(engine)
        asked = [
            asyncio.create_task(one)
            for _ in range(20)
            for one in (execution.get(), execution.explain(), execution.signal("other"), engine.start("gate"))
        ]
        await asyncio.sleep(0)
    for found in await asyncio.gather(*asked, return_exceptions=True):
        assert isinstance(found, dict | Execution | EngineClosed), repr(found)


async def test_every_method_of_a_closed_engine_says_so(tmp_path: Path) -> None:
    engine = opened(tmp_path / "a.db")
    with pytest.raises(EngineClosed, match="not open"):
        await engine.publish(GATE)
    async with engine:
        execution = await waiting(engine)
    asked = (
        engine.start("gate"),
        engine.test(GATE),
        engine.backup(tmp_path / "b.db"),
        anext(aiter(engine.executions())),
        execution.get(),
        execution.result(),
        execution.cancel(),
        execution.add_items("go.1", [1]),
        execution.complete_step("go.1"),
        anext(aiter(execution.steps())),
        anext(aiter(execution.events())),
    )
    for one in asked:
        with pytest.raises(EngineClosed, match="closed"):
            await one


async def test_an_engine_may_be_opened_again_but_not_twice_at_once(tmp_path: Path) -> None:
    engine = opened(tmp_path / "a.db")
    async with engine:
        execution = await waiting(engine)
        with pytest.raises(Exception, match="open already"):
            await engine.__aenter__()
    async with engine:
        await execution.signal("go", 1)
        assert await execution.result() == 1


async def test_an_exception_in_the_body_is_the_one_that_is_raised(tmp_path: Path) -> None:
    functions = FunctionRegistry()
    begun = asyncio.Event()

    @functions.function
    async def work() -> str:
        begun.set()
        await asyncio.Event().wait()
        return "never"

    async def live() -> None:
        async with opened(tmp_path / "a.db", functions, shutdown_grace=3600.0) as engine:
            await engine.publish(CALL)
            await engine.start("call")
            await begun.wait()
            raise LookupError("of my own")

    with pytest.raises(LookupError, match="of my own"):
        await live()
    async with opened(tmp_path / "a.db") as engine:
        await engine.publish(CALL)


async def test_a_timeout_around_a_result_ends_the_waiting_alone(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db") as engine:
        execution = await waiting(engine)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await execution.result()
        await execution.signal("go", "in time")
        assert await execution.result() == "in time"


async def test_a_timeout_around_the_engine_leaves_the_database_free(tmp_path: Path) -> None:
    for seconds in (0, 0.001, 0.1):  # before it is open, perhaps on the way, and in the body
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(seconds), opened(tmp_path / "a.db"):
                await asyncio.Event().wait()
        async with opened(tmp_path / "a.db") as engine:
            await engine.publish(GATE)


async def test_whoever_is_cancelled_while_running_steps_get_their_grace_still_closes(tmp_path: Path) -> None:
    functions = FunctionRegistry()
    begun, closing = asyncio.Event(), asyncio.Event()

    @functions.function
    async def work() -> str:
        begun.set()
        await asyncio.Event().wait()
        return "never"

    async def live() -> None:
        async with opened(tmp_path / "a.db", functions, shutdown_grace=3600.0) as engine:
            await engine.publish(CALL)
            await engine.start("call")
            await begun.wait()
            closing.set()

    living = asyncio.create_task(live())
    await closing.wait()
    await asyncio.sleep(0)
    living.cancel()
    with pytest.raises(asyncio.CancelledError):
        await living
    async with opened(tmp_path / "a.db") as engine:
        await engine.publish(CALL)
