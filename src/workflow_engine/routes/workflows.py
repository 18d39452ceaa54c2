"""Workflows: publish, look, archive."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from workflow_engine.models.document import DocumentInvalid
from workflow_engine.models.errors import NotFound
from workflow_engine.routes.answers import Paging, is_any, json_response, tagged_response, tags_of
from workflow_engine.routes.bodies import parse_body, read_body, read_document, text_kind
from workflow_engine.routes.context import Caller, CallerOf
from workflow_engine.routes.idempotency import RequestKey
from workflow_engine.routes.ids import WorkflowId
from workflow_engine.routes.openapi import (
    CURSOR,
    DEFINITION_BODY,
    IF_MATCH,
    IF_NONE_MATCH,
    LABEL_FILTER,
    LIMIT,
    STRICT,
    WORKFLOW_EXAMPLE,
    Answer,
    operation,
    page_of,
)
from workflow_engine.routes.problems import encode_body
from workflow_engine.routes.queries import Query
from workflow_engine.routes.resources import ValidationResult, Workflow
from workflow_engine.services.workflow_manager import PublishReceipt
from workflow_engine.services.workflow_resource import WorkflowView
from workflow_engine.store import IdempotencyRow

router = APIRouter(prefix="/api/v1/workflows", tags=["workflows"])

PUBLISHED = Answer("The version as it was published.", Workflow, WORKFLOW_EXAMPLE, headers=("ETag", "Location"))
SAME = Answer("The latest version has this content already.", Workflow, WORKFLOW_EXAMPLE, headers=("ETag",))
SHOWN = Answer("The version.", Workflow, WORKFLOW_EXAMPLE, headers=("ETag",))
UNCHANGED = Answer("The client has this version already.")


@router.post(
    "",
    **operation(
        "publishWorkflow",
        "Publish a new workflow",
        body=DEFINITION_BODY,
        answers={201: PUBLISHED},
        refusals=(409,),
        parameters=(STRICT,),
        is_keyed=True,
    ),
)
async def publish_workflow(request: Request, caller: CallerOf) -> Response:
    """The body is the definition, as JSON or YAML. 409 where the id exists: PUT publishes the next version. 422 names
    every problem of the definition with its place.
    """
    return await _publish(request, caller, None)


@router.post(
    "/validate",
    **operation(
        "validateWorkflow",
        "Check a definition without publishing it",
        body=DEFINITION_BODY,
        answers={200: Answer("What was found, also of a document that can't be read.", ValidationResult)},
        parameters=(STRICT,),
        has_malformed=False,
    ),
)
async def validate_workflow(request: Request, caller: CallerOf) -> Response:
    """Every problem at once, each with its place (a JSON pointer) and the way out."""
    strict = Query(request, ("strict",)).flag("strict")
    kind = text_kind(request, takes_yaml=True)
    data = await read_body(request, caller.door.settings.body_max_bytes)
    try:
        document = await parse_body(data, kind, caller.door.settings.body_max_bytes)
    except DocumentInvalid as error:
        return json_response({"valid": False, "problems": [error.problem.to_dict()]})
    found = await caller.services.workflows.validate(document, strict=strict)
    return json_response({"valid": found.valid, "problems": [problem.to_dict() for problem in found.problems]})


@router.get(
    "",
    **operation(
        "listWorkflows",
        "List workflows",
        answers={200: Answer("The latest versions, by id.", page_of(Workflow))},
        parameters=(LABEL_FILTER, LIMIT, CURSOR),
    ),
)
async def list_workflows(request: Request, caller: CallerOf) -> Response:
    """Archived ones are not listed. A page may be shorter than `limit` where definitions are large."""
    query = Query(request, ("label", "limit", "cursor"))
    paging = Paging(request, caller, "workflows", query)
    views, last = await caller.services.workflows.page(
        caller.tenant_id, after=paging.read(str) or "", labels=query.labels, limit=paging.limit
    )
    return paging.response([view.resource for view in views], last)


@router.get(
    "/{workflow_id}",
    **operation(
        "getWorkflow",
        "Show the latest version",
        answers={200: SHOWN, 304: UNCHANGED},
        refusals=(404,),
        parameters=(IF_NONE_MATCH,),
    ),
)
async def get_workflow(workflow_id: WorkflowId, request: Request, caller: CallerOf) -> Response:
    """`ETag` tells one version from another; `If-None-Match` saves the body."""
    Query(request, ())
    view = await caller.services.workflows.latest(caller.tenant_id, workflow_id)
    return tagged_response(request, view.resource, view.etag)


@router.get(
    "/{workflow_id}/versions",
    **operation(
        "listVersions",
        "List the versions of a workflow",
        answers={200: Answer("The versions, newest first.", page_of(Workflow))},
        refusals=(404,),
        parameters=(LIMIT, CURSOR),
    ),
)
async def list_versions(workflow_id: WorkflowId, request: Request, caller: CallerOf) -> Response:
    """A page may be shorter than `limit` where definitions are large."""
    query = Query(request, ("limit", "cursor"))
    paging = Paging(request, caller, f"versions/{workflow_id}", query)
    views, last = await caller.services.workflows.versions(
        caller.tenant_id, workflow_id, before=paging.read(int), limit=paging.limit
    )
    return paging.response([view.resource for view in views], last)


@router.get(
    "/{workflow_id}/versions/{version}",
    **operation(
        "getVersion",
        "Show one version",
        answers={200: SHOWN, 304: UNCHANGED},
        refusals=(404,),
        parameters=(IF_NONE_MATCH,),
    ),
)
async def get_version(workflow_id: WorkflowId, version: str, request: Request, caller: CallerOf) -> Response:
    """A version never changes."""
    Query(request, ())
    if not (version.isascii() and version.isdigit() and 1 <= int(version[:10]) < 2**31 and len(version) <= 10):
        raise NotFound(f"there is no workflow {workflow_id[:128]!r} with a version {version[:20]}")
    view = await caller.services.workflows.one(caller.tenant_id, workflow_id, int(version))
    return tagged_response(request, view.resource, view.etag)


@router.put(
    "/{workflow_id}",
    **operation(
        "updateWorkflow",
        "Publish the next version",
        body=DEFINITION_BODY,
        answers={200: SAME, 201: PUBLISHED},
        refusals=(404, 409, 412),
        parameters=(STRICT, IF_MATCH),
        is_keyed=True,
    ),
)
async def update_workflow(workflow_id: WorkflowId, request: Request, caller: CallerOf) -> Response:
    """The same content keeps its version (200). `If-Match` with the `ETag` that was read makes sure that nobody else
    published in between (412). An archived workflow comes back to life.
    """
    return await _publish(request, caller, workflow_id)


@router.delete(
    "/{workflow_id}",
    **operation(
        "archiveWorkflow",
        "Archive a workflow",
        answers={204: Answer("It takes no new executions.")},
        refusals=(404, 507),
    ),
)
async def archive_workflow(workflow_id: WorkflowId, request: Request, caller: CallerOf) -> Response:
    """No new executions; running ones finish. Its versions stay readable, and a PUT revives it."""
    Query(request, ())
    await caller.services.workflows.archive(caller.tenant_id, workflow_id)
    return Response(status_code=204)


async def _publish(request: Request, caller: Caller, workflow_id: str | None) -> Response:
    """Publish the body as a new workflow, or as the next version of one."""
    strict = Query(request, ("strict",)).flag("strict")
    if_match = ["*"] if is_any(request, "if-match") else tags_of(request.headers.get("if-match", ""), weakly=False)
    document, data = await read_document(request, caller.door.settings.body_max_bytes, takes_yaml=True)
    key = caller.door.idempotency.key_of(request, caller.tenant_id, data)

    async def act() -> Response:
        view, is_new = await caller.services.workflows.put(
            caller.tenant_id,
            document,
            workflow_id=workflow_id,
            if_match=(if_match or [""]) if "if-match" in request.headers else None,
            strict=strict,
            receipt=_receipt_of(key),
        )
        headers = {"ETag": view.etag}
        if is_new:
            headers["Location"] = f"/api/v1/workflows/{view.resource['id']}/versions/{view.version}"
        return json_response(view.resource, _status_of(is_new), headers)

    return await caller.door.idempotency.answer(key, act)


def _status_of(is_new: bool) -> int:
    return 201 if is_new else 200


def _receipt_of(key: RequestKey | None) -> PublishReceipt | None:
    if key is None:
        return None

    def receipt(view: WorkflowView, is_new: bool) -> IdempotencyRow:
        return key.row(_status_of(is_new), encode_body(view.resource))

    return receipt
