"""Live events over real WebSockets: the server in a process of its own, the listeners in this one.

L1  1,000 listeners on one execution of some 2,000 events, as fast as it goes, and then at a pace that all can follow
L2  with `--long`: the delay of 50 listeners, from the commit on, without and with 200 others that never read; the
    server's memory
L3  memory per idle connection
L4  1,000 listeners that come late and read 2,000 events of history
"""

import asyncio
import base64
import contextlib
import json
import mmap
import os
import resource
import socket
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import uvicorn
import uvloop
from websockets.asyncio.client import connect

from bench.report import report
from bench.workplace import workplace
from workflow_engine import Engine, function
from workflow_engine.config.settings import Settings
from workflow_engine.routes.app import create_app
from workflow_engine.services.live_events import LiveEvents
from workflow_engine.services.workflow_executor import Committed
from workflow_engine.websocket import add_sockets, server_options

LISTENERS = 1_000
ROUNDS = 667
"""Of three events each: started, completed, variables."""

GOOD, STALLED = 50, 200
STALL_S = 5.0
STALLED_PAIRS_OF_RUNS = 3
SMALL_WINDOW_BYTES = 4096

TICKS: dict[str, Any] = {
    "id": "ticks",
    "start": ["go"],
    "variables": {"n": 0},
    "nodes": [
        {"id": "go", "type": "wait", "with": {"signal": "go"}},
        {
            "id": "tick",
            "type": "function",
            "with": {
                "name": "bench.tick",
                "arguments": {"pause_s": "${ input.pause_s }", "size": "${ input.size }"},
            },
            "assign": {"n": "${ vars.n + 1 }"},
        },
        {"id": "done", "type": "set", "output": "${ vars.n }"},
    ],
    "connections": [
        {"from": "go", "to": "tick"},
        {"from": "tick", "to": "tick", "when": "vars.n < input.rounds"},
        {"from": "tick", "to": "done", "otherwise": True},
    ],
}


@function("bench.tick")
async def tick(pause_s: float, size: int) -> str:
    """Takes a while and gives so many characters."""
    if pause_s:
        await asyncio.sleep(pause_s)
    return "x" * size


class Stamps:
    """When each sequence of the latest execution was committed, in a file that server and listeners share. (What a
    commit takes is the disk's affair, and not measured here.)
    """

    SEQUENCES_MAX = 65_536

    def __init__(self, folder: Path) -> None:
        path = folder / "stamps"
        if not path.exists():
            path.write_bytes(bytes(8 * self.SEQUENCES_MAX))
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), 0)

    def put(self, sequence: int) -> None:
        """It is committed, now."""
        struct.pack_into("d", self._shared, 8 * sequence, time.time())

    def get(self, sequence: int) -> float:
        """When it was."""
        return float(struct.unpack_from("d", self._shared, 8 * sequence)[0])


class Listener(asyncio.Protocol):
    """A WebSocket client that costs little: it counts messages and notes the delay of the last one of each read, unless
    that is history: committed before the socket was open.
    """

    def __init__(self, server: "Server", execution_id: str, *, reads: bool = True) -> None:
        port = server.port
        self._stamps = server.stamps
        self._request = (
            f"GET /ws/v1/executions/{execution_id} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n"
        ).encode()
        self._reads = reads
        self._data = bytearray()
        self._transport: asyncio.Transport | None = None
        self._opened_at = 0.0
        self.messages = 0
        self.code = 0
        self.delays_s: list[float] = []
        loop = asyncio.get_running_loop()
        self.is_open: asyncio.Future[None] = loop.create_future()
        self.is_over: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Count what is whole."""
        self._data += data
        if not self.is_open.done():
            head, found, rest = self._data.partition(b"\r\n\r\n")
            if not found:
                return
            assert head.startswith(b"HTTP/1.1 101"), head
            self._data = bytearray(rest)
            self._opened_at = time.time()
            self.is_open.set_result(None)
            if not self._reads and self._transport is not None:
                self._transport.pause_reading()
        self._count(time.time())

    def _count(self, now: float) -> None:
        data, at, end = self._data, 0, len(self._data)
        last = b""
        while end - at >= 2:
            size, body = data[at + 1], at + 2
            if size == 126:
                size, body = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            elif size == 127:
                size, body = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
            if end - body < size or body > end:
                break
            if data[at] == 0x81:
                self.messages += 1
                last = bytes(data[body : body + 400])
            elif data[at] == 0x88:
                self.code = int.from_bytes(data[body : body + 2], "big")
                if self._transport is not None:
                    self._transport.write(b"\x88\x80\0\0\0\0")
            elif data[at] == 0x89 and self._transport is not None:
                self._transport.write(b"\x8a" + bytes((0x80 | size,)) + b"\0\0\0\0" + data[body : body + size])
            at = body + size
        del data[:at]
        if last:
            sequence = int(last.partition(b'"sequence":')[2].partition(b",")[0])
            committed_at = self._stamps.get(sequence)
            if committed_at >= self._opened_at:
                self.delays_s.append(now - committed_at)

    def go_on(self) -> None:
        """Read what there is, after all."""
        if self._transport is not None:
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, in whatever way."""
        if not self.is_over.done():
            self.is_over.set_result(None)

    def cut(self) -> None:
        """Go without a word."""
        if self._transport is not None:
            self._transport.abort()


async def listen(server: "Server", execution_id: str, count: int, *, reads: bool = True) -> list[Listener]:
    """So many listeners, connected."""
    listeners = []
    loop = asyncio.get_running_loop()
    for _ in range(count):
        connected = socket.socket()
        if not reads:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_WINDOW_BYTES)
        connected.setblocking(False)
        await loop.sock_connect(connected, ("127.0.0.1", server.port))
        _, listener = await loop.create_connection(lambda: Listener(server, execution_id, reads=reads), sock=connected)
        await listener.is_open
        listeners.append(listener)
    return listeners


class Server:
    """The process that serves."""

    def __init__(self, pid: int, port: int, stamps: Stamps) -> None:
        self.pid = pid
        self.port = port
        self.stamps = stamps

    @property
    def memory_mb(self) -> float:
        """Its resident memory."""
        fields = Path(f"/proc/{self.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    @property
    def cpu_s(self) -> float:
        """Processor time that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def command(self, **command: Any) -> dict[str, Any]:
        """One command and its result."""
        async with connect(f"ws://127.0.0.1:{self.port}/ws/v1/events", proxy=None) as websocket:
            await websocket.send(json.dumps({"id": 1, **command}))
            reply = json.loads(await websocket.recv())
        assert reply["ok"], reply
        return dict(reply["result"])

    async def start(self, *, rounds: int = ROUNDS, pause_s: float = 0.0, size: int = 10) -> str:
        """An execution that waits for `go`."""
        chosen = {"rounds": rounds, "pause_s": pause_s, "size": size}
        return str((await self.command(command="start", workflow_id="ticks", input=chosen))["execution_id"])

    async def go(self, execution_id: str) -> None:
        """Let it run."""
        await self.command(command="signal", execution_id=execution_id, name="go")


@contextlib.asynccontextmanager
async def serving(place: Path) -> AsyncIterator[Server]:
    """A server on a database of its own."""
    with tempfile.TemporaryDirectory(dir=place) as folder:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.live", "server", folder, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        try:
            port = int(await process.stdout.readline())
            yield Server(process.pid, port, Stamps(Path(folder)))
        finally:
            process.kill()
            await process.wait()


def stamp_publishing(live: LiveEvents, stamps: Stamps) -> None:
    """Note when each event comes out of its commit."""
    publish = live.publish

    def stamped(committed: Committed) -> None:
        count = sum(fact.PUBLIC for fact in committed.facts)
        for sequence in range(committed.first_sequence, committed.first_sequence + count):
            stamps.put(sequence)
        publish(committed)

    live.publish = stamped  # type: ignore[method-assign]


async def serve(folder: Path) -> None:
    """The other side: an engine and its sockets."""
    settings = Settings(_env_file=None, stream_stall=STALL_S)
    async with Engine(f"sqlite:///{folder / 'live.db'}", settings=settings) as engine:
        await engine.publish(TICKS)
        stamp_publishing(engine.services.live, Stamps(folder))
        app = create_app(engine.services, settings)
        add_sockets(app)
        listening = socket.create_server(("127.0.0.1", 0), backlog=2_048)
        print(listening.getsockname()[1], flush=True)
        config = uvicorn.Config(app, log_config=None, lifespan="off", access_log=False, **server_options(settings))
        await uvicorn.Server(config).serve(sockets=[listening])


def percentile(listeners: list[Listener], share: float) -> float:
    """Of all delays, in milliseconds."""
    delays_s = sorted(delay_s for listener in listeners for delay_s in listener.delays_s)
    return delays_s[int(len(delays_s) * share)] * 1000


async def bench_fan_out(server: Server) -> None:
    """L1."""
    for name, count, pause_s in (("1 listener", 1, 0.0), ("1,000 listeners", LISTENERS, 0.0)):
        execution_id = await server.start(pause_s=pause_s)
        listeners = await listen(server, execution_id, count)
        begun, cpu_s = time.perf_counter(), server.cpu_s
        await server.go(execution_id)
        await asyncio.gather(*(listener.is_over for listener in listeners))
        seconds = time.perf_counter() - begun
        messages = sum(listener.messages for listener in listeners)
        assert len({listener.messages for listener in listeners}) == 1, "somebody missed events"
        report(
            f"L1 {name} x {listeners[0].messages:,} events, at full speed",
            f"{seconds:.2f} s, {messages / seconds:,.0f} messages/s, server {server.cpu_s - cpu_s:.2f} s of CPU",
        )
    execution_id = await server.start(rounds=100, pause_s=0.1)
    listeners = await listen(server, execution_id, LISTENERS)
    await server.go(execution_id)
    await asyncio.gather(*(listener.is_over for listener in listeners))
    value = f"{percentile(listeners, 0.5):.1f} / {percentile(listeners, 0.99):.1f} ms"
    report("L1 1,000 listeners at 10 commits/s: delay p50 / p99", value)


async def bench_stalled(server: Server) -> None:
    """L2: 50 commits a second of 2 KB each, over the whole run: from the first commit after all are connected to the
    end, the second in which those that never read still take something included. Alternating, because the machine has
    moods.
    """
    p50_ms: dict[int, list[float]] = {0: [], STALLED: []}
    p99_ms: dict[int, list[float]] = {0: [], STALLED: []}
    closed = 0
    for stalled_count in (0, STALLED, STALLED, 0) * STALLED_PAIRS_OF_RUNS:
        execution_id = await server.start(rounds=500, pause_s=0.02, size=2_000)
        good = await listen(server, execution_id, GOOD)
        stalled = await listen(server, execution_id, stalled_count, reads=False)
        before_mb = server.memory_mb
        await server.go(execution_id)
        await asyncio.gather(*(listener.is_over for listener in good))
        assert len({listener.messages for listener in good}) == 1, "somebody missed events"
        p50_ms[stalled_count].append(percentile(good, 0.5))
        p99_ms[stalled_count].append(percentile(good, 0.99))
        values = f"{p50_ms[stalled_count][-1]:.2f} / {p99_ms[stalled_count][-1]:.2f} ms"
        grown = f"memory +{server.memory_mb - before_mb:.0f} MB"
        report(f"L2 {GOOD} listeners beside {stalled_count} stalled ones: delay p50 / p99", f"{values}, {grown}")
        closed += await count_closed(stalled)
    for name, runs in (("p50", p50_ms), ("p99", p99_ms)):
        values = " / ".join(f"{statistics.median(ms):.2f} ({min(ms):.2f} to {max(ms):.2f})" for ms in runs.values())
        report(f"L2 medians of the {name} (lowest to highest): without / with", f"{values} ms")
    stalled_total = STALLED * len(p99_ms[STALLED])
    report("L2 stalled listeners closed with 4408, once they read", f"{closed} of {stalled_total}")


async def count_closed(stalled: list[Listener]) -> int:
    """Let them read after all; how many were told that they were too slow."""
    for listener in stalled:
        listener.go_on()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(10):
            await asyncio.gather(*(asyncio.shield(listener.is_over) for listener in stalled))
    for listener in stalled:
        listener.cut()
    return sum(listener.code == 4408 for listener in stalled)


async def bench_idle(server: Server) -> None:
    """L3."""
    execution_id = await server.start()
    before_mb = server.memory_mb
    listeners = await listen(server, execution_id, LISTENERS)
    report("L3 memory per idle connection", f"{(server.memory_mb - before_mb) * 1000 / LISTENERS:.1f} KB")
    for listener in listeners:
        listener.cut()


async def bench_history(server: Server) -> None:
    """L4."""
    execution_id = await server.start()
    (first,) = await listen(server, execution_id, 1)
    await server.go(execution_id)
    await first.is_over
    begun, cpu_s = time.perf_counter(), server.cpu_s
    listeners = await listen(server, execution_id, LISTENERS)
    await asyncio.gather(*(listener.is_over for listener in listeners))
    assert {listener.messages for listener in listeners} == {first.messages}
    seconds = time.perf_counter() - begun
    value = f"{seconds:.2f} s, server {server.cpu_s - cpu_s:.2f} s of CPU"
    report(f"L4 1,000 late listeners read {first.messages:,} events each", value)


async def run_all(folder: Path, *, is_long: bool) -> None:
    """Each on a fresh server."""
    for work in (bench_idle, bench_fan_out, bench_history, *((bench_stalled,) if is_long else ())):
        async with serving(folder) as server:
            await work(server)


def main() -> None:
    """All, or the server's side."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8_192)), hard))
    if len(sys.argv) == 3:
        uvloop.run(serve(Path(sys.argv[2])))
        return
    with workplace() as folder:
        uvloop.run(run_all(folder, is_long="--long" in sys.argv))


if __name__ == "__main__":
    main()
