"""One action for many executions."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Request
from pydantic import Field, StringConstraints
from starlette.responses import Response

from workflow_engine.models.duration import TimestampInvalid, parse_timestamp
from workflow_engine.models.problem import Problem, pointer
from workflow_engine.routes.bodies import Body
from workflow_engine.routes.context import Caller, CallerOf
from workflow_engine.routes.idempotency import UNFINISHED, RequestKey
from workflow_engine.routes.openapi import Answer, json_body, operation
from workflow_engine.routes.problems import HttpProblem, encode_body
from workflow_engine.routes.queries import FILTERS_MAX, VALUE_CHARS_MAX
from workflow_engine.routes.resources import BulkResult, Status
from workflow_engine.routes.steering import read
from workflow_engine.services.attributes import REASON_CHARS_MAX
from workflow_engine.services.bulk import Action, Bulk, Chosen, Outcome, steering_command

router = APIRouter(prefix="/api/v1/executions", tags=["executions"])

EXECUTIONS_MAX: Final = 10_000
"""Executions of one request: about ten seconds of work."""
LIMIT_DEFAULT: Final = 1_000

ShortText = Annotated[str, StringConstraints(max_length=VALUE_CHARS_MAX)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=VALUE_CHARS_MAX)]
Label = Annotated[str, StringConstraints(max_length=VALUE_CHARS_MAX, pattern="^[^:\\x00]+:[^\\x00]*$")]


class BulkFilter(Body):
    """As the filters of the list of executions; all must fit."""

    workflow_id: ShortText | None = Field(default=None, description="Of this workflow.")
    status: Status | None = Field(default=None, description="With this status.")
    label: list[Label] = Field(default=[], max_length=FILTERS_MAX, description="Each `key:value`.")
    since: ShortText | None = Field(default=None, description="Created at or after this (RFC 3339).")
    until: ShortText | None = Field(default=None, description="Created before this (RFC 3339).")
    metadata: dict[Name, ShortText | bool | int | float] = Field(
        default={}, max_length=FILTERS_MAX, description="Values by key; compared as text."
    )

    @property
    def is_empty(self) -> bool:
        """Whether it lets all executions pass."""
        return self == BulkFilter()


class BulkBody(Body):
    """What to do, and to which executions: exactly one of `ids`, `filter` and `all` says it."""

    action: Action
    ids: list[Annotated[str, StringConstraints(min_length=1, max_length=128)]] | None = Field(
        default=None, max_length=EXECUTIONS_MAX
    )
    filter: BulkFilter | None = None
    all: bool = Field(default=False, description="Every execution of the tenant; a filter that is empty is refused.")
    reason: str | None = Field(
        default=None, min_length=1, max_length=REASON_CHARS_MAX, description="Of `cancel` and `terminate`: for people."
    )
    compensate: bool = Field(default=False, description="Of `cancel`: undo what was completed.")
    limit: int = Field(default=LIMIT_DEFAULT, ge=1, le=EXECUTIONS_MAX, description="At most so many of a filter.")
    cursor: str | None = Field(default=None, max_length=2_000, description="`next_cursor` of the answer before.")
    dry_run: bool = Field(default=False, description="Only tell which executions these are.")


BULK_EXAMPLE: Final = {
    "action": "cancel",
    "filter": {"workflow_id": "expense-approval", "status": "paused", "label": ["team:finance"]},
    "reason": "the budget is spent",
}
RESULT_EXAMPLE: Final = {
    "matched": 3,
    "succeeded": 2,
    "failed": [{"execution_id": "order-7", "code": "ended", "detail": "the execution is completed"}],
    "execution_ids": None,
    "next_cursor": None,
}


@router.post(
    "/bulk",
    **operation(
        "steerExecutions",
        "Steer many executions",
        body=json_body(BulkBody, BULK_EXAMPLE, is_required=True),
        answers={200: Answer("What became of it.", BulkResult, RESULT_EXAMPLE)},
        is_keyed=True,
    ),
)
async def steer_executions(request: Request, caller: CallerOf) -> Response:
    """Each execution takes the action in a commit of its own: those that can't are listed, the others have it. A filter
    finds the newest first; `next_cursor` leads on to those beyond `limit`. With an `Idempotency-Key` a request that was
    cut off goes on where it was, and no execution takes the action twice.
    """
    body, data = await read(request, caller, BulkBody)
    _check(body)
    key = caller.door.idempotency.key_of(request, caller.tenant_id, data) if not body.dry_run else None

    async def act() -> Response:
        chosen = await _chosen(caller, body)
        outcome = Outcome() if body.dry_run else await _give(caller, body, chosen, key)
        answer = encode_body(
            {
                "matched": len(chosen.execution_ids),
                "succeeded": outcome.succeeded,
                "failed": outcome.failed,
                "execution_ids": chosen.execution_ids if body.dry_run else None,
                "next_cursor": _next_cursor(caller, body, chosen),
            }
        )
        await caller.door.idempotency.keep(key, 200, answer)
        return Response(answer, media_type="application/json")

    return await caller.door.idempotency.answer(key, act)


async def _chosen(caller: Caller, body: BulkBody) -> Chosen:
    if body.ids is not None:
        return Chosen(list(dict.fromkeys(body.ids)), None)
    before = None
    if body.cursor is not None:
        created_at, execution_id = caller.door.cursors.read(caller.tenant_id, _cursor_name(body), body.cursor)
        before = (created_at, execution_id)
    bulk: Bulk = caller.services.bulk
    filters = _filters(body.filter or BulkFilter())
    return await bulk.choose(caller.tenant_id, before=before, limit=body.limit, **filters)


def _next_cursor(caller: Caller, body: BulkBody, chosen: Chosen) -> str | None:
    if chosen.position is None:
        return None
    return caller.door.cursors.make(caller.tenant_id, _cursor_name(body), chosen.position)


def _cursor_name(body: BulkBody) -> str:
    return f"bulk?{body.filter.model_dump_json() if body.filter is not None else ''}"


async def _give(caller: Caller, body: BulkBody, chosen: Chosen, key: RequestKey | None) -> Outcome:
    bulk: Bulk = caller.services.bulk
    command = steering_command(body.action, body.reason, compensate=body.compensate)
    if key is None:
        return await bulk.give(caller.tenant_id, chosen.execution_ids, command)
    begun = await caller.door.idempotency.begun(key)
    return await bulk.give(
        caller.tenant_id,
        chosen.execution_ids,
        command,
        claim=key.receipt(lambda row, _state: (UNFINISHED, row.execution_id.encode())) if begun is None else None,
        receipt_of=lambda execution_id: key.part(execution_id).receipt(lambda _row, _state: (200, b"")),
        done=[begun.decode()] if begun is not None else [],
    )


def _check(body: BulkBody) -> None:
    """What the fields of the body must be to one another."""
    is_filtered = body.filter is not None and not body.filter.is_empty
    if (body.ids is not None) + is_filtered + body.all != 1:
        raise _refused(
            "/filter", "say which executions: exactly one of `ids`, a `filter` that is not empty, and `all: true`"
        )
    if body.cursor is not None and body.ids is not None:
        raise _refused("/cursor", "is of a filter; with `ids` there are no pages")
    if body.reason is not None and body.action not in ("cancel", "terminate"):
        raise _refused("/reason", f"`{body.action}` takes no reason")
    if body.compensate and body.action != "cancel":
        raise _refused("/compensate", f"`{body.action}` undoes nothing; `cancel` does")


def _filters(given: BulkFilter) -> dict[str, Any]:
    """The filters of `Store.executions`."""
    pairs = [label.partition(":") for label in given.label]
    labels = {key: value for key, _, value in pairs}
    if len(labels) < len(pairs):
        raise _refused("/filter/label", "a key is given twice")
    if len(labels) + len(given.metadata) > FILTERS_MAX:
        raise _refused("/filter/label", f"together with metadata at most {FILTERS_MAX} may be given")
    return {
        "workflow_id": given.workflow_id,
        "status": given.status,
        "labels": labels,
        "since": _instant(given.since, "since"),
        "until": _instant(given.until, "until"),
        "metadata": given.metadata,
    }


def _instant(text: str | None, name: str) -> int | None:
    try:
        return parse_timestamp(text) if text is not None else None
    except TimestampInvalid as error:
        raise _refused(pointer("filter", name), str(error)) from None


def _refused(path: str, message: str) -> HttpProblem:
    problem = Problem(severity="error", code="invalid_field", path=path, message=message)
    return HttpProblem(422, f"{path}: {message}", code="invalid_body", problems=[problem])
