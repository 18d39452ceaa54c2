"""A new execution that begins where another one stood."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Request
from pydantic import Field, StringConstraints
from starlette.responses import Response

from workflow_engine.routes.answers import json_response
from workflow_engine.routes.bodies import Body
from workflow_engine.routes.context import CallerOf
from workflow_engine.routes.ids import ExecutionId
from workflow_engine.routes.openapi import EXECUTION_EXAMPLE, Answer, json_body, operation
from workflow_engine.routes.problems import encode_body
from workflow_engine.routes.resources import Execution
from workflow_engine.routes.steering import VERSION_MAX, read
from workflow_engine.services.attributes import VARIABLE_NAME_CHARS_MAX
from workflow_engine.services.execution_resource import execution_resource

router = APIRouter(prefix="/api/v1/executions", tags=["executions"])

SEQUENCE_MAX: Final = 2**53 - 1

VariableName = Annotated[str, StringConstraints(min_length=1, max_length=VARIABLE_NAME_CHARS_MAX)]


class ForkBody(Body):
    """Where to begin; all of it may be left out."""

    sequence: int | None = Field(
        default=None,
        ge=1,
        le=SEQUENCE_MAX,
        description="The event of the origin after which to go on, rounded up to the end of its transition. Default: "
        "the latest.",
    )
    version: int | None = Field(
        default=None, ge=1, le=VERSION_MAX, description="To go on with. Default: that of the origin at that point."
    )
    variables: dict[VariableName, Any] = Field(default={}, description="Merged into those of that point.")


@router.post(
    "/{execution_id}/fork",
    **operation(
        "forkExecution",
        "Fork an execution",
        body=json_body(ForkBody, {"sequence": 4, "variables": {"limit": 800}}),
        answers={201: Answer("The new execution.", Execution, EXECUTION_EXAMPLE, headers=("Location",))},
        refusals=(404, 409),
        is_keyed=True,
    ),
)
async def fork_execution(execution_id: ExecutionId, request: Request, caller: CallerOf) -> Response:
    """A new execution with a log of its own, which goes on from an event of this one; this one stays as it is. Steps
    that were under way there begin anew, waits begin again, people are asked again. Labels and metadata come along. 422
    where there is no such event or version; 409 where it had not begun there, was cancelled or had undone what it did,
    or a token has no place in the version.
    """
    body, data = await read(request, caller, ForkBody)
    variables = caller.services.executions.checked_variables(body.variables)
    key = caller.door.idempotency.key_of(request, caller.tenant_id, data)
    receipt = key.receipt(lambda row, state: (201, encode_body(execution_resource(row, state)))) if key else None

    async def act() -> Response:
        forked = await caller.services.forks.fork(
            caller.tenant_id,
            execution_id,
            sequence=body.sequence,
            version=body.version,
            variables=variables,
            receipt=receipt,
        )
        return json_response(forked, 201, {"Location": f"/api/v1/executions/{forked['execution_id']}"})

    return await caller.door.idempotency.answer(key, act)
