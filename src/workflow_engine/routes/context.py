"""What every route works with."""

from typing import Annotated, Final

from fastapi import Depends, Request

from workflow_engine.config.settings import Settings
from workflow_engine.routes.idempotency import Idempotency
from workflow_engine.routes.pages import Cursors
from workflow_engine.routes.tenancy import require_own_origin, tenant_of
from workflow_engine.services.engine_services import EngineServices

SAFE_METHODS: Final = frozenset({"GET", "HEAD"})


class Door:
    """The services behind the door, and what the door itself keeps."""

    def __init__(self, services: EngineServices, settings: Settings) -> None:
        self.services = services
        self.settings = settings
        self.cursors = Cursors(services.store.key)
        self.idempotency = Idempotency(services.store)


class Caller:
    """One request's tenant and the door it came through."""

    def __init__(self, request: Request) -> None:
        self.door: Door = request.app.state.door
        self.services = self.door.services
        self.tenant_id = tenant_of(request)
        if request.method not in SAFE_METHODS:
            require_own_origin(request)


async def _caller(request: Request) -> Caller:
    return Caller(request)  # in a coroutine, because FastAPI runs plain functions in threads


CallerOf = Annotated[Caller, Depends(_caller)]
"""A route's parameter: `caller: CallerOf`."""
