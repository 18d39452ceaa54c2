"""What a server takes before and beside its executions.

S1  `workflow-engine --version`, and `serve` until it is ready
S2  publishing a definition of 1,000 nodes over HTTP, its first version and the next one
S3  validating definitions of 1,000 and of 5,000 nodes over HTTP, the largest that there may be
S4  `fork` over HTTP from the middle of an execution of 10,000 steps
S5  1,000 one-step executions, started in batches over HTTP and executed, API and engine in one process
"""

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from bench.definitions import CYCLE
from bench.paused import post, served
from bench.report import median_s, report
from bench.workplace import as_installed, workplace
from workflow_engine import function

TIMES = 5
STEPS = 10_000
COMMAND = (sys.executable, "-m", "workflow_engine.cli.entry")


@function("bench.next")
async def following(n: int) -> int:
    """The smallest step that there is."""
    return n + 1


CALL: dict[str, Any] = {
    "id": "one-step",
    "nodes": [{"id": "next", "type": "function", "with": {"name": "bench.next", "arguments": {"n": "${ input }"}}}],
}


def large(nodes: int) -> dict[str, Any]:
    """Blocks of ten nodes in a row: a decision with two ways, a split into three that are joined, and a way back."""
    made: list[dict[str, Any]] = []
    connections: list[dict[str, Any]] = []

    def connect(source: str, target: str, **more: Any) -> None:
        connections.append({"from": source, "to": target, **more})

    for block in range(nodes // 10):
        names = [f"{kind}{block}" for kind in ("check", "call", "set", "met", "a", "b", "c", "join", "again", "out")]
        check, call, put, met, one, two, three, join, again, out = names
        made += [
            {"id": check, "type": "decision"},
            {"id": call, "type": "function", "with": {"name": "f", "arguments": {"n": "${ input.n + 1 }"}}},
            {"id": put, "type": "set", "output": "${ input.n * 2 }"},
            {"id": met, "type": "set", "output": f"${{ steps.{put}.output }}"},
            *({"id": name, "type": "function", "with": {"name": "f"}} for name in (one, two, three)),
            {"id": join, "type": "set", "join": "all", "output": f"${{ [steps.{one}.output, steps.{two}.output] }}"},
            {"id": again, "type": "wait", "with": {"for": "1m"}},
            {"id": out, "type": "decision"},
        ]
        connect(check, call, when=f"input.n > {block}")
        connect(check, put, otherwise=True)
        for name in (call, put):
            connect(name, met)
        for name in (one, two, three):
            connect(met, name)
            connect(name, join)
        connect(join, out)
        connect(out, again, when=f"steps.{join}.output[0] == null")
        connect(again, met)
        if block + 1 < nodes // 10:
            connect(out, f"check{block + 1}", otherwise=True)
        else:
            made.append({"id": "end", "type": "end"})
            connect(out, "end", otherwise=True)
    return {"id": f"large-{nodes}", "start": ["check0"], "nodes": made, "connections": connections}


async def timed(work: Any) -> float:
    """Seconds until a coroutine is through."""
    begun = time.perf_counter()
    await work
    return time.perf_counter() - begun


def version_s() -> float:
    """Seconds of the command that needs nothing."""
    begun = time.perf_counter()
    subprocess.run([*COMMAND, "--version"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


async def ready_s(database: Path) -> tuple[float, float]:
    """Seconds until a server answers that it is ready, and its processor time until then."""
    async with served(database) as (process, _, seconds):
        return seconds, process.cpu_s


async def fork_s(session: aiohttp.ClientSession, execution_id: str, sequence: int) -> float:
    """Seconds of one fork, which is ended afterwards."""
    begun = time.perf_counter()
    forked = await post(session, f"/api/v1/executions/{execution_id}/fork", {"sequence": sequence}, 201)
    taken = time.perf_counter() - begun
    assert forked["variables"]["n"] >= STEPS // 2 - 1
    await post(session, f"/api/v1/executions/{forked['execution_id']}/terminate", {}, 200)
    return taken


async def finished(session: aiohttp.ClientSession) -> int:
    """Executions that have completed since the server began."""
    async with session.get("/metrics") as response:
        lines = (await response.text()).splitlines()
    found = [line for line in lines if line.startswith('workflow_engine_executions_finished_total{status="completed"}')]
    return int(float(found[0].split()[-1])) if found else 0


async def batches_s(session: aiohttp.ClientSession, size: int) -> float:
    """Seconds until 1,000 executions that come in batches of a size have completed."""
    before = await finished(session)
    begun = time.perf_counter()
    for _ in range(1_000 // size):
        bodies = {"executions": [{"input": number} for number in range(size)]}
        await post(session, "/api/v1/workflows/one-step/executions/batch", bodies, 202)
    while await finished(session) < before + 1_000:  # noqa: ASYNC110 - it is another process that goes on
        await asyncio.sleep(0.005)
    return time.perf_counter() - begun


async def measure(folder: Path) -> None:
    """Everything, as lines of a table."""
    version_s()
    report("S1 workflow-engine --version", median_s([version_s() for _ in range(TIMES)]))
    await ready_s(folder / "start.db")
    taken = [await ready_s(folder / "start.db") for _ in range(TIMES)]
    report("S1 serve until it is ready", median_s([seconds for seconds, _ in taken]))
    report("S1 serve until it is ready, processor time", median_s([cpu_s for _, cpu_s in taken]))
    async with served(folder / "serving.db", functions="bench.serving") as (_, session, _):
        await measure_definitions(session)
        await measure_batches(session)
        await measure_fork(session)


async def measure_definitions(session: aiohttp.ClientSession) -> None:
    """S2 and S3."""
    definition, largest = large(1_000), large(4_990)
    first = await timed(post(session, "/api/v1/workflows", definition, 201))
    report(f"S2 publish {len(definition['nodes']):,} nodes, first version", f"{first:.3f} s")
    times = []
    for number in range(TIMES):
        begun = time.perf_counter()
        async with session.put(
            f"/api/v1/workflows/{definition['id']}", json={**definition, "name": f"v{number}"}
        ) as response:
            assert response.status == 201, await response.text()
        times.append(time.perf_counter() - begun)
    report(f"S2 publish {len(definition['nodes']):,} nodes, the next version", median_s(times))
    for checked in (definition, largest):
        times = []
        for _ in range(3):
            begun = time.perf_counter()
            answer = await post(session, "/api/v1/workflows/validate", checked, 200)
            times.append(time.perf_counter() - begun)
            assert answer["valid"], answer
        report(f"S3 validate {len(checked['nodes']):,} nodes", median_s(times))


async def measure_batches(session: aiohttp.ClientSession) -> None:
    """S5."""
    await post(session, "/api/v1/workflows", CALL, 201)
    await batches_s(session, 1_000)
    for size in (1_000, 100):
        rates = sorted([1_000 / await batches_s(session, size) for _ in range(5)])
        report(
            f"S5 1,000 executions in batches of {size:,}",
            f"{rates[2]:.0f} executions/s (median of 5, {rates[0]:.0f} to {rates[-1]:.0f})",
        )


async def measure_fork(session: aiohttp.ClientSession) -> None:
    """S4."""
    await post(session, "/api/v1/workflows", CYCLE, 201)
    started = await post(session, "/api/v1/workflows/cycle/executions", {"input": STEPS}, 202)
    status = ""
    while status != "completed":
        await asyncio.sleep(0.2)
        async with session.get(f"/api/v1/executions/{started['execution_id']}") as response:
            shown = await response.json()
        status = shown["status"]
        assert status != "failed", shown
    middle = shown["sequence"] // 2
    times = [await fork_s(session, started["execution_id"], middle) for _ in range(TIMES)]
    report(f"S4 fork from event {middle:,} of {shown['sequence']:,}, {STEPS:,} steps", median_s(times))


def main() -> None:
    """The measurements."""
    as_installed()
    with workplace() as folder:
        uvloop.run(measure(folder))


if __name__ == "__main__":
    main()
