"""Going on with another version of the definition."""

from typing import Annotated, Final

from fastapi import APIRouter, Request
from pydantic import Field, StringConstraints
from starlette.responses import Response

from workflow_engine.routes.answers import json_response
from workflow_engine.routes.bodies import Body
from workflow_engine.routes.context import CallerOf
from workflow_engine.routes.ids import ExecutionId
from workflow_engine.routes.openapi import EXECUTION_EXAMPLE, Answer, json_body, operation
from workflow_engine.routes.problems import encode_body
from workflow_engine.routes.resources import Migration
from workflow_engine.routes.steering import VERSION_MAX, read
from workflow_engine.services.execution_resource import execution_resource

router = APIRouter(prefix="/api/v1/executions", tags=["executions"])

NODES_MAX: Final = 5_000

NodeId = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class MigrateBody(Body):
    """Where to."""

    version: int = Field(ge=1, le=VERSION_MAX, description="The version to go on with.")
    nodes: dict[NodeId, NodeId] = Field(
        default={}, max_length=NODES_MAX, description="New node ids by old ones, where they differ."
    )
    dry_run: bool = Field(default=False, description="Change nothing: answer `{possible, problems, steps}`.")


@router.post(
    "/{execution_id}/migrate",
    **operation(
        "migrateExecution",
        "Migrate an execution to another version",
        body=json_body(MigrateBody, {"version": 1, "nodes": {}, "dry_run": True}, is_required=True),
        answers={
            200: Answer("The execution as it is now; of a dry run what would happen.", Migration, EXECUTION_EXAMPLE)
        },
        refusals=(404, 409),
        is_keyed=True,
    ),
)
async def migrate_execution(execution_id: ExecutionId, request: Request, caller: CallerOf) -> Response:
    """It goes on where it stands, by the nodes and connections of the other version: 409 where a token or an active
    step has no place there. Steps keep their ids. `dry_run` tells all that is in the way, and what each active step
    would be.
    """
    body, data = await read(request, caller, MigrateBody)
    migrations = caller.services.migrations
    if body.dry_run:
        return json_response(
            await migrations.rehearse(caller.tenant_id, execution_id, version=body.version, nodes=body.nodes)
        )
    key = caller.door.idempotency.key_of(request, caller.tenant_id, data)
    receipt = key.receipt(lambda row, state: (200, encode_body(execution_resource(row, state)))) if key else None

    async def act() -> Response:
        return json_response(
            await migrations.migrate(
                caller.tenant_id, execution_id, version=body.version, nodes=body.nodes, receipt=receipt
            )
        )

    return await caller.door.idempotency.answer(key, act)
