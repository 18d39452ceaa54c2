"""The inbox of people: what `human` steps ask, who is asked, and their answers."""

from collections.abc import Callable
from typing import Any, Final

from workflow_engine.models.command import Answer, Decline
from workflow_engine.models.errors import Conflict, NotFound
from workflow_engine.models.json_value import decode_json, encode_json
from workflow_engine.models.step import StepError
from workflow_engine.services.execution_resource import shown_instant
from workflow_engine.services.executions import Executions
from workflow_engine.services.state_manager import TASK_CLOSED, TASK_WAITING
from workflow_engine.services.workflow_executor import Receipt
from workflow_engine.store import OutstandingTask, Store

WAITING: Final = "waiting"
STATUSES: Final = (WAITING, "completed", "failed", "cancelled")

PAGE_BYTES_MAX: Final = 8 * 1024 * 1024
"""A page of tasks ends early once it holds this much: forms may be large."""

Position = tuple[int, str, str]
"""Where a page ended."""

TaskReceipt = Callable[[dict[str, Any]], Receipt]
"""Makes, of the closed task, the answer to keep under a request's `Idempotency-Key`."""


def task_resource(row: OutstandingTask) -> dict[str, Any]:
    """A person's task as the API shows it."""
    data: Any = decode_json(row.data or b"{}")
    assignees = data.get("assignees")
    return {
        "task_id": row.task_id,
        "execution_id": row.execution_id,
        "workflow_id": data["workflow_id"],
        "node_id": data["node_id"],
        "step_id": data["step_id"],
        "status": data["status"],
        "title": _text(data.get("title")),
        "instructions": _text(data.get("instructions")),
        "form": data.get("form"),
        "assignees": [str(one) for one in assignees] if isinstance(assignees, list) else [],
        "due": shown_instant(row.due_at),
        "created_at": shown_instant(data.get("created_at", row.created_at)),
        "completed_at": shown_instant(data.get("completed_at")),
        "completed_by": data.get("completed_by"),
    }


def _text(value: Any) -> str | None:
    """A title that an expression made may be no text."""
    return value if value is None or isinstance(value, str) else encode_json(value).decode()


class PeopleTasks:
    """The tasks of people, of all tenants."""

    def __init__(self, store: Store, executions: Executions) -> None:
        self._store = store
        self._executions = executions

    async def page(
        self,
        tenant_id: str,
        *,
        status: str = WAITING,
        assignee: str | None = None,
        workflow_id: str | None = None,
        due_before: int | None = None,
        after: Position | None = None,
        limit: int = 50,
    ) -> tuple[list[dict[str, Any]], Position | None]:
        """A page of tasks, oldest first, and where the next one begins, if there is one."""
        wanted = {"status": status} | ({"workflow_id": workflow_id} if workflow_id is not None else {})
        # The database looks for the bytes, so that few rows come here; what it finds may stand in another field.
        holding = [encode_json({name: value})[1:-1] for name, value in wanted.items()]
        holding += [encode_json(assignee)] if assignee is not None else []
        kind = TASK_WAITING if status == WAITING else TASK_CLOSED
        found: list[tuple[Position, dict[str, Any]]] = []
        size_bytes = 0
        while len(found) <= limit:
            rows = await self._store.tasks(
                tenant_id, kind=kind, holding=holding, due_before=due_before, after=after, limit=limit + 1
            )
            for row in rows:
                after, task = (row.created_at, row.execution_id, row.task_id), task_resource(row)
                if wanted.items() <= task.items() and (assignee is None or assignee in task["assignees"]):
                    found.append((after, task))
                    size_bytes += len(row.data or b"")
            if not rows:
                return [task for _, task in found], None
            if size_bytes >= PAGE_BYTES_MAX:
                limit = min(limit, len(found))
                break
        return [task for _, task in found[:limit]], found[limit - 1][0]

    async def get(self, tenant_id: str, task_id: str) -> dict[str, Any]:
        """One task, waiting or over; raises NotFound."""
        row = await self._store.task(tenant_id, task_id)
        if row.kind not in (TASK_WAITING, TASK_CLOSED):
            raise NotFound(f"there is no task {task_id!r}")
        return task_resource(row)

    async def complete(
        self,
        tenant_id: str,
        task_id: str,
        output: Any,
        *,
        by: str | None = None,
        receipt: TaskReceipt | None = None,
    ) -> dict[str, Any]:
        """A person's answer; gives the task as it is then.

        Raises:
            InputInvalid: the answer does not fit the form. Conflict: the task does not wait any more. NotFound.
        """
        task = await self._waiting(tenant_id, task_id)
        value = await self._executions.answer_form(task["form"], output)
        return await self._close(tenant_id, task, Answer(task["step_id"], value, by), "completed", receipt)

    async def fail(
        self,
        tenant_id: str,
        task_id: str,
        error: StepError,
        *,
        by: str | None = None,
        receipt: TaskReceipt | None = None,
    ) -> dict[str, Any]:
        """A person could not do it: the step fails with `error`; gives the task as it is then.

        Raises:
            Conflict: the task does not wait any more. NotFound.
        """
        task = await self._waiting(tenant_id, task_id)
        return await self._close(tenant_id, task, Decline(task["step_id"], error, by), "failed", receipt)

    async def _waiting(self, tenant_id: str, task_id: str) -> dict[str, Any]:
        task = await self.get(tenant_id, task_id)
        if task["status"] != WAITING:
            raise Conflict(f"the task {task_id} is {task['status']} already", code="not_waiting")
        return task

    async def _close(
        self,
        tenant_id: str,
        task: dict[str, Any],
        command: Answer | Decline,
        status: str,
        receipt: TaskReceipt | None,
    ) -> dict[str, Any]:
        closed = {
            **task,
            "status": status,
            "completed_by": command.by,
            "completed_at": shown_instant(self._store.now()),
        }
        kept = receipt(closed) if receipt is not None else None
        await self._executions.give(tenant_id, task["execution_id"], command, kept)
        return closed
