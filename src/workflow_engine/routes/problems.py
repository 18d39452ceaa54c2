"""Errors as RFC 9457 problem documents: the one table from an error's class to a status."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from workflow_engine.models.errors import (
    CommandRejected,
    Conflict,
    DefinitionInvalid,
    DependencyUnavailable,
    InputInvalid,
    InvariantViolated,
    LimitExceeded,
    NotFound,
    NotPermitted,
    Outdated,
    StorageFull,
    WorkflowEngineError,
)
from workflow_engine.models.problem import Problem

MEDIA_TYPE: Final = "application/problem+json"

STATUS_OF: Final[dict[type[WorkflowEngineError], int]] = {
    DefinitionInvalid: 422,
    InputInvalid: 422,
    LimitExceeded: 422,
    NotFound: 404,
    Outdated: 412,
    Conflict: 409,
    CommandRejected: 409,
    NotPermitted: 403,
    StorageFull: 507,
    DependencyUnavailable: 503,
    InvariantViolated: 500,
    WorkflowEngineError: 500,
}
"""The nearest class in an error's ancestry counts."""

TITLES: Final = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Not permitted",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    409: "Conflict",
    412: "Precondition failed",
    413: "Body too large",
    415: "Unsupported media type",
    422: "Not valid",
    429: "Too many requests",
    431: "Headers too large",
    500: "Internal error",
    503: "Unavailable",
    507: "Storage full",
}

RETRY_AFTER_S: Final = 1


class HttpProblem(Exception):
    """A request that is refused at the door, before any service is asked."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        code: str = "bad_request",
        problems: Sequence[Problem] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.code = code
        self.problems = list(problems)
        self.headers = headers or {}


def status_of(error: WorkflowEngineError) -> int:
    """The HTTP status of an error, by the nearest class in the table."""
    return next(STATUS_OF[kind] for kind in type(error).__mro__ if kind in STATUS_OF)


def problem_document(
    instance: str, status: int, detail: str, *, code: str, problems: Sequence[Problem] = ()
) -> dict[str, Any]:
    """A problem document. `type` is a URN with the stable code."""
    document: dict[str, Any] = {
        "type": f"urn:workflow-engine:problem:{code}",
        "title": TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "instance": instance,
        "code": code,
    }
    if problems:
        document["problems"] = [problem.to_dict() for problem in problems]
    return document


def problem_response(
    request: Request,
    status: int,
    detail: str,
    *,
    code: str,
    problems: Sequence[Problem] = (),
    headers: dict[str, str] | None = None,
) -> Response:
    """An answer with a problem document; `instance` is the request's path."""
    body = problem_document(request.scope.get("path", ""), status, detail, code=code, problems=problems)
    if status == 503:
        headers = {"Retry-After": str(RETRY_AFTER_S), **(headers or {})}
    return Response(encode_body(body), status_code=status, media_type=MEDIA_TYPE, headers=headers)


def problem_bytes(status: int, detail: str, code: str) -> bytes:
    """A whole HTTP answer with a problem document, for connections on which no request could be read."""
    body = encode_body(
        {
            "type": f"urn:workflow-engine:problem:{code}",
            "title": TITLES.get(status, "Error"),
            "status": status,
            "detail": detail,
            "code": code,
        }
    )
    head = f"HTTP/1.1 {status} {TITLES.get(status, 'Error')}\r\nContent-Type: {MEDIA_TYPE}\r\n"
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


def encode_body(body: Any) -> bytes:
    """JSON that is always sendable: text from a request may hold halves of surrogate pairs."""
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:
        return msgspec.json.encode(_without_surrogates(body))


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    return value


def refusal_of(error: WorkflowEngineError) -> HttpProblem:
    """An error from a service as the refusal that a client sees."""
    code = error.data.get("code", error.code) if error.data else error.code
    return HttpProblem(status_of(error), error.message, code=code, problems=getattr(error, "problems", ()))


def response_of(request: Request, error: WorkflowEngineError) -> Response:
    """The problem document of an error from a service."""
    refusal = refusal_of(error)
    return problem_response(request, refusal.status, refusal.detail, code=refusal.code, problems=refusal.problems)
