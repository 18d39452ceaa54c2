"""A real server on a loopback port, in this process, on a database of its own."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from workflow_engine import Engine
from workflow_engine.config.settings import Settings
from workflow_engine.routes.app import create_app
from workflow_engine.websocket import ConnectionManager, add_sockets, server_options

START_S = 30.0


@dataclass
class LiveServer:
    """The server, and what is behind it."""

    engine: Engine
    manager: ConnectionManager
    port: int

    @property
    def http(self) -> str:
        """Where the HTTP routes are."""
        return f"http://127.0.0.1:{self.port}"

    def socket(self, path: str) -> str:
        """The URL of a WebSocket route."""
        return f"ws://127.0.0.1:{self.port}{path}"

    @property
    def streams(self) -> Any:
        """What is counted of the live streams."""
        return self.engine.services.live.streams


@asynccontextmanager
async def live_server(folder: Path, **settings: Any) -> AsyncIterator[LiveServer]:
    """Serve an engine until the context ends."""
    chosen = Settings(_env_file=None, shutdown_grace=0, **settings)
    async with Engine(f"sqlite:///{folder}/live.db", settings=chosen) as engine:
        app = create_app(engine.services, chosen)
        manager = add_sockets(app)
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            app, log_config=None, lifespan="off", timeout_graceful_shutdown=2, backlog=2_048, **server_options(chosen)
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        async with asyncio.timeout(START_S):
            await server.is_up.wait()
        try:
            yield LiveServer(engine, manager, listening.getsockname()[1])
        finally:
            await manager.close_all()
            server.should_exit = True
            await serving


class _Server(uvicorn.Server):
    """Says when it is up, and leaves the signals to whoever owns the process."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        await self._serve(sockets)
