"""A server as a process of its own, and a way to it that can be cut."""

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from cli_command import command

from workflow_engine.client import Client


class Served:
    """`workflow-engine serve`; ended by its pid."""

    def __init__(self, folder: Path, port: int = 0, **env: str) -> None:
        self.folder = folder
        clean = {name: value for name, value in os.environ.items() if not name.startswith("WORKFLOW_ENGINE_")}
        with (folder / "served.log").open("a") as log:  # a pipe that nobody reads would stop the server one day
            self.process = subprocess.Popen(
                command("serve", "--port", port, "--db", folder / "served.db"),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=folder,
                env={**clean, "XDG_DATA_HOME": str(folder), "WORKFLOW_ENGINE_SHUTDOWN_GRACE": "0.2", **env},
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert " listens on " in line, (folder / "served.log").read_text()
        self.url = line.split(" listens on ")[1].split()[0]
        self.port = int(self.url.rpartition(":")[2])

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it; safe to call twice."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.communicate(timeout=30)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Wire:
    """A way to a server, cut as the test says."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self.url = ""
        self.connections = 0
        self.has_answered = asyncio.Event()
        """An answer came through."""
        self._open: set[asyncio.StreamWriter] = set()
        self.answers_lost = 0
        """So many answers are cut off before their first byte."""
        self.answer_bytes: Callable[[int], int | None] = lambda connection: None
        """After how many bytes of answers a connection is cut; None: never."""

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one connection through."""
        self.connections += 1
        left = self.answer_bytes(self.connections)
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        ways = (writer, there_writer)
        self._open.update(ways)
        out = asyncio.create_task(_pump(reader, there_writer, None, asyncio.Event()))
        if self.answers_lost:
            self.answers_lost -= 1
            await there_reader.read(1)
        else:
            await _pump(there_reader, writer, left, self.has_answered)
        for way in ways:
            way.transport.abort()
        await out
        self._open.difference_update(ways)

    async def close(self) -> None:
        """Cut everything."""
        for way in self._open:
            way.transport.abort()
        while self._open:  # noqa: ASYNC110 - at the end of a test, for an iteration or two of the loop
            await asyncio.sleep(0)


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int | None, has_carried: asyncio.Event
) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(min(65_536, left) if left is not None else 65_536):
            writer.write(data)
            await writer.drain()
            has_carried.set()
            if left is not None and not (left := left - len(data)):
                return


@asynccontextmanager
async def wire_to(port: int) -> AsyncIterator[Wire]:
    """A way to a server on this machine."""
    wire = Wire(port)
    server = await asyncio.start_server(wire.carry, "127.0.0.1", 0)
    wire.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield wire
    finally:
        server.close()
        await wire.close()
        await server.wait_closed()


async def published(client: Client, **definition: Any) -> str:
    """Publish a definition; gives its id."""
    workflow, _ = await client.publish(definition)
    workflow_id: str = workflow["id"]
    return workflow_id
