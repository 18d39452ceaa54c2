"""The port behind which the work of an I/O node is done."""

from typing import Protocol

from workflow_engine.models.step import Outcome, StepCall


class Handler(Protocol):
    """Does one node type's work.

    A call never raises but `asyncio.CancelledError`: whatever goes wrong is a `Failed`. Cancelling a call aborts it for
    real and frees what it held (connection, slot). Calls run concurrently on one event loop. A call with a heartbeat
    is watched (`heartbeat.Watch`); its first beat is given when the work begins.
    """

    async def __call__(self, call: StepCall) -> Outcome: ...

    async def close(self) -> None:
        """Free what the handler holds; calls under way fail. Closing twice is harmless."""
        ...
