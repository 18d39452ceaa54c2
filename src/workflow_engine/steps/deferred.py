"""A handler that is made when it is first needed."""

import asyncio
from collections.abc import Callable

from workflow_engine.models.step import Outcome, StepCall
from workflow_engine.steps.handler import Handler


class DeferredHandler:
    """Stands for a handler whose imports take long: a process that makes no such call starts without them.

    Args:
        make: gives the handler; called once, in a thread, by the first call.
    """

    def __init__(self, make: Callable[[], Handler]) -> None:
        self._make = make
        self._making = asyncio.Lock()
        self._handler: Handler | None = None

    async def __call__(self, call: StepCall) -> Outcome:
        handler = self._handler or await self._made()
        return await handler(call)

    async def _made(self) -> Handler:
        async with self._making:
            if self._handler is None:
                self._handler = await asyncio.to_thread(self._make)
        return self._handler

    async def close(self) -> None:
        if self._handler is not None:
            await self._handler.close()
