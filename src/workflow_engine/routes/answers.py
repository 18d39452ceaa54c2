"""Answers: JSON bodies, entity tags, pages."""

from collections.abc import Callable
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from workflow_engine.routes.context import Caller
from workflow_engine.routes.pages import limit_of
from workflow_engine.routes.problems import encode_body
from workflow_engine.routes.queries import Query

Position = TypeVar("Position")


def json_response(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer with a JSON body."""
    return Response(encode_body(body), status_code=status, media_type="application/json", headers=headers)


def tagged_response(request: Request, body: Any, etag: str) -> Response:
    """An answer with an entity tag; 304 without a body where the client has it already."""
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if etag in tags_of(request.headers.get("if-none-match", ""), weakly=True) or is_any(request, "if-none-match"):
        return Response(status_code=304, headers=headers)
    return json_response(body, headers=headers)


def tags_of(header: str, *, weakly: bool) -> list[str]:
    """The entity tags of a conditional header, with their quotation marks; weak ones only where they count."""
    tags = [tag.strip() for tag in header.split(",") if tag.strip()]
    return [tag.removeprefix("W/") for tag in tags if weakly or not tag.startswith("W/")]


def is_any(request: Request, name: str) -> bool:
    """Whether a conditional header is `*`."""
    return request.headers.get(name, "").strip() == "*"


class Paging:
    """The page that a request to a list asks for; `name` is the list's, and its filters are part of its cursors."""

    def __init__(self, request: Request, caller: Caller, name: str, query: Query) -> None:
        self._caller = caller
        self._name = f"{name}?{query.identity()}"
        self.limit = limit_of(request)
        cursor = query.text("cursor")
        self.position: Any = None
        if cursor is not None:
            self.position = caller.door.cursors.read(caller.tenant_id, self._name, cursor)

    def read(self, take: Callable[[Any], Position]) -> Position | None:
        """The position of the cursor, taken apart; None on the first page."""
        return take(self.position) if self.position is not None else None

    def response(self, items: list[Any], position: Any) -> Response:
        """The page; `position` is where the next one begins, None on the last."""
        cursors, tenant_id = self._caller.door.cursors, self._caller.tenant_id
        next_cursor = cursors.make(tenant_id, self._name, position) if position is not None else None
        return json_response({"items": items, "next_cursor": next_cursor})
