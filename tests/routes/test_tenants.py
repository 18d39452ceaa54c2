"""No tenant can read, change or detect another's objects, on any route."""

from typing import Any

import pytest
from api import CALL, HOLD, HUMAN, Api, Reply

UNKNOWN = {
    "workflow_id": "nothing",
    "execution_id": "00000000-0000-7000-8000-000000000000",
    "task_id": "00000000-0000-4000-8000-000000000000",
    "step_id": "nothing.1",
    "version": "1",
    "name": "x",
}
BODIES: dict[str, Any] = {
    "setVariables": {"a": 1},
    "completeTask": {"output": {"approved": True}},
    "updateWorkflow": HOLD,
    "startExecution": {},
    "startExecutions": {"executions": [{}]},
    "migrateExecution": {"version": 1},
    "addItems": {"items": [1]},
}
IGNORED = {"date"}


@pytest.fixture
async def theirs(api: Api) -> dict[str, str]:
    """The ids of another tenant's objects."""
    other = api.as_tenant("other")
    await other.publish(HOLD, HUMAN)
    execution_id = (await other.start("hold", input={"gate": "a"}, execution_id="theirs"))["execution_id"]
    await other.start("asked", input={"amount": 1, "who": "anna"})
    task_id = (await other.get("/api/v1/tasks")).json["items"][0]["task_id"]
    return {
        "workflow_id": "hold",
        "execution_id": execution_id,
        "task_id": task_id,
        "step_id": "held.1",
        "version": "1",
        "name": "x",
    }


def routes_of(document: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Method, path and operation of every route that names an object."""
    return [
        (method.upper(), path, operation.get("operationId", ""))
        for path, operations in document["paths"].items()
        if path.startswith("/api/v1/") and "{" in path
        for method, operation in operations.items()
    ]


def shape(reply: Reply, path: str, ids: dict[str, str]) -> tuple[int, dict[str, str], str]:
    """An answer without what the request itself said."""
    body = reply.body.decode().replace(path, "PATH")
    for name, value in ids.items():
        if name not in ("version", "name"):
            body = body.replace(value, name)
    headers = {name.lower(): text for name, text in reply.headers.items() if name.lower() not in IGNORED}
    headers.pop("content-length", None)  # it follows from the id's length
    return reply.status, headers, body


async def test_another_tenant_s_object_is_like_one_that_never_existed(api: Api, theirs: dict[str, str]) -> None:
    document = (await api.get("/openapi.json")).json
    seen = 0
    for method, path, operation in routes_of(document):
        body = BODIES.get(operation, {}) if method in ("POST", "PUT", "PATCH") else None
        answers = []
        for ids in (theirs, UNKNOWN):
            asked = path.format(**ids)
            sent = {**body, "id": ids["workflow_id"]} if operation == "updateWorkflow" and body else body
            answers.append(shape(await api.call(method, asked, sent), asked, ids))
        assert answers[0] == answers[1], (method, path)
        assert answers[0][0] == 404, (method, path, answers[0])
        seen += 1
    assert seen >= 20


async def test_nothing_of_another_tenant_changed_or_is_listed(api: Api, theirs: dict[str, str]) -> None:
    other = api.as_tenant("other")
    before = await other.execution(theirs["execution_id"])
    for method, path, operation in routes_of((await api.get("/openapi.json")).json):
        body = BODIES.get(operation, {}) if method in ("POST", "PUT", "PATCH") else None
        await api.call(method, path.format(**theirs), body, Idempotency_Key="k")
    assert await other.execution(theirs["execution_id"]) == before
    assert len((await other.get("/api/v1/tasks")).json["items"]) == 1
    for path in ("workflows", "executions", "tasks"):
        assert (await api.get(f"/api/v1/{path}")).json["items"] == [], path


async def test_the_same_ids_of_two_tenants_are_two_objects(api: Api) -> None:
    first, second = api.as_tenant("first"), api.as_tenant("second")
    for tenant in (first, second):
        await tenant.publish(CALL)
    one = await first.start("call", input={"n": 1}, execution_id="same", wait="10s")
    two = await second.start("call", input={"n": 2}, execution_id="same", wait="10s")
    assert (one["output"], two["output"]) == (2, 4)


async def test_a_tenant_in_body_or_query_is_refused_and_never_used(api: Api) -> None:
    await api.publish(CALL)
    reply = await api.post("/api/v1/workflows/call/executions", {"input": {"n": 1}, "tenant_id": "other"})
    assert reply.status == 422
    assert (await api.get("/api/v1/executions?tenant_id=other")).status == 422
