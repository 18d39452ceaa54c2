"""Starting executions."""

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field, StringConstraints
from starlette.responses import Response

from workflow_engine.models.duration import DurationInvalid, parse_duration
from workflow_engine.models.execution import TERMINAL
from workflow_engine.models.problem import Problem
from workflow_engine.routes.bodies import Body, read_model
from workflow_engine.routes.context import CallerOf
from workflow_engine.routes.idempotency import RequestKey
from workflow_engine.routes.ids import WorkflowId
from workflow_engine.routes.openapi import EXECUTION_EXAMPLE, Answer, json_body, operation, parameter
from workflow_engine.routes.problems import HttpProblem, encode_body
from workflow_engine.routes.queries import Query
from workflow_engine.routes.resources import Execution
from workflow_engine.services.attributes import ATTRIBUTES_MAX, EXECUTION_ID, NAME_CHARS_MAX, TEXT_CHARS_MAX
from workflow_engine.services.execution_resource import execution_resource
from workflow_engine.services.workflow_executor import Receipt

router = APIRouter(prefix="/api/v1/workflows", tags=["executions"])

Name = Annotated[str, StringConstraints(min_length=1, max_length=NAME_CHARS_MAX)]
ShortText = Annotated[str, StringConstraints(max_length=TEXT_CHARS_MAX)]
Attributes = Annotated[dict[Name, ShortText | bool | int | float | None], Field(max_length=ATTRIBUTES_MAX)]


class StartBody(Body):
    """What a start takes; all of it may be left out."""

    input: Any = Field(default=None, description="Fits the workflow's `input` schema.")
    version: int | None = Field(default=None, ge=1, le=2**31 - 1, description="Default: the latest.")
    priority: int = Field(default=5, ge=0, le=9, description="9 goes first.")
    variables: dict[Name, Any] = Field(default={}, description="First values, before the definition's own.")
    metadata: Attributes = Field(default={}, description="Scalars that stay with the execution; lists filter by them.")
    callbacks: Any = Field(default=[], description="Not served yet: must be empty.")
    labels: Attributes = Field(default={}, description="Beside those of the workflow; lists filter by them.")
    execution_id: str | None = Field(
        default=None, pattern=f"^{EXECUTION_ID}$", description="An id of your own; a repeated one is 409."
    )
    delay: str | None = Field(default=None, max_length=64, description="Begin after this duration, such as 5m.")


START_EXAMPLE = {
    "input": {"amount": 700},
    "priority": 5,
    "metadata": {"user_id": "u-17"},
    "labels": {"team": "finance"},
}
WAIT = parameter(
    "wait",
    {"type": "string", "maxLength": 64},
    "Answer when the execution has ended (200), or after this duration (202); at most 60s.",
    example="30s",
)


@router.post(
    "/{workflow_id}/executions",
    **operation(
        "startExecution",
        "Start an execution",
        body=json_body(StartBody, START_EXAMPLE),
        answers={
            202: Answer("It is durable, and under way.", Execution, EXECUTION_EXAMPLE, headers=("Location",)),
            200: Answer("It has ended within `wait`.", Execution, headers=("Location",)),
        },
        refusals=(404, 409),
        parameters=(WAIT,),
        is_keyed=True,
    )
    | {"status_code": 202},
)
async def start_execution(workflow_id: WorkflowId, request: Request, caller: CallerOf) -> Response:
    """Accepted is durable. 404 where the workflow or version does not exist, 409 `archived`, `already_exists` (the
    `execution_id` is taken) or `in_progress` (a request with this `Idempotency-Key` is under way), 422 where the input
    does not fit its schema. Until `delay` is over the execution is `pending`.
    """
    wait_s = Query(request, ("wait",)).wait_s("wait")
    body, data = await read_model(request, StartBody, caller.door.settings.body_max_bytes)
    key = caller.door.idempotency.key_of(request, caller.tenant_id, data)

    async def act() -> Response:
        execution = await caller.services.executions.start(
            caller.tenant_id,
            workflow_id,
            body.input,
            version=body.version,
            execution_id=body.execution_id,
            variables=body.variables,
            metadata=body.metadata,
            labels=body.labels,
            priority=body.priority,
            delay_s=delay_s_of(body),
            wait_s=wait_s,
            receipt=_receipt(key),
        )
        has_ended = wait_s > 0 and execution["status"] in TERMINAL
        answer = encode_body(execution)
        if has_ended:
            await caller.door.idempotency.keep(key, 200, answer)
        headers = {"Location": f"/api/v1/executions/{execution['execution_id']}"}
        status = 200 if has_ended else 202
        return Response(answer, status_code=status, media_type="application/json", headers=headers)

    return await caller.door.idempotency.answer(key, act)


def _receipt(key: RequestKey | None) -> Receipt | None:
    if key is None:
        return None
    return key.receipt(lambda row, state: (202, encode_body(execution_resource(row, state))))


def delay_s_of(body: StartBody) -> float:
    """Seconds until the start; raises HttpProblem (422) for no duration, and for callbacks."""
    if body.callbacks:
        raise _refused("/callbacks", "not_supported_yet", "callbacks come in a later release; leave them out for now")
    try:
        return parse_duration(body.delay) if body.delay is not None else 0.0
    except DurationInvalid as error:
        raise _refused("/delay", "invalid_duration", str(error)) from None


def _refused(path: str, code: str, message: str) -> HttpProblem:
    problem = Problem(severity="error", code=code, path=path, message=message)
    return HttpProblem(422, f"{path}: {message}", code=code, problems=[problem])
