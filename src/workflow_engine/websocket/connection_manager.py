"""The WebSockets that are open: who may open one, what is sent on it, how it ends."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog
from starlette.websockets import WebSocket
from uvicorn.protocols.utils import ClientDisconnected

from workflow_engine.config.settings import Settings
from workflow_engine.models.errors import WorkflowEngineError
from workflow_engine.routes.events import open_stream
from workflow_engine.routes.problems import HttpProblem
from workflow_engine.routes.tenancy import is_loopback_host, tenant_of
from workflow_engine.services.engine_services import EngineServices
from workflow_engine.services.event_stream import Batch
from workflow_engine.services.live_events import LiveEvents
from workflow_engine.services.tail import Reader
from workflow_engine.websocket.events import event_frame, message_frame
from workflow_engine.websocket.protocol import CLOSE_S, EXTENSION, SocketProtocol, Stalled

NORMAL: Final = 1000
UNSUPPORTED_DATA: Final = 1003
INTERNAL_ERROR: Final = 1011
SERVICE_RESTART: Final = 1012
TRY_AGAIN_LATER: Final = 1013
CURSOR_UNUSABLE: Final = 4400
TOO_SLOW: Final = 4408
"""Close codes; those from 4000 on are ours and follow the HTTP status of the same meaning."""

TOO_SLOW_CLOSE_S: Final = 60.0
"""How long a client that took nothing may take to read what was sent and why it ends; it keeps its place till then."""

DRAIN_S: Final = 2.0
"""How long a drain waits for the clients to answer the close."""

log = structlog.get_logger(__name__)


def check_origin(websocket: WebSocket) -> None:
    """Refuse a browser's page of another site; raises HttpProblem (403).

    A socket is not covered by the browser's same-origin rule, so any page could drive a local engine. Programs send no
    `Origin`.
    """
    origin = websocket.headers.get("origin")
    if origin is None:
        return
    host = websocket.headers.get("host", "").lower()
    scheme, _, rest = origin.lower().partition("://")
    if scheme not in ("http", "https") or rest != host or not is_loopback_host(host):
        raise HttpProblem(403, "pages of another origin may not open a socket here", code="foreign_origin")


class Connection:
    """One WebSocket. Everything that is sent on it is sent here."""

    def __init__(self, websocket: WebSocket, tenant_id: str, services: EngineServices, settings: Settings) -> None:
        self.websocket = websocket
        self.tenant_id = tenant_id
        self.services = services
        self.settings = settings
        self.last: int | None = None
        """On the socket of one execution: the sequence of the last event that was sent."""
        self._protocol = _protocol_of(websocket)

    @property
    def live(self) -> LiveEvents:
        """The live events of the engine behind the door."""
        return self.services.live

    @property
    def reader(self) -> Reader:
        """The client, as far as it shows that it reads."""
        return self._protocol.reader

    async def accept(self) -> None:
        """Open it."""
        await self.websocket.accept()
        if self.live.streams.is_draining:
            self.drain()

    async def send_events(self, batch: Batch) -> None:
        """Send each event as one text message. Raises Stalled, ClientDisconnected."""
        await self._protocol.write(batch.made_by(event_frame), stall_s=self.settings.stream_stall)
        self.live.streams.events_sent_total += len(batch.events)

    async def send_message(self, message: object) -> None:
        """Send anything else. Raises Stalled, ClientDisconnected."""
        await self._protocol.write(message_frame(message), stall_s=self.settings.stream_stall)

    def close(self, code: int, reason: str = "", *, timeout_s: float = CLOSE_S) -> None:
        """Close it, after what was sent; returns at once."""
        self._protocol.close(code, reason, timeout_s=timeout_s)

    def close_with_last(self, code: int, *, timeout_s: float = CLOSE_S) -> None:
        """Close it and name the last sequence, from which the client can go on."""
        self.close(code, f"last={self.last}" if self.last is not None else "", timeout_s=timeout_s)

    async def gone(self) -> None:
        """Until nothing is left of it, of a closed one too."""
        await self._protocol.gone

    def drain(self) -> None:
        """The process is about to end."""
        self.close_with_last(SERVICE_RESTART)

    async def texts(self) -> AsyncIterator[str]:
        """The text messages that come in, until the socket is closed; a binary one closes it."""
        while True:
            message = await self.websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if text is not None:
                yield text
            else:
                self.close(UNSUPPORTED_DATA, "send text")

    async def supervise(self, write: Callable[[], Awaitable[None]]) -> None:
        """Write, and turn whatever ends it into the close that the client sees."""
        try:
            await write()
        except Stalled:
            self.live.streams.slow_closed_total += 1
            self.close_with_last(TOO_SLOW, timeout_s=TOO_SLOW_CLOSE_S)
        except ClientDisconnected:
            pass
        except WorkflowEngineError as error:
            log.warning("socket.interrupted", tenant_id=self.tenant_id, error=error.message)
            self.close_with_last(TRY_AGAIN_LATER)
        except Exception as error:
            # A bug must end this socket alone.
            log.error("socket.failed", tenant_id=self.tenant_id, exc_info=error)
            self.close_with_last(INTERNAL_ERROR)


def _protocol_of(websocket: WebSocket) -> SocketProtocol:
    found = (websocket.scope.get("extensions") or {}).get(EXTENSION)
    if found is None:
        raise HttpProblem(501, "start the server with the options of workflow_engine.websocket", code="not_served")
    protocol: SocketProtocol = found["protocol"]
    return protocol


class ConnectionManager:
    """Lets sockets in, and ends them all."""

    def __init__(self, services: EngineServices, settings: Settings) -> None:
        self._services = services
        self._settings = settings

    def enter(self, websocket: WebSocket) -> Connection:
        """Who wants in, checked before anything is accepted; raises HttpProblem."""
        check_origin(websocket)
        return Connection(websocket, tenant_of(websocket), self._services, self._settings)

    @asynccontextmanager
    async def admit(self, connection: Connection) -> AsyncIterator[None]:
        """A place for the socket until it is gone.

        Raises:
            HttpProblem: 429, the tenant has enough of them. StoreUnavailable: the process is about to end.
        """
        stream = open_stream(connection.live, connection.tenant_id, connection.drain, self._settings.streams_max)
        try:
            yield
            await connection.gone()
        finally:
            stream.leave()

    async def close_all(self) -> None:
        """Let nobody in any more, close every live stream of whatever kind, and wait a little for them to be gone."""
        streams = self._services.live.streams
        streams.drain()
        deadline = asyncio.get_running_loop().time() + DRAIN_S
        while streams.open_count and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - once, at the end
            await asyncio.sleep(0.01)
