"""Executions that wait: what they cost a running server, and one that was started again. Linux only: it reads `/proc`.

P1  10,000 paused executions (with an argument: so many thousand): resident memory that they add to the process
P2  processor time of three seconds in which nothing happens
P3  the same after a restart, and how long until the server is ready
P4  a signal to one of them, from the request to its end
"""

import asyncio
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from bench.report import report
from bench.workplace import workplace

IDLE_S = 3.0
SETTLE_S = 1.5
BATCH = 1_000
WARM_UP = 5
"""Thousands that are started before anything is measured: caches and the allocator have their size then."""

WAITING: dict[str, Any] = {
    "id": "waiting",
    "variables": {"order": "${ input }"},
    "nodes": [
        {"id": "prepare", "type": "set", "output": "${ input.customer + ' / ' + input.reference }"},
        {"id": "paid", "type": "wait", "with": {"signal": "paid"}, "timeout": "90d"},
        {"id": "approve", "type": "human", "with": {"title": "Ship ${ steps.prepare.output }?"}},
    ],
    "connections": [{"from": "prepare", "to": "paid"}, {"from": "paid", "to": "approve"}],
}


class Process:
    """What the system counts of a process."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")

    @property
    def resident_mb(self) -> float:
        """Memory that is its own; pages of files, which the system may take back, are left out."""
        resident, shared = (self._folder / "statm").read_text().split()[1:3]
        return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE") / 2**20

    @property
    def cpu_s(self) -> float:
        """Processor time so far, of all threads."""
        user, system = (self._folder / "stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def served(database: Path, *, functions: str = "") -> AsyncIterator[tuple[Process, aiohttp.ClientSession, float]]:
    """A server in a process of its own, a client, and the seconds until it was ready."""
    begun = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "workflow_engine.cli.entry", "serve", "--port", "0", "--db", str(database)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "WORKFLOW_ENGINE_LOG_LEVEL": "error", "WORKFLOW_ENGINE_FUNCTIONS": functions},
    )
    assert process.stdout is not None
    try:
        url = (await process.stdout.readline()).decode().split(" listens on ")[1].split()[0]
        async with aiohttp.ClientSession(url) as session:
            async with session.get("/health/ready") as response:
                assert response.status == 200
            yield Process(process.pid), session, time.perf_counter() - begun
    finally:
        process.terminate()
        await process.wait()


async def post(session: aiohttp.ClientSession, path: str, body: Any, status: int) -> Any:
    """Send a request that must be answered with this status; gives the answer."""
    async with session.post(path, json=body) as response:
        answer = await response.json(content_type=None)
        assert response.status == status, answer
        return answer


async def start(session: aiohttp.ClientSession, thousands: int) -> list[str]:
    """Start so many thousand executions; they are paused once the answers are there."""
    ids: list[str] = []
    for number in range(thousands):
        bodies = [
            {"input": {"customer": f"customer {one}", "reference": f"{number}-{one}"}, "labels": {"lot": number}}
            for one in range(BATCH)
        ]
        answer = await post(session, "/api/v1/workflows/waiting/executions/batch", {"executions": bodies}, 202)
        assert answer["accepted"] == BATCH
        assert all(item["execution"]["status"] == "paused" for item in answer["items"])
        ids += [item["execution_id"] for item in answer["items"]]
    return ids


async def idle_cpu_s(process: Process) -> float:
    """Processor time while nothing happens; what came last is let settle first."""
    await asyncio.sleep(SETTLE_S)
    before = process.cpu_s
    await asyncio.sleep(IDLE_S)
    return process.cpu_s - before


async def signal_ms(session: aiohttp.ClientSession, execution_id: str) -> float:
    """From the request to the answer, which comes once the execution has gone on."""
    begun = time.perf_counter()
    answer = await post(session, f"/api/v1/executions/{execution_id}/signals/paid", {"payload": 1}, 202)
    assert answer["active_nodes"] == ["approve"]
    return (time.perf_counter() - begun) * 1000


async def measure(folder: Path, thousands: int) -> None:
    """Everything, as lines of a table."""
    database = folder / "paused.db"
    count = f"{thousands * BATCH:,}"
    async with served(database) as (process, session, _):
        await post(session, "/api/v1/workflows", WAITING, 201)
        await start(session, WARM_UP)
        before, begun = process.resident_mb, time.perf_counter()
        await start(session, thousands)
        report(
            f"starts of {count} that pause, in batches over HTTP",
            f"{thousands * BATCH / (time.perf_counter() - begun):.0f}/s",
        )
        report("P2 CPU of three idle seconds, all paused", f"{await idle_cpu_s(process):.2f} s")
        after = process.resident_mb
        report(f"P1 memory before / with {count} more paused", f"{before:.1f} / {after:.1f} MB ({after - before:+.1f})")
    async with served(folder / "empty.db") as (process, _, ready_s):
        report("an empty database: ready after / memory", f"{ready_s:.2f} s / {process.resident_mb:.1f} MB")
    async with served(database) as (process, session, ready_s):
        report(
            "P3 the full one after a restart: ready after / memory", f"{ready_s:.2f} s / {process.resident_mb:.1f} MB"
        )
        report("P3 CPU of three idle seconds", f"{await idle_cpu_s(process):.2f} s")
        async with session.get("/api/v1/executions", params={"status": "paused", "limit": "100"}) as response:
            ids = [item["execution_id"] for item in (await response.json())["items"]]
        taken = [await signal_ms(session, one) for one in ids]
        report("P4 a signal to one of them, p50 of 100", f"{statistics.median(taken):.1f} ms")


def main() -> None:
    """The measurements."""
    thousands = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    with workplace() as folder:
        uvloop.run(measure(folder, thousands))


if __name__ == "__main__":
    main()
