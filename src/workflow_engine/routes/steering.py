"""What the routes that steer an execution have in common: a small body in, the execution out, once per key."""

from collections.abc import Iterable
from typing import Any, Final, TypeVar

from fastapi import Request
from starlette.responses import Response

from workflow_engine.models.command import AnyCommand
from workflow_engine.routes.answers import json_response
from workflow_engine.routes.bodies import Body, read_model
from workflow_engine.routes.context import Caller
from workflow_engine.routes.openapi import EXECUTION_EXAMPLE, Answer, json_body, operation
from workflow_engine.routes.problems import encode_body
from workflow_engine.routes.queries import Query
from workflow_engine.routes.resources import Execution
from workflow_engine.services.execution_resource import execution_resource

STEERED: Final = Answer("The execution as it is now.", Execution, EXECUTION_EXAMPLE)

VERSION_MAX: Final = 2**31 - 1

BodyType = TypeVar("BodyType", bound=Body)


def steering(
    operation_id: str, summary: str, model: type[Body], example: Any, *, refusals: Iterable[int] = (404, 409)
) -> dict[str, Any]:
    """The arguments of the decorator of a route that answers with the execution."""
    return operation(
        operation_id,
        summary,
        body=json_body(model, example),
        answers={200: STEERED},
        refusals=refusals,
        is_keyed=True,
    )


async def read(request: Request, caller: Caller, model: type[BodyType]) -> tuple[BodyType, bytes]:
    """The body of a request without query parameters, and its bytes."""
    Query(request, ())
    return await read_model(request, model, caller.door.settings.body_max_bytes)


async def give(
    request: Request, caller: Caller, execution_id: str, command: AnyCommand, data: bytes, *, status: int = 200
) -> Response:
    """Give a command once, however often it is sent; the answer is the execution."""
    key = caller.door.idempotency.key_of(request, caller.tenant_id, data)
    receipt = key.receipt(lambda row, state: (status, encode_body(execution_resource(row, state)))) if key else None

    async def act() -> Response:
        executions = caller.services.executions
        return json_response(await executions.give(caller.tenant_id, execution_id, command, receipt), status)

    return await caller.door.idempotency.answer(key, act)
