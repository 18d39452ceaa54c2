"""The application: routes, problem documents for everything that goes wrong, and the OpenAPI document."""

import structlog
from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from workflow_engine import __version__
from workflow_engine.config.settings import Settings
from workflow_engine.models.errors import InvariantViolated, WorkflowEngineError
from workflow_engine.routes.context import Door
from workflow_engine.routes.problems import HttpProblem, problem_response, response_of
from workflow_engine.services.engine_services import EngineServices

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
    app.add_exception_handler(HttpProblem, _on_refusal)
    app.add_exception_handler(WorkflowEngineError, _on_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_bug)
    return app


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
    return problem_response(request, error.status_code, detail, code=code, headers=dict(error.headers or {}))


async def _on_bug(request: Request, error: Exception) -> Response:
    log.error("request.failed", method=request.method, path=request.url.path, exc_info=error)
    return problem_response(request, 500, "the request failed; the server's log says why", code="internal")
