"""The `http` node: one request to an outside service, within deadlines, limits and the address rules."""

import asyncio
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import aiohttp
import structlog

from workflow_engine.models.step import Failed, Outcome, StepCall, StepError
from workflow_engine.steps.addresses import AddressForbidden, AddressRules
from workflow_engine.steps.heartbeat import Silent, Watch, heartbeat
from workflow_engine.steps.http_names import Resolve, SystemNames, VettingResolver
from workflow_engine.steps.http_request import HttpRequest, InputInvalid, TargetForbidden, build_request
from workflow_engine.steps.http_response import (
    BodyInvalid,
    BodyTooLarge,
    decode_body,
    error_of,
    headers_of,
    read_body,
)
from workflow_engine.steps.output import checked, plain_text

log = structlog.get_logger(__name__)

KEEP_ALIVE_S = 4.0
"""Shorter than the 5 s after which common servers (Node, uvicorn) close an idle connection: a request must not meet a
closing one, because a POST that gets no answer may not be sent again."""
NAMES_KEPT_S = 10
"""How long a vetted resolution is used again for new connections."""


class HttpHandler:
    """Serves `http` nodes through one pool of connections.

    Redirects are never followed, cookies never kept, proxies never taken from the environment.

    Args:
        allow: the entries of HTTP_ALLOW, hosts and CIDRs that may be called although private.
        body_max_bytes: of a response body, decompressed, and of the output's JSON.
        connect_timeout_s: for the name service, and again for TCP and TLS of one connection.
        idle_timeout_s: the longest silence in the middle of a response body.
        total_timeout_s: for an attempt whose call has no timeout of its own.
        connections_max: open at once; further calls wait within their total time.
        connections_per_host_max: likewise, for one host and port.
        resolve: the name service; the system's by default.

    Raises:
        ValueError: an entry of `allow` is neither a host nor a CIDR.
    """

    def __init__(
        self,
        allow: Sequence[str] = (),
        *,
        body_max_bytes: int = 1024 * 1024,
        connect_timeout_s: float = 10.0,
        idle_timeout_s: float = 30.0,
        total_timeout_s: float = 30.0,
        connections_max: int = 1_000,
        connections_per_host_max: int = 200,
        resolve: Resolve | None = None,
    ) -> None:
        self._rules = AddressRules(allow)
        self._body_max_bytes = body_max_bytes
        self._connect_timeout_s = connect_timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._total_timeout_s = total_timeout_s
        self._connections_max = connections_max
        self._connections_per_host_max = connections_per_host_max
        self._system_names = SystemNames()
        self._resolve = resolve or self._system_names
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def __call__(self, call: StepCall) -> Outcome:
        try:
            request = build_request(call)
            self._check_target(request)
        except InputInvalid as problem:
            return Failed(StepError("invalid_input", plain_text(str(problem)), no_effect=True))
        except (TargetForbidden, AddressForbidden) as problem:
            return Failed(_forbidden(call, problem))
        return await self._send(call, request)

    async def close(self) -> None:
        self._closed = True
        self._system_names.close()
        if self._session is not None:
            await self._session.close()

    def _check_target(self, request: HttpRequest) -> None:
        host, port = request.url.raw_host, request.url.port
        assert host is not None  # `build_request` refuses a URL without one
        assert port is not None
        self._rules.check_port(port)
        self._rules.check_host(host)

    async def _send(self, call: StepCall, request: HttpRequest) -> Outcome:
        """Make the call; every way it can end becomes an outcome here."""
        total_s = self._total_timeout_s if call.timeout_s is None else call.timeout_s
        progress = _Progress()
        try:
            async with asyncio.timeout(total_s) as total, Watch(call.heartbeat_s):
                return await self._exchange(request, progress)
        except Silent as silent:
            return Failed(silent.error(request.target, no_effect=not progress.is_sent))
        except AddressForbidden as problem:
            return Failed(_forbidden(call, problem))
        except TimeoutError as problem:
            within_s = total_s if total.expired() else None
            return Failed(self._timed_out(request, progress, problem, within_s))
        except BodyTooLarge:
            return Failed(_body_too_large(request, self._body_max_bytes))
        except BodyInvalid as problem:
            return Failed(StepError("invalid_output", plain_text(f"{request.target}: {problem}")))
        except (aiohttp.ClientError, OSError) as problem:
            return Failed(_broken(request, progress, problem))

    async def _exchange(self, request: HttpRequest, progress: "_Progress") -> Outcome:
        heartbeat()
        async with self._connected().request(
            request.method,
            request.url,
            headers=request.headers,
            data=request.body,
            allow_redirects=False,
            trace_request_ctx=progress,
        ) as response:
            progress.is_answered = True
            heartbeat()
            if not request.expects(response.status):
                return Failed(await error_of(response, request, now=time.time()))
            body = await read_body(response, bytes_max=self._body_max_bytes, idle_s=self._idle_timeout_s)
            output = {
                "status": response.status,
                "headers": headers_of(response),
                "body": decode_body(body, response, request.response),
            }
            return checked(output, bytes_max=self._body_max_bytes)

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            if self._closed:
                raise aiohttp.ClientConnectionError("the engine is closing")
            self._session = self._new_session()
        return self._session

    def _new_session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=self._connections_max,
            limit_per_host=self._connections_per_host_max,
            keepalive_timeout=KEEP_ALIVE_S,
            resolver=VettingResolver(self._rules, self._resolve, timeout_s=self._connect_timeout_s),
            ttl_dns_cache=NAMES_KEPT_S,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout_s),
            auto_decompress=False,  # `read_body` does it under the body's limit
            trust_env=False,
            trace_configs=[_tracing()],
        )

    def _timed_out(
        self, request: HttpRequest, progress: "_Progress", problem: TimeoutError, within_s: float | None
    ) -> StepError:
        if within_s is not None:
            waited = f"did not finish within {within_s:g} s"
        elif isinstance(problem, aiohttp.ConnectionTimeoutError):
            waited = f"could not be connected to within {self._connect_timeout_s:g} s"
        else:
            waited = f"sent nothing for {self._idle_timeout_s:g} s in the middle of its answer"
        return StepError("timeout", f"{request.target} {waited}", no_effect=not progress.is_sent)


class _Progress:
    """How far a request has come."""

    def __init__(self) -> None:
        self.is_sent = False
        """The first byte may have left: from here on the target may have acted."""
        self.is_answered = False


def _tracing() -> aiohttp.TraceConfig:
    async def mark_sent(_session: Any, context: SimpleNamespace, _parameters: Any) -> None:
        context.trace_request_ctx.is_sent = True

    tracing = aiohttp.TraceConfig()
    tracing.on_request_headers_sent.append(mark_sent)
    return tracing


def _forbidden(call: StepCall, problem: AddressForbidden | TargetForbidden) -> StepError:
    log.warning(
        "http.forbidden",
        tenant_id=call.tenant_id,
        execution_id=call.execution_id,
        step_id=call.step_id,
        reason=str(problem),
        addresses=getattr(problem, "addresses", []),
    )
    return StepError("forbidden", plain_text(str(problem)), no_effect=True)


def _body_too_large(request: HttpRequest, bytes_max: int) -> StepError:
    message = f"{request.target} answered with more than {bytes_max} bytes; ask for less, or raise PAYLOAD_MAX_BYTES"
    return StepError("payload_too_large", message)


def _broken(request: HttpRequest, progress: _Progress, problem: Exception) -> StepError:
    """The error of a call that ended without a usable answer."""
    if isinstance(problem, aiohttp.InvalidURL):
        return StepError("invalid_input", f"url: {request.target} can't be called", no_effect=True)
    if isinstance(problem, aiohttp.ClientResponseError):
        return StepError("invalid_output", f"{request.target} answered with something that is not HTTP")
    return StepError(
        "unavailable",
        plain_text(f"{request.target} {_what_broke(progress)}: {_reason(problem)}", 500),
        no_effect=not progress.is_sent,
    )


def _what_broke(progress: _Progress) -> str:
    if progress.is_answered:
        return "broke off in the middle of its answer"
    return "closed the connection without an answer" if progress.is_sent else "could not be connected to"


def _reason(problem: Exception) -> str:
    """What the system said, without the addresses that the client adds to it."""
    if isinstance(problem, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not trusted"
    inner = getattr(problem, "os_error", problem)
    return getattr(inner, "strerror", None) or str(inner) or type(inner).__name__
