"""Executions: look at them, steer them, send them messages."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import Field
from starlette.responses import Response

from workflow_engine.models.command import Cancel, Pause, Resume, Retry, SetVariables, Signal, Terminate
from workflow_engine.routes.answers import Paging, json_response
from workflow_engine.routes.bodies import Body, read_document, read_model
from workflow_engine.routes.context import CallerOf
from workflow_engine.routes.ids import ExecutionId
from workflow_engine.routes.openapi import (
    CURSOR,
    EXECUTION_EXAMPLE,
    LABEL_FILTER,
    LIMIT,
    Answer,
    instant_filter,
    json_body,
    map_body,
    operation,
    page_of,
    parameter,
    text_filter,
)
from workflow_engine.routes.problems import HttpProblem
from workflow_engine.routes.queries import Query
from workflow_engine.routes.resources import Execution, ExecutionSummary, Explanation
from workflow_engine.routes.steering import STEERED, give, read, steering
from workflow_engine.services.attributes import REASON_CHARS_MAX, SIGNAL_NAME_CHARS_MAX, VARIABLE_NAME_CHARS_MAX

router = APIRouter(prefix="/api/v1/executions", tags=["executions"])

STATUSES = ("pending", "running", "paused", "completed", "failed", "cancelled")
FILTERS = ("workflow_id", "status", "label", "since", "until", "limit", "cursor")

SHOWN = Answer("The execution.", Execution, EXECUTION_EXAMPLE)


# --- looking


@router.get(
    "",
    **operation(
        "listExecutions",
        "List executions",
        answers={200: Answer("The executions, newest first, without payloads.", page_of(ExecutionSummary))},
        parameters=(
            text_filter("workflow_id", "Of this workflow.", "expense-approval"),
            parameter("status", {"type": "string", "enum": list(STATUSES)}, "With this status."),
            LABEL_FILTER,
            instant_filter("since", "Created at or after this."),
            instant_filter("until", "Created before this."),
            LIMIT,
            CURSOR,
        ),
    ),
)
async def list_executions(request: Request, caller: CallerOf) -> Response:
    """`metadata.<key>=value` is a filter too. Values of labels and metadata are compared as text: `3` finds the number
    and the text.
    """
    query = Query(request, FILTERS, takes_metadata=True)
    paging = Paging(request, caller, "executions", query)
    items, position = await caller.services.executions.page(
        caller.tenant_id,
        before=paging.read(lambda given: (given[0], given[1])),
        limit=paging.limit,
        workflow_id=query.text("workflow_id"),
        status=query.one_of("status", STATUSES),
        labels=query.labels,
        since=query.instant("since"),
        until=query.instant("until"),
        metadata=query.metadata,
    )
    return paging.response(items, position)


@router.get(
    "/{execution_id}",
    **operation("getExecution", "Show an execution", answers={200: SHOWN}, refusals=(404,)),
)
async def get_execution(execution_id: ExecutionId, request: Request, caller: CallerOf) -> Response:
    """With its payloads, as it stands now."""
    Query(request, ())
    return json_response(await caller.services.executions.get(caller.tenant_id, execution_id))


@router.get(
    "/{execution_id}/explain",
    **operation(
        "explainExecution",
        "Explain where an execution stands",
        answers={200: Answer("Why it is where it is, node by node, and what it decided.", Explanation)},
        refusals=(404,),
    ),
)
async def explain_execution(execution_id: ExecutionId, request: Request, caller: CallerOf) -> Response:
    """Why it is where it is, in sentences."""
    Query(request, ())
    return json_response(await caller.services.executions.explain(caller.tenant_id, execution_id))


# --- steering


class NoBody(Body):
    """Nothing; the body may be left out."""


class CancelBody(Body):
    """How to cancel."""

    reason: str | None = Field(default=None, min_length=1, max_length=REASON_CHARS_MAX, description="For people.")
    compensate: bool = Field(
        default=False, description="Undo what was completed, in reverse order, by the nodes that `compensate` names."
    )


class TerminateBody(Body):
    """Why to terminate."""

    reason: str | None = Field(default=None, min_length=1, max_length=REASON_CHARS_MAX, description="For people.")


@router.post("/{execution_id}/pause", **steering("pauseExecution", "Pause an execution", NoBody, {}))
async def pause_execution(execution_id: ExecutionId, request: Request, caller: CallerOf) -> Response:
    """Nothing new starts; running steps finish and are recorded."""
    _, data = await read(request, caller, NoBody)
    return await give(request, caller, execution_id, Pause(), data)


@router.post("/{execution_id}/resume", **steering("resumeExecution", "Resume a paused execution", NoBody, {}))
async def resume_execution(execution_id: ExecutionId, request: Request, caller: CallerOf) -> Response:
    """Go on after `pause`. An execution that only waits goes on by itself: 409."""
    _, data = await read(request, caller, NoBody)
    return await give(request, caller, execution_id, Resume(), data)


@router.post(
    "/{execution_id}/cancel",
    **steering("cancelExecution", "Cancel an execution", CancelBody, {"reason": "the order was withdrawn"}),
)
async def cancel_execution(execution_id: ExecutionId, request: Request, caller: CallerOf) -> Response:
    """Withdraw everything; running calls are cancelled. With `compensate` what was completed is undone then, and the
    execution is `cancelled` once that is over.
    """
    body, data = await read(request, caller, CancelBody)
    return await give(request, caller, execution_id, Cancel(body.reason or "cancelled", body.compensate), data)


@router.post(
    "/{execution_id}/terminate",
    **steering("terminateExecution", "Terminate an execution", TerminateBody, {"reason": "it spins"}),
)
async def terminate_execution(execution_id: ExecutionId, request: Request, caller: CallerOf) -> Response:
    """Stop at once, without compensation; the status is `cancelled`."""
    body, data = await read(request, caller, TerminateBody)
    return await give(request, caller, execution_id, Terminate(body.reason or "terminated"), data)


@router.post("/{execution_id}/retry", **steering("retryExecution", "Retry a failed execution", NoBody, {}))
async def retry_execution(execution_id: ExecutionId, request: Request, caller: CallerOf) -> Response:
    """Go on at the failed steps, which begin anew. Variables may be patched first."""
    _, data = await read(request, caller, NoBody)
    return await give(request, caller, execution_id, Retry(), data)


# --- messages


class SignalBody(Body):
    """What a signal carries."""

    payload: Any = Field(default=None, description="Any JSON.")


@router.post(
    "/{execution_id}/signals/{name:path}",
    **operation(
        "sendSignal",
        "Send a signal to an execution",
        body=json_body(SignalBody, {"payload": {"amount": 12}}),
        answers={202: Answer("It is recorded, and kept until a wait takes it.", Execution, EXECUTION_EXAMPLE)},
        refusals=(404, 409),
        is_keyed=True,
    ),
)
async def send_signal(
    execution_id: ExecutionId,
    name: Annotated[str, Path(examples=["payment-confirmed"])],
    request: Request,
    caller: CallerOf,
) -> Response:
    """One signal satisfies exactly one wait: the oldest that matches, now or later."""
    Query(request, ())
    if not 1 <= len(name) <= SIGNAL_NAME_CHARS_MAX or "\0" in name:
        raise HttpProblem(
            422, f"a signal's name has 1 to {SIGNAL_NAME_CHARS_MAX} characters, none of them NUL", code="invalid_name"
        )
    body, data = await read_model(request, SignalBody, caller.door.settings.body_max_bytes)
    payload = caller.services.executions.checked(body.payload, "payload")
    return await give(request, caller, execution_id, Signal(name, payload), data, status=202)


@router.patch(
    "/{execution_id}/variables",
    **operation(
        "setVariables",
        "Change variables of an execution",
        body=map_body({"limit": 800}),
        answers={200: STEERED},
        refusals=(404, 409),
        is_keyed=True,
    ),
)
async def set_variables(execution_id: ExecutionId, request: Request, caller: CallerOf) -> Response:
    """The body is a map of variables; the others stay as they are."""
    Query(request, ())
    changed, data = await read_document(request, caller.door.settings.body_max_bytes)
    if not isinstance(changed, dict):
        raise HttpProblem(422, "the body must be an object: variable -> value", code="invalid_body")
    for variable in changed:
        if not 1 <= len(variable) <= VARIABLE_NAME_CHARS_MAX:
            raise HttpProblem(
                422, f"a variable's name has 1 to {VARIABLE_NAME_CHARS_MAX} characters", code="invalid_body"
            )
    checked = caller.services.executions.checked_variables(changed)
    return await give(request, caller, execution_id, SetVariables(checked), data)
