"""The commands of the event socket that compensation brought: what the contract's list has, and no more."""

import json
from typing import Any

from live_client import ask, open_socket
from live_server import LiveServer

from workflow_engine.models.command import Cancel

BOOKED: dict[str, Any] = {
    "id": "booked",
    "nodes": [
        {"id": "room", "type": "set", "output": "R1", "compensate": "undo"},
        {"id": "paid", "type": "wait", "with": {"signal": "paid"}},
        {"id": "undo", "type": "set"},
    ],
    "connections": [{"from": "room", "to": "paid"}],
}


async def test_cancel_over_a_socket_compensates_if_asked(server: LiveServer) -> None:
    await server.engine.publish(BOOKED)
    async with open_socket(server, "/ws/v1/events") as socket:
        await ask(socket, command="start", workflow_id="booked", execution_id="b-1")
        reply = await ask(socket, command="cancel", execution_id="b-1", reason="enough", compensate=True)
        assert (reply["ok"], reply["result"]["status"]) == (True, "cancelled")
    steps, _ = await server.engine.services.steps.page("default", "b-1")
    assert [(step["step_id"], step["status"]) for step in steps] == [
        ("room.1", "compensated"),
        ("paid.1", "cancelled"),
        ("undo.1", "completed"),
    ]


async def test_commands_that_the_list_does_not_have_are_refused(server: LiveServer) -> None:
    await server.engine.publish(BOOKED)
    async with open_socket(server, "/ws/v1/events") as socket:
        await ask(socket, command="start", workflow_id="booked", execution_id="b-1")
        for command in ("terminate", "retry", "fork", "migrate", "bulk"):
            reply = await ask(socket, command=command, execution_id="b-1")
            assert (reply["ok"], reply["error"]["code"]) == (False, "invalid_command"), command


async def test_new_events_are_sent_live_as_they_are_kept(server: LiveServer) -> None:
    await server.engine.publish(BOOKED)
    execution = await server.engine.start("booked", execution_id="b-1")
    async with open_socket(server, "/ws/v1/executions/b-1?after=0") as socket:
        await server.engine.services.executions.give("default", "b-1", Cancel(compensate=True))
        live = [json.loads(message) async for message in socket]
    kept = [event async for event in server.engine.services.executions.events("default", execution.id, follow=False)]
    assert live == kept
    assert "workflow_compensating" in [event["event"] for event in live]
