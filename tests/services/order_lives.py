"""The process that gets killed: starts executions of three `http` calls, or goes on with what a dead one left."""

import asyncio
from collections.abc import Callable
from itertools import pairwise

from workflow_engine import Engine
from workflow_engine.config.settings import Settings

CALLS = ("reserve", "charge", "ship")


def definition(target: str) -> dict[str, object]:
    """Three calls in a row, each with a body of its own."""
    nodes = [
        {
            "id": name,
            "type": "http",
            "with": {"method": "POST", "url": f"{target}/{name}", "json": {"id": "${ execution.id }", "call": name}},
            "output": "${ output.body }",
        }
        for name in CALLS
    ]
    connections = [{"from": first, "to": second} for first, second in pairwise(CALLS)]
    return {"id": "order", "nodes": nodes, "connections": connections}


async def start_missing(engine: Engine, count: int, say: Callable[[str], None]) -> None:
    """Start what no earlier life has started; ids are chosen before, so that a start can be repeated."""
    known = {row.execution_id for row in await engine.store.executions("default", limit=500)}
    for number in range(count):
        name = f"order-{number}"
        if name not in known:
            execution = await engine.start("order", execution_id=name)
            say(execution.id)


def live(url: str, target: str, count: int, say: Callable[[str], None]) -> None:
    """One life; says the id of each start that is durable."""
    asyncio.run(_live(url, target, count, say))


async def _live(url: str, target: str, count: int, say: Callable[[str], None]) -> None:
    settings = Settings(database_url=url, http_allow=("127.0.0.0/8",))
    async with Engine(url, settings=settings) as engine:
        await engine.publish(definition(target))
        await start_missing(engine, count, say)
        for number in range(count):
            await engine.execution(f"order-{number}").result()
