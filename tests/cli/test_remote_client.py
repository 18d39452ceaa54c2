"""The client over a way that fails: what was asked for happens once, and no event is lost or doubled."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from served import Served, free_port, published, wire_to

from workflow_engine.client import Client, RequestRefused, ServerUnreachable, backoff, following

Json = dict[str, Any]

PROBLEM = {"type": "urn:workflow-engine:problem:unavailable", "status": 503, "detail": "not now"}


def told(lost: list[str]) -> Callable[[str, float], None]:
    return lambda reason, pause_s: lost.append(reason)


async def collect(client: Client, execution_id: str, *, after: int = 0, lost: list[str] | None = None) -> list[Json]:
    on_lost = told(lost if lost is not None else [])
    async with asyncio.timeout(60):
        return [event async for event in client.follow(execution_id, after=after, on_lost=on_lost)]


async def many_items(client: Client, workflow_id: str, count: int) -> str:
    each = {"id": "each", "type": "set", "foreach": {"items": "${ input }"}, "output": "${ item }"}
    await published(client, id=workflow_id, nodes=[each])
    found = await client.start(workflow_id, {"input": list(range(count))}, wait_s=30)
    assert found["status"] == "completed"
    execution_id: str = found["execution_id"]
    return execution_id


@asynccontextmanager
async def stand_in(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """Something else that answers in the server's place."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port := free_port()).start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


async def test_start_whose_answer_is_lost_starts_once(server: Served) -> None:
    async with Client(server.url) as direct, wire_to(server.port) as wire, Client(wire.url) as client:
        await published(direct, id="once", nodes=[{"id": "w", "type": "wait", "with": {"signal": "s"}}])
        wire.answers_lost = 2
        started = await client.start("once", {"input": None})
        assert wire.connections == 3
        page = await direct.executions([("workflow_id", "once")])
        assert [item["execution_id"] for item in page["items"]] == [started["execution_id"]]


async def test_start_that_waits_finds_the_end_although_the_connection_was_lost(server: Served) -> None:
    async with Client(server.url) as direct, wire_to(server.port) as wire, Client(wire.url) as client:
        await published(direct, id="once-wait", nodes=[{"id": "w", "type": "wait", "with": {"signal": "s"}}])
        starting = asyncio.create_task(client.start("once-wait", {"execution_id": "once-1"}, wait_s=60))
        async with asyncio.timeout(30):
            while not (await direct.executions([("workflow_id", "once-wait")]))["items"]:
                pass
            await wire.close()
            await wire.has_answered.wait()  # the second attempt, that the first is still being answered
            await direct.signal("once-1", "s", 1)
            ended = await starting
        assert (ended["execution_id"], ended["status"]) == ("once-1", "completed")


async def test_signal_whose_answer_is_lost_is_sent_once(server: Served) -> None:
    async with Client(server.url) as direct, wire_to(server.port) as wire, Client(wire.url) as client:
        await published(direct, id="signal-once", nodes=[{"id": "w", "type": "wait", "with": {"signal": "end"}}])
        execution_id = (await direct.start("signal-once", {}))["execution_id"]
        wire.answers_lost = 1
        await client.signal(execution_id, "other", 1)
        await direct.control(execution_id, "cancel")
        names = [event["event"] for event in await collect(direct, execution_id)]
        assert names.count("workflow_signal_received") == 1


async def test_server_that_is_busy_is_asked_again_with_the_same_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST_S", 0.01)
    keys: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        keys.append(request.headers["Idempotency-Key"])
        if len(keys) < 3:
            return web.json_response(PROBLEM, status=503, headers={"Retry-After": "0"})
        return web.json_response({"status": "paused"})

    async with stand_in(answer) as url, Client(url) as client:
        assert (await client.control("x", "pause"))["status"] == "paused"
        assert len(keys) == 3
        await client.control("x", "pause")
    assert len(set(keys)) == 2


async def test_refusals_are_not_repeated_and_busy_servers_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST_S", 0.01)
    statuses: list[int] = []

    def refusing(status: int) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(_: web.Request) -> web.StreamResponse:
            statuses.append(status)
            return web.json_response({**PROBLEM, "status": status}, status=status)

        return answer

    for status, times in ((422, 1), (409, 1), (404, 1), (503, 4)):
        async with stand_in(refusing(status)) as url, Client(url) as client:
            with pytest.raises(RequestRefused) as refused:
                await client.execution("x")
        assert (refused.value.status, refused.value.code, refused.value.message) == (status, "unavailable", "not now")
        assert statuses.count(status) == times


async def test_what_is_no_workflow_engine_is_said_to_be_none() -> None:
    async def page(request: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>", status=404 if request.path.endswith("lost") else 200)

    async with stand_in(page) as url, Client(url) as client:
        with pytest.raises(RequestRefused, match="is it a Workflow Engine"):
            await client.execution("lost")
        with pytest.raises(ServerUnreachable, match="what answers there is no Workflow Engine"):
            await client.execution("found")


async def test_credentials_go_to_the_named_server_and_no_further() -> None:
    seen: list[tuple[str | None, str | None]] = []

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        raise AssertionError

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append((request.headers.get("Authorization"), request.headers.get("X-Tenant-ID")))
        raise web.HTTPTemporaryRedirect(f"{other}/x")

    async with (
        stand_in(elsewhere) as other,
        stand_in(answer) as url,
        Client(url + "/flows/", token="t0", tenant_id="t") as client,
    ):
        with pytest.raises(RequestRefused, match="answered 307"):
            await client.execution("x")
    assert seen == [("Bearer t0", "t")]


async def test_events_come_in_order_and_once_over_connections_that_are_cut(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "DELAY_S_MAX", 0.01)
    async with Client(server.url) as direct, wire_to(server.port) as wire, Client(wire.url) as client:
        execution_id = await many_items(direct, "cut", 100)
        whole = await collect(direct, execution_id)
        assert [event["sequence"] for event in whole] == list(range(1, len(whole) + 1))
        wire.answer_bytes = lambda connection: 3_000 + 977 * connection
        lost: list[str] = []
        assert await collect(client, execution_id, lost=lost) == whole
        assert len(lost) > 5
        assert await collect(client, execution_id, after=150, lost=lost) == whole[150:]


async def test_server_that_is_killed_and_comes_back_is_followed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "DELAY_S_MAX", 0.1)
    served = Served(tmp_path)
    try:
        async with Client(served.url) as client:
            await published(client, id="back", nodes=[{"id": "w", "type": "wait", "with": {"signal": "go"}}])
            execution_id = (await client.start("back", {}))["execution_id"]
            is_lost = asyncio.Event()
            events: list[Json] = []

            async def watch() -> None:
                follow = client.follow(execution_id, after=0, on_lost=lambda reason, pause_s: is_lost.set())
                events.extend([event async for event in follow])

            watching = asyncio.create_task(watch())
            await asyncio.to_thread(served.end, signal.SIGKILL)
            async with asyncio.timeout(60):
                await is_lost.wait()
                served = await asyncio.to_thread(Served, tmp_path, served.port)
                await client.signal(execution_id, "go", None)
                await watching
        assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
        assert events[-1]["event"] == "workflow_completed"
    finally:
        served.end()


async def test_end_of_an_execution_ends_the_following_wherever_it_begins(server: Served) -> None:
    async with Client(server.url) as client:
        execution_id = await many_items(client, "ended", 3)
        last = (await client.execution(execution_id))["sequence"]
        assert await collect(client, execution_id, after=last) == []
        with pytest.raises(RequestRefused, match=f"last event is {last}") as ahead:
            await collect(client, execution_id, after=last + 1)
        assert ahead.value.code == "cursor_ahead"
        with pytest.raises(RequestRefused) as unknown:
            await collect(client, "no-such")
        assert unknown.value.code == "not_found"


async def test_server_that_stays_away_is_given_up(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "RECONNECT_S", 0.3)
    lost: list[str] = []
    async with wire_to(server.port) as wire, Client(wire.url) as client:
        wire.answer_bytes = lambda connection: 1
        with pytest.raises(ServerUnreachable, match="can't be reached"):
            await collect(client, "x", lost=lost)
    assert lost
