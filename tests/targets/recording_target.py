"""A server that `http` steps call in tests: records every call, and can fall silent in the middle of one."""

import asyncio
from collections import Counter
from typing import Self

from aiohttp import web


class RecordingTarget:
    """Use it with `async with`; `calls` are pairs of idempotency key and body, in the order in which they came."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, bytes]] = []
        self.url = ""
        self._silent_at: int | None = None
        self._is_silent = asyncio.Event()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.calls.append((request.headers["Idempotency-Key"], await request.read()))
        if self._silent_at is not None and len(self.calls) >= self._silent_at:
            self._is_silent.set()
            await asyncio.Event().wait()
        return web.json_response({"calls": "counted"})

    def fall_silent_after(self, calls: int) -> None:
        """Answer so many calls more, and none after that."""
        self._is_silent.clear()
        self._silent_at = len(self.calls) + calls

    def speak_again(self) -> None:
        """Answer every call from now on; those left unanswered stay so."""
        self._silent_at = None

    async def silence(self, timeout_s: float = 60.0) -> None:
        """Returns once a call has been left unanswered."""
        await asyncio.wait_for(self._is_silent.wait(), timeout_s)

    @property
    def calls_by_key(self) -> Counter[str]:
        """How often each idempotency key was seen."""
        return Counter(key for key, _ in self.calls)

    @property
    def has_one_body_per_key(self) -> bool:
        """Whether no key was ever sent with two different bodies."""
        return len(set(self.calls)) == len(self.calls_by_key)
