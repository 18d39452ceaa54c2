"""The events of an execution: its history as a list, or live as server-sent events."""

import asyncio
import re
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog
from fastapi import APIRouter, Request
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from workflow_engine.models.errors import LimitExceeded, WorkflowEngineError
from workflow_engine.routes.context import Caller, CallerOf
from workflow_engine.routes.openapi import Answer, operation, parameter
from workflow_engine.routes.pages import limit_of
from workflow_engine.routes.problems import HttpProblem, encode_body
from workflow_engine.services.event_stream import StreamEvent
from workflow_engine.services.live_events import LiveEvents
from workflow_engine.services.streams import Stream
from workflow_engine.services.subscription import CursorAhead, ResyncRequired, Subscription

KEEP_ALIVE_S: Final = 15.0
"""Proxies give up on a connection that says nothing for a minute or less."""

PAGE_BYTES_MAX: Final = 8 * 1024 * 1024
"""A page ends early once it holds this much."""

SEQUENCE_MAX: Final = 2**63 - 1
_SEQUENCE = re.compile(r"[0-9]{1,19}")
_LINE_ENDS = re.compile(r"[\r\n]+")

log = structlog.get_logger(__name__)
router = APIRouter(tags=["events"])

EVENT_EXAMPLE: Final = {
    "event": "workflow_step_completed",
    "service": "workflow-engine",
    "sequence": 3,
    "task_id": None,
    "global_task_id": None,
    "tenant_id": "default",
    "timestamp": "2026-01-02T03:04:05.678901Z",
    "data": {
        "workflow_id": "expense-approval",
        "execution_id": "0197a2c4-5e0a-7c31-9d55-3f0b8f2f6f10",
        "step_id": "policy.1",
        "node_id": "policy",
        "next_node": "pay",
        "progress_percentage": 33,
        "output": None,
        "attempt": 1,
        "duration_ms": 0,
    },
}


def sequence_of(text: str, name: str) -> int:
    """A sequence as a request gives it; raises HttpProblem (422)."""
    if _SEQUENCE.fullmatch(text) is None or int(text) > SEQUENCE_MAX:
        raise HttpProblem(422, f"`{name}` must be a sequence: an integer from 0", code="invalid_sequence")
    return int(text)


def after_of(connection: HTTPConnection) -> int:
    """The sequence after which a request or socket wants the events, exclusive; 0 without one."""
    return sequence_of(connection.query_params.get("after", "0"), "after")


def open_stream(live: LiveEvents, tenant_id: str, on_drain: Callable[[], None], tenant_max: int) -> Stream:
    """Let a live stream in; raises HttpProblem (429) where the tenant has enough of them, StoreUnavailable."""
    try:
        return live.streams.open(tenant_id, on_drain, tenant_max=tenant_max)
    except LimitExceeded as error:
        raise HttpProblem(429, error.message, code="too_many_streams", headers={"Retry-After": "5"}) from None


def cursor_message(error: CursorAhead | ResyncRequired) -> dict[str, Any]:
    """What a live stream says, before it ends, to a client whose cursor can't be used."""
    return {"event": error.code, **error.data}


def sse_message(event: StreamEvent) -> bytes:
    """An event as a server-sent one; its JSON is a single line."""
    name = _LINE_ENDS.sub(" ", event.name)
    return f"id: {event.sequence}\nevent: {name}\ndata: ".encode() + event.encoded + b"\n\n"


PARAMETERS: Final = (
    parameter("after", {"type": "integer", "minimum": 0, "default": 0}, "Events after this sequence.", example=2),
    parameter("limit", {"type": "integer", "minimum": 1, "maximum": 500}, "Events in a page."),
    parameter("cursor", {"type": "string"}, "Where the page before ended."),
    parameter(
        "Last-Event-ID", {"type": "string"}, "As `after`, for a stream that goes on.", place="header", example="2"
    ),
)
LISTED: Final = operation(
    "listEvents",
    "The events of an execution",
    answers={
        200: Answer("A page of the history, or the stream."),
        204: Answer("`Last-Event-ID` is the end of the execution: nothing will come."),
    },
    refusals=(404, 429),
    parameters=PARAMETERS,
)
LISTED["responses"][200]["content"] = {
    "application/json": {"example": {"items": [EVENT_EXAMPLE], "next_cursor": None}},
    "text/event-stream": {"example": "id: 3\nevent: workflow_step_completed\ndata: {...}\n\n"},
}


@router.get("/api/v1/executions/{execution_id}/events", **LISTED)
async def events(execution_id: str, request: Request, caller: CallerOf) -> Response:
    """The history, oldest first, in pages. With `Accept: text/event-stream` the events after `after` (or after
    `Last-Event-ID`, which wins) and then live, until the execution has ended.
    """
    if "text/event-stream" in request.headers.get("accept", "").lower():
        return await _follow(request, caller, execution_id)
    return await _page(request, caller, execution_id)


async def _page(request: Request, caller: Caller, execution_id: str) -> Response:
    after, limit = after_of(request), limit_of(request)
    cursors, name = caller.door.cursors, f"events/{execution_id}"
    if (cursor := request.query_params.get("cursor")) is not None:
        after = cursors.read(caller.tenant_id, name, cursor)
    row = await caller.services.store.execution(caller.tenant_id, execution_id)
    found = await caller.services.live.log.read(row, after, events_max=limit, bytes_max=PAGE_BYTES_MAX)
    has_more = bool(found) and found[-1].sequence < row.sequence
    next_cursor = cursors.make(caller.tenant_id, name, found[-1].sequence) if has_more else None
    items = b",".join(event.encoded for event in found)
    body = b'{"items":[' + items + b'],"next_cursor":' + encode_body(next_cursor) + b"}"
    return Response(body, media_type="application/json")


async def _follow(request: Request, caller: Caller, execution_id: str) -> Response:
    last_event_id = request.headers.get("last-event-id")
    after = sequence_of(last_event_id, "Last-Event-ID") if last_event_id else after_of(request)
    live = caller.services.live
    try:
        subscription = await live.subscribe(caller.tenant_id, execution_id, after=after)
    except (CursorAhead, ResyncRequired) as error:
        return _refusal(error)
    if last_event_id and subscription.has_ended:
        # The one answer after which a browser does not connect again.
        subscription.close()
        return Response(status_code=204)
    try:
        stream = open_stream(live, caller.tenant_id, subscription.stop, caller.door.settings.streams_max)
    except Exception:
        subscription.close()
        raise
    return EventSource(live, subscription, stream, stall_s=caller.door.settings.stream_stall)


def _refusal(error: CursorAhead | ResyncRequired) -> Response:
    data = b"event: " + error.code.encode() + b"\ndata: " + encode_body(cursor_message(error)) + b"\n\n"
    return Response(data, media_type="text/event-stream", headers=EventSource.HEADERS)


class EventSource(Response):
    """A subscription as an answer that ends with the execution. It closes the subscription and leaves the stream."""

    media_type = "text/event-stream"
    HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

    def __init__(self, live: LiveEvents, subscription: Subscription, stream: Stream, *, stall_s: float) -> None:
        super().__init__(headers=self.HEADERS)
        del self.headers["content-length"]
        self._live = live
        self._subscription = subscription
        self._stream = stream
        self._stall_s = stall_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await _first(self._write(send), _disconnected(receive))
        finally:
            self._subscription.close()
            self._stream.leave()

    async def _write(self, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await self._write_events(send)
            await send(_chunk(b"", is_last=True))
        except TimeoutError:
            self._live.streams.slow_closed_total += 1
        except WorkflowEngineError as error:
            # Without the last chunk the client knows that this was not the end, and connects again.
            log.warning("stream.interrupted", tenant_id=self._stream.tenant_id, error=error.message)

    async def _write_events(self, send: Send) -> None:
        await self._send(send, b": connected\n\n")
        while True:
            try:
                async with asyncio.timeout(KEEP_ALIVE_S):
                    batch = await self._subscription.next()
            except TimeoutError:
                await self._send(send, b": keep-alive\n\n")
                continue
            if batch is None:
                return
            await self._send(send, batch.made_by(sse_message))
            self._live.streams.events_sent_total += len(batch.events)

    async def _send(self, send: Send, data: bytes) -> None:
        async with asyncio.timeout(self._stall_s):
            await send(_chunk(data))


def _chunk(data: bytes, *, is_last: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": not is_last}


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _first(*jobs: Coroutine[Any, Any, None]) -> None:
    """Run all until one is done; the others are cancelled."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
