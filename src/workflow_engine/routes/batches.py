"""Starting many executions of a workflow at once."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import Field, SkipValidation
from starlette.responses import Response

from workflow_engine.models.errors import WorkflowEngineError
from workflow_engine.models.problem import Problem, pointer
from workflow_engine.routes.bodies import Body, checked, read_model
from workflow_engine.routes.context import Caller, CallerOf
from workflow_engine.routes.idempotency import RequestKey
from workflow_engine.routes.ids import WorkflowId
from workflow_engine.routes.openapi import EXECUTION_EXAMPLE, PROBLEM_EXAMPLE, Answer, json_body, operation
from workflow_engine.routes.problems import HttpProblem, encode_body, problem_document, refusal_of
from workflow_engine.routes.resources import BatchResult
from workflow_engine.routes.starts import START_EXAMPLE, StartBody, delay_s_of
from workflow_engine.services.starts import BATCH_MAX, Wanted
from workflow_engine.services.workflow_executor import GroupReceipt

router = APIRouter(prefix="/api/v1/workflows", tags=["executions"])

Started = dict[str, Any] | HttpProblem | WorkflowEngineError
"""The summary of an execution, or why there is none."""


class BatchBody(Body):
    """Starts, each as it would be alone."""

    executions: list[SkipValidation[StartBody]] = Field(min_length=1, max_length=BATCH_MAX)


BATCH_EXAMPLE: Final = {"executions": [START_EXAMPLE, {"input": {"amount": "many"}}]}
RESULT_EXAMPLE: Final = {
    "items": [
        {
            "index": 0,
            "status": 202,
            "execution_id": EXECUTION_EXAMPLE["execution_id"],
            "execution": {
                name: value
                for name, value in EXECUTION_EXAMPLE.items()
                if name not in ("input", "output", "error", "variables", "active_nodes")
            },
        },
        {"index": 1, "status": 422, "execution_id": None, "problem": PROBLEM_EXAMPLE},
    ],
    "accepted": 1,
    "refused": 1,
}


@router.post(
    "/{workflow_id}/executions/batch",
    **operation(
        "startExecutions",
        "Start many executions",
        body=json_body(BatchBody, BATCH_EXAMPLE, is_required=True),
        answers={202: Answer("Those that were accepted are durable, and under way.", BatchResult, RESULT_EXAMPLE)},
        refusals=(404, 409),
        is_keyed=True,
    ),
)
async def start_executions(workflow_id: WorkflowId, request: Request, caller: CallerOf) -> Response:
    """All that are accepted begin in one commit. One that is refused does not stop the others; each is told in the
    order of the request. Where none is accepted the answer is 422 `none_accepted`, with one entry of `problems` for
    each. 404 and 409 `archived` are about the workflow.
    """
    body, data = await read_model(request, BatchBody, caller.door.settings.body_max_bytes)
    key = caller.door.idempotency.key_of(request, caller.tenant_id, data)

    async def act() -> Response:
        read = [_read(item) for item in body.executions]
        answer = partial(_answer, request.url.path, body.executions)
        started = await _start(caller, workflow_id, read, key, answer)
        if not any(isinstance(one, dict) for one in started):
            raise _none_accepted(started)
        return Response(answer(started), status_code=202, media_type="application/json")

    return await caller.door.idempotency.answer(key, act)


def _read(item: Any) -> Wanted | HttpProblem:
    try:
        body = checked(item, StartBody)
        delay_s = delay_s_of(body)
    except HttpProblem as problem:
        return problem
    return Wanted(
        body.input,
        body.version,
        body.execution_id,
        body.variables,
        body.metadata,
        body.labels,
        body.priority,
        delay_s,
    )


async def _start(
    caller: Caller,
    workflow_id: str,
    read: list[Wanted | HttpProblem],
    key: RequestKey | None,
    answer: Any,
) -> list[Started]:
    """What became of each, in order."""

    def placed(results: Sequence[Any]) -> list[Started]:
        left = iter(results)
        return [next(left) if isinstance(one, Wanted) else one for one in read]

    receipt = None
    if key is not None:
        receipt = GroupReceipt(key.route, key.key, key.body_hash, lambda results: (202, answer(placed(results))))
    wanted = [one for one in read if isinstance(one, Wanted)]
    return placed(await caller.services.executions.start_all(caller.tenant_id, workflow_id, wanted, receipt))


def _answer(path: str, given: Sequence[Any], started: Sequence[Started]) -> bytes:
    items = [_item(path, place, given[place], one) for place, one in enumerate(started)]
    accepted = sum(item["status"] == 202 for item in items)
    return encode_body({"items": items, "accepted": accepted, "refused": len(items) - accepted})


def _item(path: str, place: int, given: Any, started: Started) -> dict[str, Any]:
    if isinstance(started, dict):
        return {"index": place, "status": 202, "execution_id": started["execution_id"], "execution": started}
    refusal = _refusal(started)
    instance = f"{path}#{pointer('executions', place)}"
    return {
        "index": place,
        "status": refusal.status,
        "execution_id": _given_id(given),
        "problem": problem_document(
            instance, refusal.status, refusal.detail, code=refusal.code, problems=refusal.problems
        ),
    }


def _given_id(given: Any) -> str | None:
    execution_id = given.get("execution_id") if isinstance(given, dict) else None
    return execution_id if isinstance(execution_id, str) else None


def _refusal(refused: HttpProblem | WorkflowEngineError) -> HttpProblem:
    return refused if isinstance(refused, HttpProblem) else refusal_of(refused)


def _none_accepted(started: Sequence[Started]) -> HttpProblem:
    """One entry for each: its first wrong place, as a place of this request's body where it is one."""
    problems = []
    for place, one in enumerate(started):
        if isinstance(one, dict):
            continue
        refusal = _refusal(one)
        problems.append(
            Problem(
                severity="error",
                code=refusal.code,
                path=pointer("executions", place),
                message=_first_place(refusal),
            )
        )
    detail = f"none of the {len(problems)} executions was accepted; the first: {problems[0].message}"
    return HttpProblem(422, detail, code="none_accepted", problems=problems)


def _first_place(refusal: HttpProblem) -> str:
    if not refusal.problems:
        return refusal.detail
    first = refusal.problems[0]
    return refusal.detail if first.message in refusal.detail else f"{first.path or '/'}: {first.message}"
