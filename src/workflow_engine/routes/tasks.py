"""Tasks of people: the inbox and the answers."""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from workflow_engine.models.step import StepError
from workflow_engine.routes.answers import Paging, json_response
from workflow_engine.routes.bodies import Body, read_model
from workflow_engine.routes.context import CallerOf
from workflow_engine.routes.idempotency import RequestKey
from workflow_engine.routes.ids import TaskId
from workflow_engine.routes.openapi import (
    CURSOR,
    LIMIT,
    TASK_EXAMPLE,
    Answer,
    instant_filter,
    json_body,
    operation,
    page_of,
    parameter,
    text_filter,
)
from workflow_engine.routes.problems import encode_body
from workflow_engine.routes.queries import Query
from workflow_engine.routes.resources import HumanTask
from workflow_engine.services.people_tasks import STATUSES, WAITING, TaskReceipt

router = APIRouter(prefix="/api/v1/tasks", tags=["tasks"])

FILTERS = ("type", "status", "assignee", "workflow_id", "due_before", "limit", "cursor")
TYPES = ("human",)

CLOSED = Answer("The task as it is now.", HumanTask, TASK_EXAMPLE | {"status": "completed"})


@router.get(
    "",
    **operation(
        "listTasks",
        "List the tasks of people",
        answers={
            200: Answer("The tasks, oldest first.", page_of(HumanTask), {"items": [TASK_EXAMPLE], "next_cursor": None})
        },
        parameters=(
            parameter("type", {"type": "string", "enum": list(TYPES), "default": "human"}, "Of this kind."),
            parameter("status", {"type": "string", "enum": list(STATUSES), "default": WAITING}, "With this status."),
            text_filter("assignee", "Where this is one of the assignees.", "role:finance"),
            text_filter("workflow_id", "Of this workflow.", "expense-approval"),
            instant_filter("due_before", "Due before this."),
            LIMIT,
            CURSOR,
        ),
    ),
)
async def list_tasks(request: Request, caller: CallerOf) -> Response:
    """Those that wait, unless `status` says otherwise. A page may be shorter than `limit` where forms are large."""
    query = Query(request, FILTERS)
    query.one_of("type", TYPES)
    paging = Paging(request, caller, "tasks", query)
    items, position = await caller.services.people_tasks.page(
        caller.tenant_id,
        status=query.one_of("status", STATUSES) or WAITING,
        assignee=query.text("assignee"),
        workflow_id=query.text("workflow_id"),
        due_before=query.instant("due_before"),
        after=paging.read(lambda given: (given[0], given[1], given[2])),
        limit=paging.limit,
    )
    return paging.response(items, position)


@router.get(
    "/{task_id}",
    **operation(
        "getTask",
        "Show a task",
        answers={200: Answer("The task.", HumanTask, TASK_EXAMPLE)},
        refusals=(404,),
    ),
)
async def get_task(task_id: TaskId, request: Request, caller: CallerOf) -> Response:
    """Also one that is over."""
    Query(request, ())
    return json_response(await caller.services.people_tasks.get(caller.tenant_id, task_id))


class CompleteBody(Body):
    """A person's answer."""

    output: Any = Field(default=None, description="Fits the task's form.")


class TaskError(Body):
    """Why a person could not do it."""

    type: str = Field(default="failed", min_length=1, max_length=128, description="What error connections look at.")
    message: str = Field(default="", max_length=10_000)
    details: Any = None


class FailBody(Body):
    """A person could not do it."""

    error: TaskError = Field(default=TaskError(), description="The error of the step.")


@router.post(
    "/{task_id}/complete",
    **operation(
        "completeTask",
        "Answer a task",
        body=json_body(CompleteBody, {"output": {"approved": True}}),
        answers={200: CLOSED},
        refusals=(404, 409),
        is_keyed=True,
    ),
)
async def complete_task(task_id: TaskId, request: Request, caller: CallerOf) -> Response:
    """422 where the answer does not fit the form, with the places; 409 where the task does not wait any more."""
    Query(request, ())
    body, data = await read_model(request, CompleteBody, caller.door.settings.body_max_bytes)
    key = caller.door.idempotency.key_of(request, caller.tenant_id, data)

    async def act() -> Response:
        tasks = caller.services.people_tasks
        return json_response(await tasks.complete(caller.tenant_id, task_id, body.output, receipt=_receipt_of(key)))

    return await caller.door.idempotency.answer(key, act)


@router.post(
    "/{task_id}/fail",
    **operation(
        "failTask",
        "Fail a task",
        body=json_body(FailBody, {"error": {"type": "declined", "message": "not my department"}}),
        answers={200: CLOSED},
        refusals=(404, 409),
        is_keyed=True,
    ),
)
async def fail_task(task_id: TaskId, request: Request, caller: CallerOf) -> Response:
    """The step fails with this error, which an error connection may catch."""
    Query(request, ())
    body, data = await read_model(request, FailBody, caller.door.settings.body_max_bytes)
    details = caller.services.executions.checked(body.error.details, "details")
    error = StepError(body.error.type, body.error.message, details)
    key = caller.door.idempotency.key_of(request, caller.tenant_id, data)

    async def act() -> Response:
        tasks = caller.services.people_tasks
        return json_response(await tasks.fail(caller.tenant_id, task_id, error, receipt=_receipt_of(key)))

    return await caller.door.idempotency.answer(key, act)


def _receipt_of(key: RequestKey | None) -> TaskReceipt | None:
    if key is None:
        return None
    return lambda task: key.receipt(lambda _row, _state: (200, encode_body(task)))
