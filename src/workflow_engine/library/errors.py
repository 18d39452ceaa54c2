"""What can go wrong at this door alone; everything else is in `models.errors`."""

from workflow_engine.models.errors import WorkflowEngineError
from workflow_engine.models.event import ErrorValue


class ExecutionEnded(WorkflowEngineError):
    """The execution failed or was cancelled.

    `execution_id`, `status` (`failed` or `cancelled`) and `error`: None, or a dict with `type`, `message`, `details`,
    `node`, `step_id` and `attempt`.
    """

    code = "execution_ended"

    def __init__(self, execution_id: str, status: str, error: ErrorValue | None) -> None:
        self.execution_id = execution_id
        self.status = status
        self.error = error
        reason = f": {error['type']}: {error['message']}" if error else ""
        super().__init__(f"the execution {execution_id} is {status}{reason}")


class EngineClosed(WorkflowEngineError):
    """The engine is not open."""

    code = "engine_closed"


class WrongEventLoop(WorkflowEngineError):
    """An engine serves the event loop that it was opened in, and no other."""

    code = "wrong_event_loop"
