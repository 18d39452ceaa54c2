"""When the store takes no writes (a full disk, a failing one): noticed once, and asked after until it is over."""

import asyncio
from collections.abc import Callable

import structlog

from workflow_engine.models.errors import StoreUnavailable
from workflow_engine.store import Store

PROBE_S = 1.0
"""How often the store is asked whether it takes writes again."""

log = structlog.get_logger(__name__)


class Outage:
    """Whether the store takes writes. While it does not, nobody but the probe here tries."""

    def __init__(self, store: Store, *, on_begin: Callable[[], None], on_end: Callable[[], None]) -> None:
        self._store = store
        self._on_begin = on_begin
        self._on_end = on_end
        self._error: StoreUnavailable | None = None
        self._prober: asyncio.Task[None] | None = None

    @property
    def is_on(self) -> bool:
        """Whether writes are of no use now."""
        return self._error is not None

    def error(self) -> StoreUnavailable:
        """Why, for one caller: an exception that is raised often must not be one object."""
        return type(self._error)(self._error.message) if self._error is not None else StoreUnavailable()

    def begin(self, error: StoreUnavailable) -> None:
        """A write has failed."""
        if self._error is None:
            log.error("store.outage_began", code=error.code, error=error.message)
            self._on_begin()
            self._prober = asyncio.get_running_loop().create_task(self._probe())
        self._error = error

    async def _probe(self) -> None:
        begun_s = asyncio.get_running_loop().time()
        while True:
            await asyncio.sleep(PROBE_S)
            try:
                await self._store.probe()
                break
            except StoreUnavailable as error:
                self._error = error
        self._error = None
        log.info("store.outage_ended", duration_s=round(asyncio.get_running_loop().time() - begun_s, 3))
        self._on_end()

    async def close(self) -> None:
        """Ask no more."""
        if self._prober is not None:
            self._prober.cancel()
            await asyncio.gather(self._prober, return_exceptions=True)
