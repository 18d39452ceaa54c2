"""A server on the loopback that answers each request by script, byte for byte."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field


@dataclass
class Received:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Target:
    """A server that answers each request by script, byte for byte."""

    port: int = 0
    answer: Answer | None = None
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    peers: list[str] = field(default_factory=list)
    """The address of this server that each connection chose."""
    closed_by_client: asyncio.Event = field(default_factory=asyncio.Event)
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def replies(self, status: int = 200, body: bytes = b"", headers: dict[str, str] | None = None) -> "Target":
        lines = [f"HTTP/1.1 {status} Told", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        return self.sends("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def sends(self, data: bytes) -> "Target":
        async def answer(writer: asyncio.StreamWriter) -> None:
            writer.write(data)
            await writer.drain()

        self.answer = answer
        return self

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.peers.append(writer.get_extra_info("sockname")[0])
        try:
            while True:
                self.received.append(await _request(reader))
                self.reached.set()
                assert self.answer is not None
                await self.answer(writer)
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed_by_client.set()
        finally:
            writer.close()


async def _request(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, path, headers, body)
