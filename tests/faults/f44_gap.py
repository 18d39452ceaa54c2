"""F44: an event is committed right between a listener's last look at the log and its first wait for what is live."""

import asyncio

from fault_listener import next_sequence, path_of, say
from fault_stage import Stage, require
from listening_flows import ECHO

from workflow_engine.services.event_log import EventLog
from workflow_engine.services.event_stream import Batch
from workflow_engine.services.subscription import Subscription
from workflow_engine.store import ExecutionRow

TITLE = "an event committed between the backlog and the live events: seen at once, and once"
TOOTH = "a listener waits without looking whether something came meanwhile"

HELD_S = 10.0


def scale() -> None:
    """Hold a listener that has read all of the log until one more event is committed."""
    after = EventLog.after

    async def held(self: EventLog, row: ExecutionRow, sequence: int, *, progress: int | None = None) -> Batch | None:
        batch = await after(self, row, sequence, progress=progress)
        if batch is None:
            async with asyncio.timeout(HELD_S):
                while (await self._store.execution(row.tenant_id, row.execution_id)).sequence <= sequence:  # noqa: ASYNC110 - by any process
                    await asyncio.sleep(0.005)
        return batch

    EventLog.after = held  # type: ignore[method-assign]


def bite() -> None:
    """Wait for the next event whatever there is."""

    async def next_batch(self: Subscription) -> Batch | None:
        while not self._is_stopped:
            batch = self._tail.after(self.last) if self._tail.covers(self.last) else await self._from_log()
            if batch is not None:
                for event in batch.events:
                    self._take(event)
                return batch
            if self.has_ended:
                return None
            await self._wait()
        return None

    Subscription.next = next_batch  # type: ignore[method-assign]


async def strike(stage: Stage) -> None:
    """Say something while the listener is held; it must hear it before anything else is said."""
    async with stage.server() as server:
        await server.publish(ECHO)
        execution_id = await server.start("echo", input=3)
        backlog = (await server.execution(execution_id))["sequence"]
        require(server.client is not None, "no client")
        seen = []
        async with server.client.ws_connect(path_of(execution_id)) as connected:  # type: ignore[union-attr]
            while len(seen) < backlog:
                seen.append(await next_sequence(connected))
            await say(server, execution_id)
            committed = (await server.execution(execution_id))["sequence"]
            require(committed > backlog, "nothing was committed in the gap")
            while len(seen) < committed:
                seen.append(await next_sequence(connected, 5.0))
            await say(server, execution_id)
            await say(server, execution_id)
            while (sequence := await next_sequence(connected)) is not None:
                seen.append(sequence)
        last = (await server.until_status(execution_id))["sequence"]
        require(seen == list(range(1, last + 1)), f"saw {seen} of {last}")
