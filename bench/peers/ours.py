"""This engine, through its library door, on SQLite and on PostgreSQL."""

import asyncio
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import pysqlite3
import uvloop

from bench.definitions import CYCLE, FANOUT, chain, pure_chain
from bench.peers.postgres_settings import postgres_settings
from bench.peers.works import Place, check, step
from workflow_engine import Engine, __version__
from workflow_engine.models.errors import NotFound
from workflow_engine.steps.function_registry import FunctionRegistry

functions = FunctionRegistry()


@functions.function("bench.next")
async def next_number(n: int) -> int:
    """The step, as a coroutine function."""
    return step(n)


class Ours:
    """One process, one loop (uvloop); group commit; nothing tuned."""

    def __init__(self, place: Place) -> None:
        self._engine = Engine(self._url(place), functions=functions)
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)

    def _url(self, place: Place) -> str:
        return f"sqlite:///{place.folder}/ours.db"

    def __enter__(self) -> Self:
        self._runner.run(self._engine.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.run(self._engine.__aexit__(kind, error, trace))
        self._runner.close()

    def settings(self) -> dict[str, str]:
        """The engine refuses to open otherwise than in WAL mode; it sets the other two itself."""
        return {
            "engine": f"workflow-engine {__version__}",
            "database": f"SQLite {pysqlite3.sqlite_version}",
            "durability": "WAL, synchronous=FULL",
        }

    def chains(self, length: int, repeats: int) -> list[float]:
        """See `Peer`."""

        return self._repeated(chain(length), length, repeats)

    def pure_chains(self, length: int, repeats: int) -> list[float]:
        """As `chains`, of `set` nodes."""
        return self._repeated(pure_chain(length), length, repeats)

    def many(self, length: int, ids: Sequence[str]) -> None:
        """See `Peer`."""

        async def one(execution_id: str) -> None:
            execution = await self._engine.start(f"chain-{length}", 0, execution_id=execution_id)
            check(await execution.result(), length)

        async def run() -> None:
            await self._engine.publish(chain(length))
            await asyncio.gather(*(one(execution_id) for execution_id in ids))

        self._runner.run(run())

    def fan_out(self, count: int) -> None:
        """A `foreach`."""

        async def run() -> None:
            await self._engine.publish(FANOUT)
            await self._timed("fanout", list(range(count)), count * (count + 1) // 2)

        self._runner.run(run())

    def row(self, count: int) -> None:
        """A cycle."""

        async def run() -> None:
            await self._engine.publish(CYCLE)
            await self._timed("cycle", count, count)

        self._runner.run(run())

    def recover(self, length: int, ids: Sequence[str]) -> None:
        """The engine goes on by itself once it is open. A start that was not recorded is repeated."""

        async def one(execution_id: str) -> None:
            try:
                result = await self._engine.execution(execution_id).result()
            except NotFound:
                result = await (await self._engine.start(f"chain-{length}", 0, execution_id=execution_id)).result()
            check(result, length)

        async def run() -> None:
            await asyncio.gather(*(one(execution_id) for execution_id in ids))

        self._runner.run(run())

    def _repeated(self, definition: dict[str, Any], result: int, repeats: int) -> list[float]:
        async def run() -> list[float]:
            await self._engine.publish(definition)
            return [await self._timed(definition["id"], 0, result) for _ in range(repeats)]

        return self._runner.run(run())

    async def _timed(self, workflow_id: str, value: Any, expected: object) -> float:
        begun = time.perf_counter()
        result = await (await self._engine.start(workflow_id, value)).result()
        taken = time.perf_counter() - begun
        check(result, expected)
        return taken


class OursOnPostgres(Ours):
    """The same, with the other database."""

    def _url(self, place: Place) -> str:
        self._address = place.postgres_url
        return place.postgres_url

    def settings(self) -> dict[str, str]:
        """As the server reports them."""
        return {"engine": f"workflow-engine {__version__}", **postgres_settings(self._address)}
