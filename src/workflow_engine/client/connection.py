"""Requests to one server: who asks, timeouts, and attempts that can do no harm.

Every request may be sent again: GET changes nothing, PUT says how things should stand, and a POST carries an
`Idempotency-Key`, under which the server does it once and repeats its answer.
"""

import asyncio
import os
import socket
from collections.abc import Sequence
from itertools import count
from math import inf
from random import random
from types import TracebackType
from typing import Any, Final, NamedTuple, Self
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
import msgspec
from yarl import URL

from workflow_engine import __version__
from workflow_engine.client.backoff import delay_s
from workflow_engine.client.errors import ClientError, RequestRefused, ServerUnreachable
from workflow_engine.models.problem import Problem

CONNECT_S: Final = 5.0
REQUEST_S: Final = 30.0
"""For an answer that the server is not asked to hold back."""
ATTEMPTS_MAX: Final = 4
DELAY_S_MAX: Final = 10.0
IN_PROGRESS_S_MAX: Final = 0.5
HEARTBEAT_S: Final = 20.0
"""A socket whose server does not answer a ping in half of it is taken for lost."""
MESSAGE_BYTES_MAX: Final = 256 * 1024 * 1024
"""One event on a socket; the largest holds the list of a `foreach`."""

Query = Sequence[tuple[str, str]]


class Answer(NamedTuple):
    """What the server granted."""

    status: int
    body: Any
    """None where there is none."""


class Connection:
    """Calls one server for one tenant. Use it as a context."""

    def __init__(self, url: str, *, token: str | None, tenant_id: str | None) -> None:
        """
        Raises:
            ClientError: the URL or the token can't be used.
        """
        self.url = _checked_url(url)
        self._headers = _headers(token, tenant_id)
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: Any = None,
        held_s: float = 0.0,
    ) -> Answer:
        """The answer to a request, which is sent again where that may help.

        Args:
            path: below the server's URL, quoted already.
            body: sent as JSON; None: no body.
            held_s: how long the server was asked to hold the answer back.

        Raises:
            RequestRefused, ServerUnreachable: also after several attempts.
        """
        headers = {"Content-Type": "application/json"} if body is not None else {}
        data = msgspec.json.encode(body) if body is not None else None
        if method == "POST":
            headers["Idempotency-Key"] = str(uuid4())
        loop = asyncio.get_running_loop()
        deadline = loop.time() + REQUEST_S + held_s
        for attempt in count(1):
            try:
                async with asyncio.timeout(max(CONNECT_S, deadline - loop.time())):
                    return await self._send(method, path, query, data, headers)
            except (aiohttp.ClientError, TimeoutError, _Refusal) as error:
                failure = _failure_of(self.url, error)
            pause_s = max(failure.least_s, delay_s(attempt, random(), longest_s=failure.longest_s))
            if attempt >= failure.attempts_max or loop.time() + pause_s > deadline:
                raise failure.error
            await asyncio.sleep(pause_s)
        raise AssertionError  # there is no last attempt

    async def _send(self, method: str, path: str, query: Query, data: bytes | None, headers: dict[str, str]) -> Answer:
        # No redirects: the token is for this server alone.
        async with self._session.request(
            method, self._address(path, query), data=data, headers=headers, allow_redirects=False
        ) as response:
            answer = await response.read()
            if 200 <= response.status < 300:
                return Answer(response.status, self._decode(answer) if answer else None)
            raise _Refusal(_refused(response, answer), response.headers.get("Retry-After", ""))

    def _decode(self, data: bytes) -> Any:
        try:
            return msgspec.json.decode(data)
        except msgspec.DecodeError:
            raise ServerUnreachable(self.url, "what answers there is no Workflow Engine") from None

    async def socket(self, path: str, query: Query) -> aiohttp.ClientWebSocketResponse:
        """An open WebSocket; raises what aiohttp does."""
        async with asyncio.timeout(REQUEST_S):
            return await self._session.ws_connect(
                self._address(path, query), heartbeat=HEARTBEAT_S, max_msg_size=MESSAGE_BYTES_MAX
            )

    def _address(self, path: str, query: Query) -> URL:
        return URL(self.url + path, encoded=True).with_query(query) if query else URL(self.url + path, encoded=True)


class _Refusal(Exception):
    """A refusal with the time after which another attempt is welcome."""

    def __init__(self, refused: RequestRefused, retry_after: str) -> None:
        super().__init__()
        self.refused = refused
        self.retry_after_s = min(DELAY_S_MAX, float(retry_after)) if retry_after.isdecimal() else 0.0


class _Failure(NamedTuple):
    """What to raise, unless another attempt may help."""

    error: ClientError
    attempts_max: float = ATTEMPTS_MAX
    least_s: float = 0.0
    longest_s: float = DELAY_S_MAX


def _failure_of(url: str, error: Exception) -> _Failure:
    match error:
        case _Refusal(refused=refused) if refused.is_in_progress:
            # It is our own earlier attempt that is under way; its connection was lost.
            return _Failure(refused, attempts_max=inf, longest_s=IN_PROGRESS_S_MAX)
        case _Refusal(refused=refused):
            attempts_max = ATTEMPTS_MAX if refused.is_passing else 1
            return _Failure(refused, attempts_max, least_s=error.retry_after_s)
        case aiohttp.ClientConnectionError() | aiohttp.ClientPayloadError() | TimeoutError():
            return _Failure(ServerUnreachable(url, reason_of(error)))
        case _:
            return _Failure(ServerUnreachable(url, f"the answer can't be read: {error}"), attempts_max=1)


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url.strip())
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 0) >= 0
    except ValueError:
        is_usable = False
    if not is_usable or parts.query or parts.fragment or parts.username is not None:
        raise ClientError(f"{url!r} is no URL of a server; write it as http://127.0.0.1:8000")
    return url.strip().rstrip("/")


def _headers(token: str | None, tenant_id: str | None) -> dict[str, str]:
    headers = {"User-Agent": f"workflow-engine/{__version__}", "Accept": "application/json"}
    for name, value in (("Authorization", token), ("X-Tenant-ID", tenant_id)):
        if value is not None and not (value.isascii() and value.isprintable() and value and " " not in value):
            raise ClientError(f"the {'token' if value is token else 'tenant'} is not made of visible ASCII characters")
        if value is not None:
            headers[name] = f"Bearer {value}" if name == "Authorization" else value
    return headers


def reason_of(error: Exception) -> str:
    """Why there was no answer, in words for people."""
    match error:
        case aiohttp.ClientConnectorError():
            return _reason_of_system(error.os_error)
        case TimeoutError():
            return "no answer in time"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError() | aiohttp.ClientOSError():
            return "the connection was lost"
        case _:
            return str(error) or type(error).__name__


def _reason_of_system(error: OSError) -> str:
    is_known = error.errno is not None and not isinstance(error, socket.gaierror)
    return (os.strerror(error.errno or 0) if is_known else error.strerror or str(error)).lower()


class _ProblemDocument(msgspec.Struct):
    """RFC 9457, as far as it is read here."""

    detail: str
    type: str = ""
    problems: list[Problem] = []


def _refused(response: aiohttp.ClientResponse, data: bytes) -> RequestRefused:
    try:
        document = msgspec.json.decode(data, type=_ProblemDocument)
    except (msgspec.DecodeError, msgspec.ValidationError):
        detail = f"{response.url.origin()} answered {response.status} {response.reason or ''}".strip()
        return RequestRefused(response.status, f"http_{response.status}", f"{detail}; is it a Workflow Engine?")
    code = document.type.rpartition(":")[2] or f"http_{response.status}"
    return RequestRefused(response.status, code, document.detail, document.problems)
