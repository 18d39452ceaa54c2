"""Items, iterations, groups and queued steps as the API shows them, and items that come while a foreach runs."""

import asyncio
from typing import Any

from api import GATES, Api

EACH: dict[str, Any] = {
    "id": "each",
    "nodes": [
        {
            "id": "each",
            "type": "function",
            "foreach": {"items": "${ input }", "concurrency": 2},
            "with": {"name": "routes.hold", "arguments": {"gate": "${ item }"}},
            "output": "${ item }",
        },
    ],
}
DEEP: dict[str, Any] = {
    "id": "deep",
    "nodes": [
        {
            "id": "outer",
            "type": "group",
            "foreach": {"items": "${ input }", "concurrency": 10},
            "nodes": [
                {"id": "ask", "type": "wait", "with": {"signal": "go"}},
                {
                    "id": "inner",
                    "type": "group",
                    "nodes": [
                        {"id": "again", "type": "set", "repeat": {"max": 2}, "output": "${ iteration + item }"},
                    ],
                    "output": "${ steps.again.output }",
                },
            ],
            "connections": [{"from": "ask", "to": "inner"}],
            "output": "${ steps.inner.output }",
        },
    ],
    "output": "${ steps.outer.output }",
}
LOCKED: dict[str, Any] = {
    "id": "locked",
    "nodes": [
        {
            "id": name,
            "type": "function",
            "lock": "press",
            "with": {"name": "routes.hold", "arguments": {"gate": name}},
            "retry": {"max_attempts": 1},
        }
        for name in ("first", "second")
    ],
}


def open_gate(name: str) -> None:
    GATES.setdefault(name, asyncio.Event()).set()


async def steps_of(api: Api, execution_id: str) -> dict[str, dict[str, Any]]:
    items = (await api.get(f"/api/v1/executions/{execution_id}/steps?limit=500")).json["items"]
    return {step["step_id"]: step for step in items}


async def events_of(api: Api, execution_id: str) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = (await api.get(f"/api/v1/executions/{execution_id}/events?limit=500")).json["items"]
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    return events


async def test_items_can_be_added_while_a_foreach_runs(api: Api) -> None:
    await api.publish(EACH)
    execution_id = (await api.start("each", input=["a", "b"]))["execution_id"]
    path = f"/api/v1/executions/{execution_id}"
    added = await api.post(f"{path}/steps/each.1/items", {"items": ["c", "d"]}, Idempotency_Key="k")
    assert added.status == 200
    assert (added.json["step_id"], added.json["status"]) == ("each.1", "processing")
    assert added.json["input"] == {"items": ["a", "b", "c", "d"]}
    again = await api.post(f"{path}/steps/each.1/items", {"items": ["c", "d"]}, Idempotency_Key="k")
    assert (again.body, again.headers["Idempotency-Replayed"]) == (added.body, "true")
    for name in "abcd":
        open_gate(name)
    ended = await api.until(execution_id, "completed")
    assert ended["output"] == ["a", "b", "c", "d"]
    assert (await api.get(f"{path}/steps/each.1")).json["output"] == ["a", "b", "c", "d"]
    events = [event["data"] for event in await events_of(api, execution_id) if event["event"] == "workflow_items_added"]
    assert [(data["step_id"], data["node_id"], data["items"]) for data in events] == [("each.1", "each", ["c", "d"])]
    late = await api.post(f"{path}/steps/each.1/items", {"items": ["e"]})
    assert (late.status, late.code) == (409, "ended")


async def test_items_that_can_not_be_added_are_refused_by_name(api: Api) -> None:
    await api.publish(EACH)
    execution_id = (await api.start("each", input=["a"]))["execution_id"]
    path = f"/api/v1/executions/{execution_id}/steps"
    assert (await api.post(f"{path}/each.1:0/items", {"items": [1]})).code == "no_foreach"
    assert (await api.post(f"{path}/each.2/items", {"items": [1]})).status == 404
    assert (await api.post(f"{path}/each.1/items", {"items": []})).paths == ["/items"]
    assert (await api.post(f"{path}/each.1/items", {})).paths == ["/items"]
    assert (await api.post(f"{path}/each.1/items", {"items": ["x" * 2_000_000]})).code == "payload_too_large"
    assert (await api.get(f"{path}/each.1")).json["input"] == {"items": ["a"]}


async def test_an_item_that_ends_the_foreach_at_once_is_answered_with_what_came_of_it(api: Api) -> None:
    await api.publish(
        {
            "id": "strict",
            "nodes": [
                {
                    "id": "each",
                    "type": "function",
                    "foreach": {"items": "${ input }"},
                    "with": {"name": "routes.hold", "arguments": {"gate": "${ item.gate }"}},
                }
            ],
        }
    )
    execution_id = (await api.start("strict", input=[{"gate": "a"}]))["execution_id"]
    reply = await api.post(f"/api/v1/executions/{execution_id}/steps/each.1/items", {"items": [1]}, Idempotency_Key="k")
    assert (reply.status, reply.json["status"], reply.json["error"]["type"]) == (200, "failed", "expression_error")
    assert (await api.execution(execution_id))["status"] == "failed"
    again = await api.post(f"/api/v1/executions/{execution_id}/steps/each.1/items", {"items": [1]}, Idempotency_Key="k")
    assert again.body == reply.body


async def test_steps_at_any_depth_are_listed_and_found_by_their_ids(api: Api) -> None:
    await api.publish(DEEP)
    execution_id = (await api.start("deep", input=[10, 20]))["execution_id"]
    path = f"/api/v1/executions/{execution_id}"
    await api.until(execution_id, "paused")
    assert (await api.execution(execution_id))["active_nodes"] == ["outer", "ask"]
    await api.post(f"{path}/signals/go", {})
    steps = await steps_of(api, execution_id)
    assert [(step_id, step["status"], step["type"]) for step_id, step in steps.items()] == [
        ("outer.1", "processing", "group"),
        ("outer.1:0", "completed", "group"),
        ("outer.1:1", "processing", "group"),
        ("outer.1:0~ask.1", "completed", "wait"),
        ("outer.1:1~ask.1", "waiting", "wait"),
        ("outer.1:0~inner.1", "completed", "group"),
        ("outer.1:0~inner.1~again.1", "completed", "set"),
        ("outer.1:0~inner.1~again.1:0", "completed", "set"),
        ("outer.1:0~inner.1~again.1:1", "completed", "set"),
    ]
    await api.post(f"{path}/signals/go", {})
    assert (await api.until(execution_id, "completed"))["output"] == [11, 21]
    steps = await steps_of(api, execution_id)
    assert {step["status"] for step in steps.values()} == {"completed"}
    assert (steps["outer.1"]["output"], steps["outer.1:1"]["output"]) == ([11, 21], 21)
    for step_id, step in steps.items():
        assert (await api.get(f"{path}/steps/{step_id}")).json == step
    for limit in (1, 2, 5):
        pages = await api.pages(f"{path}/steps", limit)
        assert [step for page in pages for step in page] == list(steps.values())


async def test_a_step_that_waits_for_its_lock_is_pending_and_starts_later(api: Api) -> None:
    await api.publish(LOCKED)
    execution_id = (await api.start("locked"))["execution_id"]
    steps = await steps_of(api, execution_id)
    assert [(step_id, step["status"]) for step_id, step in steps.items()] == [
        ("first.1", "processing"),
        ("second.1", "pending"),
    ]
    second = steps["second.1"]
    assert (second["scheduled_at"] is not None, second["started_at"], second["attempts"]) == (True, None, 0)
    started = [event["data"]["step_id"] for event in await events_of(api, execution_id) if "started" in event["event"]]
    assert started == [None, "first.1"]
    for limit in (1, 2):
        pages = await api.pages(f"/api/v1/executions/{execution_id}/steps", limit)
        assert [step["step_id"] for page in pages for step in page] == ["first.1", "second.1"]
    open_gate("first")
    open_gate("second")
    await api.until(execution_id, "completed")
    first, second = (await steps_of(api, execution_id)).values()
    assert (second["status"], second["attempts"], second["input"] is not None) == ("completed", 1, True)
    assert second["scheduled_at"] < first["finished_at"] <= second["started_at"]
    assert (await api.get(f"/api/v1/executions/{execution_id}/steps/second.1")).json == second


async def test_pages_hold_each_step_once_where_many_wait_at_the_same_event(api: Api) -> None:
    each = {**LOCKED["nodes"][0], "foreach": {"items": "${ input }", "concurrency": 40}}
    await api.publish({"id": "queue", "nodes": [each, {"id": "beside", "type": "wait", "with": {"signal": "go"}}]})
    execution_id = (await api.start("queue", input=list(range(40))))["execution_id"]
    path = f"/api/v1/executions/{execution_id}/steps"
    (everything,) = await api.pages(path, 500)
    assert sorted(step["status"] for step in everything) == ["pending"] * 39 + ["processing"] * 2 + ["waiting"]
    assert len({step["step_id"] for step in everything}) == 42
    for limit in (1, 7, 41):
        assert [step for page in await api.pages(path, limit) for step in page] == everything
    assert (await api.get(f"{path}/first.1:39")).json["status"] == "pending"


async def test_a_retry_of_a_step_with_a_lock_shows_its_new_end(api: Api) -> None:
    call = {"name": "routes.refuse", "arguments": {"reason": "no"}}
    await api.publish({"id": "barred", "nodes": [{**LOCKED["nodes"][0], "with": call}]})
    failed = await api.start("barred", wait="10s")
    path = f"/api/v1/executions/{failed['execution_id']}"
    before = (await api.get(f"{path}/steps/first.1")).json
    await api.post(f"{path}/retry")
    await api.until(failed["execution_id"], "failed")
    after = (await api.get(f"{path}/steps/first.1")).json
    assert (after["status"], after["attempts"], after["error"]["message"]) == ("failed", 1, before["error"]["message"])
    assert after["finished_at"] > before["finished_at"]
    assert (await api.get(f"{path}/steps")).json["items"] == [after]


async def test_a_foreach_that_nobody_waits_for_is_over_before_its_items(api: Api) -> None:
    detached = {**EACH["nodes"][0], "foreach": {"items": "${ input }", "wait": False}}
    await api.publish({"id": "detached", "nodes": [detached]})
    execution_id = (await api.start("detached", input=["a", "b"]))["execution_id"]
    steps = await steps_of(api, execution_id)
    assert [(step_id, step["status"], step["output"]) for step_id, step in steps.items()] == [
        ("each.1", "completed", None),
        ("each.1:0", "processing", None),
        ("each.1:1", "processing", None),
    ]
    for name in "ab":
        open_gate(name)
    await api.until(execution_id, "completed")
    assert [step["output"] for step in (await steps_of(api, execution_id)).values()] == [None, "a", "b"]


async def test_variables_of_a_group_are_told_with_their_scope(api: Api) -> None:
    await api.publish(
        {
            "id": "scoped",
            "variables": {"n": 0},
            "nodes": [
                {
                    "id": "g",
                    "type": "group",
                    "variables": {"own": 1},
                    "nodes": [{"id": "both", "type": "set", "assign": {"own": 2, "n": 3}}],
                }
            ],
        }
    )
    ended = await api.start("scoped", wait="10s")
    changed = [
        {name: event["data"].get(name) for name in ("changed", "scope")}
        for event in await events_of(api, ended["execution_id"])
        if event["event"] == "workflow_variables_changed"
    ]
    assert {"changed": {"n": 3}, "scope": None} in changed
    assert all(one["scope"] in (None, "g.1~") for one in changed)
