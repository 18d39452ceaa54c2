"""What a connection may do before any request reaches the application."""

import asyncio
import re
from contextlib import suppress
from pathlib import Path

import pytest
from own_door import Door, served

from workflow_engine import server

GET = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n"


def statuses(answer: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3})", answer)]


async def refused(door: Door, reason: str) -> float:
    """How many connections were refused for this reason."""
    answer = await door.say(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    name = b'workflow_engine_http_connections_refused_total{reason="%s"} ' % reason.encode()
    return float(answer.partition(name)[2].partition(b"\n")[0])


async def test_headers_that_never_end_are_cut_off(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEADERS_TIMEOUT_S", 0.2)
    answer = await door.say(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: a")
    assert statuses(answer) == [408]
    assert b"application/problem+json" in answer


async def test_a_trickle_of_headers_does_not_renew_the_deadline(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEADERS_TIMEOUT_S", 0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(GET)

    async def trickle() -> None:
        while True:
            writer.write(b"X-Slow: a\r\n")
            await asyncio.sleep(0.02)

    trickling = asyncio.create_task(trickle())
    with suppress(ConnectionResetError):  # what comes behind the answer may take it away
        await asyncio.wait_for(reader.read(), 30)
    trickling.cancel()
    writer.close()
    assert await refused(door, "request_timeout") == 1


async def test_a_connection_that_says_nothing_is_closed(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEADERS_TIMEOUT_S", 0.1)
    assert await door.say() == b""


async def test_a_body_that_never_ends_is_cut_off(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REQUEST_TIMEOUT_S", 0.2)
    head = b"POST /api/v1/workflows HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    assert statuses(await door.say(head + b"Content-Length: 100\r\n\r\n{")) == [408]


@pytest.mark.parametrize(
    "flood",
    [
        GET + b"X-Large: " + b"a" * 100_000 + b"\r\n\r\n",
        GET + b"X-Many: a\r\n" * 200 + b"\r\n",
        GET + b"X-Endless: " + b"a" * 1_000_000,
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    ],
    ids=["one large header", "many headers", "a header without end", "a large path"],
)
async def test_a_flood_of_headers_is_refused(door: Door, flood: bytes) -> None:
    assert statuses(await door.say(flood)) in ([431], [])


async def test_a_large_body_right_behind_its_headers_is_no_flood(door: Door) -> None:
    head = b"POST /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 200000\r\n\r\n"
    last = GET + b"Connection: close\r\n\r\n"
    assert statuses(await door.say(head[:50], head[50:] + b"a" * 200_000 + last)) == [404, 200]


@pytest.mark.parametrize(
    "request_",
    [
        GET + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n",
        GET + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        GET + b"Transfer-Encoding: chunked, identity\r\n\r\n",
        GET + b"Host: elsewhere\r\n\r\n",
        GET + b"X Space: a\r\n\r\n",
        GET + b"X-Null: a\x00b\r\n\r\n",
        b"NONSENSE / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=["CL and TE", "two CL", "odd TE", "two hosts", "space", "null", "method", "version", "path", "TLS"],
)
async def test_what_is_no_plain_request_is_refused_and_nothing_behind_it_is_read(door: Door, request_: bytes) -> None:
    assert statuses(await door.say(request_)) == [400]


async def test_requests_sent_ahead_are_answered_in_their_order(door: Door) -> None:
    last = b"GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    assert statuses(await door.say((GET + b"\r\n") * 20 + last)) == [200] * 20 + [404]


async def test_http_1_0_is_answered_and_closed(door: Door) -> None:
    assert statuses(await door.say(b"GET /health/live HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")) == [200]


async def test_a_full_address_in_the_request_line_is_taken_by_its_path(door: Door) -> None:
    request = b"GET http://127.0.0.1/health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    assert statuses(await door.say(request)) == [200]


async def test_metrics_are_for_this_machine_alone(door: Door) -> None:
    request = b"GET /metrics HTTP/1.1\r\nHost: rebound.example\r\nConnection: close\r\n\r\n"
    assert statuses(await door.say(request)) == [403]


async def test_more_connections_than_there_is_room_for_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_raise_file_limit", lambda: server.FILES_KEPT + 3)
    async with served(tmp_path) as door:
        held = [await asyncio.open_connection("127.0.0.1", door.port) for _ in range(3)]
        for reader, writer in held:
            writer.write(GET + b"\r\n")
            await reader.readuntil(b"}")
        assert statuses(await door.say(GET + b"Connection: close\r\n\r\n")) in ([503], [])
        for _, writer in held:
            writer.close()
            await writer.wait_closed()


async def test_refused_connections_are_counted(door: Door) -> None:
    await door.say(b"NONSENSE\r\n\r\n")
    assert await refused(door, "malformed_request") == 1
