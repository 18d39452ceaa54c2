"""A bulk request over a server that is killed in the middle of it."""

import asyncio
import signal
from pathlib import Path
from typing import Any

from served import Served, free_port, published

from workflow_engine.client import Client

COUNT = 400
FAILS: dict[str, Any] = {
    "id": "fails",
    "nodes": [{"id": "no", "type": "fail", "with": {"type": "refused", "message": "no"}}],
}


async def test_bulk_goes_on_after_a_kill_and_no_execution_takes_the_action_twice(tmp_path: Path) -> None:
    port = free_port()
    server = Served(tmp_path, port)
    try:
        async with Client(server.url) as client:
            await published(client, **FAILS)
            ids = [f"f-{number}" for number in range(COUNT)]
            ends = await asyncio.gather(*(client.start("fails", {"execution_id": one}, wait_s=10.0) for one in ids))
            sequence = ends[0]["sequence"]
            bulk = asyncio.create_task(client.bulk({"action": "retry", "ids": ids}))
            while (await client.execution(ids[0]))["sequence"] == sequence and not bulk.done():
                pass
            server.end(signal.SIGKILL)
            assert not bulk.done()
            server = Served(tmp_path, port)
            found = await bulk
            assert (found["matched"], found["succeeded"], found["failed"]) == (COUNT, COUNT, [])
            after = [(await client.execution(one))["sequence"] for one in ids]
            assert set(after) == {sequence + 4}  # resumed, started, failed, failed
    finally:
        server.end()
