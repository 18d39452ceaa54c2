"""The OpenAPI document's parts: what a route takes and answers, said once beside it."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, create_model
from pydantic.json_schema import JsonSchemaMode
from starlette.responses import Response

from workflow_engine.routes.bodies import Body
from workflow_engine.routes.resources import ProblemDocument, Resource

PROBLEM_TYPE: Final = "application/problem+json"

REFUSALS: Final = {
    400: "The body can't be read: malformed, too deep, a repeated key, NaN or NUL.",
    403: "`Host` is not this machine, or a page of another origin asks.",
    404: "There is no such thing for this tenant.",
    409: "Its state does not allow it; `code` says why.",
    412: "The workflow has changed since it was read.",
    413: "The body is larger than allowed.",
    415: "The body has another media type, or is compressed.",
    422: "Something in the request is not valid; `problems` names each place.",
    429: "The tenant has as many live streams open as it may.",
    503: "The database does not take it at the moment; try again.",
    507: "The disk of the database is full.",
}

PROBLEM_EXAMPLE: Final = {
    "type": "urn:workflow-engine:problem:invalid_body",
    "title": "Not valid",
    "status": 422,
    "detail": "the body is not valid",
    "instance": "/api/v1/workflows/expense-approval/executions",
    "code": "invalid_body",
    "problems": [
        {
            "severity": "error",
            "code": "unknown_field",
            "path": "/inputs",
            "message": "Extra inputs are not permitted",
            "hint": None,
        }
    ],
}

DEFINITION_EXAMPLE: Final = {
    "id": "expense-approval",
    "name": "Expense approval",
    "input": {"type": "object", "required": ["amount"], "properties": {"amount": {"type": "number"}}},
    "nodes": [
        {"id": "policy", "type": "decision"},
        {"id": "approve", "type": "human", "with": {"title": "Approve ${ input.amount } EUR?"}},
        {"id": "paid", "type": "set", "output": "${ input.amount }"},
    ],
    "connections": [
        {"from": "policy", "to": "approve", "when": "input.amount > 500"},
        {"from": "policy", "to": "paid", "otherwise": True},
        {"from": "approve", "to": "paid"},
    ],
}
DEFINITION_YAML: Final = """id: hello
nodes:
  - {id: greet, type: set, output: "${ 'Hello ' + input.name }"}
"""
WORKFLOW_EXAMPLE: Final = {
    "id": "expense-approval",
    "version": 1,
    "name": "Expense approval",
    "labels": {},
    "definition": DEFINITION_EXAMPLE,
    "archived": False,
    "created_at": "2026-01-02T03:04:05.678901Z",
}
EXECUTION_EXAMPLE: Final = {
    "execution_id": "0197a2c4-5e0a-7c31-9d55-3f0b8f2f6f10",
    "workflow_id": "expense-approval",
    "version": 1,
    "status": "paused",
    "reason": "input",
    "input": {"amount": 700},
    "output": None,
    "error": None,
    "variables": {},
    "progress_percentage": 33,
    "sequence": 5,
    "active_nodes": ["approve"],
    "priority": 5,
    "metadata": {"user_id": "u-17"},
    "labels": {"team": "finance"},
    "created_at": "2026-01-02T03:04:05.678901Z",
    "started_at": "2026-01-02T03:04:05.678901Z",
    "finished_at": None,
}
TASK_EXAMPLE: Final = {
    "task_id": "5f0c1b1e-8d2a-4c1f-9b1e-2f6d1c0a9e77",
    "execution_id": "0197a2c4-5e0a-7c31-9d55-3f0b8f2f6f10",
    "workflow_id": "expense-approval",
    "node_id": "approve",
    "step_id": "approve.1",
    "status": "waiting",
    "title": "Approve 700 EUR?",
    "instructions": None,
    "form": {"type": "object", "required": ["approved"], "properties": {"approved": {"type": "boolean"}}},
    "assignees": ["role:finance"],
    "due": "2026-01-04T03:04:05.678901Z",
    "created_at": "2026-01-02T03:04:05.678901Z",
    "completed_at": None,
    "completed_by": None,
}
STEP_EXAMPLE: Final = {
    "step_id": "policy.1",
    "node_id": "policy",
    "type": "decision",
    "status": "completed",
    "attempts": 1,
    "input": None,
    "output": "approve",
    "error": None,
    "worker": None,
    "scheduled_at": "2026-01-02T03:04:05.678901Z",
    "started_at": "2026-01-02T03:04:05.678901Z",
    "finished_at": "2026-01-02T03:04:05.678901Z",
}
EACH_STEP_EXAMPLE: Final = {
    **STEP_EXAMPLE,
    "step_id": "each.1",
    "node_id": "each",
    "type": "function",
    "status": "processing",
    "input": {"items": [1, 2, 3, 4, 5]},
    "output": None,
    "finished_at": None,
}


MODELS: Final[set[type[BaseModel]]] = set()
"""The models that some route names; `add_schemas` puts them under `components`."""


class Answer(NamedTuple):
    """One answer of a route; without a model it has no body."""

    description: str
    model: type[BaseModel] | None = None
    example: Any = None
    headers: tuple[str, ...] = ()


class RequestBody(NamedTuple):
    """What a route takes: the schema and an example by media type."""

    content: dict[str, dict[str, Any]]
    is_required: bool


Parameter = dict[str, Any]


def parameter(name: str, schema: dict[str, Any], description: str, *, place: str = "query", **more: Any) -> Parameter:
    """A parameter that a route reads itself."""
    return {"name": name, "in": place, "required": False, "schema": schema, "description": description, **more}


TENANT: Final = parameter(
    "X-Tenant-ID",
    {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$", "default": "default"},
    "Whose objects. Without authentication the caller says it.",
    place="header",
)
IDEMPOTENCY_KEY: Final = parameter(
    "Idempotency-Key",
    {"type": "string", "pattern": "^[!-~]{1,255}$"},
    "A request that is sent again with its key gets the answer of the first, marked `Idempotency-Replayed: true`; its "
    "effect happens once. 422 with another body, 409 while the first is under way.",
    place="header",
)
ETAG_SCHEMA: Final = {"type": "string"}
IF_MATCH: Final = parameter(
    "If-Match", ETAG_SCHEMA, "`ETag`s, of which the latest version must have one.", place="header"
)
IF_NONE_MATCH: Final = parameter(
    "If-None-Match", ETAG_SCHEMA, "`ETag`s that the client has: 304 for those.", place="header"
)
LIMIT: Final = parameter(
    "limit", {"type": "integer", "minimum": 1, "maximum": 500, "default": 50}, "Entries in a page, at most."
)
CURSOR: Final = parameter("cursor", {"type": "string"}, "`next_cursor` of the page before.")
STRICT: Final = parameter(
    "strict", {"type": "string", "enum": ["true", "false"], "default": "false"}, "Warnings count as errors."
)
LABEL_PATTERN: Final = "^[^:\\x00]+:[^\\x00]*$"
LABEL_FILTER: Final = parameter(
    "label",
    {
        "type": "array",
        "items": {"type": "string", "pattern": LABEL_PATTERN, "maxLength": 512},
        "maxItems": 8,
    },
    "`key:value`, may be repeated: all must fit.",
    style="form",
    explode=True,
    example=["team:finance"],
)


def instant_filter(name: str, description: str) -> Parameter:
    """A parameter that is a timestamp."""
    return parameter(name, {"type": "string", "format": "date-time"}, description, example="2026-01-02T00:00:00Z")


def text_filter(name: str, description: str, example: str) -> Parameter:
    """A parameter that is compared as it is."""
    return parameter(name, {"type": "string", "maxLength": 512}, description, example=example)


DEFINITION_BODY: Final = RequestBody(
    {
        "application/json": {"schema": {"type": "object"}, "example": DEFINITION_EXAMPLE},
        "application/yaml": {"schema": {"type": "string"}, "example": DEFINITION_YAML},
    },
    is_required=True,
)


def json_body(model: type[Body], example: Any, *, is_required: bool = False) -> RequestBody:
    """A JSON body that a model checks."""
    MODELS.add(model)
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return RequestBody({"application/json": {"schema": schema, "example": example}}, is_required)


def map_body(example: Any) -> RequestBody:
    """A JSON object with any members."""
    return RequestBody({"application/json": {"schema": {"type": "object"}, "example": example}}, True)


@cache
def page_of(model: type[Resource]) -> type[Resource]:
    """The model of a page of a list."""
    return create_model(
        f"{model.__name__}Page",
        __base__=Resource,
        __doc__="A page of a list; `next_cursor` is null on the last one.",
        items=(list[model], ...),  # type: ignore[valid-type]
        next_cursor=(str | None, ...),
    )


def operation(
    operation_id: str,
    summary: str,
    *,
    answers: Mapping[int, Answer],
    refusals: Iterable[int] = (),
    body: RequestBody | None = None,
    parameters: Iterable[Parameter] = (),
    is_keyed: bool = False,
    has_malformed: bool = True,
) -> dict[str, Any]:
    """The arguments of a route's decorator.

    Args:
        refusals: statuses beside those that every route, and every one with a body, can answer.
        is_keyed: `Idempotency-Key` is honoured.
        has_malformed: a body that can't be parsed is 400.
    """
    statuses = {403, 422, 503, *refusals}
    statuses |= ({413, 415, 507} | ({400} if has_malformed else set())) if body is not None else set()
    statuses |= {409} if is_keyed else set()
    shown = [TENANT, *([IDEMPOTENCY_KEY] if is_keyed else []), *parameters]
    extra: dict[str, Any] = {"parameters": shown}
    if body is not None:
        extra["requestBody"] = {"required": body.is_required, "content": body.content}
    return {
        "operation_id": operation_id,
        "summary": summary,
        "response_class": Response,
        "status_code": min(answers),
        "responses": {
            **{status: _answer(answer) for status, answer in answers.items()},
            **{status: _refusal(status) for status in sorted(statuses)},
        },
        "openapi_extra": extra,
    }


def _answer(answer: Answer) -> dict[str, Any]:
    shown: dict[str, Any] = {"description": answer.description}
    if answer.headers:
        shown["headers"] = {name: {"schema": {"type": "string"}} for name in answer.headers}
    if answer.model is not None:
        media: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{answer.model.__name__}"}}
        if answer.example is not None:
            media["example"] = answer.example
        shown["content"] = {"application/json": media}
        MODELS.add(answer.model)
    return shown


def _refusal(status: int) -> dict[str, Any]:
    MODELS.add(ProblemDocument)
    media: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{ProblemDocument.__name__}"}}
    if status == 422:
        media["example"] = PROBLEM_EXAMPLE
    return {"description": REFUSALS[status], "content": {PROBLEM_TYPE: media}}


def add_schemas(document: dict[str, Any]) -> dict[str, Any]:
    """Complete the OpenAPI document with the schemas of everything that the routes answer."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for model in sorted(MODELS, key=lambda one: one.__name__):
        mode: JsonSchemaMode = "validation" if issubclass(model, Body) else "serialization"
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}", mode=mode)
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    return document
