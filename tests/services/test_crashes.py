"""kill -9 of the whole process in the middle of outgoing calls: nothing lost, nothing applied twice."""

import asyncio
import sys
from collections import Counter
from pathlib import Path

from aiohttp import web

from workflow_engine.models.event import StepCompleted, decode_facts
from workflow_engine.store import Store

EXECUTIONS = 300
STEPS = 3
KILLS = 10
CHILD = Path(__file__).parent / "crash_child.py"


class Target:
    """A server that records every call, and can fall silent in the middle of one."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, bytes]] = []
        self.silent_at: int | None = None
        self.is_silent = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.calls.append((request.headers["Idempotency-Key"], await request.read()))
        if self.silent_at is not None and len(self.calls) >= self.silent_at:
            self.is_silent.set()
            await asyncio.Event().wait()
        return web.json_response({"calls": "counted"})


async def serve(target: Target) -> tuple[web.AppRunner, str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", target.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


async def live(url: str, target_url: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, str(CHILD), url, target_url, str(EXECUTIONS), stdout=asyncio.subprocess.PIPE
    )


async def completed_steps(url: str) -> int:
    """Steps whose result is in the log."""
    store = await Store.open(url, read_only=True)
    try:
        count = 0
        for row in await store.executions("default", limit=500):
            for entry in await store.log("default", row.execution_id):
                count += sum(isinstance(fact, StepCompleted) for fact in decode_facts(entry.events))
        return count
    finally:
        await store.close()


def accepted(output: bytes) -> set[str]:
    return {line.split()[1] for line in output.decode().splitlines() if line.startswith("accepted ")}


async def test_ten_kills_in_the_middle_of_calls_lose_nothing_and_apply_nothing_twice(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'crash.db'}"
    target = Target()
    runner, target_url = await serve(target)
    acknowledged: set[str] = set()
    in_flight = 0
    try:
        for kill in range(KILLS):
            target.is_silent.clear()
            target.silent_at = len(target.calls) + 60 + kill
            process = await live(url, target_url)
            await asyncio.wait_for(target.is_silent.wait(), 60)
            process.kill()
            output, _ = await process.communicate()
            acknowledged |= accepted(output)
            in_flight += len({key for key, _ in target.calls}) - await completed_steps(url)
        target.silent_at = None
        process = await live(url, target_url)
        output, _ = await asyncio.wait_for(process.communicate(), 100)
        acknowledged |= accepted(output)
        assert process.returncode == 0
        assert output.endswith(b"done\n")
    finally:
        await runner.cleanup()

    store = await Store.open(url, read_only=True)
    rows = await store.executions("default", limit=500)
    await store.close()
    calls = Counter(key for key, _ in target.calls)
    assert len(rows) == EXECUTIONS
    assert {row.status for row in rows} == {"completed"}
    assert acknowledged <= {row.execution_id for row in rows}
    assert len(calls) == EXECUTIONS * STEPS
    assert len(set(target.calls)) == EXECUTIONS * STEPS, "two bodies under one key"
    assert await completed_steps(url) == EXECUTIONS * STEPS
    repeated = sum(calls.values()) - len(calls)
    assert KILLS <= repeated <= in_flight
