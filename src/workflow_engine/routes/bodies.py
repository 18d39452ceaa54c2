"""Request bodies: read within limits, parsed strictly, checked against a model; every refusal names its place."""

import asyncio
from functools import partial
from typing import Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import ClientDisconnect, Request

from workflow_engine.models.document import DocumentInvalid, parse_document
from workflow_engine.models.problem import Problem, pointer
from workflow_engine.routes.problems import HttpProblem

JSON_TYPES: Final = frozenset({"application/json"})
YAML_TYPES: Final = frozenset({"application/yaml", "application/x-yaml", "text/yaml"})

TOO_LARGE_CODES: Final = frozenset({"document_too_large", "too_many_values"})

TextKind = Literal["json", "yaml"]

INLINE_BYTES_MAX: Final = 64 * 1024
"""What is larger is parsed in a thread: the event loop has others to serve."""


class Body(BaseModel):
    """A request's body: unknown fields are refused, nothing is coerced."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


BodyType = TypeVar("BodyType", bound=Body)


def media_type(request: Request) -> str:
    """The media type of the body, without parameters, in lower case."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


async def read_body(request: Request, bytes_max: int) -> bytes:
    """The body's bytes; 413 as soon as it is clear that there are more than `bytes_max`, 415 when compressed."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HttpProblem(415, "send the body without a content encoding", code="unsupported_encoding")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > bytes_max:
        raise _too_large(bytes_max)
    chunks = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > bytes_max:
                raise _too_large(bytes_max)
            chunks.append(chunk)
    except ClientDisconnect:
        raise HttpProblem(400, "the body ended early", code="incomplete_body") from None
    return b"".join(chunks)


def _too_large(bytes_max: int) -> HttpProblem:
    # The rest of the body is not read, so the connection can't be used again.
    return HttpProblem(
        413, f"the body is larger than {bytes_max} bytes", code="body_too_large", headers={"Connection": "close"}
    )


def text_kind(request: Request, *, takes_yaml: bool) -> TextKind:
    """Whether the body is JSON or YAML, by its media type; raises HttpProblem (415) for any other."""
    kind = media_type(request)
    if kind in JSON_TYPES:
        return "json"
    if takes_yaml and kind in YAML_TYPES:
        return "yaml"
    taken = "application/json or application/yaml" if takes_yaml else "application/json"
    raise HttpProblem(415, f"send the body as {taken}", code="unsupported_media_type")


async def parse_body(data: bytes, kind: TextKind, bytes_max: int) -> Any:
    """The JSON value of a body; raises DocumentInvalid."""
    parse = partial(parse_document, data, kind=kind, bytes_max=bytes_max)
    return await asyncio.to_thread(parse) if len(data) > INLINE_BYTES_MAX else parse()


async def read_document(request: Request, bytes_max: int, *, takes_yaml: bool = False) -> tuple[Any, bytes]:
    """The JSON value of the body, and its bytes. An empty body is None where JSON is taken.

    Raises:
        HttpProblem: 400 malformed, 413 too large, 415 another media type.
    """
    data = await read_body(request, bytes_max)
    if not data and not media_type(request):
        return None, data
    kind = text_kind(request, takes_yaml=takes_yaml)
    if not data.strip():
        return None, data
    try:
        return await parse_body(data, kind, bytes_max), data
    except DocumentInvalid as error:
        status = 413 if error.problem.code in TOO_LARGE_CODES else 400
        raise HttpProblem(status, error.problem.message, code=error.problem.code, problems=[error.problem]) from None


async def read_model(request: Request, model: type[BodyType], bytes_max: int) -> tuple[BodyType, bytes]:
    """The body as a model, and its bytes; an absent body is an empty object. 422 names each wrong field."""
    value, data = await read_document(request, bytes_max)
    return checked({} if value is None else value, model), data


def checked(value: Any, model: type[BodyType]) -> BodyType:
    """A JSON value as a model; raises HttpProblem (422) that names each wrong field."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise HttpProblem(422, "the body is not valid", code="invalid_body", problems=_problems_of(error)) from None


def _problems_of(error: ValidationError) -> list[Problem]:
    return [
        Problem(
            severity="error",
            code="unknown_field" if problem["type"] == "extra_forbidden" else "invalid_field",
            path=pointer(*problem["loc"]),
            message=problem["msg"],
            hint=None,
        )
        for problem in error.errors(include_url=False, include_input=False)[:100]
    ]
