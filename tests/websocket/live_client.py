"""What the tests say to the server, and what they read."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from live_server import LiveServer
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

FAILING: dict[str, Any] = {
    "id": "failing",
    "nodes": [
        {"id": "ready", "type": "wait", "with": {"signal": "go"}},
        {"id": "risky", "type": "decision"},
        {"id": "fine", "type": "set", "output": "fine"},
    ],
    "connections": [
        {"from": "ready", "to": "risky"},
        {"from": "risky", "to": "fine", "when": "vars.?good.orValue(false)"},
    ],
    "variables": {"good": False},
}
"""Fails unless `good` is set."""


def open_socket(server: LiveServer, path: str, **options: Any) -> Any:
    """A client's socket, as a context."""
    headers = {"X-Tenant-ID": options.pop("tenant_id")} if "tenant_id" in options else {}
    headers |= options.pop("headers", {})
    options = {"max_queue": None, **options}  # a client that leaves need not read first what it did not want
    return connect(server.socket(path), proxy=None, additional_headers=headers, **options)


async def read_event(socket: ClientConnection) -> dict[str, Any]:
    """The next message; the test fails rather than hangs."""
    async with asyncio.timeout(30):
        message: dict[str, Any] = json.loads(await socket.recv())
    return message


async def read_to_end(socket: ClientConnection) -> tuple[list[dict[str, Any]], int, str]:
    """All messages until the server closes; with the code and the reason."""
    messages = []
    try:
        while True:
            messages.append(await read_event(socket))
    except ConnectionClosed:
        pass  # the end that was asked for
    assert socket.close_code is not None
    return messages, socket.close_code, socket.close_reason or ""


async def wait_until(holds: Callable[[], bool]) -> None:
    """Return once it holds; the test fails rather than hangs."""
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0.001)


async def ask(socket: ClientConnection, **command: Any) -> dict[str, Any]:
    """Send a command and read its reply; events that come first are an error of the test."""
    await socket.send(json.dumps({"id": "q", **command}))
    reply = await read_event(socket)
    assert reply.get("reply_to") == "q", reply
    return reply


def sequences(messages: list[dict[str, Any]]) -> list[int]:
    """Their sequences, in order."""
    return [message["sequence"] for message in messages]


async def request(
    server: LiveServer, path: str, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """One GET to its end: status, headers, body (chunks joined)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{server.port}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    try:
        async with asyncio.timeout(30):
            answer = await reader.read()
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    found = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
    if found.get("transfer-encoding") == "chunked":
        body = _joined(body)
    return int(status.split()[1]), found, body


def _joined(chunked: bytes) -> bytes:
    body = b""
    while chunked:
        size, _, rest = chunked.partition(b"\r\n")
        body += rest[: int(size, 16)]
        chunked = rest[int(size, 16) + 2 :]
    return body


def sse_messages(body: bytes) -> list[dict[str, str]]:
    """The messages of a stream, comments left out."""
    blocks = [block for block in body.decode().split("\n\n") if block and not block.startswith(":")]
    return [dict(line.partition(": ")[::2] for line in block.split("\n")) for block in blocks]
