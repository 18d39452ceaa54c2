"""A server in the test's own process, for tests that change its limits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from workflow_engine.config.settings import Settings
from workflow_engine.server import serve


class Door:
    """A server in this process, for tests that change its limits."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.port = urlsplit(url).port

    async def say(self, *parts: bytes) -> bytes:
        """Send these bytes; everything that comes back until the server closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
            return await asyncio.wait_for(reader.read(), 20)
        except ConnectionResetError:
            return b""
        finally:
            writer.close()


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Door]:
    """Serve on a fresh database until the block is left."""
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    settings = Settings(_env_file=None, database_url=f"sqlite:///{folder}/engine.db", shutdown_grace=1)
    running = asyncio.create_task(serve(settings, "127.0.0.1", 0, announce=listening.set_result, until=stop.wait))
    await asyncio.wait([running, listening], return_when=asyncio.FIRST_COMPLETED)
    try:
        yield Door(listening.result())
    finally:
        stop.set()
        await running
