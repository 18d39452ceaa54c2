"""F43: a listener is cut off again and again, and its server is killed under it."""

import asyncio
import contextlib
import random

import aiohttp
from fault_listener import next_sequence, path_of, say
from fault_stage import Stage, require
from listening_flows import ECHO
from server_process import ServerProcess

from workflow_engine.services.event_log import EventLog

TITLE = "a listener cut 50 times, its server killed 5 times: every event once, in order"
TOOTH = "a listener that comes back gets only what comes from now on"

SIGNALS = 300
KILLS = 5
CUTS = 50


def scale() -> None:
    """Real sizes."""


def bite() -> None:
    """Have nothing to tell of the past."""

    async def nothing(self: EventLog, *_: object, **__: object) -> None:
        return None

    EventLog.after = nothing  # type: ignore[method-assign,assignment]


class Listener:
    """Follows an execution over cuts and restarts."""

    def __init__(self, execution_id: str) -> None:
        self.execution_id = execution_id
        self.seen: list[int] = []
        self.cuts = 0
        self._chance = random.Random(43)

    async def listen(self, server: ServerProcess) -> None:
        """Read, be cut, come back; returns at the end of the execution or of the server."""
        require(server.client is not None, "no client")
        while True:
            after = self.seen[-1] if self.seen else 0
            limit = self._chance.randint(1, 40) if self.cuts < CUTS else None
            async with server.client.ws_connect(path_of(self.execution_id, after)) as connected:  # type: ignore[union-attr]
                while limit is None or limit > 0:
                    sequence = await next_sequence(connected)
                    if sequence is None:
                        return
                    self.seen.append(sequence)
                    limit = limit - 1 if limit is not None else None
                self.cuts += 1
                require(connected._writer.transport is not None, "no transport")
                connected._writer.transport.abort()


async def strike(stage: Stage) -> None:
    """Six lives of the server, one listener."""
    listener = Listener("followed")
    said = 0
    for life in range(KILLS + 1):
        async with stage.server() as server:
            if life == 0:
                await server.publish(ECHO)
                await server.start("echo", input=SIGNALS, execution_id=listener.execution_id)
            listening = asyncio.create_task(listener.listen(server))
            listening.add_done_callback(
                lambda task: task.cancelled() or task.exception()
            )  # looked at, whoever fails first
            while said < SIGNALS * (life + 1) // (KILLS + 1):
                await say(server, listener.execution_id)
                said += 1
            if life < KILLS:
                require(server.process is not None, "no process")
                server.process.kill()  # type: ignore[union-attr]
                with contextlib.suppress(aiohttp.ClientError):
                    await listening
                continue
            last = (await server.until_status(listener.execution_id))["sequence"]
            async with asyncio.timeout(20):
                await listening
    require(listener.cuts >= CUTS, f"only {listener.cuts} cuts")
    require(listener.seen == list(range(1, last + 1)), f"saw {len(listener.seen)} events of {last}")
