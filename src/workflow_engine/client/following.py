"""The events of one execution, live: every one, in order, once, over however many connections it takes."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from random import random
from typing import Any, Final

import aiohttp
import msgspec

from workflow_engine.client.backoff import delay_s
from workflow_engine.client.connection import Connection, reason_of
from workflow_engine.client.errors import RequestRefused, ServerUnreachable
from workflow_engine.models.execution import TERMINAL

DELAY_S_MAX: Final = 30.0
RECONNECT_S: Final = 15 * 60.0
"""How long a server may be away while nothing new comes: longer than any restart or upgrade should take."""
NORMAL: Final = 1000
TERMINAL_EVENTS: Final = frozenset({"workflow_completed", "workflow_failed", "workflow_cancelled"})

OnLost = Callable[[str, float], None]
"""Is told why the connection was lost and in how many seconds the next attempt comes."""


class _Lost(Exception):
    """The connection ended before the execution did."""


async def follow(
    connection: Connection, execution_path: str, socket_path: str, *, after: int, on_lost: OnLost
) -> AsyncGenerator[dict[str, Any]]:
    """Every event after a sequence, until the execution has ended.

    Raises:
        RequestRefused: there is no such execution, or nothing can be followed from that sequence.
        ServerUnreachable: the server was away for too long.
    """
    loop = asyncio.get_running_loop()
    position, failures, given_up_at, last = after, 0, 0.0, ""
    while True:
        try:
            async with aclosing(_read(connection, socket_path, position)) as events:
                async for event in events:
                    position, failures, last = event["sequence"], 0, event["event"]
                    yield event
            if last in TERMINAL_EVENTS or await _has_ended(connection, execution_path):
                return
            reason = "the server closed the stream"
        except _Lost as lost:
            reason = str(lost)
        except aiohttp.WSServerHandshakeError as error:
            reason = await _why_refused(connection, execution_path, error)
        failures += 1
        pause_s = delay_s(failures, random(), longest_s=DELAY_S_MAX)
        given_up_at = loop.time() + RECONNECT_S if failures == 1 else given_up_at
        if loop.time() + pause_s > given_up_at:
            raise ServerUnreachable(connection.url, reason)
        on_lost(reason, pause_s)
        await asyncio.sleep(pause_s)


async def _read(connection: Connection, path: str, position: int) -> AsyncGenerator[dict[str, Any]]:
    """The events of one connection; ends where the server says that all is told, else raises _Lost."""
    try:
        socket = await connection.socket(path, [("after", str(position))])
    except aiohttp.WSServerHandshakeError:
        raise
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise _Lost(f"{connection.url} can't be reached: {reason_of(error)}") from None
    async with socket:
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                break
            event = _event(message.data)
            if event["sequence"] == position + 1:
                position += 1
                yield event
            elif event["sequence"] > position:
                raise _Lost(f"event {position + 1} is missing")
        if socket.close_code != NORMAL:
            raise _Lost(f"the connection was lost ({socket.close_code})")


def _event(text: str) -> dict[str, Any]:
    try:
        event = msgspec.json.decode(text)
        if isinstance(event["sequence"], int) and isinstance(event["data"], dict):
            return event  # type: ignore[no-any-return]
    except (msgspec.DecodeError, TypeError):
        raise _Lost("a message that is no event") from None
    except KeyError:
        raise _unusable_cursor(event) from None
    raise _Lost("a message that is no event")


def _unusable_cursor(message: dict[str, Any]) -> RequestRefused:
    first = message.get("first_available")
    if first is not None:
        detail = f"the events before {first} are not kept any more; follow it after {first - 1}"
    elif message.get("last") is not None:
        detail = f"the execution's last event is {message['last']}; follow it after that or an earlier one"
    else:
        detail = f"the stream ended: {message.get('event')}"
    return RequestRefused(409, str(message.get("event")), detail)


async def _has_ended(connection: Connection, execution_path: str) -> bool:
    answer = await connection.request("GET", execution_path)
    return answer.body["status"] in TERMINAL


async def _why_refused(connection: Connection, execution_path: str, error: aiohttp.WSServerHandshakeError) -> str:
    """Why a socket was not opened, if another attempt may help; else raises RequestRefused. A handshake has no body, so
    the same question is asked by a request.
    """
    reason = f"the server answered {error.status}"
    refused = RequestRefused(error.status, f"http_{error.status}", f"the live stream was refused: {reason}")
    if refused.is_passing:
        return reason
    await connection.request("GET", execution_path)
    raise refused from None
