"""The two WebSocket doors."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

from starlette.websockets import WebSocket

from workflow_engine.models.errors import Conflict, LimitExceeded, WorkflowEngineError
from workflow_engine.routes.events import after_of, cursor_message
from workflow_engine.services.subscription import (
    CursorAhead,
    Feed,
    FellBehind,
    ResyncRequired,
    Subscription,
)
from workflow_engine.websocket.commands import (
    CommandInvalid,
    Subscribe,
    Unsubscribe,
    command_of,
    id_of,
    read_message,
    steer,
)
from workflow_engine.websocket.connection_manager import CURSOR_UNUSABLE, NORMAL, Connection, ConnectionManager
from workflow_engine.websocket.events import failed, succeeded

SEQUENCE_MAX = 2**63 - 1


class ExecutionSocket:
    """`/ws/v1/executions/{id}?after=n`: every event of one execution, then a normal close."""

    def __init__(self, manager: ConnectionManager) -> None:
        self._manager = manager

    async def __call__(self, websocket: WebSocket) -> None:
        connection = self._manager.enter(websocket)
        after, execution_id = after_of(websocket), websocket.path_params["execution_id"]
        async with self._manager.admit(connection):
            try:
                subscription = await connection.live.subscribe(
                    connection.tenant_id, execution_id, after=after, reader=connection.reader
                )
            except (CursorAhead, ResyncRequired) as error:
                await _refuse_cursor(connection, error)
                return
            with subscription:
                connection.last = after
                await connection.accept()
                await _serve(connection, partial(_send_all, connection, subscription))


async def _refuse_cursor(connection: Connection, error: CursorAhead | ResyncRequired) -> None:
    await connection.accept()
    await connection.send_message(cursor_message(error))
    connection.close(CURSOR_UNUSABLE, error.code)


async def _serve(connection: Connection, write: Callable[[], Awaitable[None]]) -> None:
    """Write until the client goes; what it says meanwhile is not asked for."""
    writer = asyncio.ensure_future(connection.supervise(write))
    try:
        async for _ in connection.texts():
            pass
    finally:
        await _cancel(writer)


async def _cancel(*writers: "asyncio.Future[None]") -> None:
    for writer in writers:
        writer.cancel()
    await asyncio.gather(*writers, return_exceptions=True)


async def _send_all(connection: Connection, subscription: Subscription) -> None:
    while (batch := await subscription.next()) is not None:
        await connection.send_events(batch)
        connection.last = batch.last
    connection.close(NORMAL, "the execution has ended")


class EventSocket:
    """`/ws/v1/events`: subscriptions and commands."""

    def __init__(self, manager: ConnectionManager) -> None:
        self._manager = manager

    async def __call__(self, websocket: WebSocket) -> None:
        connection = self._manager.enter(websocket)
        async with self._manager.admit(connection):
            await connection.accept()
            await Session(connection).run()


Target = tuple[str | None, str | None]
"""The execution or the workflow that is followed; neither: all of the tenant."""


class Writer(NamedTuple):
    """A subscription and the task that writes its events."""

    follower: Subscription | Feed
    task: "asyncio.Future[None]"

    async def end(self) -> None:
        """Write no more of it."""
        await _cancel(self.task)
        self.follower.close()


class Session:
    """What one event socket has subscribed to. Commands are done one after another, in their order."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._writers: dict[Target, Writer] = {}

    async def run(self) -> None:
        """Until the client goes."""
        try:
            async for text in self._connection.texts():
                await self._connection.supervise(partial(self._do, text))
        finally:
            for writer in list(self._writers.values()):
                await writer.end()

    async def _do(self, text: str) -> None:
        command_id: str | int | None = None
        try:
            value = read_message(text)
            command_id = id_of(value)
            command = command_of(value)
            match command:
                case Subscribe():
                    await self._subscribe(command)
                case Unsubscribe():
                    await self._unsubscribe(command)
                case _:
                    result = await steer(self._connection.services, self._connection.tenant_id, command)
                    await self._reply(command.id, result)
        except WorkflowEngineError as error:
            await self._connection.send_message(failed(command_id, error))

    async def _reply(self, command_id: str | int, result: Any) -> None:
        await self._connection.send_message(succeeded(command_id, result))

    # --- subscriptions

    async def _subscribe(self, command: Subscribe) -> None:
        target = _target_of(command.execution_id, command.workflow_id)
        if target in self._writers:
            raise Conflict("this socket has this subscription already", code="already_subscribed")
        subscriptions_max = self._connection.settings.subscriptions_max
        if len(self._writers) >= subscriptions_max:
            raise LimitExceeded(f"this socket has {subscriptions_max} subscriptions", code="too_many_subscriptions")
        follower = await self._follow(command)
        try:
            await self._reply(command.id, _described(target, command.after))
        except BaseException:
            follower.close()
            raise
        write = partial(self._write, target, follower)
        self._writers[target] = Writer(follower, asyncio.ensure_future(self._connection.supervise(write)))

    async def _follow(self, command: Subscribe) -> Subscription | Feed:
        live, tenant_id, reader = self._connection.live, self._connection.tenant_id, self._connection.reader
        if command.execution_id is not None:
            if not 0 <= command.after <= SEQUENCE_MAX:
                raise CommandInvalid("`after` is a sequence: an integer from 0")
            return await live.subscribe(tenant_id, command.execution_id, after=command.after, reader=reader)
        if command.after:
            raise CommandInvalid("`after` goes with `execution_id`; other subscriptions begin now")
        if command.workflow_id is not None:
            await self._connection.services.store.workflow(tenant_id, command.workflow_id)
            return live.follow_workflow(tenant_id, command.workflow_id, reader)
        return live.follow_tenant(tenant_id, reader)

    async def _unsubscribe(self, command: Unsubscribe) -> None:
        target = _target_of(command.execution_id, command.workflow_id)
        writer = self._writers.pop(target, None)
        if writer is None:
            raise Conflict("this socket has no such subscription", code="not_subscribed")
        await writer.end()
        await self._reply(command.id, _described(target))

    async def _write(self, target: Target, follower: Subscription | Feed) -> None:
        while True:
            try:
                batch = await follower.next()
            except FellBehind:
                await self._connection.send_message({"event": "resync_required", **_described(target)})
                continue
            if batch is None:
                break
            await self._connection.send_events(batch)
        follower.close()
        self._writers.pop(target, None)


def _target_of(execution_id: str | None, workflow_id: str | None) -> Target:
    if execution_id is not None and workflow_id is not None:
        raise CommandInvalid("give `execution_id` or `workflow_id`, not both")
    return execution_id, workflow_id


def _described(target: Target, after: int | None = None) -> dict[str, Any]:
    execution_id, workflow_id = target
    if execution_id is not None:
        return {"execution_id": execution_id} if after is None else {"execution_id": execution_id, "after": after}
    return {"workflow_id": workflow_id} if workflow_id is not None else {"all": True}
