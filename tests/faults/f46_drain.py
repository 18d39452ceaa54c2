"""F46: SIGTERM under load with live streams open; a second one; SIGTERM, then SIGKILL in the middle of the drain."""

import asyncio
import signal
import time
from pathlib import Path

import aiohttp
from fault_stage import Stage, require, wait_until

from workflow_engine.services.step_processor import StepProcessor

TITLE = "SIGTERM under load: no claim after 100 ms, sockets told, exit 0 in time, nothing lost, no attempt counted"
TOOTH = "the drain goes on claiming steps"

EXECUTIONS = 40
STEPS = 8
GRACE_S = 2.0

NAP = {
    "type": "function",
    "with": {"name": "nap", "arguments": {"seconds": 0.05}},
}
CHAIN = {
    "id": "chain",
    "nodes": [{"id": f"s{number}", **NAP} for number in range(STEPS)],
    "connections": [{"from": f"s{number}", "to": f"s{number + 1}"} for number in range(STEPS - 1)],
}
LONG = {
    "id": "long",
    "nodes": [
        {
            "id": "step",
            "type": "function",
            "with": {
                "name": "until_released",
                "arguments": {"began": "${ input.began }", "release": "${ input.release }"},
            },
        }
    ],
}
CLAIMS = "workflow_engine_step_queue_wait_seconds_count"


def scale() -> None:
    """Real sizes and times; the grace is a setting."""


def bite() -> None:
    """Go on as if nobody had asked."""
    StepProcessor.stop = lambda self: None  # type: ignore[method-assign]


async def strike(stage: Stage) -> None:
    """Three ends, and everything is done after the last one."""
    files = {"began": str(stage.folder / "began"), "release": str(stage.folder / "release")}
    async with stage.server(shutdown_grace=GRACE_S, worker_concurrency=8) as server:
        await server.publish(CHAIN)
        await server.publish(LONG)
        long_id = await server.start("long", input=files)
        await until_exists(stage.folder / "began")
        accepted = [await server.start("chain") for _ in range(EXECUTIONS)]
        close_code = await drain(server, long_id)
        require(close_code == 1012, f"the socket was closed with {close_code}")

    for number in (signal.SIGTERM, signal.SIGKILL):
        async with stage.server(shutdown_grace=GRACE_S, worker_concurrency=8) as server:
            server.ask()

            async def is_draining(server: object = server) -> bool:
                return (await server.get("/health/ready"))[0] == 503  # type: ignore[attr-defined]

            await wait_until(is_draining)
            server.ask(number)
            code = await server.ended(1.0)
            require(code != 0, "it took its time after a second signal")

    Path(files["release"]).touch()  # noqa: ASYNC240 - instant
    async with stage.server() as server:
        for execution_id in [long_id, *accepted]:
            await server.until_status(execution_id)
            _, page = await server.get(f"/api/v1/executions/{execution_id}/steps")
            attempts = [step["attempts"] for step in page["items"]]
            require(attempts == [1] * (1 if execution_id == long_id else STEPS), f"attempts: {attempts}")


async def drain(server: object, long_id: str) -> int | None:
    """SIGTERM with work under way; the code with which the socket was closed."""
    client: aiohttp.ClientSession = server.client  # type: ignore[attr-defined]
    async with client.ws_connect(f"/ws/v1/executions/{long_id}") as socket:
        await socket.receive(10)
        asked_s = time.monotonic()
        server.ask()  # type: ignore[attr-defined]
        await asyncio.sleep(0.1)  # what is promised is a time
        require((await server.get("/health/ready"))[0] == 503, "still ready")  # type: ignore[attr-defined]
        claims = await server.metric(CLAIMS)  # type: ignore[attr-defined]
        await asyncio.sleep(0.4)
        later = await server.metric(CLAIMS)  # type: ignore[attr-defined]
        require(later == claims, f"{later - claims} steps were claimed while it drained")
        while not socket.closed:
            await socket.receive(10)
        code = await server.ended(GRACE_S + 2)  # type: ignore[attr-defined]
        require(code == 0, f"exit code {code}")
        require(time.monotonic() - asked_s < GRACE_S + 1, "it took longer than the grace and a second")
        return socket.close_code


async def until_exists(path: Path) -> None:
    """Wait for a file."""

    async def exists() -> bool:
        return path.exists()  # noqa: ASYNC240 - instant

    await wait_until(exists)
