"""The application: routes, problem documents for everything that goes wrong, and the OpenAPI document."""

from functools import partial
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from workflow_engine import __version__
from workflow_engine.config.settings import Settings
from workflow_engine.models.errors import InvariantViolated, WorkflowEngineError
from workflow_engine.routes import (
    batches,
    bulk,
    docs,
    events,
    execution,
    forks,
    health,
    migrations,
    rehearsals,
    starts,
    steps,
    tasks,
    workflows,
)
from workflow_engine.routes.context import Door
from workflow_engine.routes.observation import METHODS, Observer
from workflow_engine.routes.openapi import add_schemas
from workflow_engine.routes.problems import HttpProblem, problem_response, response_of
from workflow_engine.services.engine_services import EngineServices
from workflow_engine.services.measures import RequestMeasures
from workflow_engine.services.metrics import Metrics

ROUTES: Final = (
    workflows,
    rehearsals,
    starts,
    batches,
    execution,
    forks,
    migrations,
    bulk,
    steps,
    tasks,
    events,
    health,
    docs,
)
"""The modules whose `router` makes the API, in the order of the OpenAPI document."""

DESCRIPTION: Final = (
    "Workflows as data, executions that survive any crash. Errors are problem documents (RFC 9457), lists are pages of "
    "`{items, next_cursor}`, and every request that changes something may carry an `Idempotency-Key`."
)

log = structlog.get_logger(__name__)


def create_app(services: EngineServices, settings: Settings) -> FastAPI:
    """The HTTP service of an open engine. Whoever calls it opens and closes the engine."""
    app = FastAPI(
        title="Workflow Engine",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.door = Door(services, settings)
    app.state.requests = RequestMeasures()
    app.state.metrics = Metrics(services, app.state.requests)
    app.state.readiness = health.Readiness(services)
    app.add_middleware(Observer, measures=app.state.requests)
    for module in ROUTES:
        app.include_router(module.router)
    app.openapi = partial(_openapi, app)  # type: ignore[method-assign]
    app.add_exception_handler(HttpProblem, _on_refusal)
    app.add_exception_handler(WorkflowEngineError, _on_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_bug)
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, made once."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes)
        app.openapi_schema = add_schemas(made)
    return app.openapi_schema


async def _on_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, HttpProblem)
    return problem_response(
        request, error.status, error.detail, code=error.code, problems=error.problems, headers=error.headers
    )


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, WorkflowEngineError)
    if isinstance(error, InvariantViolated):
        log.error("request.invariant_violated", path=request.url.path, error=error.message)
    return response_of(request, error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
    detail = "there is nothing here" if error.status_code == 404 else str(error.detail)
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_methods_at(request))
    return problem_response(request, error.status_code, detail, code=code, headers=headers)


def _methods_at(request: Request) -> list[str]:
    """The methods that some route has at the request's path; the router itself names those of the first one only."""
    return sorted(
        method
        for method in METHODS
        for route in request.app.routes
        if route.matches({**request.scope, "method": method})[0] is Match.FULL
    )


async def _on_bug(request: Request, error: Exception) -> Response:
    log.error("request.failed", method=request.method, path=request.url.path, exc_info=error)
    return problem_response(request, 500, "the request failed; the server's log says why", code="internal")
