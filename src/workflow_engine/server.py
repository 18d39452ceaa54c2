"""The HTTP service as a process: it opens the engine, listens, and ends in good order when it is asked to.

The order of an end: no new step and no new execution from this moment on, and not ready any more; live streams are
closed; running steps get the grace period while requests are still answered; then the door is closed, requests under
way finish, and what is left is the next process's work.
"""

import asyncio
import resource
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any, Final, NamedTuple

import structlog
import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from workflow_engine.config.heap import freeze_heap
from workflow_engine.config.settings import Settings, SettingsInvalid
from workflow_engine.library import Engine
from workflow_engine.models.errors import WorkflowEngineError
from workflow_engine.routes.app import create_app
from workflow_engine.routes.problems import problem_bytes
from workflow_engine.services.measures import RequestMeasures
from workflow_engine.store import require_unused
from workflow_engine.websocket import ConnectionManager, add_sockets, server_options

HEADER_BYTES_MAX: Final = 32 * 1024
"""Request line and headers. More is 431, long before it costs memory."""
HEADERS_MAX: Final = 100
HEADERS_TIMEOUT_S: Final = 10.0
"""From a connection's first byte, or from its opening, to the end of the headers."""
REQUEST_TIMEOUT_S: Final = 60.0
"""From a request's first byte to its last."""
KEEP_ALIVE_S: Final = 75
"""Longer than the 60 s of common load balancers, so that it is they who close."""
BACKLOG: Final = 2048
FILES_WANTED: Final = 65_536
FILES_KEPT: Final = 256
"""File descriptors that connections leave to the database and to outgoing calls."""
CLOSE_S: Final = 0.5
"""What requests under way get at least once the door is closed."""


class Refusal(NamedTuple):
    """Why a connection is closed before a request reaches the application."""

    status: int
    detail: str
    code: str


MALFORMED: Final = Refusal(400, "this is no HTTP/1.1 request that can be read", "malformed_request")
TOO_SLOW: Final = Refusal(408, "the request did not come in time", "request_timeout")
HEADERS_TOO_LARGE: Final = Refusal(
    431, f"the headers are more than {HEADERS_MAX} or larger than {HEADER_BYTES_MAX} bytes", "headers_too_large"
)
NO_ROOM: Final = Refusal(503, "the server has no room for another connection", "too_many_connections")

log = structlog.get_logger(__name__)

USER_TIMEOUT_MS = 120_000
"""Longer than a socket is given to take its next event (`stream_stall`) and to drain after its close."""


class CannotListen(WorkflowEngineError):
    """The address can't be listened on."""

    code = "cannot_listen"


async def serve(
    settings: Settings, host: str, port: int, *, announce: Callable[[str], None], until: Callable[[], Awaitable[Any]]
) -> None:
    """Serve until `until` returns, then end in good order.

    Args:
        port: 0: one that is free.
        announce: gets the URL once requests are answered.

    Raises:
        SettingsInvalid: the address may not be listened on without authentication.
        CannotListen: it is taken, or not this machine's.
        DatabaseInUse: another process writes to the database.
    """
    with _bound(settings, host, port) as listener:
        async with Engine(settings=settings) as engine:
            app = create_app(engine.services, settings)
            sockets = add_sockets(app)
            server = _Server(app, **server_options(settings))
            running = asyncio.create_task(server.serve(sockets=[listener]))
            await server.listening.wait()
            announce(_url_of(listener))
            freeze_heap()
            stopping = asyncio.ensure_future(until())
            await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            await _drain(engine, server, sockets, settings.shutdown_grace)
            await running


async def _drain(engine: Engine, server: "_Server", sockets: ConnectionManager, grace_s: float) -> None:
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + grace_s
    executor = engine.services.executor
    executor.stop()
    engine.services.executions.stop_waiting()
    log.info("server.drain_began", running_steps=executor.processor.running, grace_s=grace_s)
    await asyncio.gather(sockets.close_all(), executor.processor.close(grace_s=grace_s))
    server.end(within_s=max(CLOSE_S, deadline_s - loop.time()))


@contextmanager
def _bound(settings: Settings, host: str, port: int) -> Iterator[socket.socket]:
    """A socket that is bound and does not listen yet."""
    family, address = _resolve(host, port)
    if settings.auth_mode == "none" and not ip_address(address[0]).is_loopback:
        raise SettingsInvalid(
            f"without authentication (WORKFLOW_ENGINE_AUTH_MODE=none) only this machine may call, so {host} can't be "
            "listened on; use --host 127.0.0.1 or ::1"
        )
    # The protocol is named because asyncio sends small answers at once (TCP_NODELAY) only where it reads TCP here.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # Accepted connections inherit it: a reader that takes nothing for so long is gone, whatever protocol it
            # speaks.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
        try:
            listener.bind(address)
        except OSError as error:
            # Most often another server holds the port, and then the database too: that message helps more.
            require_unused(settings.database_url)
            raise CannotListen(f"{host}:{port} can't be listened on: {error.strerror}; try --port 0") from None
        yield listener


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, Any]:
    try:
        found = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise CannotListen(f"{host} is no address of this machine: {error}") from None
    # One socket is enough, and IPv4 is what most mean by `localhost`.
    found.sort(key=lambda one: one[0] != socket.AF_INET)
    return found[0][0], found[0][4]


def _url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers."""

    def __init__(self, app: FastAPI, **options: Any) -> None:
        measures: RequestMeasures = app.state.requests
        connections_max = _raise_file_limit() - FILES_KEPT

        def make_protocol(*arguments: Any, **named: Any) -> asyncio.Protocol:
            return _Connection(measures, connections_max, *arguments, **named)

        config = uvicorn.Config(
            _answered(app),
            http=make_protocol,  # type: ignore[arg-type]  # it is called, never looked at
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            backlog=BACKLOG,
            **options,
        )
        super().__init__(config)
        measures.connections = self.server_state.connections
        self.listening = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    def end(self, *, within_s: float) -> None:
        """Close the door; requests under way get so long to finish."""
        self.config.timeout_graceful_shutdown = within_s  # type: ignore[assignment]  # it takes fractions as well
        self.should_exit = True


def _answered(app: ASGIApp) -> ASGIApp:
    """The application, without the errors that it has answered and logged already."""

    async def answered(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except Exception:  # the application's last handler has logged it and answered 500
            if scope["type"] != "http":
                raise

    return answered


def _raise_file_limit() -> int:
    """As many file descriptors as we may have, up to what is ever needed; gives their number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(FILES_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return FILES_WANTED if soft == resource.RLIM_INFINITY else soft


class _Connection(HttpToolsProtocol):
    """One connection, within limits of size and time before any request reaches the application."""

    def __init__(self, measures: RequestMeasures, connections_max: int, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._measures = measures
        self._connections_max = connections_max
        self._is_in_headers = True
        self._fed_bytes = 0
        """What came since the headers began; the parser may hold all of it in one unfinished header."""
        self._header_bytes = 0
        self._refusal = MALFORMED
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._connections_max:
            self._refuse(NO_ROOM)
            return
        # Browsers open connections ahead of time; one that is never used ends without a word.
        self._deadline = self.loop.call_later(HEADERS_TIMEOUT_S, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._clear_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._fed_bytes += len(data)
        super().data_received(data)
        if self._is_in_headers and self._fed_bytes > HEADER_BYTES_MAX:
            self._refuse(HEADERS_TOO_LARGE)

    # What the parser finds. An error that is raised here makes it stop, and `send_400_response` is called.

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_headers = True
        self._fed_bytes = self._header_bytes = 0
        self._set_deadline(HEADERS_TIMEOUT_S)

    def on_url(self, url: bytes) -> None:
        self._count_header(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_header(len(name) + len(value))
        super().on_header(name, value)
        if len(self.headers) > HEADERS_MAX:
            self._refusal = HEADERS_TOO_LARGE
            raise ValueError("too many headers")

    def _count_header(self, size_bytes: int) -> None:
        self._header_bytes += size_bytes
        if self._header_bytes > HEADER_BYTES_MAX:
            self._refusal = HEADERS_TOO_LARGE
            raise ValueError("the headers are too large")

    def on_headers_complete(self) -> None:
        if sum(name == b"host" for name, _ in self.headers) > 1:
            raise ValueError("more than one Host: whose request is it?")
        self._is_in_headers = False
        self._set_deadline(REQUEST_TIMEOUT_S)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._clear_deadline()
        self._is_in_headers = True
        self._fed_bytes = 0
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self._clear_deadline()
        super().handle_websocket_upgrade()

    # Refusing

    def _set_deadline(self, seconds: float) -> None:
        self._clear_deadline()
        self._deadline = self.loop.call_later(seconds, self._refuse, TOO_SLOW)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal)

    def _refuse(self, refusal: Refusal) -> None:
        """Say why, unless the answer to an earlier request is due first, and close."""
        self._clear_deadline()
        if self.transport.is_closing():
            return
        self._measures.refused[refusal.code] += 1
        log.debug("connection.refused", code=refusal.code)
        if self._may_answer():
            self.transport.write(problem_bytes(*refusal))
        self.transport.close()

    def _may_answer(self) -> bool:
        if self.cycle is None or self.cycle.response_complete:
            return self._is_in_headers
        return self.cycle.more_body and not self.cycle.response_started and not self.pipeline
