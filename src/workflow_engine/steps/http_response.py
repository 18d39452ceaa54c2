"""From an HTTP response to a step's outcome: a bounded body, strict JSON, and its error types (DESIGN.md section 4)."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import msgspec

from workflow_engine.models.step import StepError
from workflow_engine.steps.heartbeat import heartbeat
from workflow_engine.steps.http_request import HttpRequest
from workflow_engine.steps.output import plain_text

EXCERPT_BYTES_MAX = 16 * 1024
EXCERPT_CHARS_MAX = 2_000
EXCERPT_WAIT_S = 2.0
"""The status is known already: its explanation is not worth a longer wait."""
RETRY_AFTER_MAX_S = 86_400.0
"""A target may ask for a day (daily quotas do); a hostile or broken one can't park a step for years."""
STATUS_TYPES = {408: "timeout", 429: "rate_limited", 502: "unavailable", 503: "unavailable", 504: "unavailable"}
STATUSES_WITHOUT_EFFECT = frozenset({429, 503})
STATUSES_WITHOUT_BODY = frozenset({204, 205, 304})


class BodyTooLarge(Exception):
    """The body, decompressed, goes beyond its limit."""


class BodyInvalid(Exception):
    """The body is not what it was to be."""


async def read_body(response: aiohttp.ClientResponse, *, bytes_max: int, idle_s: float) -> bytes:
    """Read a body, decompressed, holding at most `bytes_max` and one chunk in memory.

    Raises:
        BodyTooLarge, BodyInvalid, TimeoutError (nothing came for `idle_s`), aiohttp.ClientError.
    """
    if (response.content_length or 0) > bytes_max:
        raise BodyTooLarge
    body = bytearray()
    async with asyncio.timeout(idle_s) as silence:
        async for chunk in _decompressed(response, bytes_max):
            silence.reschedule(asyncio.get_running_loop().time() + idle_s)
            body += chunk
            if len(body) > bytes_max:
                raise BodyTooLarge
    return bytes(body)


async def _decompressed(response: aiohttp.ClientResponse, bytes_max: int) -> AsyncIterator[bytes]:
    """Chunks as they come; a compressed one gives at most one byte more than the limit, enough to know it is broken."""
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        async for chunk in _chunks(response):
            yield chunk
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise BodyInvalid(f"the response has content-encoding {encoding[:40]!r}; gzip and deflate were asked for")
    inflate: Any = None
    async for chunk in _chunks(response):
        inflate = inflate or zlib.decompressobj(_window_bits(encoding, chunk))
        try:
            yield inflate.decompress(chunk, bytes_max + 1)
        except zlib.error:
            raise BodyInvalid(f"the response says content-encoding {encoding} but can't be decompressed") from None
    if inflate is not None and not inflate.eof:
        raise BodyInvalid(f"the compressed response ({encoding}) ends too early")


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The body as it comes in; each piece is a sign of life."""
    async for chunk in response.content.iter_any():
        heartbeat()
        yield chunk


def _window_bits(encoding: str, first: bytes) -> int:
    if encoding != "deflate":
        return zlib.MAX_WBITS | 16
    # "deflate" means the zlib format (RFC 9110 8.4.1.2), but some servers send the bare stream.
    return zlib.MAX_WBITS if first[0] & 0x0F == 8 else -zlib.MAX_WBITS


def headers_of(response: aiohttp.ClientResponse) -> dict[str, str]:
    """Headers by lower-case name; repeated ones are joined with a comma."""
    headers: dict[str, str] = {}
    for name, value in response.headers.items():
        lower, text = name.lower(), _header_text(value)
        headers[lower] = f"{headers[lower]}, {text}" if lower in headers else text
    return headers


def _header_text(value: str) -> str:
    """The client decodes UTF-8 and marks other bytes as surrogates: those are Latin-1, as HTTP once said."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogateescape").decode("latin-1")
    return value


def decode_body(body: bytes, response: aiohttp.ClientResponse, kind: str) -> Any:
    """Give the body as JSON value, text or null.

    `auto` takes the content type's word: JSON for `application/json` and `+json`, else text; an empty body is null.

    Raises:
        BodyInvalid: says what is wrong and how to ask otherwise.
    """
    if not body and (kind == "auto" or response.status in STATUSES_WITHOUT_BODY or response.method == "HEAD"):
        return None
    if kind == "json" or (kind == "auto" and _is_json(response.content_type)):
        return _json(body)
    return _text(body, response.charset)


def _is_json(content_type: str) -> bool:
    return content_type == "application/json" or content_type.endswith("+json")


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body.removeprefix(b"\xef\xbb\xbf"))
    except RecursionError:
        raise BodyInvalid("the response is JSON nested too deeply") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
        message = f"the response is not valid JSON ({problem}); use `response: text` to take it as it is"
        raise BodyInvalid(message) from None


def _text(body: bytes, charset: str | None) -> str:
    try:
        return body.decode(charset or "utf-8")
    except LookupError:
        raise BodyInvalid(f"the response has the unknown charset {str(charset)[:40]!r}") from None
    except UnicodeError:
        raise BodyInvalid(f"the response is not text in {charset or 'utf-8'}; http nodes take JSON and text") from None


async def error_of(response: aiohttp.ClientResponse, request: HttpRequest, *, now: float) -> StepError:
    """The error of a response whose status is not expected. `now` is Unix time."""
    status = response.status
    details = {"status": status, "body": await _excerpt(response)}
    message = f"{request.target} answered {status} {plain_text(response.reason or '', 100)}".rstrip()
    location = response.headers.get("location")
    if 300 <= status <= 399 and location is not None:
        details["location"] = plain_text(_header_text(location), 500)
        message += "; redirects are not followed: call the address in details.location, or list the status in `expect`"
    return StepError(
        STATUS_TYPES.get(status, f"http_{status}"),
        message,
        details,
        _retry_after_s(response, now),
        status in STATUSES_WITHOUT_EFFECT,
    )


async def _excerpt(response: aiohttp.ClientResponse) -> Any:
    """The beginning of an error's body: as JSON if all of it is, else as text; null if there is none."""
    body = bytearray()
    try:
        async with asyncio.timeout(EXCERPT_WAIT_S):
            async for chunk in _decompressed(response, EXCERPT_BYTES_MAX):
                body += chunk
                if len(body) > EXCERPT_BYTES_MAX:
                    break
    except (BodyInvalid, TimeoutError, aiohttp.ClientError):
        pass  # what has come is still worth showing
    if not body:
        return None
    if len(body) <= EXCERPT_BYTES_MAX and _is_json(response.content_type):
        try:
            return _json(bytes(body))
        except BodyInvalid:
            pass
    return plain_text(body.decode("utf-8", "replace"), EXCERPT_CHARS_MAX)


def _retry_after_s(response: aiohttp.ClientResponse, now: float) -> float | None:
    """Seconds of `Retry-After` (RFC 9110 10.2.3), a date measured by the target's own clock where it tells it."""
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), RETRY_AFTER_MAX_S)
    wanted_at = _http_date(value)
    if wanted_at is None:
        return None
    told_at = _http_date(response.headers.get("date", ""))
    return min(max(0.0, wanted_at - (now if told_at is None else told_at)), RETRY_AFTER_MAX_S)


def _http_date(value: str) -> float | None:
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
