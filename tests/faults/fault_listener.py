"""What the faults of live streams say to an execution, and what they read."""

import json

import aiohttp
from fault_stage import require
from server_process import ServerProcess

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
