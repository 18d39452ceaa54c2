import asyncio
import json
from typing import Any

import pytest
from listening_flows import ECHO
from live_client import request, sequences, sse_messages, wait_until
from live_server import LiveServer

from workflow_engine import Execution
from workflow_engine.routes import events as event_routes

STREAM = {"Accept": "text/event-stream"}


async def started(server: LiveServer, times: int) -> Execution:
    await server.engine.publish(ECHO)
    return await server.engine.start("echo", times)


async def finished(server: LiveServer, times: int) -> tuple[Execution, list[dict[str, Any]]]:
    execution = await started(server, times)
    for _ in range(times):
        await execution.signal("say")
    await execution.wait()
    return execution, [event async for event in execution.events(follow=False)]


async def test_history_comes_in_pages_without_a_gap(server: LiveServer) -> None:
    execution, expected = await finished(server, 10)
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        query = "?limit=7" + (f"&cursor={cursor}" if cursor else "")
        status, headers, body = await request(server, f"/api/v1/executions/{execution.id}/events{query}")
        assert (status, headers["content-type"]) == (200, "application/json")
        page = json.loads(body)
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        assert len(page["items"]) == 7
    assert found == expected


async def test_history_after_a_sequence_is_exclusive_and_empty_at_the_end(server: LiveServer) -> None:
    execution, expected = await finished(server, 2)
    path = f"/api/v1/executions/{execution.id}/events"
    _, _, body = await request(server, f"{path}?after=3")
    assert json.loads(body) == {"items": expected[3:], "next_cursor": None}
    for beyond in (len(expected), len(expected) + 5):
        _, _, body = await request(server, f"{path}?after={beyond}")
        assert json.loads(body) == {"items": [], "next_cursor": None}


@pytest.mark.parametrize("query", ["after=-1", "after=x", "limit=0", "limit=501", "cursor=AAAA", f"after={10**30}"])
async def test_unusable_query_is_refused(server: LiveServer, query: str) -> None:
    execution = await started(server, 1)
    status, headers, _ = await request(server, f"/api/v1/executions/{execution.id}/events?{query}")
    assert (status, headers["content-type"]) == (422, "application/problem+json")


@pytest.mark.parametrize("headers", [{}, STREAM])
async def test_another_tenants_execution_is_not_found(server: LiveServer, headers: dict[str, str]) -> None:
    execution = await started(server, 1)
    foreign = {**headers, "X-Tenant-ID": "stranger"}
    real = await request(server, f"/api/v1/executions/{execution.id}/events", foreign)
    fake = await request(server, f"/api/v1/executions/{'0' * len(execution.id)}/events", foreign)
    assert real[0] == fake[0] == 404
    assert real[2] == fake[2].replace(b"0" * len(execution.id), execution.id.encode())


async def test_stream_follows_live_and_ends_with_the_execution(server: LiveServer) -> None:
    execution = await started(server, 3)
    following = asyncio.create_task(request(server, f"/api/v1/executions/{execution.id}/events", STREAM))
    for _ in range(3):
        await execution.signal("say")
    status, headers, body = await following
    expected = [event async for event in execution.events()]
    messages = sse_messages(body)
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert headers["cache-control"] == "no-store"
    assert [json.loads(message["data"]) for message in messages] == expected
    assert [int(message["id"]) for message in messages] == sequences(expected)
    assert [message["event"] for message in messages] == [event["event"] for event in expected]


async def test_last_event_id_resumes_and_wins_over_after(server: LiveServer) -> None:
    execution, expected = await finished(server, 2)
    path = f"/api/v1/executions/{execution.id}/events?after=1"
    _, _, body = await request(server, path, {**STREAM, "Last-Event-ID": "4"})
    assert [json.loads(message["data"]) for message in sse_messages(body)] == expected[4:]


async def test_browser_that_has_had_the_end_is_told_not_to_come_back(server: LiveServer) -> None:
    execution, expected = await finished(server, 1)
    path = f"/api/v1/executions/{execution.id}/events"
    status, _, body = await request(server, path, {**STREAM, "Last-Event-ID": str(len(expected))})
    assert (status, body) == (204, b"")
    status, _, body = await request(server, f"{path}?after={len(expected)}", STREAM)
    assert (status, sse_messages(body)) == (200, [])


async def test_stream_ahead_of_the_end_says_where_the_end_is(server: LiveServer) -> None:
    execution, expected = await finished(server, 1)
    _, _, body = await request(server, f"/api/v1/executions/{execution.id}/events?after=999", STREAM)
    (message,) = sse_messages(body)
    assert json.loads(message["data"]) == {"event": "cursor_ahead", "last": len(expected)}


async def test_malformed_last_event_id_is_refused(server: LiveServer) -> None:
    execution = await started(server, 1)
    path = f"/api/v1/executions/{execution.id}/events"
    assert (await request(server, path, {**STREAM, "Last-Event-ID": "x"}))[0] == 422


async def test_silent_stream_is_kept_alive(server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_routes, "KEEP_ALIVE_S", 0.02)
    execution = await started(server, 1)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    lines = [f"GET /api/v1/executions/{execution.id}/events HTTP/1.1", "Host: 127.0.0.1", "Accept: text/event-stream"]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    async with asyncio.timeout(30):
        await reader.readuntil(b": keep-alive\n\n")
    writer.close()
    await writer.wait_closed()
    await wait_until(lambda: not server.streams.open_count and not server.engine.services.live.topics)


async def test_drain_ends_a_stream(server: LiveServer) -> None:
    execution = await started(server, 1)
    following = asyncio.create_task(request(server, f"/api/v1/executions/{execution.id}/events", STREAM))
    await wait_until(lambda: server.streams.events_sent_total > 0)
    await server.manager.close_all()
    _, _, body = await following
    assert sse_messages(body)[-1]["event"] == "workflow_paused"
