"""Which handler serves which node type, and the boundary that lets no handler's bug out."""

from collections.abc import Mapping
from uuid import uuid4

import structlog

from workflow_engine.models.step import Failed, Outcome, StepCall, StepError
from workflow_engine.steps.handler import Handler

log = structlog.get_logger(__name__)


class Handlers:
    """The handlers of this process by node type."""

    def __init__(self, by_type: Mapping[str, Handler]) -> None:
        self._by_type = dict(by_type)

    @property
    def types(self) -> frozenset[str]:
        """The node types that this process can serve."""
        return frozenset(self._by_type)

    @property
    def threads_kept(self) -> int:
        """Threads held by functions that were given up but have not returned."""
        return sum(sum(getattr(handler, "threads_kept", {}).values()) for handler in self._by_type.values())

    async def run(self, call: StepCall) -> Outcome:
        """Make the call; an unexpected exception becomes `internal` with an id by which the log has the traceback."""
        handler = self._by_type.get(call.type)
        if handler is None:
            return Failed(_no_handler(call, self._by_type))
        try:
            return await handler(call)
        except Exception:  # noqa: BLE001 - the supervised boundary: a handler's bug fails one step, not the process
            return Failed(_unexpected(call))

    async def close(self) -> None:
        """Close every handler, also when one of them fails to."""
        for node_type, handler in self._by_type.items():
            try:
                await handler.close()
            except Exception:  # the others must be closed all the same
                log.exception("handler.close_failed", type=node_type)


def _no_handler(call: StepCall, served: Mapping[str, Handler]) -> StepError:
    names = ", ".join(sorted(served)) or "none"
    message = f"this process has no handler for nodes of type {call.type!r}; it serves: {names}"
    return StepError("unavailable", message, no_effect=True)


def _unexpected(call: StepCall) -> StepError:
    error_id = uuid4().hex
    log.exception(
        "step.handler_raised",
        error_id=error_id,
        type=call.type,
        tenant_id=call.tenant_id,
        execution_id=call.execution_id,
        step_id=call.step_id,
        attempt=call.attempt,
    )
    message = f"the {call.type} handler failed unexpectedly; the server's log explains it under error_id {error_id}"
    return StepError("internal", message, {"error_id": error_id})
