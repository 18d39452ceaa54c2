"""Executions that the faults of live streams are tried with, and one who follows them."""

import json
from typing import Any

import aiohttp
from fault_stage import require
from server_process import ServerProcess

ECHO: dict[str, Any] = {
    "id": "echo",
    "start": ["listen"],
    "variables": {"n": 0},
    "nodes": [
        {"id": "listen", "type": "wait", "with": {"signal": "say"}, "assign": {"n": "${ vars.n + 1 }"}},
        {"id": "done", "type": "set", "output": "${ vars.n }"},
    ],
    "connections": [
        {"from": "listen", "to": "listen", "when": "vars.n < input"},
        {"from": "listen", "to": "done", "otherwise": True},
    ],
}
"""Takes `input` signals; each is a commit of a few events."""

BURSTS: dict[str, Any] = {
    "id": "bursts",
    "start": ["listen"],
    "variables": {"n": 0},
    "nodes": [
        {"id": "listen", "type": "wait", "with": {"signal": "say"}},
        {
            "id": "burst",
            "type": "emit",
            "foreach": {"items": "${ input.items }"},
            "with": {"event": "tick", "data": "${ input.text }"},
            "assign": {"n": "${ vars.n + 1 }"},
        },
        {"id": "done", "type": "set"},
    ],
    "connections": [
        {"from": "listen", "to": "burst"},
        {"from": "burst", "to": "listen", "when": "vars.n < input.count"},
        {"from": "burst", "to": "done", "otherwise": True},
    ],
}
"""Each signal is a hundred items of three events each, of a kilobyte every third one."""

CLOSED = (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)


def path_of(execution_id: str, after: int = 0) -> str:
    """Where an execution is followed."""
    return f"/ws/v1/executions/{execution_id}?after={after}"


async def say(server: ServerProcess, execution_id: str) -> None:
    """Send the signal that both flows wait for."""
    status, body = await server.call("POST", f"/api/v1/executions/{execution_id}/signals/say", {})
    require(status == 202, f"{status}: {body}")


async def next_sequence(socket: aiohttp.ClientWebSocketResponse, timeout_s: float = 20.0) -> int | None:
    """The sequence of the next event; None once the server has closed."""
    message = await socket.receive(timeout_s)
    if message.type in CLOSED:
        return None
    return int(json.loads(message.data)["sequence"])
