"""From the evaluated `with` of an `http` node to the request that is sent."""

import base64
import functools
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import urlencode

import msgspec
import yarl

from workflow_engine.models.node_input import parse_expected_statuses
from workflow_engine.models.step import StepCall

INPUT_NAMES = frozenset({"method", "url", "headers", "query", "json", "form", "body", "auth", "expect", "response"})
BODY_NAMES = ("json", "form", "body")
RESPONSE_KINDS = ("auto", "json", "text")
SCHEMES = ("http", "https")
SUCCESS = (range(200, 300),)
URL_CHARS_MAX = 8_000

HEADERS_OF_THE_ENGINE = frozenset(
    # Framing, connection and routing belong to the HTTP client: a definition that wrote them could smuggle a request
    # past a proxy or reach another virtual host. `wf-attempt` is the engine's word to the target.
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "wf-attempt",
    }
)

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_METHOD = re.compile(r"[A-Za-z][A-Za-z-]{0,31}")
_METHODS_REFUSED = frozenset({"CONNECT", "TRACE"})
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_NOT_IN_URL = re.compile(r"[\x00-\x20\x7f\\\ud800-\udfff]")


class InputInvalid(Exception):
    """The node's `with` can't be made a request."""


class TargetForbidden(Exception):
    """The request names a scheme that is not called."""


class HttpRequest(msgspec.Struct, frozen=True):
    """A request that is ready to be sent, and how its response is to be taken."""

    method: str
    url: yarl.URL
    headers: dict[str, str]
    body: bytes | None
    expected: tuple[range, ...]
    """Statuses that count as success."""
    response: str
    """`auto`, `json` or `text`."""

    def expects(self, status: int) -> bool:
        """Whether the status counts as success."""
        return any(status in statuses for statuses in self.expected)

    @property
    def target(self) -> str:
        """The request for messages and logs: without query and credentials, which may hold secrets."""
        return f"{self.method} {self.url.scheme}://{self.url.authority}{self.url.raw_path}"[:300]


@functools.cache
def user_agent() -> str:
    """Name this product and its version."""
    try:
        return f"workflow-engine/{version('workflow-engine')}"
    except PackageNotFoundError:  # run from a source tree
        return "workflow-engine/0"


def build_request(call: StepCall) -> HttpRequest:
    """Build the request of a step's attempt.

    Raises:
        InputInvalid: names the part of `with` that is wrong. Never holds a header's value, which may be a secret.
        TargetForbidden: neither http nor https.
    """
    given = call.input
    if not isinstance(given, dict):
        raise InputInvalid("`with` of an http node must be a map with at least `url`")
    unknown = given.keys() - INPUT_NAMES
    if unknown:
        raise InputInvalid(f"`with` of an http node has no {sorted(map(str, unknown))}; it has {sorted(INPUT_NAMES)}")
    body, content_type = _body(given)
    return HttpRequest(
        method=_method(given.get("method")),
        url=_with_query(_url(given.get("url")), given.get("query")),
        headers=_headers(call, given, content_type),
        body=body,
        expected=_expects(given.get("expect")),
        response=_response_kind(given.get("response")),
    )


def _method(given: Any) -> str:
    if given is None:
        return "GET"
    if not isinstance(given, str) or not _METHOD.fullmatch(given) or given.upper() in _METHODS_REFUSED:
        raise InputInvalid(f"method: {_shown(given)} is not a method that can be sent")
    return given.upper()


def _url(given: Any) -> yarl.URL:
    if not isinstance(given, str) or not given:
        raise InputInvalid("url: a string such as https://api.example/path is needed")
    if len(given) > URL_CHARS_MAX:
        raise InputInvalid(f"url: longer than {URL_CHARS_MAX} characters; send data in the body")
    if _NOT_IN_URL.search(given):
        raise InputInvalid("url: holds a space, a control character or a backslash; encode it (%20), or use `query`")
    try:
        url = yarl.URL(given)
        port = url.port
    except ValueError as problem:
        raise InputInvalid(f"url: {_without_values(problem)}") from None
    if url.scheme not in SCHEMES:
        raise TargetForbidden(
            f"url: scheme {url.scheme[:20]!r} is not called, only http and https are. HTTP_ALLOW does not change that"
        )
    if not url.raw_host or port is None:
        raise InputInvalid("url: has no host; write it like https://api.example/path")
    if url.raw_user is not None or url.raw_password is not None or "@" in url.raw_authority:
        raise InputInvalid("url: credentials don't belong into it; use `auth: {basic: {user, password}}`")
    return url.with_fragment(None)


def _with_query(url: yarl.URL, given: Any) -> yarl.URL:
    if given is None:
        return url
    return url.extend_query(_pairs("query", given))


def _pairs(name: str, given: Any) -> list[tuple[str, str]]:
    """Flatten a map to name-value pairs: a list repeats its name, null leaves it out."""
    if not isinstance(given, dict):
        raise InputInvalid(f"{name}: must be a map of names to values")
    pairs: list[tuple[str, str]] = []
    for key, value in given.items():
        for item in value if isinstance(value, list) else [value]:
            if item is not None:
                pairs.append((key, _scalar(f"{name}.{key}", item)))
    return pairs


def _scalar(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _encodable(name, value)
    if isinstance(value, int | float):
        return str(value)
    raise InputInvalid(f"{name}: must be a string, a number or a boolean, or a list of these")


def _encodable(name: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputInvalid(f"{name}: holds a lone surrogate, which is not text") from None
    return text


def _body(given: Mapping[str, Any]) -> tuple[bytes | None, str | None]:
    names = [name for name in BODY_NAMES if name in given]
    if not names:
        return None, None
    if len(names) > 1:
        raise InputInvalid(f"{' and '.join(names)}: a request has one body; give one of {', '.join(BODY_NAMES)}")
    value = given[names[0]]
    match names[0]:
        case "json":
            return _json_body(value), "application/json"
        case "form":
            return urlencode(_pairs("form", value)).encode(), "application/x-www-form-urlencoded"
        case _:
            if value is None:
                return None, None
            if not isinstance(value, str):
                raise InputInvalid("body: must be a string; use `json` to send a value as JSON")
            return _encodable("body", value).encode(), "text/plain; charset=utf-8"


def _json_body(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError) as problem:
        raise InputInvalid(f"json: can't be sent as JSON: {type(problem).__name__}") from None


def _headers(call: StepCall, given: Mapping[str, Any], content_type: str | None) -> dict[str, str]:
    """The headers by lower-case name: the engine's, the body's, then the definition's own over them."""
    headers = {
        "user-agent": user_agent(),
        "accept": "application/json, text/*;q=0.9, */*;q=0.5",
        "accept-encoding": "gzip, deflate",
        "idempotency-key": call.idempotency_key,
        "wf-attempt": str(call.attempt),
    }
    if content_type is not None:
        headers["content-type"] = content_type
    own = _own_headers(given.get("headers"))
    headers.update(own)
    authorization = _authorization(given.get("auth"))
    if authorization is not None:
        if "authorization" in own:
            raise InputInvalid("auth: the headers hold an Authorization already; give one of the two")
        headers["authorization"] = authorization
    return headers


def _own_headers(given: Any) -> dict[str, str]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise InputInvalid("headers: must be a map of names to values")
    headers: dict[str, str] = {}
    for name, value in given.items():
        lower = _header_name(name)
        if lower in headers:
            raise InputInvalid(f"headers.{name}: stands twice in different spelling")
        if value is not None:
            headers[lower] = _header_value(name, value)
    return headers


def _header_name(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise InputInvalid(f"headers: {_shown(name)} is not a header's name")
    lower = name.lower()
    if lower in HEADERS_OF_THE_ENGINE:
        raise InputInvalid(f"headers.{name}: is set by the engine and can't be given")
    return lower


def _header_value(name: str, value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_header_value(name, item) for item in value)
    text = _scalar(f"headers.{name}", value).strip(" \t")
    if _CONTROL.search(text):
        raise InputInvalid(f"headers.{name}: holds a line break or another control character")
    return text


def _authorization(given: Any) -> str | None:
    match given:
        case None:
            return None
        case {"bearer": str(token), **rest} if not rest and token:
            if not token.isascii() or not token.isprintable() or " " in token:
                raise InputInvalid("auth.bearer: a token has no spaces, line breaks or characters beyond ASCII")
            return f"Bearer {token}"
        case {"basic": {"user": str(user), "password": str(password), **more}, **rest} if not rest and not more:
            if ":" in user or _CONTROL.search(user + password):
                raise InputInvalid("auth.basic: user has no colon, and neither has control characters")
            return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        case _:
            raise InputInvalid("auth: must be {bearer: token} or {basic: {user: ..., password: ...}}")


def _expects(given: Any) -> tuple[range, ...]:
    if given is None:
        return SUCCESS
    if not isinstance(given, list | str | int) or isinstance(given, bool) or given == []:
        raise InputInvalid('expect: must be a list of statuses or a range; write [200, 404] or "200-299"')
    try:
        return tuple(parse_expected_statuses([given] if isinstance(given, int) else given))
    except ValueError as problem:
        raise InputInvalid(f"expect: {problem}"[:200]) from None


def _response_kind(given: Any) -> str:
    if given is None:
        return "auto"
    if given not in RESPONSE_KINDS:
        raise InputInvalid(f"response: {_shown(given)} is none of {', '.join(RESPONSE_KINDS)}")
    return str(given)


def _shown(value: Any) -> str:
    return repr(value)[:80]


def _without_values(problem: ValueError) -> str:
    """The reason without the URL in it, which may hold a secret."""
    return str(problem).partition(":")[0][:100] or "can't be read"
