"""Who waits for the end of which execution: they hear of it in the moment in which it is durable, without asking."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from workflow_engine.models.execution import ExecutionState
from workflow_engine.services.execution_resource import execution_resource
from workflow_engine.services.workflow_executor import Committed, Key
from workflow_engine.store import ExecutionRow

Ending = asyncio.Future[dict[str, Any] | None]
"""The execution as the API shows it at its end; None where nobody can wait any longer."""


class Endings:
    """Passes the ends of executions on. Where nobody waits nothing is rendered."""

    def __init__(self) -> None:
        self._waiting: dict[Key, list[Ending]] = {}
        self._is_closed = False

    @contextmanager
    def expect(self, key: Key) -> Iterator[Ending]:
        """The end of an execution, from now on."""
        ending: Ending = asyncio.get_running_loop().create_future()
        if self._is_closed:
            ending.set_result(None)
        self._waiting.setdefault(key, []).append(ending)
        try:
            yield ending
        finally:
            left = self._waiting[key]
            left.remove(ending)
            if not left:
                del self._waiting[key]

    def publish(self, committed: Committed) -> None:
        """Tell those who wait, if the transition was the last one."""
        if committed.state.finished_at is not None:
            self.look_at(committed.row, committed.state)

    def look_at(self, row: ExecutionRow, state: ExecutionState) -> None:
        """Tell those who wait, if the execution has ended."""
        waiting = self._waiting.get((state.tenant_id, state.execution_id))
        if waiting is not None and state.is_terminal:
            self._tell(waiting, execution_resource(row, state))

    def close(self) -> None:
        """Let everybody go who waits: the process is about to end."""
        self._is_closed = True
        for waiting in self._waiting.values():
            self._tell(waiting, None)

    @staticmethod
    def _tell(waiting: list[Ending], resource: dict[str, Any] | None) -> None:
        for ending in waiting:
            if not ending.done():
                ending.set_result(resource)
