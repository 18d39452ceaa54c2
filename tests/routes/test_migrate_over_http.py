"""Migrations: executions that go on with another version."""

from typing import Any

from api import HOLD, PURE, Api


def version(*nodes: dict[str, Any], connections: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": "flow", "nodes": list(nodes), "connections": connections}


PAID: dict[str, Any] = {"id": "paid", "type": "wait", "with": {"signal": "paid"}}
FIRST = version(PAID, {"id": "last", "type": "set", "output": "old"}, connections=[{"from": "paid", "to": "last"}])
SECOND = version(
    PAID,
    {"id": "checked", "type": "set"},
    {"id": "last", "type": "set", "output": "new"},
    connections=[{"from": "paid", "to": "checked"}, {"from": "checked", "to": "last"}],
)
RENAMED = version(
    {**PAID, "id": "settled"},
    {"id": "last", "type": "set", "output": "renamed"},
    connections=[{"from": "settled", "to": "last"}],
)


async def waiting(api: Api) -> str:
    """An execution of version 1 beside versions 2 and 3."""
    await api.publish(FIRST)
    execution_id = str((await api.start("flow", labels={"n": 1}))["execution_id"])
    for definition in (SECOND, RENAMED):
        assert (await api.call("PUT", "/api/v1/workflows/flow", definition)).status == 201
    return execution_id


async def test_a_waiting_execution_goes_on_with_another_version(api: Api) -> None:
    execution_id = await waiting(api)
    path = f"/api/v1/executions/{execution_id}"
    reply = await api.post(f"{path}/migrate", {"version": 2}, Idempotency_Key="k")
    assert (reply.status, reply.json["version"], reply.json["status"]) == (200, 2, "paused")
    again = await api.post(f"{path}/migrate", {"version": 2}, Idempotency_Key="k")
    assert (again.body, again.headers["Idempotency-Replayed"]) == (reply.body, "true")
    (listed,) = (await api.get("/api/v1/executions")).json["items"]
    assert (listed["execution_id"], listed["version"]) == (execution_id, 2)
    await api.post(f"{path}/signals/paid", {})
    ended = await api.until(execution_id, "completed")
    assert (ended["output"], ended["version"]) == ("new", 2)
    steps = (await api.get(f"{path}/steps")).json["items"]
    assert [step["step_id"] for step in steps] == ["paid.1", "checked.1", "last.1"]
    events = (await api.get(f"{path}/events?limit=500")).json["items"]
    (migrated,) = [event["data"] for event in events if event["event"] == "workflow_migrated"]
    assert (migrated["from"], migrated["to"]) == (1, 2)


async def test_a_node_map_says_where_nodes_went(api: Api) -> None:
    execution_id = await waiting(api)
    path = f"/api/v1/executions/{execution_id}"
    refused = await api.post(f"{path}/migrate", {"version": 3})
    assert (refused.status, refused.code) == (409, "cannot_migrate")
    assert "paid.1" in refused.json["detail"]
    assert (await api.execution(execution_id))["version"] == 1
    reply = await api.post(f"{path}/migrate", {"version": 3, "nodes": {"paid": "settled"}})
    assert (reply.json["version"], reply.json["active_nodes"]) == (3, ["settled"])
    await api.post(f"{path}/signals/paid", {})
    assert (await api.until(execution_id, "completed"))["output"] == "renamed"
    steps = (await api.get(f"{path}/steps")).json["items"]
    assert [(step["step_id"], step["type"], step["status"]) for step in steps] == [
        ("paid.1", "wait", "completed"),
        ("last.1", "set", "completed"),
    ]


async def test_a_dry_run_tells_everything_and_changes_nothing(api: Api) -> None:
    execution_id = await waiting(api)
    path = f"/api/v1/executions/{execution_id}/migrate"
    before = await api.execution(execution_id)
    possible = await api.post(path, {"version": 2, "dry_run": True})
    assert (possible.status, possible.json) == (
        200,
        {"possible": True, "problems": [], "steps": [{"step_id": "paid.1", "from": "paid", "to": "paid"}]},
    )
    not_so = (await api.post(path, {"version": 3, "nodes": {"none": "last"}, "dry_run": True})).json
    assert not_so["possible"] is False
    assert not_so["steps"] == [{"step_id": "paid.1", "from": "paid", "to": None}]
    messages = [problem["message"] for problem in not_so["problems"]]
    assert len(messages) == 2
    assert "none" in messages[0]
    assert "paid.1" in messages[1]
    assert await api.execution(execution_id) == before
    await api.post(f"/api/v1/executions/{execution_id}/cancel", {})
    ended = (await api.post(path, {"version": 2, "dry_run": True})).json
    assert (ended["possible"], ended["problems"][0]["code"]) == (False, "ended")
    assert (await api.post(path, {"version": 2})).code == "ended"


async def test_migrations_that_can_not_be_asked_for_are_refused_by_name(api: Api) -> None:
    await api.publish(HOLD, PURE)
    execution_id = (await api.start("hold", input={"gate": "g"}))["execution_id"]
    path = f"/api/v1/executions/{execution_id}/migrate"
    wrong: list[tuple[dict[str, Any], str]] = [
        ({}, "/version"),
        ({"version": 0}, "/version"),
        ({"version": 9}, "/version"),
        ({"version": 9, "dry_run": True}, "/version"),
        ({"version": 1, "nodes": {"held": 1}}, "/nodes/held"),
        ({"version": 1, "map": {}}, "/map"),
    ]
    for body, place in wrong:
        reply = await api.post(path, body)
        assert (reply.status, reply.paths) == (422, [place]), (body, reply)
    assert (await api.post("/api/v1/executions/none/migrate", {"version": 1})).code == "not_found"
    assert (await api.post(path, {"version": 1})).status == 200
