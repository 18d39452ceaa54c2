"""Two engines in one process: nothing that one does reaches the other."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from library_engines import GATE, opened

from workflow_engine import DatabaseInUse, Engine, ExecutionEnded, FunctionRegistry

CALL: dict[str, Any] = {
    "id": "call",
    "nodes": [{"id": "a", "type": "function", "with": {"name": "who", "arguments": {"number": "${ input }"}}}],
}
RUNS = 20


def answering(name: str) -> FunctionRegistry:
    """Functions of which `who` gives this name, in a thread of the engine."""
    functions = FunctionRegistry()

    @functions.function
    def who(number: int) -> str:
        return f"{name} {number}"

    return functions


async def outputs(engine: Engine) -> list[Any]:
    """What many executions give that run at once."""
    await engine.publish(CALL)
    started = [await engine.start("call", number) for number in range(RUNS)]
    return await asyncio.gather(*(execution.result() for execution in started))


async def test_each_has_its_own_functions_and_data(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db", answering("a")) as a, opened(tmp_path / "b.db", answering("b")) as b:
        found = await asyncio.gather(outputs(a), outputs(b))
        assert list(found) == [[f"{name} {number}" for number in range(RUNS)] for name in "ab"]
        assert len([1 async for _ in a.executions()]) == len([1 async for _ in b.executions()]) == RUNS


async def test_the_end_of_one_does_not_reach_the_other(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db", answering("a")) as a:
        await a.publish(GATE)
        waiting = await a.start("gate")
        result = asyncio.create_task(waiting.result())
        async with opened(tmp_path / "b.db", answering("b")) as b:
            assert len(await outputs(b)) == RUNS
        with pytest.raises(LookupError):
            async with opened(tmp_path / "b.db", answering("b")):
                raise LookupError
        assert len(await outputs(a)) == RUNS
        await waiting.signal("go", "still here")
        assert await result == "still here"


async def test_functions_of_another_registry_are_unknown(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db", answering("a")), opened(tmp_path / "b.db") as b:
        await b.publish(CALL)
        with pytest.raises(ExecutionEnded, match="no function named 'who'"):
            await (await b.start("call", 1)).result()


def test_two_threads_have_an_engine_and_a_loop_each(tmp_path: Path) -> None:
    found: dict[str, list[Any]] = {}
    both_open = threading.Barrier(2, timeout=60)

    async def work(name: str) -> None:
        async with opened(tmp_path / f"{name}.db", answering(name)) as engine:
            await asyncio.to_thread(both_open.wait)
            found[name] = await outputs(engine)

    threads = [threading.Thread(target=asyncio.run, args=(work(name),)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {name: [f"{name} {number}" for number in range(RUNS)] for name in "ab"}


async def test_one_database_has_one_engine(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db") as engine:
        with pytest.raises(DatabaseInUse, match="another Engine of this process"):
            async with opened(tmp_path / "a.db"):
                pass
        await engine.publish(GATE)
    async with opened(tmp_path / "a.db") as engine:
        assert (await engine.workflow("gate"))["version"] == 1
