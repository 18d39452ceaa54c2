"""What `Engine` and the handles it gives have in common: the way to the services, for as long as the engine is open."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeVar

from workflow_engine.library.errors import EngineClosed, WrongEventLoop
from workflow_engine.models.errors import DependencyUnavailable, WorkflowEngineError
from workflow_engine.services.engine_services import EngineServices

Answer = TypeVar("Answer")
Entry = TypeVar("Entry")
Position = TypeVar("Position")

PAGE: Final = 200
"""Entries read at a time by what goes through a list."""

NOT_OPENED: Final = "the engine is not open; use it in `async with Engine(...) as engine:`"
CLOSED: Final = "the engine is closed; open it again by `async with`, and whatever was under way goes on"
CLOSED_MEANWHILE: Final = (
    "the engine was closed before it answered; what was asked for may have been done, and what is not finished goes on "
    "when it is opened again"
)


class Door:
    """The way to an engine's services, for one tenant and one event loop."""

    def __init__(self, tenant_id: str) -> None:
        self.tenant_id = tenant_id
        self._services: EngineServices | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def is_open(self) -> bool:
        """Whether services can be asked."""
        return self._services is not None

    @property
    def services(self) -> EngineServices:
        """The services; raises EngineClosed, WrongEventLoop."""
        if self._services is None:
            raise EngineClosed(NOT_OPENED if self._loop is None else CLOSED)
        if _running_loop() is not self._loop:
            raise WrongEventLoop(
                "the engine was opened in another event loop; call it there "
                "(asyncio.run_coroutine_threadsafe(..., loop)), or open an engine of its own in this one"
            )
        return self._services

    def open(self, services: EngineServices) -> None:
        """Let callers in, of the running loop."""
        self._loop = asyncio.get_running_loop()
        self._services = services

    def close(self) -> None:
        """Let nobody in any more."""
        self._services = None

    async def ask(self, question: Callable[[EngineServices], Awaitable[Answer]]) -> Answer:
        """What the services answer.

        Raises:
            EngineClosed: it is not open, or was closed before it had an answer. WrongEventLoop, and what they raise.
        """
        services = self.services
        try:
            return await question(services)
        except (WorkflowEngineError, RuntimeError, asyncio.CancelledError) as error:
            if self._services is services or _is_cancelled(error) or not _is_of_the_close(error):
                raise
            raise EngineClosed(CLOSED_MEANWHILE) from None

    async def each(
        self,
        page: Callable[[EngineServices, Position | None], Awaitable[tuple[Sequence[Entry], Position | None]]],
    ) -> AsyncIterator[Entry]:
        """Every entry of a list that is read page by page; raises what `ask` does.

        Args:
            page: gives the page after a position (None: the first), and where the next one begins, if there is one.
        """
        position: Position | None = None
        while True:
            entries, position = await self.ask(partial(_turned, page, position))
            for entry in entries:
                yield entry
            if position is None:
                return


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _turned(
    page: Callable[[EngineServices, Position | None], Answer], position: Position | None, services: EngineServices
) -> Answer:
    return page(services, position)


def _is_cancelled(error: BaseException) -> bool:
    """Whether it is the caller who is cancelled, and not what it waits for."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def _is_of_the_close(error: BaseException) -> bool:
    """Whether an error says that somebody is not there any more, rather than no to what was asked."""
    return isinstance(error, DependencyUnavailable) or not isinstance(error, WorkflowEngineError)
