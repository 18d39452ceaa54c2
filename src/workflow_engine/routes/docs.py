"""The API's documentation as a page that needs nothing from outside: no CDN, no font, no validator."""

from functools import cache
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from workflow_engine.routes.problems import HttpProblem, encode_body

OPENAPI_3_0: Final = "3.0.3"
"""What the packaged Swagger UI can show; `/openapi.json` is 3.1."""

ASSETS: Final = {
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "favicon-32x32.png": "image/png",
}
"""The packaged files that the page needs, with their media types."""

PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Workflow Engine: the API</title>
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
<link rel="icon" type="image/png" href="/docs/assets/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/assets/start.js"></script>
</body>
</html>
"""

START: Final = """window.ui = SwaggerUIBundle({
  url: "/docs/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
});
"""

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
ASSET_HEADERS: Final = {**HEADERS, "Cache-Control": "max-age=86400"}

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def page() -> Response:
    return Response(PAGE, media_type="text/html; charset=utf-8", headers=HEADERS)


@router.get("/docs/openapi.json")
async def openapi(request: Request) -> Response:
    document = as_openapi_3_0(request.app.openapi())
    return Response(encode_body(document), media_type="application/json", headers=HEADERS)


@router.get("/docs/assets/start.js")
async def start() -> Response:
    return Response(START, media_type="text/javascript; charset=utf-8", headers=ASSET_HEADERS)


@router.get("/docs/assets/{name}")
async def asset(name: str) -> Response:
    if name not in ASSETS:
        raise HttpProblem(404, "there is nothing here", code="not_found")
    return Response(_read(name), media_type=ASSETS[name], headers=ASSET_HEADERS)


@cache
def _read(name: str) -> bytes:
    from swagger_ui_bundle import swagger_ui_path  # type: ignore[import-untyped]

    return bytes((swagger_ui_path / name).read_bytes())


def as_openapi_3_0(document: dict[str, Any]) -> dict[str, Any]:
    """An OpenAPI 3.1 document in the words of 3.0, as far as a reader of the page sees them.

    >>> as_openapi_3_0({"schema": {"anyOf": [{"type": "integer"}, {"type": "null"}]}})["schema"]
    {'type': 'integer', 'nullable': True}
    """
    return {**_older(document), "openapi": OPENAPI_3_0}


def _older(value: Any) -> Any:
    if isinstance(value, list):
        return [_older(item) for item in value]
    if not isinstance(value, dict):
        return value
    schema = {name: _older_part(name, item) for name, item in value.items()}
    _rename(schema)
    return _nullable(schema)


def _older_part(name: str, item: Any) -> Any:
    if name in ("example", "default"):
        return item
    if name == "properties" and isinstance(item, dict):
        return {key: _older(schema) for key, schema in item.items()}
    return _older(item)


def _rename(schema: dict[str, Any]) -> None:
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    if isinstance(schema.get("examples"), list):
        schema["example"] = next(iter(schema.pop("examples")), None)
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        limit = schema.get(exclusive)
        if isinstance(limit, int | float) and not isinstance(limit, bool):
            schema |= {bound: limit, exclusive: True}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    kinds = schema.get("type")
    if isinstance(kinds, list):
        others = [kind for kind in kinds if kind != "null"]
        schema = {**schema, "type": others[0] if others else "string", "nullable": "null" in kinds}
    choices = schema.get("anyOf")
    if not isinstance(choices, list) or {"type": "null"} not in choices:
        return schema
    left = [choice for choice in choices if choice != {"type": "null"}]
    rest = {name: item for name, item in schema.items() if name != "anyOf"}
    if len(left) == 1 and "$ref" not in left[0]:
        return {**rest, **left[0], "nullable": True}
    return {**rest, "anyOf": left, "nullable": True}
