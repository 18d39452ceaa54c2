import asyncio
import json
import resource
import socket as sockets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from listening_flows import BURSTS
from live_client import open_socket, read_event, read_to_end, sequences, wait_until
from live_server import LiveServer, live_server

from workflow_engine.services.subscription import FellBehind
from workflow_engine.services.tail import TAIL_BYTES_MAX, TAIL_EVENTS_MAX

ITEMS, COUNT = 100, 4_000


async def start(server: LiveServer) -> str:
    await server.engine.publish(BURSTS)
    value = {"items": list(range(ITEMS)), "text": "x" * 1_000, "count": COUNT}
    return (await server.engine.start("bursts", value)).id


async def run(server: LiveServer, execution_id: str) -> None:
    execution = server.engine.execution(execution_id)
    for _ in range(COUNT // ITEMS):
        await execution.signal("say")


async def test_reader_that_pauses_for_long_costs_no_memory_and_misses_nothing(server: LiveServer) -> None:
    execution_id = await start(server)
    live = server.engine.services.live
    with await live.subscribe("default", execution_id) as slow, await live.subscribe("default", execution_id) as keen:
        seen: list[int] = []
        running = asyncio.create_task(run(server, execution_id))
        while (batch := await keen.next()) is not None:
            seen += [event.sequence for event in batch.events]
            assert live.held_bytes <= TAIL_BYTES_MAX
        await running
        late: list[int] = []
        while (batch := await slow.next()) is not None:
            late += [event.sequence for event in batch.events]
        assert len(seen) > 3 * TAIL_EVENTS_MAX
        assert late == seen == list(range(1, len(seen) + 1))
        assert slow.log_batches > 0
    assert live.topics == 0


async def test_readers_that_never_read_are_closed_and_others_get_everything(tmp_path: Path) -> None:
    async with live_server(tmp_path, stream_stall=0.5) as server:
        execution_id = await start(server)
        path = f"/ws/v1/executions/{execution_id}"
        stalled = [_small_socket(server.port) for _ in range(10)]
        followers = []
        for connected in stalled:
            follower = await open_socket(server, path, sock=connected, max_queue=1)
            follower.transport.pause_reading()
            followers.append(follower)
        before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        async with open_socket(server, path) as good:
            running = asyncio.create_task(run(server, execution_id))
            messages, code, _ = await read_to_end(good)
        await running
        assert code == 1000
        assert sequences(messages) == list(range(1, len(messages) + 1))
        await wait_until(lambda: server.streams.slow_closed_total == len(stalled))
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 64 * 1024
        for follower in followers:
            follower.transport.resume_reading()
            read, code, reason = await read_to_end(follower)
            assert (code, reason) == (4408, f"last={read[-1]['sequence']}")
            assert sequences(read) == list(range(1, len(read) + 1))
            assert len(read) < len(messages)


def _small_socket(port: int) -> sockets.socket:
    connected = sockets.socket()
    connected.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4_096)
    connected.connect(("127.0.0.1", port))
    connected.setblocking(False)
    return connected


async def test_feed_that_fell_behind_says_so_and_goes_on(server: LiveServer) -> None:
    execution_id = await start(server)
    feed = server.engine.services.live.follow_tenant("default")
    with feed:
        await run(server, execution_id)
        with pytest.raises(FellBehind):
            await feed.next()
        other = await server.engine.start("bursts", {"items": [1], "text": "", "count": 1})
        batch = await feed.next()
        assert batch is not None
        assert other.id.encode() in batch.events[0].encoded


async def test_slow_reader_on_a_socket_reads_on_once_it_does(server: LiveServer) -> None:
    execution_id = await start(server)
    async with open_socket(server, f"/ws/v1/executions/{execution_id}", max_queue=1) as follower:
        first = await read_event(follower)
        follower.transport.pause_reading()
        await run(server, execution_id)
        follower.transport.resume_reading()
        messages, code, _ = await read_to_end(follower)
    assert code == 1000
    assert sequences([first, *messages]) == list(range(1, len(messages) + 2))


async def test_reader_stopped_in_the_middle_of_the_log_ends(server: LiveServer) -> None:
    execution_id = await start(server)
    with await server.engine.services.live.subscribe("default", execution_id, after=0) as subscription:
        assert await subscription.next() is not None
        reading = asyncio.create_task(subscription.next())
        await asyncio.sleep(0)
        subscription.stop()
        assert await asyncio.wait_for(reading, 30) is None


async def test_commit_of_which_nobody_told_is_found_in_the_log(
    server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution_id = await start(server)
    execution, live = server.engine.execution(execution_id), server.engine.services.live
    last = (await execution.get())["sequence"]
    with await live.subscribe("default", execution_id, after=last) as subscription:
        reading = asyncio.create_task(subscription.next())
        with monkeypatch.context() as untold:
            untold.setattr(live, "publish", lambda committed: None)
            await execution.signal("say")
        live.doubt("default", execution_id)
        batch = await asyncio.wait_for(reading, 30)
        assert batch is not None
        assert batch.events[0].sequence == last + 1
        while subscription.last < (await execution.get())["sequence"]:
            await subscription.next()
        await execution.signal("say")
        batch = await asyncio.wait_for(subscription.next(), 30)
        assert batch is not None


async def test_client_that_answers_no_ping_is_asked_once_and_gets_everything(server: LiveServer) -> None:
    execution_id = await start(server)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = (
        f"GET /ws/v1/executions/{execution_id} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    writer.write(head.encode())
    running = asyncio.create_task(run(server, execution_id))
    try:
        async with asyncio.timeout(30):
            await reader.readuntil(b"\r\n\r\n")
            frames = [frame async for frame in _frames(reader)]
    finally:
        writer.close()
        await running
    seen = [json.loads(payload)["sequence"] for opcode, payload in frames if opcode == 0x81]
    assert seen == list(range(1, len(seen) + 1))
    assert [payload for opcode, payload in frames if opcode == 0x89] == [b""]
    assert frames[-1][0] == 0x88


async def _frames(reader: asyncio.StreamReader) -> AsyncIterator[tuple[int, bytes]]:
    """What a server sends, to its close."""
    opcode = 0
    while opcode != 0x88:
        opcode, size = await reader.readexactly(2)
        if size >= 126:
            size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
        yield opcode, await reader.readexactly(size)
