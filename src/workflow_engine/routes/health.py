"""Is it alive, is it ready, how does it do: for supervisors, load balancers and Prometheus."""

import asyncio
from time import monotonic
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from workflow_engine.models.errors import StoreUnavailable
from workflow_engine.routes.context import Door
from workflow_engine.routes.problems import MEDIA_TYPE, encode_body
from workflow_engine.routes.tenancy import require_this_machine
from workflow_engine.services.engine_services import EngineServices
from workflow_engine.store import QUEUE_MAX

PROBE_TIMEOUT_S: Final = 2.0
PROBE_KEPT_S: Final = 1.0
"""How long the answer of a probe is good, so that many who ask cost one write."""
QUEUE_SHARE_MAX: Final = 0.9
THREADS_KEPT_MAX: Final = 128
"""More hanging functions than this, of the 256 threads that there may be, and new ones soon find no thread."""

Check = dict[str, Any]

router = APIRouter(tags=["operation"])


class Readiness:
    """Whether this process should get requests."""

    def __init__(self, services: EngineServices) -> None:
        self._services = services
        self._probed: tuple[float, str | None] | None = None
        self._probing = asyncio.Lock()

    async def checks(self) -> dict[str, Check]:
        """Each thing that must hold, whether it does, and what was seen."""
        services = self._services
        kept = services.executor.processor.threads_kept
        stopping = services.executor.stopping.is_set()
        trouble = None if stopping else await self._database_trouble()
        queued = services.store.queued
        return {
            "accepting": {"ok": not stopping},
            "database": {"ok": trouble is None, **({"error": trouble} if trouble else {})},
            "queue": {"ok": queued < QUEUE_SHARE_MAX * QUEUE_MAX, "writes": queued},
            "threads": {"ok": kept <= THREADS_KEPT_MAX, "kept": kept},
        }

    async def _database_trouble(self) -> str | None:
        async with self._probing:
            if self._probed is None or monotonic() - self._probed[0] > PROBE_KEPT_S:
                trouble = await self._probe()
                self._probed = (monotonic(), trouble)
            return self._probed[1]

    async def _probe(self) -> str | None:
        if self._services.executor.outage.is_on:
            return self._services.executor.outage.error().code
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                await self._services.store.probe()
        except TimeoutError:
            return "timeout"
        except StoreUnavailable as error:
            return error.code
        return None


def _json(status: int, body: Any) -> Response:
    headers = {"Cache-Control": "no-store"}
    return Response(encode_body(body), status_code=status, media_type="application/json", headers=headers)


ALIVE: Final = {"status": "alive"}
READY: Final = {
    "status": "ready",
    "checks": {
        "accepting": {"ok": True},
        "database": {"ok": True},
        "queue": {"ok": True, "writes": 3},
        "threads": {"ok": True, "kept": 0},
    },
}
NOT_READY: Final = {
    "status": "not_ready",
    "checks": READY["checks"] | {"database": {"ok": False, "error": "storage_full"}},  # type: ignore[operator]
}


def _documented(description: str, example: Any) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"example": example}}}


@router.get(
    "/health/live",
    operation_id="isAlive",
    summary="Is the process alive?",
    response_class=Response,
    responses={200: _documented("It answers, so it is. Restart it when this does not answer.", ALIVE)},
)
async def live() -> Response:
    """Answers as long as the event loop turns, also while the database does not or the process drains."""
    return _json(200, ALIVE)


@router.get(
    "/health/ready",
    operation_id="isReady",
    summary="Should this process get requests?",
    response_class=Response,
    responses={
        200: _documented("It should.", READY),
        503: _documented("It should not, now; the checks say why.", NOT_READY),
    },
)
async def ready(request: Request) -> Response:
    """Looks at the database (by a small write, at most one a second), the queue of writes, the threads, and whether
    the process is about to end.
    """
    checks = await request.app.state.readiness.checks()
    if all(check["ok"] for check in checks.values()):
        return _json(200, {"status": "ready", "checks": checks})
    return _json(503, {"status": "not_ready", "checks": checks})


@router.get(
    "/metrics",
    operation_id="getMetrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={
        200: {
            "description": "The text format of Prometheus, or OpenMetrics where `Accept` asks for it.",
            "content": {
                "text/plain": {"example": "workflow_engine_executions_started_total 3.0\n"},
                "application/openmetrics-text": {"example": "workflow_engine_executions_started_total 3.0\n# EOF\n"},
            },
        },
        403: {"description": "`Host` is not this machine.", "content": {MEDIA_TYPE: {}}},
    },
)
async def metrics(request: Request) -> Response:
    """Every metric is explained in the operation guide. None has a tenant or an id as a label."""
    door: Door = request.app.state.door
    if door.settings.auth_mode == "none":
        require_this_machine(request)
    body, media_type = request.app.state.metrics.render(request.headers.get("accept", ""))
    return Response(body, headers={"Content-Type": media_type, "Cache-Control": "no-store"})
