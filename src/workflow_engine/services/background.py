"""Small jobs beside the main flow, which nobody awaits."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

log = structlog.get_logger(__name__)


class Background:
    """The tasks of one service: kept until they are done, logged when they fail, cancelled when it closes."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_open = True

    def spawn(self, job: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        """Run a job; None where the service is closed."""
        if not self._is_open:
            job.close()
            return None
        task = asyncio.get_running_loop().create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background.failed", exc_info=error)

    async def close(self) -> None:
        """Begin nothing more, and end what runs."""
        self._is_open = False
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
