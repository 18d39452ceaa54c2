import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from listening_flows import ECHO
from live_client import ask, open_socket, read_event, read_to_end, sequences
from live_server import LiveServer, live_server


async def until_over(socket: Any, execution_id: str) -> list[dict[str, Any]]:
    """The events of one execution, up to its end."""
    found = []
    while True:
        message = await read_event(socket)
        if message["data"]["execution_id"] == execution_id:
            found.append(message)
            if message["event"] == "workflow_completed":
                return found


async def test_execution_is_started_signalled_and_followed_on_one_socket(server: LiveServer) -> None:
    await server.engine.publish(ECHO)
    async with open_socket(server, "/ws/v1/events") as socket:
        started = (await ask(socket, command="start", workflow_id="echo", input=1, metadata={"a": 1}))["result"]
        assert (started["status"], started["metadata"]) == ("paused", {"a": 1})
        execution_id = started["execution_id"]
        reply = await ask(socket, command="subscribe", execution_id=execution_id, after=2)
        assert reply == {"reply_to": "q", "ok": True, "result": {"execution_id": execution_id, "after": 2}}
        await socket.send(json.dumps({"id": 7, "command": "signal", "execution_id": execution_id, "name": "say"}))
        messages: list[dict[str, Any]] = []
        while not {7, "workflow_completed"} <= {message.get("reply_to", message.get("event")) for message in messages}:
            messages.append(await read_event(socket))
    replies = [message for message in messages if "reply_to" in message]
    events = [message for message in messages if "event" in message]
    assert [(reply["reply_to"], reply["ok"]) for reply in replies] == [(7, True)]
    assert sequences(events) == list(range(3, len(events) + 3))
    assert events == [event async for event in server.engine.execution(execution_id).events(after=2)]


async def test_execution_is_paused_resumed_and_cancelled(server: LiveServer) -> None:
    await server.engine.publish(ECHO)
    async with open_socket(server, "/ws/v1/events") as socket:
        execution_id = (await ask(socket, command="start", workflow_id="echo", input=1))["result"]["execution_id"]
        paused = await ask(socket, command="pause", execution_id=execution_id)
        resumed = await ask(socket, command="resume", execution_id=execution_id)
        refused = await ask(socket, command="resume", execution_id=execution_id)
        cancelled = await ask(socket, command="cancel", execution_id=execution_id, reason="enough")
    assert (paused["result"]["reason"], resumed["result"]["reason"]) == ("operator", "input")
    assert (refused["ok"], refused["error"]["status"]) == (False, 409)
    assert cancelled["result"]["status"] == "cancelled"


async def test_start_with_an_id_may_be_sent_again(server: LiveServer) -> None:
    await server.engine.publish(ECHO)
    start = {"command": "start", "workflow_id": "echo", "execution_id": "mine", "input": 2}
    async with open_socket(server, "/ws/v1/events") as socket:
        first, again = await ask(socket, **start), await ask(socket, **start)
        other = await ask(socket, **{**start, "input": 3})
    assert first["ok"]
    assert first["result"] == again["result"]
    assert (other["ok"], other["error"]["code"]) == (False, "already_exists")


async def test_tenant_and_workflow_subscriptions_get_what_comes_and_only_their_own(server: LiveServer) -> None:
    await server.engine.publish(ECHO)
    await server.engine.publish({**ECHO, "id": "other"})
    await server.engine.services.workflows.publish("stranger", ECHO)
    executions = server.engine.services.executions
    async with (
        open_socket(server, "/ws/v1/events") as all_of_it,
        open_socket(server, "/ws/v1/events") as workflow,
        open_socket(server, "/ws/v1/events", tenant_id="stranger") as stranger,
    ):
        assert (await ask(all_of_it, command="subscribe"))["result"] == {"all": True}
        assert (await ask(workflow, command="subscribe", workflow_id="other"))["result"] == {"workflow_id": "other"}
        await ask(stranger, command="subscribe")
        first = await server.engine.start("echo", 1)
        second = await server.engine.start("other", 1)
        foreign = (await executions.start("stranger", "echo", 1))["execution_id"]
        await first.signal("say")
        await executions.signal("stranger", foreign, "say")
        await second.signal("say")
        got = {
            name: await until_over(socket, execution_id)
            for name, socket, execution_id in [
                ("tenant", all_of_it, second.id),
                ("workflow", workflow, second.id),
                ("stranger", stranger, foreign),
            ]
        }
    assert got["tenant"] == got["workflow"] == [event async for event in second.events()]
    assert {event["tenant_id"] for event in got["stranger"]} == {"stranger"}


async def test_feed_holds_no_event_of_another_tenant(server: LiveServer) -> None:
    await server.engine.services.workflows.publish("stranger", ECHO)
    await server.engine.publish(ECHO)
    async with open_socket(server, "/ws/v1/events") as socket:
        await ask(socket, command="subscribe")
        await server.engine.services.executions.start("stranger", "echo", 1)
        mine = await server.engine.start("echo", 1)
        assert (await read_event(socket))["data"]["execution_id"] == mine.id


async def test_after_unsubscribe_no_event_comes(server: LiveServer) -> None:
    await server.engine.publish(ECHO)
    execution = await server.engine.start("echo", 2)
    async with open_socket(server, "/ws/v1/events") as socket:
        last = (await execution.get())["sequence"]
        await ask(socket, command="subscribe", execution_id=execution.id, after=last)
        assert (await ask(socket, command="subscribe", execution_id=execution.id))["error"]["status"] == 409
        assert (await ask(socket, command="unsubscribe", execution_id=execution.id))["ok"]
        await execution.signal("say")
        assert (await ask(socket, command="unsubscribe", execution_id=execution.id))["error"]["status"] == 409
        assert (await ask(socket, command="subscribe", execution_id=execution.id, after=last))["ok"]
        assert (await read_event(socket))["sequence"] == last + 1
    assert server.engine.services.live.topics <= 1


@pytest.mark.parametrize(
    ("message", "code", "reply_to"),
    [
        ("{", "invalid_json", None),
        ("", "document_empty", None),
        ("[]", "invalid_command", None),
        ('"x"', "invalid_command", None),
        ('{"command": "subscribe"}', "invalid_command", None),
        ('{"id": null, "command": "subscribe"}', "invalid_command", None),
        ('{"id": true, "command": "subscribe"}', "invalid_command", None),
        ('{"id": 1}', "invalid_command", 1),
        ('{"id": 1, "command": "explode"}', "invalid_command", 1),
        ('{"id": 1, "command": "subscribe", "evil": 1}', "invalid_command", 1),
        ('{"id": 1, "command": "subscribe", "after": 3}', "invalid_command", 1),
        ('{"id": 1, "command": "subscribe", "execution_id": "a", "workflow_id": "b"}', "invalid_command", 1),
        ('{"id": 1, "command": "subscribe", "execution_id": "a", "after": -1}', "invalid_command", 1),
        ('{"id": 1, "command": "subscribe", "execution_id": "a", "after": 1e3}', "invalid_command", 1),
        ('{"id": 1, "command": "start", "workflow_id": "echo", "priority": 10}', "invalid_command", 1),
        ('{"id": 1, "command": "start", "workflow_id": "echo", "delay": "soon"}', "invalid_command", 1),
        ('{"id": 1, "command": "start", "workflow_id": "nowhere"}', "not_found", 1),
        ('{"id": 1, "command": "subscribe", "execution_id": "nowhere"}', "not_found", 1),
        ('{"id": 1, "command": "subscribe", "workflow_id": "nowhere"}', "not_found", 1),
        ('{"id": 1, "command": "signal", "execution_id": "nowhere", "name": "x"}', "not_found", 1),
        ('{"id": 1, "id": 2, "command": "subscribe"}', "duplicate_key", None),
        ('{"id": 1, "command": "start", "workflow_id": "echo", "input": NaN}', "not_finite", None),
        ("[" * 100_000, "too_deep", None),
    ],
)
async def test_malformed_command_gets_a_problem_and_the_socket_stays(
    server: LiveServer, message: str, code: str, reply_to: int | None
) -> None:
    await server.engine.publish(ECHO)
    async with open_socket(server, "/ws/v1/events") as socket:
        await socket.send(message)
        reply = await read_event(socket)
        assert (reply["ok"], reply["error"]["code"], reply["reply_to"]) == (False, code, reply_to)
        assert reply["error"]["detail"]
        assert (await ask(socket, command="subscribe"))["ok"]


async def test_another_tenants_ids_are_unknown_to_every_command(server: LiveServer) -> None:
    await server.engine.publish(ECHO)
    execution = await server.engine.start("echo", 1, execution_id="real")
    commands: list[dict[str, Any]] = [
        {"command": "subscribe"}, {"command": "pause"}, {"command": "resume"}, {"command": "cancel"},
        {"command": "signal", "name": "say"},
    ]  # fmt: skip
    async with open_socket(server, "/ws/v1/events", tenant_id="stranger") as socket:
        for command in commands:
            real = json.dumps(await ask(socket, **command, execution_id="real"))
            unknown = json.dumps(await ask(socket, **command, execution_id="fake"))
            assert real.replace("real", "fake") == unknown
            assert '"status": 404' in real
    assert (await execution.get())["status"] == "paused"


async def test_cursor_ahead_is_a_problem_that_names_the_end(server: LiveServer) -> None:
    await server.engine.publish(ECHO)
    execution = await server.engine.start("echo", 1)
    last = (await execution.get())["sequence"]
    async with open_socket(server, "/ws/v1/events") as socket:
        reply = await ask(socket, command="subscribe", execution_id=execution.id, after=last + 1)
    assert (reply["error"]["code"], reply["error"]["last"], reply["error"]["status"]) == ("cursor_ahead", last, 409)


async def test_subscriptions_of_a_socket_are_bounded(tmp_path: Path) -> None:
    async with live_server(tmp_path, subscriptions_max=2) as server:
        await server.engine.publish(ECHO)
        ids = [(await server.engine.start("echo", 1)).id for _ in range(3)]
        async with open_socket(server, "/ws/v1/events") as socket:
            for execution_id in ids[:2]:
                await socket.send(json.dumps({"id": 1, "command": "subscribe", "execution_id": execution_id}))
            await socket.send(json.dumps({"id": 2, "command": "subscribe", "execution_id": ids[2]}))
            message = await read_event(socket)
            while message.get("reply_to") != 2:
                message = await read_event(socket)
    assert message["error"]["code"] == "too_many_subscriptions"


async def test_binary_message_closes_with_1003(server: LiveServer) -> None:
    execution = await _started(server)
    for path in ("/ws/v1/events", f"/ws/v1/executions/{execution}"):
        async with open_socket(server, path) as socket:
            await socket.send(b"\0\1")
            assert (await read_to_end(socket))[1] == 1003


async def _started(server: LiveServer) -> str:
    await server.engine.publish(ECHO)
    return (await server.engine.start("echo", 1)).id


async def test_oversize_message_closes_with_1009(server: LiveServer) -> None:
    async with open_socket(server, "/ws/v1/events") as socket:
        sending = asyncio.create_task(socket.send("x" * 10 * 1024 * 1024))
        assert (await read_to_end(socket))[1] == 1009
        await asyncio.gather(sending, return_exceptions=True)


async def test_text_that_is_no_utf8_closes_with_1007(server: LiveServer) -> None:
    async with open_socket(server, "/ws/v1/events") as socket:
        await socket.send(b"\xff\xfe", text=True)
        assert (await read_to_end(socket))[1] == 1007


TINY = b"\x81\x80\0\0\0\0"
PING = b"\x89\x80\0\0\0\0"
FRAGMENT = b"\x00\x80\0\0\0\0"


@pytest.mark.parametrize(
    "frames", [TINY * 50_000, PING * 50_000, b"\x01\x80\0\0\0\0" + FRAGMENT * 50_000], ids=["texts", "pings", "parts"]
)
async def test_flood_of_tiny_frames_closes_with_1008(server: LiveServer, frames: bytes) -> None:
    async with open_socket(server, "/ws/v1/events") as socket:
        socket.transport.write(frames)
        await asyncio.wait_for(socket.wait_closed(), 30)
        assert socket.close_code == 1008
    async with open_socket(server, "/ws/v1/events") as socket:
        assert (await ask(socket, command="subscribe"))["ok"]


async def test_compression_is_not_offered(server: LiveServer) -> None:
    async with open_socket(server, "/ws/v1/events", compression="deflate") as socket:
        assert socket.protocol.extensions == []
