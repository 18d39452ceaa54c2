"""A real `workflow-engine serve` in a process of its own, and a client that talks to it."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Self

import aiohttp

HERE = Path(__file__).parent
COMMAND = (sys.executable, "-m", "workflow_engine.cli.entry")
TIMEOUT_S = 30.0


async def wait_until(condition: Callable[[], Awaitable[Any]], timeout_s: float = TIMEOUT_S) -> Any:
    """The first true thing that the condition gives."""
    async with asyncio.timeout(timeout_s):
        while True:
            found = await condition()
            if found:
                return found
            await asyncio.sleep(0.01)


def settings(**values: Any) -> dict[str, str]:
    """The environment of a command with these settings and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WORKFLOW_ENGINE_")}
    given = {f"WORKFLOW_ENGINE_{name.upper()}": str(value) for name, value in values.items()}
    return {**kept, "PYTHONPATH": str(HERE), "XDG_DATA_HOME": "/nonexistent", **given}


class ServerProcess:
    """Use it with `async with`: entered, the server answers; left, it is gone."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        command: tuple[str, ...] = COMMAND,
    ) -> None:
        self.folder = folder
        self.database = folder / "engine.db"
        self.log = folder / "server.log"
        self._command = (*command, "serve", "--port", "0", "--db", str(self.database), *arguments)
        self._environment = dict(environment if environment is not None else settings(log_format="json"))
        self.process: asyncio.subprocess.Process | None = None
        self.client: aiohttp.ClientSession | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self._command, env=self._environment, cwd=self.folder, stdout=asyncio.subprocess.PIPE, stderr=log
            )
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), TIMEOUT_S)
        assert line, f"the server ended before it listened: {self.log.read_text()[-4000:]}"
        self.url = line.decode().split(" on ", 1)[1].split()[0]
        self.client = aiohttp.ClientSession(self.url, timeout=aiohttp.ClientTimeout(TIMEOUT_S))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.process is not None
        assert self.client is not None
        await self.client.close()
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    @property
    def pid(self) -> int:
        """Its process."""
        assert self.process is not None
        return self.process.pid

    def ask(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    async def ended(self, timeout_s: float = TIMEOUT_S) -> int:
        """Its exit code, once it has ended."""
        assert self.process is not None
        return await asyncio.wait_for(self.process.wait(), timeout_s)

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """One request; its status and JSON (or text)."""
        assert self.client is not None
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.client.request(method, path, json=body, headers=sent) as answer:
            if "json" in answer.content_type:
                return answer.status, await answer.json(content_type=None)
            return answer.status, await answer.text()

    async def get(self, path: str) -> tuple[int, Any]:
        """A GET."""
        return await self.call("GET", path)

    async def publish(self, definition: dict[str, Any]) -> None:
        """Publish a first version."""
        status, body = await self.call("POST", "/api/v1/workflows", definition)
        assert status in (201, 409), body

    async def start(self, workflow_id: str, **fields: Any) -> str:
        """Start an execution; its id."""
        status, body = await self.call("POST", f"/api/v1/workflows/{workflow_id}/executions", fields)
        assert status == 202, (status, body)
        return str(body["execution_id"])

    async def execution(self, execution_id: str) -> dict[str, Any]:
        """An execution's resource."""
        status, body = await self.get(f"/api/v1/executions/{execution_id}")
        assert status == 200, body
        return dict(body)

    async def until_status(self, execution_id: str, status: str = "completed") -> dict[str, Any]:
        """The execution once it has this status."""

        async def reached() -> dict[str, Any] | None:
            found = await self.execution(execution_id)
            return found if found["status"] == status else None

        return dict(await wait_until(reached))

    async def metric(self, name: str) -> float:
        """The sum of a metric's samples."""
        _, text = await self.get("/metrics")
        lines = [line for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)
