"""F42: many listeners open a socket and never read from it, while others do."""

import asyncio
import socket
from pathlib import Path
from urllib.parse import urlsplit

from fault_listener import next_sequence, path_of, say
from fault_stage import Stage, require, wait_until
from listening_flows import BURSTS
from server_process import ServerProcess

from workflow_engine.websocket.protocol import SocketProtocol

TITLE = "200 listeners that never read: memory bounded, all of them closed, the others get every event once"
TOOTH = "the server writes on whether or not a listener takes it"

STALLED = 200
GOOD = 10
ITEMS, COUNT = 100, 6_000
TEXT_BYTES = 10_000
"""The stream is larger than the memory that may be used: whoever keeps it for a stalled listener is found out."""
MEMORY_BYTES_MAX = 64 * 1024 * 1024
CLOSED_SLOW = "workflow_engine_live_streams_slow_total"


def scale() -> None:
    """Real sizes; after what time a listener counts as stalled is a setting."""


def bite() -> None:
    """Do not wait for room."""

    async def write(self: SocketProtocol, frames: bytes, *, stall_s: float) -> None:
        self.transport.write(frames)

    SocketProtocol.write = write  # type: ignore[method-assign]


async def strike(stage: Stage) -> None:
    """One execution with good listeners alone, so that the memory of the work itself is taken; one with both."""
    async with stage.server(stream_stall="2s") as server:
        await server.publish(BURSTS)
        await run_with_good(server, await start(server))
        execution_id = await start(server)
        stalled = [await stalled_socket(server, path_of(execution_id)) for _ in range(STALLED)]
        try:
            before = memory_bytes(server)
            await run_with_good(server, execution_id)
            grown = memory_bytes(server) - before
            require(grown <= MEMORY_BYTES_MAX, f"the server has grown by {grown} bytes")

            async def all_closed() -> bool:
                return await server.metric(CLOSED_SLOW) == STALLED

            await wait_until(all_closed)
        finally:
            for connected in stalled:
                connected.close()


async def start(server: ServerProcess) -> str:
    """An execution that waits for its first burst."""
    value = {"items": list(range(ITEMS)), "text": "x" * TEXT_BYTES, "count": COUNT}
    return await server.start("bursts", input=value)


async def run_with_good(server: ServerProcess, execution_id: str) -> None:
    """All bursts, each event of which every good listener must see once."""
    good = [asyncio.create_task(follow(server, execution_id)) for _ in range(GOOD)]
    for _ in range(COUNT // ITEMS):
        await say(server, execution_id)
    last = (await server.until_status(execution_id))["sequence"]
    for seen in await asyncio.gather(*good):
        require(seen == list(range(1, last + 1)), f"a listener saw {len(seen)} of {last} events")


async def follow(server: ServerProcess, execution_id: str) -> list[int]:
    """All sequences up to the end."""
    require(server.client is not None, "no client")
    seen = []
    async with server.client.ws_connect(path_of(execution_id)) as connected:  # type: ignore[union-attr]
        while (sequence := await next_sequence(connected)) is not None:
            seen.append(sequence)
    return seen


async def stalled_socket(server: ServerProcess, path: str) -> socket.socket:
    """A socket that was opened and is never read from again."""
    port = urlsplit(server.url).port
    connected = socket.socket()
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connected.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(connected, ("127.0.0.1", port))
    lines = (
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    await loop.sock_sendall(connected, ("\r\n".join(lines) + "\r\n\r\n").encode())
    answer = await loop.sock_recv(connected, 12)
    require(answer == b"HTTP/1.1 101", answer)
    return connected


def memory_bytes(server: ServerProcess) -> int:
    """What the server holds in memory."""
    pages = int(Path(f"/proc/{server.pid}/statm").read_text().split()[1])
    return pages * 4096
