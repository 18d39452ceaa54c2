"""kill -9 of the server under running executions that were started over HTTP: every accepted start completes."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
from recording_target import RecordingTarget
from server_process import ServerProcess, settings, wait_until

EXECUTIONS = 300
KILLS = 10
CALLERS = 16
STEPS = 2


def definition(target: str) -> dict[str, Any]:
    """A call, a short timer, and a second call."""

    def call(name: str) -> dict[str, Any]:
        body = {"id": "${ execution.id }", "call": name}
        return {"id": name, "type": "http", "with": {"method": "POST", "url": f"{target}/{name}", "json": body}}

    return {
        "id": "order",
        "nodes": [call("reserve"), {"id": "pause", "type": "wait", "with": {"for": "1200ms"}}, call("ship")],
        "connections": [{"from": "reserve", "to": "pause"}, {"from": "pause", "to": "ship"}],
        "output": "${ execution.id }",
    }


async def start_orders(server: ServerProcess, wanted: list[str], accepted: set[str]) -> None:
    """Start what is wanted, as often as the server is there to be asked; notes each 2xx."""

    async def caller() -> None:
        while wanted:
            execution_id = wanted.pop()
            try:
                status, _ = await server.call(
                    "POST", "/api/v1/workflows/order/executions", {"execution_id": execution_id}
                )
            except (aiohttp.ClientError, TimeoutError):
                wanted.append(execution_id)
                return
            assert status in (202, 409), status
            if status == 202:
                accepted.add(execution_id)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


async def statuses(server: ServerProcess) -> dict[str, str]:
    """The status of every execution by its id."""
    _, page = await server.get("/api/v1/executions?limit=500")
    return {item["execution_id"]: item["status"] for item in page["items"]}


async def test_every_accepted_start_completes_and_has_its_effects_once_through_ten_kills(tmp_path: Path) -> None:
    environment = settings(log_format="json", http_allow="127.0.0.0/8")
    wanted = [f"order-{number}" for number in range(EXECUTIONS)]
    accepted: set[str] = set()
    async with RecordingTarget() as target:
        for _ in range(KILLS):
            target.fall_silent_after(30)
            async with ServerProcess(tmp_path, environment=environment) as server:
                await server.publish(definition(target.url))
                starts = asyncio.create_task(start_orders(server, wanted, accepted))
                await target.silence()
                assert server.process is not None
                server.process.kill()
                await server.process.wait()
                await starts
        target.speak_again()
        async with ServerProcess(tmp_path, environment=environment) as server:
            await start_orders(server, wanted, accepted)

            async def all_completed() -> bool:
                found = await statuses(server)
                return len(found) == EXECUTIONS and set(found.values()) == {"completed"}

            await wait_until(all_completed, 90)
            assert accepted <= set(await statuses(server))
    assert len(target.calls_by_key) == EXECUTIONS * STEPS
    assert target.has_one_body_per_key
