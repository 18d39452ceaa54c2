"""The steps of an execution: look at them, and do by hand what a step can't do by itself."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request
from pydantic import Field
from starlette.responses import Response

from workflow_engine.models.command import AddItems, CompleteByHand, Skip
from workflow_engine.routes.answers import Paging, json_response
from workflow_engine.routes.bodies import Body
from workflow_engine.routes.context import Caller, CallerOf
from workflow_engine.routes.ids import ExecutionId
from workflow_engine.routes.openapi import (
    CURSOR,
    EACH_STEP_EXAMPLE,
    LIMIT,
    STEP_EXAMPLE,
    Answer,
    json_body,
    operation,
    page_of,
)
from workflow_engine.routes.problems import encode_body
from workflow_engine.routes.queries import Query
from workflow_engine.routes.resources import Step
from workflow_engine.routes.steering import give, read, steering

router = APIRouter(prefix="/api/v1/executions/{execution_id}/steps", tags=["steps"])

StepId = Annotated[str, Path(examples=["policy.1"])]

ITEMS_MAX: Final = 10_000
"""Items added by one request."""


# --- looking


@router.get(
    "",
    **operation(
        "listSteps",
        "List the steps of an execution",
        answers={
            200: Answer(
                "The steps, in the order of activation.",
                page_of(Step),
                {"items": [STEP_EXAMPLE], "next_cursor": None},
            )
        },
        refusals=(404,),
        parameters=(LIMIT, CURSOR),
    ),
)
async def list_steps(execution_id: ExecutionId, request: Request, caller: CallerOf) -> Response:
    """Every activation of a node is a step, also each item of a `foreach`, each iteration of a `repeat`, and the nodes
    inside groups. A page may be shorter than `limit` where payloads are large.
    """
    query = Query(request, ("limit", "cursor"))
    paging = Paging(request, caller, f"steps/{execution_id}", query)
    after = paging.read(lambda given: (given[0], given[1])) or (0, 0)
    items, position = await caller.services.steps.page(caller.tenant_id, execution_id, after=after, limit=paging.limit)
    return paging.response(items, position)


@router.get(
    "/{step_id}",
    **operation("getStep", "Show a step", answers={200: Answer("The step.", Step, STEP_EXAMPLE)}, refusals=(404,)),
)
async def get_step(execution_id: ExecutionId, step_id: StepId, request: Request, caller: CallerOf) -> Response:
    """A step's id is its path: node and ordinal, an item or iteration after a colon, scopes joined by `~`."""
    Query(request, ())
    return json_response(await caller.services.steps.get(caller.tenant_id, execution_id, step_id))


# --- by hand


class CompleteStepBody(Body):
    """What the step gives."""

    output: Any = Field(default=None, description="Taken for what the node's work would have given. Any JSON.")


class SkipBody(Body):
    """Nothing; the body may be left out."""


class ItemsBody(Body):
    """More work for a `foreach`."""

    items: list[Any] = Field(min_length=1, max_length=ITEMS_MAX, description="They follow those that it has.")


@router.post(
    "/{step_id}/complete",
    **steering("completeStep", "Complete a step by hand", CompleteStepBody, {"output": {"status": 201}}),
)
async def complete_step(execution_id: ExecutionId, step_id: StepId, request: Request, caller: CallerOf) -> Response:
    """An active step, or a failed one of a failed execution, which then goes on. A call that is under way is withdrawn;
    whatever it still brings changes nothing.
    """
    body, data = await read(request, caller, CompleteStepBody)
    output = caller.services.executions.checked(body.output, "output")
    return await _by_hand(request, caller, execution_id, CompleteByHand(step_id, output), data)


@router.post("/{step_id}/skip", **steering("skipStep", "Skip a step", SkipBody, {}))
async def skip_step(execution_id: ExecutionId, step_id: StepId, request: Request, caller: CallerOf) -> Response:
    """An active step, or a failed one of a failed execution, which then goes on. Its status is `skipped`, its output
    null, and its success connections are taken.
    """
    _, data = await read(request, caller, SkipBody)
    return await _by_hand(request, caller, execution_id, Skip(step_id), data)


async def _by_hand(
    request: Request, caller: Caller, execution_id: str, command: CompleteByHand | Skip, data: bytes
) -> Response:
    async with caller.services.steps.named(caller.tenant_id, execution_id, command.step):
        return await give(request, caller, execution_id, command, data)


@router.post(
    "/{step_id}/items",
    **operation(
        "addItems",
        "Add items to a running foreach",
        body=json_body(ItemsBody, {"items": [4, 5]}, is_required=True),
        answers={200: Answer("The `foreach` step as it is now.", Step, EACH_STEP_EXAMPLE)},
        refusals=(404, 409),
        is_keyed=True,
    ),
)
async def add_items(execution_id: ExecutionId, step_id: StepId, request: Request, caller: CallerOf) -> Response:
    """The step must be a `foreach` that is under way: 409 once it is over. Its list of results grows with its items."""
    body, data = await read(request, caller, ItemsBody)
    items = caller.services.executions.checked(body.items, "items")
    key = caller.door.idempotency.key_of(request, caller.tenant_id, data)
    # The step is a projection of the log: it can be read only after the commit that keeps the key.
    receipt = key.receipt(lambda _row, _state: (200, b"")) if key else None

    async def shown() -> bytes:
        return encode_body(await caller.services.steps.get(caller.tenant_id, execution_id, step_id))

    async def act() -> Response:
        async with caller.services.steps.named(caller.tenant_id, execution_id, step_id):
            await caller.services.executions.give(caller.tenant_id, execution_id, AddItems(step_id, items), receipt)
        answer = await shown()
        await caller.door.idempotency.keep(key, 200, answer)
        return Response(answer, media_type="application/json")

    return await caller.door.idempotency.answer(key, act, again=shown)
