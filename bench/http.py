"""The engine through its HTTP door: a server in a process of its own, on SQLite with `synchronous=FULL`, and a client
in this one.

H1  start with `?wait` of a one-step function workflow, one after another on a kept connection
H2  the same with an `Idempotency-Key`
H3  start alone (202: durable), one after another
H4  starts a second from 32 connections
H5  start with `?wait` from 32 connections
H6  look at an execution, one after another
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path

import aiohttp
import uvloop

from bench.report import p50_p99, report
from bench.workplace import workplace
from workflow_engine import function
from workflow_engine.config.settings import Settings
from workflow_engine.server import serve

WORKFLOW = {
    "id": "one-step",
    "nodes": [{"id": "next", "type": "function", "with": {"name": "bench.next", "arguments": {"n": "${ input }"}}}],
}
STARTS = "/api/v1/workflows/one-step/executions"
CONNECTIONS = 32
LOAD_S = 3.0


@function("bench.next")
async def next_number(n: int) -> int:
    """The smallest step that there is."""
    return n + 1


Request = Callable[[int], Awaitable[None]]


class Client:
    """One session with kept connections."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def post(self, path: str, body: object, expected: int, **headers: str) -> str:
        """Send a request that must be answered with this status; gives the answer."""
        async with self._session.post(path, json=body, headers=headers) as response:
            text = await response.text()
            assert response.status == expected, text
            return text

    async def wait(self, number: int) -> None:
        """A start that is waited for."""
        text = await self.post(f"{STARTS}?wait=10s", {"input": number}, 200)
        assert f'"output":{number + 1},' in text, text

    async def wait_keyed(self, number: int) -> None:
        """A start that is waited for and may be sent again."""
        await self.post(f"{STARTS}?wait=10s", {"input": number}, 200, **{"Idempotency-Key": f"k{number}"})

    async def start(self, number: int) -> None:
        """A start."""
        await self.post(STARTS, {"input": number}, 202)

    async def look(self, number: int) -> None:
        """Look at an execution."""
        async with self._session.get("/api/v1/executions/shown") as response:
            await response.read()
            assert response.status == 200


async def one_after_another(request: Request, times: int) -> str:
    """The latencies of requests that follow each other."""
    for number in range(50):
        await request(-1 - number)
    taken = []
    for number in range(times):
        begun = time.perf_counter()
        await request(number)
        taken.append((time.perf_counter() - begun) * 1000)
    return p50_p99(taken)


async def all_at_once(request: Request) -> str:
    """Requests a second from many connections."""
    numbers = count(1_000_000)
    deadline = time.perf_counter() + LOAD_S
    done = 0

    async def work() -> None:
        nonlocal done
        while time.perf_counter() < deadline:
            await request(next(numbers))
            done += 1

    begun = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(CONNECTIONS)))
    return f"{done / (time.perf_counter() - begun):.0f} a second"


async def measure(url: str) -> None:
    """Everything, as lines of a table."""
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(url, connector=connector) as session:
        client = Client(session)
        await client.post("/api/v1/workflows", WORKFLOW, 201)
        await client.post(STARTS, {"input": 1, "execution_id": "shown"}, 202)
        for name, work in (
            ("H1 start with ?wait, one step", one_after_another(client.wait, 1000)),
            ("H2 the same with an Idempotency-Key", one_after_another(client.wait_keyed, 300)),
            ("H3 start alone (durable)", one_after_another(client.start, 1000)),
            (f"H4 starts from {CONNECTIONS} connections", all_at_once(client.start)),
            (f"H5 start with ?wait from {CONNECTIONS} connections", all_at_once(client.wait)),
            ("H6 look at an execution", one_after_another(client.look, 1000)),
        ):
            report(name, await work)


async def server(database: str) -> None:
    """Serves until its standard input closes; says where."""
    settings = Settings(_env_file=None, database_url=f"sqlite:///{database}", log_level="error")
    loop = asyncio.get_running_loop()
    await serve(
        settings,
        "127.0.0.1",
        0,
        announce=lambda url: print(url, flush=True),
        until=lambda: loop.run_in_executor(None, sys.stdin.read),
    )


async def run(folder: Path) -> None:
    """A server of our own, and the measurements against it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.http",
        str(folder / "http.db"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        await measure((await process.stdout.readline()).decode().strip())
    finally:
        process.stdin.close()
        await process.wait()


def main() -> None:
    """The measurements, or the server that they need."""
    if len(sys.argv) == 2:
        import structlog

        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
        uvloop.run(server(sys.argv[1]))
        return
    with workplace() as folder:
        uvloop.run(run(folder))


if __name__ == "__main__":
    main()
