"""The server's side of a WebSocket, hardened: what uvicorn's own does, and bounds on what a client can cost.

Uvicorn's interface for applications can neither write to a socket that does not drain (not even a close frame) nor send
the same bytes to a thousand of them. This one can, for the doors of this package.
"""

import asyncio
import socket
from typing import Any, Final

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame
from websockets.http11 import Request

from workflow_engine.config.settings import Settings
from workflow_engine.services.tail import Reader

EXTENSION: Final = "workflow_engine.socket"
"""The name in an ASGI scope under which a door finds the protocol."""

FRAMES_BURST: Final = 1_000
FRAMES_PER_S: Final = 200
"""Frames that a client may send. A frame costs microseconds, so a flood of tiny ones would take a whole processor."""

FRAGMENTS_MAX: Final = 1_000
"""Parts of one message."""

SLICE_BYTES: Final = 8 * 1024
"""Bytes parsed before the frames in them are counted: at most some thousand frames."""

CLOSE_S: Final = 10.0
"""How long a client may take to answer a close."""

LINGER_S: Final = 1.0
"""How long what a refused client still sends is read and thrown away. Closing at once would reset the connection, and
the client would never see why."""

ENVELOPE_BYTES_MAX: Final = 64 * 1024
"""What a command may have beside one payload."""


PROBE_S: Final = 5.0
"""After so long a client is asked again, with the next thing that it is sent, whether it reads."""

PATIENCE_S: Final = 0.5
"""How long a client that has answered before may take to answer again until it is no longer thought to read."""

PROBE: Final = b"\x89\x00"
"""A ping without a payload (RFC 6455, section 5.5.2); the keep-alive pings have one, and end a socket that does not
answer. Who does not answer this one only has its turn later. What the kernel has had acknowledged would say less: it is
the other kernel, or a proxy, that acknowledges."""

UNSENT_BYTES_MAX: Final = 128 * 1024
"""What the kernel takes for a client beyond what is on its way; left alone it takes megabytes for each slow one."""

_UNSENT_OPTION: Final[int | None] = getattr(socket, "TCP_NOTSENT_LOWAT", None)


class Stalled(Exception):
    """The client takes nothing."""


def server_options(settings: Settings) -> dict[str, Any]:
    """What a uvicorn server needs to serve the WebSockets: arguments of `uvicorn.Config`.

    Compression stays off: it would cost each connection its own encoding of every event, and some 100 KB.
    """
    return {
        "ws": SocketProtocol,
        "ws_max_size": settings.payload_max_bytes + ENVELOPE_BYTES_MAX,
        "ws_ping_interval": 20.0,
        "ws_ping_timeout": 20.0,
        "ws_per_message_deflate": False,
    }


class SocketProtocol(WebSocketsSansIOProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._frames_left = float(FRAMES_BURST)
        self._counted_at = self.loop.time()
        self._is_refused = False
        self._probe_at = 0.0
        """When the next probe is due."""
        self._answer_by: float | None = None
        """While a probe has yet to be answered: until when that is soon enough."""
        self.reader = Reader(is_keen=False)
        """Keen once a probe was answered, and until one was not, in time."""
        self.gone: asyncio.Future[None] = self.loop.create_future()
        """Done once the connection is."""

    # --- for the doors

    async def write(self, frames: bytes, *, stall_s: float) -> None:
        """Send whole frames, in order with what was sent before.

        Raises:
            Stalled: the client took nothing for `stall_s`. ClientDisconnected.
        """
        if not self.writable.is_set():
            try:
                async with asyncio.timeout(stall_s):
                    await self.writable.wait()
            except TimeoutError:
                raise Stalled from None
        if self.disconnected or self.close_sent or self.transport.is_closing():
            raise ClientDisconnected
        now = self.loop.time()
        if self._answer_by is not None:
            self.reader.is_keen &= now < self._answer_by
        elif now >= self._probe_at:
            self._answer_by = now + PATIENCE_S
            frames += PROBE
        self.transport.write(frames)

    def close(self, code: int, reason: str, *, timeout_s: float = CLOSE_S) -> None:
        """Close without waiting, after everything that was written; a client that does not take that is cut off."""
        if self.disconnected or self.close_sent or self.transport.is_closing():
            return
        try:
            self.conn.send_close(code, reason)
        except InvalidState:
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(timeout_s, self.transport.abort)

    # --- what uvicorn calls

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.gone.set_result(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        connected = transport.get_extra_info("socket")
        if connected is not None and _UNSENT_OPTION is not None:
            connected.setsockopt(socket.IPPROTO_TCP, _UNSENT_OPTION, UNSENT_BYTES_MAX)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            extensions = self.scope["extensions"]
            assert extensions is not None
            extensions[EXTENSION] = {"protocol": self}

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), SLICE_BYTES):
            if self._is_refused:
                return
            super().data_received(data[start : start + SLICE_BYTES])

    def handle_events(self) -> None:
        count = len(self.conn.events)
        if self.handshake_complete and not self._allows(count):
            self.conn.fail(1008, "too many frames")
            self.handle_parser_exception()
            return
        super().handle_events()

    def _allows(self, frames: int) -> bool:
        now = self.loop.time()
        self._frames_left = min(FRAMES_BURST, self._frames_left + (now - self._counted_at) * FRAMES_PER_S) - frames
        self._counted_at = now
        return self._frames_left >= 0 and len(self.frames) <= FRAGMENTS_MAX

    def handle_ping(self) -> None:
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()  # no pong for a client that reads nothing: they would pile up

    def handle_pong(self, event: Frame) -> None:
        if not event.data and self._answer_by is not None:
            self._answer_by = None
            self._probe_at = self.loop.time() + PROBE_S
            self.reader.is_keen = True
        else:
            super().handle_pong(event)

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True  # refused, and that is an answer

    def handle_parser_exception(self) -> None:
        if self._is_refused:
            return
        self._is_refused = True
        sent = self.conn.close_sent
        code, reason = (sent.code, sent.reason) if sent is not None else (1002, "")
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.transport.resume_reading()
        self.close_timer = self.loop.call_later(LINGER_S, self.transport.abort)

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.loop.call_later(LINGER_S, self.transport.abort)

    def shutdown(self) -> None:
        if self.handshake_complete:
            self.close(1012, "")
            self.loop.call_later(LINGER_S, self.transport.abort)
        else:
            super().shutdown()
