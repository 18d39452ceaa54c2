"""What is noticed of every request: how long it took and how it ended. Never its query, headers or body."""

from time import perf_counter
from typing import Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workflow_engine.services.measures import RequestMeasures

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
PATH_CHARS_MAX: Final = 200
NO_ROUTE: Final = "unmatched"

log = structlog.get_logger(__name__)


class Observer:
    """Counts and logs requests: at debug, those that the server failed at warning."""

    def __init__(self, app: ASGIApp, measures: RequestMeasures) -> None:
        self._app = app
        self._measures = measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0

        async def observed_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        begun_s = perf_counter()
        self._measures.in_progress += 1
        try:
            await self._app(scope, receive, observed_send)
        finally:
            self._measures.in_progress -= 1
            self._ended(scope, status or 500, perf_counter() - begun_s)

    def _ended(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._measures.ended(method, route_of(scope), status, seconds)
        tell = log.warning if status >= 500 else log.debug
        tell("request", method=method, path=scope["path"][:PATH_CHARS_MAX], status=status, duration_s=round(seconds, 6))


def route_of(scope: Scope) -> str:
    """The pattern of the route that served a request, such as `/api/v1/workflows/{workflow_id}`."""
    return getattr(scope.get("route"), "path", NO_ROUTE)
