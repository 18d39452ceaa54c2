"""A server that holds its calls until as many are under way as may be, and a little longer: it sees one too many."""

import asyncio
from typing import Self

from aiohttp import web

ANSWER_S = 0.01
"""Time for a call too many to come as well."""


class CrowdedTarget:
    """Use it with `async with`. Once `limit` different calls are under way it answers the oldest, `ANSWER_S` later;
    once all have come, all of them.

    `arrivals` are the bodies in the order in which they came, `peak` the most different calls under way at once; a call
    that is repeated (by its idempotency key) is the same one.
    """

    def __init__(self, limit: int, total: int) -> None:
        self.limit = limit
        self.total = total
        self.arrivals: list[str] = []
        self.peak = 0
        self.url = ""
        self._seen: set[str] = set()
        self._held: dict[str, asyncio.Event] = {}
        self._is_silent = False
        self._silence = asyncio.Event()
        self._silent_at: int | None = None
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/", self._handle)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def fall_silent_after(self, calls: int) -> None:
        """Hold every call once so many new ones have come."""
        self._silence.clear()
        self._silent_at = len(self._seen) + calls

    async def silence(self) -> None:
        """Returns once that is so."""
        await asyncio.wait_for(self._silence.wait(), 60)

    def speak_again(self) -> None:
        """Answer again; calls whose caller is gone are forgotten."""
        self._silent_at = None
        self._held.clear()

    async def _handle(self, request: web.Request) -> web.Response:
        key = request.headers["Idempotency-Key"]
        body = await request.text()
        if key not in self._seen:
            self._seen.add(key)
            self.arrivals.append(body)
        held = self._held[key] = asyncio.Event()
        self.peak = max(self.peak, len(self._held))
        if self._silent_at is not None and len(self._seen) >= self._silent_at:
            self._silence.set()
        elif len(self._held) >= self.limit:
            asyncio.get_running_loop().call_later(ANSWER_S, self._release, next(iter(self._held)))
        if len(self._seen) == self.total:
            for one in list(self._held):
                self._release(one)
        await held.wait()
        return web.json_response(body)

    def _release(self, key: str) -> None:
        held = self._held.pop(key, None)
        if held is not None:
            held.set()
