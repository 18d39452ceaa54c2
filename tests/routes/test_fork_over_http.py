"""Forks: new executions that begin where others stood."""

import asyncio
from typing import Any

from api import GATES, HUMAN, PURE, SIGNAL, Api

FLOW: dict[str, Any] = {
    "id": "flow",
    "input": {"type": "object"},
    "variables": {"limit": 1},
    "nodes": [
        {"id": "first", "type": "set", "output": "${ vars.limit }"},
        {"id": "held", "type": "function", "with": {"name": "routes.hold", "arguments": {"gate": "${ input.gate }"}}},
        {"id": "paid", "type": "wait", "with": {"signal": "paid"}},
        {"id": "last", "type": "set", "output": "${ {'limit': vars.limit, 'first': steps.first.output} }"},
    ],
    "connections": [{"from": "first", "to": "held"}, {"from": "held", "to": "paid"}, {"from": "paid", "to": "last"}],
}


def open_gate(name: str) -> None:
    GATES.setdefault(name, asyncio.Event()).set()


async def events_of(api: Api, execution_id: str) -> list[dict[str, Any]]:
    reply = await api.get(f"/api/v1/executions/{execution_id}/events?limit=500")
    events: list[dict[str, Any]] = reply.json["items"]
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    return events


async def sequence_of(api: Api, execution_id: str, name: str, step_id: str) -> int:
    (found,) = [
        event["sequence"]
        for event in await events_of(api, execution_id)
        if (event["event"], event["data"]["step_id"]) == (name, step_id)
    ]
    return int(found)


async def finished(api: Api, gate: str) -> str:
    started = await api.start(
        "flow", input={"gate": gate}, labels={"team": "red"}, metadata={"user_id": "u1"}, priority=7
    )
    execution_id: str = started["execution_id"]
    GATES[gate].set()
    await api.until(execution_id, "paused")
    await api.post(f"/api/v1/executions/{execution_id}/signals/paid", {})
    await api.until(execution_id, "completed")
    return execution_id


async def test_a_fork_goes_on_from_an_event_with_changed_variables(api: Api) -> None:
    await api.publish(FLOW)
    origin = await finished(api, "g")
    sequence = await sequence_of(api, origin, "workflow_step_started", "held.1")
    body = {"sequence": sequence, "variables": {"limit": 9}}
    reply = await api.post(f"/api/v1/executions/{origin}/fork", body, Idempotency_Key="k")
    assert reply.status == 201
    fork = reply.json
    assert fork["execution_id"] != origin
    assert reply.headers["Location"] == f"/api/v1/executions/{fork['execution_id']}"
    shown = {name: fork[name] for name in ("workflow_id", "version", "input", "priority", "labels", "metadata")}
    assert shown == {
        "workflow_id": "flow",
        "version": 1,
        "input": {"gate": "g"},
        "priority": 7,
        "labels": {"team": "red"},
        "metadata": {"user_id": "u1"},
    }
    again = await api.post(f"/api/v1/executions/{origin}/fork", body, Idempotency_Key="k")
    assert (again.status, again.body, again.headers["Idempotency-Replayed"]) == (201, reply.body, "true")
    await api.until(fork["execution_id"], "paused")
    await api.post(f"/api/v1/executions/{fork['execution_id']}/signals/paid", {})
    assert (await api.until(fork["execution_id"], "completed"))["output"] == {"limit": 9, "first": 1}
    assert (await api.execution(origin))["output"] == {"limit": 1, "first": 1}
    listed = (await api.get("/api/v1/executions?label=team:red")).json["items"]
    assert [item["execution_id"] for item in listed] == [fork["execution_id"], origin]


async def test_the_log_of_a_fork_begins_at_one_and_names_its_origin(api: Api) -> None:
    await api.publish(FLOW)
    origin = await finished(api, "g")
    sequence = await sequence_of(api, origin, "workflow_step_started", "held.1")
    fork = (await api.post(f"/api/v1/executions/{origin}/fork", {"sequence": sequence})).json
    await api.until(fork["execution_id"], "paused")
    events = await events_of(api, fork["execution_id"])
    first = events[0]
    assert (first["event"], first["data"]["version"], first["data"]["input"]) == ("workflow_started", 1, {"gate": "g"})
    origin_sequence = first["data"]["forked_from"]["sequence"]
    assert first["data"]["forked_from"] == {"execution_id": origin, "sequence": origin_sequence}
    assert origin_sequence >= sequence
    steps = (await api.get(f"/api/v1/executions/{fork['execution_id']}/steps")).json["items"]
    assert [(step["step_id"], step["type"], step["status"]) for step in steps] == [
        ("held.1", "function", "completed"),
        ("paid.1", "wait", "waiting"),
    ]
    for step in steps:
        found = (await api.get(f"/api/v1/executions/{fork['execution_id']}/steps/{step['step_id']}")).json
        assert found == step


async def test_what_was_under_way_begins_anew_in_a_fork(api: Api) -> None:
    await api.publish(FLOW, HUMAN)
    running = (await api.start("flow", input={"gate": "slow"}))["execution_id"]
    fork = (await api.post(f"/api/v1/executions/{running}/fork")).json
    assert (fork["status"], fork["active_nodes"]) == ("running", ["held"])
    GATES["slow"].set()
    for execution_id in (running, fork["execution_id"]):
        await api.until(execution_id, "paused")
    asked = (await api.start("asked", input={"amount": 1, "who": "anna"}))["execution_id"]
    other = (await api.post(f"/api/v1/executions/{asked}/fork", {})).json["execution_id"]
    tasks = (await api.get("/api/v1/tasks")).json["items"]
    assert {task["execution_id"] for task in tasks} == {asked, other}
    task_id = next(task["task_id"] for task in tasks if task["execution_id"] == other)
    await api.post(f"/api/v1/tasks/{task_id}/complete", {"output": {"approved": True}})
    assert (await api.execution(other))["status"] == "completed"
    assert (await api.execution(asked))["status"] == "paused"


async def test_a_fork_in_the_middle_of_a_foreach_keeps_what_its_items_gave(api: Api) -> None:
    each = {
        "id": "each",
        "type": "function",
        "foreach": {"items": "${ input }"},
        "with": {"name": "routes.hold", "arguments": {"gate": "${ item }"}},
        "output": "${ item }",
    }
    await api.publish({"id": "each", "nodes": [each]})
    origin = (await api.start("each", input=["a", "b"]))["execution_id"]
    await api.post(f"/api/v1/executions/{origin}/steps/each.1:0/complete", {"output": "a"})
    fork = (await api.post(f"/api/v1/executions/{origin}/fork")).json["execution_id"]
    path = f"/api/v1/executions/{fork}/steps"
    steps = (await api.get(path)).json["items"]
    assert {step["step_id"]: step["status"] for step in steps} == {"each.1": "processing", "each.1:1": "processing"}
    open_gate("b")
    assert (await api.until(fork, "completed"))["output"] == ["a", "b"]
    assert (await api.get(f"{path}/each.1")).json["output"] == ["a", "b"]
    assert [page[0]["output"] for page in await api.pages(path, 1)] == [["a", "b"], "b"]


async def test_a_fork_goes_on_with_another_version(api: Api) -> None:
    await api.publish(FLOW)
    origin = await finished(api, "g")
    changed = {**FLOW, "nodes": [*FLOW["nodes"][:3], {"id": "last", "type": "set", "output": "new"}]}
    assert (await api.call("PUT", "/api/v1/workflows/flow", changed)).status == 201
    sequence = await sequence_of(api, origin, "workflow_step_started", "paid.1")
    fork = (await api.post(f"/api/v1/executions/{origin}/fork", {"sequence": sequence, "version": 2})).json
    assert (fork["version"], fork["status"]) == (2, "paused")
    await api.post(f"/api/v1/executions/{fork['execution_id']}/signals/paid", {})
    assert (await api.until(fork["execution_id"], "completed"))["output"] == "new"
    without = {
        **FLOW,
        "nodes": [FLOW["nodes"][0], FLOW["nodes"][3]],
        "connections": [{"from": "first", "to": "last"}],
    }
    assert (await api.call("PUT", "/api/v1/workflows/flow", without)).status == 201
    refused = await api.post(f"/api/v1/executions/{origin}/fork", {"sequence": sequence, "version": 3})
    assert (refused.status, refused.code) == (409, "cannot_migrate")
    assert "paid.1" in refused.json["detail"]


async def test_forks_that_can_not_be_made_are_refused_by_name(api: Api) -> None:
    await api.publish(PURE, SIGNAL)
    done = (await api.start("pure", wait="5s", input={"n": 1}))["execution_id"]
    path = f"/api/v1/executions/{done}/fork"
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"sequence": 0}, "/sequence"),
        ({"sequence": 10_000}, "/sequence"),
        ({"sequence": "3"}, "/sequence"),
        ({"version": 7}, "/version"),
        ({"version": 0}, "/version"),
        ({"variables": {"": 1}}, "/variables/"),
        ({"input": 1}, "/input"),
    ]
    for body, place in wrong:
        reply = await api.post(path, body)
        assert reply.status == 422, (body, reply)
        assert any(one.startswith(place) for one in reply.paths), (body, reply.json)
    assert (await api.post("/api/v1/executions/none/fork", {})).code == "not_found"
    cancelled = (await api.start("signalled"))["execution_id"]
    await api.post(f"/api/v1/executions/{cancelled}/cancel", {})
    assert (await api.post(f"/api/v1/executions/{cancelled}/fork", {})).code == "origin_cancelled"
    delayed = (await api.start("signalled", delay="1h"))["execution_id"]
    assert (await api.post(f"/api/v1/executions/{delayed}/fork", {})).code == "origin_pending"
    await api.call("DELETE", "/api/v1/workflows/pure")
    assert (await api.post(path, {})).code == "archived"


async def test_a_fork_from_the_middle_of_a_long_execution_has_what_it_had_there(api: Api) -> None:
    """1,000 steps, each a transition of its own or nearly so: the origin's log is folded up to the middle."""
    nodes = [
        {
            "id": "call",
            "type": "function",
            "with": {"name": "routes.double", "arguments": {"n": "${ vars.n }"}},
            "assign": {"n": "${ vars.n + 1 }"},
        },
        {"id": "more", "type": "decision"},
        {"id": "done", "type": "set", "output": "${ vars.n }"},
    ]
    connections = [
        {"from": "call", "to": "more"},
        {"from": "more", "to": "call", "when": "vars.n < 500"},
        {"from": "more", "to": "done", "otherwise": True},
    ]
    await api.publish(
        {"id": "long", "variables": {"n": 0}, "start": ["call"], "nodes": nodes, "connections": connections}
    )
    origin = await api.until((await api.start("long"))["execution_id"], "completed")
    assert origin["output"] == 500
    reply = await api.post(f"/api/v1/executions/{origin['execution_id']}/fork", {"sequence": origin["sequence"] // 2})
    assert reply.status == 201
    assert 240 < reply.json["variables"]["n"] < 260
    assert (await api.until(reply.json["execution_id"], "completed"))["output"] == 500
