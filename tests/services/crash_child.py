"""The process that gets killed: starts executions of a workflow of `http` steps, or goes on with what a dead one left.

Usage: crash_child.py DATABASE_URL TARGET_URL COUNT. Says `accepted <id>` for each durable start and `done` at the end.
"""

import asyncio
import sys
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


async def start_missing(engine: Engine, count: int) -> None:
    """Start what no earlier life has started; ids are chosen before, so that a start can be repeated."""
    known = {row.execution_id for row in await engine.store.executions("default", limit=500)}
    for number in range(count):
        name = f"order-{number}"
        if name not in known:
            execution = await engine.start("order", execution_id=name)
            sys.stdout.write(f"accepted {execution.id}\n")
            sys.stdout.flush()


async def main() -> None:
    """One life."""
    url, target, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    settings = Settings(database_url=url, http_allow=("127.0.0.0/8",))
    async with Engine(url, settings=settings) as engine:
        await engine.publish(definition(target))
        await start_missing(engine, count)
        for number in range(count):
            await engine.execution(f"order-{number}").result()
    sys.stdout.write("done\n")


asyncio.run(main())
