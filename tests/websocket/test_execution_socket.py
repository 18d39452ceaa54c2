import asyncio
import json
import random
import sqlite3
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from listening_flows import ECHO
from live_client import FAILING, open_socket, read_event, read_to_end, request, sequences, wait_until
from live_server import LiveServer, live_server
from websockets.exceptions import InvalidStatus

from workflow_engine import Engine, Execution
from workflow_engine.services.event_log import EventLog
from workflow_engine.services.event_stream import Batch
from workflow_engine.store import ExecutionRow


async def start(engine: Engine, definition: dict[str, Any], value: Any = None) -> Execution:
    await engine.publish(definition)
    return await engine.start(definition["id"], value)


async def say(execution: Execution, times: int) -> None:
    for number in range(times):
        await execution.signal("say", number)


async def history(execution: Execution) -> list[dict[str, Any]]:
    return [event async for event in execution.events(follow=False)]


async def test_every_event_comes_once_in_order_and_then_a_normal_close(server: LiveServer) -> None:
    execution = await start(server.engine, ECHO, 20)
    async with open_socket(server, f"/ws/v1/executions/{execution.id}") as socket:
        reading = asyncio.create_task(read_to_end(socket))
        await say(execution, 20)
        messages, code, _ = await reading
    assert code == 1000
    assert messages == await history(execution)
    assert sequences(messages) == list(range(1, len(messages) + 1))
    assert messages[-1]["event"] == "workflow_completed"


async def test_client_cut_fifty_times_sees_every_event_of_a_long_run_once(server: LiveServer) -> None:
    execution = await start(server.engine, ECHO, 400)
    saying = asyncio.create_task(say(execution, 400))
    seen: list[int] = []
    cuts = 0
    chance = random.Random(44)
    while True:
        after = seen[-1] if seen else 0
        async with open_socket(server, f"/ws/v1/executions/{execution.id}?after={after}") as socket:
            if cuts == 50:
                messages, code, _ = await read_to_end(socket)
                seen += sequences(messages)
                break
            for _ in range(chance.randint(1, 40)):
                seen.append((await read_event(socket))["sequence"])
            cuts += 1
            socket.transport.abort()
    await saying
    assert code == 1000
    assert len(seen) > 2_000
    assert seen == list(range(1, len(await history(execution)) + 1))


class HeldLog(EventLog):
    """Holds a reader up between its look at the log and its joining in with what is live."""

    def __init__(self, log: EventLog) -> None:
        super().__init__(log._store)
        self.has_read = asyncio.Event()
        self.may_go_on = asyncio.Event()

    async def after(self, row: ExecutionRow, sequence: int, *, progress: int | None = None) -> Batch | None:
        batch = await super().after(row, sequence, progress=progress)
        if batch is None:
            self.has_read.set()
            await self.may_go_on.wait()
        return batch


async def test_event_committed_between_backlog_and_live_is_seen_exactly_once(server: LiveServer) -> None:
    execution = await start(server.engine, ECHO, 2)
    live = server.engine.services.live
    live.log = held = HeldLog(live.log)
    async with open_socket(server, f"/ws/v1/executions/{execution.id}") as socket:
        reading = asyncio.create_task(read_to_end(socket))
        await held.has_read.wait()
        await execution.signal("say")
        held.may_go_on.set()
        await execution.signal("say")
        messages, _, _ = await reading
    assert sequences(messages) == list(range(1, len(await history(execution)) + 1))


async def test_hundred_listeners_share_one_rendering(server: LiveServer) -> None:
    execution = await start(server.engine, ECHO, 30)
    before = len(await history(execution))
    async with AsyncExitStack() as stack:
        path = f"/ws/v1/executions/{execution.id}?after={before}"
        sockets = [await stack.enter_async_context(open_socket(server, path)) for _ in range(100)]
        reading = [asyncio.create_task(read_to_end(socket)) for socket in sockets]
        await say(execution, 30)
        results = [await task for task in reading]
    expected = (await history(execution))[before:]
    assert all(messages == expected for messages, _, _ in results)
    assert server.engine.services.live.published_total == len(expected)


async def test_nothing_is_rendered_where_nobody_listens(server: LiveServer) -> None:
    execution = await start(server.engine, ECHO, 3)
    await say(execution, 3)
    await execution.wait()
    assert server.engine.services.live.published_total == 0
    assert server.engine.services.live.topics == 0


async def test_live_events_and_history_are_the_same_bytes_from_any_place(server: LiveServer) -> None:
    execution = await start(server.engine, ECHO, 8)
    async with open_socket(server, f"/ws/v1/executions/{execution.id}") as socket:
        await say(execution, 8)
        live = [message async for message in socket]
    for after in range(len(live)):
        async with open_socket(server, f"/ws/v1/executions/{execution.id}?after={after}") as socket:
            assert await socket.recv() == live[after]


async def test_stream_of_a_failed_execution_ends_and_goes_on_after_a_retry(server: LiveServer) -> None:
    execution = await start(server.engine, FAILING)
    path = f"/ws/v1/executions/{execution.id}"
    async with open_socket(server, path) as socket:
        await execution.signal("go")
        failed, code, _ = await read_to_end(socket)
    assert (failed[-1]["event"], code) == ("workflow_failed", 1000)
    last = failed[-1]["sequence"]
    async with open_socket(server, f"{path}?after={last}") as socket:
        assert await read_to_end(socket) == ([], 1000, "the execution has ended")
    await execution.set_variables({"good": True})
    await execution.retry()
    async with open_socket(server, f"{path}?after={last}") as socket:
        rest, _, _ = await read_to_end(socket)
    async with open_socket(server, path) as socket:
        everything, _, _ = await read_to_end(socket)
    assert rest[-1]["event"] == "workflow_completed"
    assert failed + rest == everything == await history(execution)


async def refusal(server: LiveServer, path: str, **options: Any) -> tuple[int, bytes]:
    with pytest.raises(InvalidStatus) as refused:
        async with open_socket(server, path, **options):
            pass
    return refused.value.response.status_code, bytes(refused.value.response.body or b"")


async def test_another_tenants_execution_is_refused_like_one_that_never_was(server: LiveServer, tmp_path: Path) -> None:
    execution = await start(server.engine, ECHO, 1)
    path = f"/ws/v1/executions/{execution.id}"
    foreign = await refusal(server, path, tenant_id="other")
    (tmp_path / "elsewhere").mkdir()
    async with live_server(tmp_path / "elsewhere") as empty:
        unknown = await refusal(empty, path, tenant_id="other")
    assert foreign == unknown
    assert foreign[0] == 404
    assert json.loads(foreign[1])["code"] == "not_found"


@pytest.mark.parametrize("after", ["-1", "x", "", "1.0", "9" * 30, "%00", "١"])
async def test_malformed_cursor_is_refused_before_the_accept(server: LiveServer, after: str) -> None:
    execution = await start(server.engine, ECHO, 1)
    status, _ = await refusal(server, f"/ws/v1/executions/{execution.id}?after={after}")
    assert status == 422


async def test_cursor_ahead_of_the_end_is_told_where_the_end_is(server: LiveServer) -> None:
    execution = await start(server.engine, ECHO, 1)
    last = len(await history(execution))
    async with open_socket(server, f"/ws/v1/executions/{execution.id}?after={last + 1}") as socket:
        assert await read_to_end(socket) == ([{"event": "cursor_ahead", "last": last}], 4400, "cursor_ahead")


async def test_cursor_older_than_what_is_kept_must_resync(server: LiveServer, tmp_path: Path) -> None:
    execution = await start(server.engine, ECHO, 5)
    await say(execution, 3)
    with sqlite3.connect(tmp_path / "live.db") as database:
        database.execute("DELETE FROM transitions WHERE number <= 2")
        (first,) = database.execute("SELECT min(first_sequence) FROM transitions").fetchone()
    database.close()
    path = f"/ws/v1/executions/{execution.id}"
    async with open_socket(server, path) as socket:
        messages, code, _ = await read_to_end(socket)
    assert (messages, code) == ([{"event": "resync_required", "first_available": first}], 4400)
    async with open_socket(server, f"{path}?after={first - 1}") as socket:
        assert (await read_event(socket))["sequence"] == first


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://localhost", "null", "http://127.0.0.1:1", "http://[", "127.0.0.1"]
)
async def test_page_of_another_origin_is_refused(server: LiveServer, origin: str) -> None:
    for path in ("/ws/v1/events", "/ws/v1/executions/any"):
        assert (await refusal(server, path, headers={"Origin": origin}))[0] == 403


async def test_own_page_may_open_a_socket(server: LiveServer) -> None:
    async with open_socket(server, "/ws/v1/events", headers={"Origin": server.http}) as socket:
        await socket.ping()


async def test_host_that_is_not_this_machine_is_refused(server: LiveServer) -> None:
    upgrade = {"Upgrade": "websocket", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Version": "13"}
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    lines = ["GET /ws/v1/events HTTP/1.1", "Host: evil.example", "Connection: Upgrade"]
    writer.write("\r\n".join([*lines, *(f"{name}: {value}" for name, value in upgrade.items()), "", ""]).encode())
    assert b" 403 " in await reader.readline()
    writer.close()


async def test_tenant_over_its_limit_is_refused_and_others_are_not(tmp_path: Path) -> None:
    async with live_server(tmp_path, streams_max=2) as server:
        execution = await start(server.engine, ECHO, 1)
        async with open_socket(server, "/ws/v1/events"), open_socket(server, "/ws/v1/events"):
            assert (await refusal(server, "/ws/v1/events"))[0] == 429
            path = f"/api/v1/executions/{execution.id}/events"
            status, headers, _ = await request(server, path, {"Accept": "text/event-stream"})
            assert (status, "retry-after" in headers) == (429, True)
            async with open_socket(server, "/ws/v1/events", tenant_id="other"):
                pass
        await wait_until(lambda: not server.streams.open_count)
        async with open_socket(server, "/ws/v1/events"):
            assert server.streams.refused_total == 2


async def test_drain_closes_every_socket_with_its_last_sequence(server: LiveServer) -> None:
    execution = await start(server.engine, ECHO, 5)
    last = len(await history(execution))
    async with (
        open_socket(server, f"/ws/v1/executions/{execution.id}") as following,
        open_socket(server, "/ws/v1/events") as commanding,
    ):
        for _ in range(last):
            await read_event(following)
        closing = asyncio.create_task(server.manager.close_all())
        assert (await read_to_end(following))[1:] == (1012, f"last={last}")
        assert (await read_to_end(commanding))[1:] == (1012, "")
        await closing
    assert server.streams.open_count == 0
    assert (await refusal(server, "/ws/v1/events"))[0] == 503
