"""Steps that an operator completes or skips."""

import asyncio
from typing import Any

from api import FAILING, GATES, HOLD, HUMAN, Api

REJOINED: dict[str, Any] = {
    "id": "rejoined",
    "nodes": [
        {
            "id": "refused",
            "type": "function",
            "with": {"name": "routes.refuse", "arguments": {"reason": "no"}},
            "retry": {"max_attempts": 1},
        },
        {"id": "after", "type": "set", "output": "${ steps.refused.output }"},
    ],
    "connections": [{"from": "refused", "to": "after"}],
    "output": "${ steps.after.output }",
}
EACH: dict[str, Any] = {
    "id": "each",
    "nodes": [
        {
            "id": "each",
            "type": "function",
            "foreach": {"items": "${ input }"},
            "with": {"name": "routes.hold", "arguments": {"gate": "${ item }"}},
        }
    ],
}


async def names_of(api: Api, execution_id: str) -> list[tuple[str, str | None]]:
    events = (await api.get(f"/api/v1/executions/{execution_id}/events?limit=500")).json["items"]
    return [(event["event"], event["data"]["step_id"]) for event in events]


async def test_an_active_step_is_completed_by_hand_and_its_call_no_longer_counts(api: Api) -> None:
    await api.publish(HOLD)
    execution_id = (await api.start("hold", input={"gate": "g"}))["execution_id"]
    path = f"/api/v1/executions/{execution_id}"
    done = await api.post(f"{path}/steps/held.1/complete", {"output": {"by": "hand"}}, Idempotency_Key="k")
    assert (done.status, done.json["execution_id"], done.json["status"]) == (200, execution_id, "completed")
    again = await api.post(f"{path}/steps/held.1/complete", {"output": {"by": "hand"}}, Idempotency_Key="k")
    assert (again.body, again.headers["Idempotency-Replayed"]) == (done.body, "true")
    GATES.setdefault("g", asyncio.Event()).set()
    step = (await api.get(f"{path}/steps/held.1")).json
    assert (step["status"], step["output"]) == ("completed", {"by": "hand"})
    assert ("workflow_step_completed", "held.1") in await names_of(api, execution_id)


async def test_a_person_s_step_is_completed_by_hand_and_leaves_the_inbox(api: Api) -> None:
    await api.publish(HUMAN)
    execution_id = (await api.start("asked", input={"amount": 1, "who": "anna"}))["execution_id"]
    done = await api.post(f"/api/v1/executions/{execution_id}/steps/approve.1/complete", {"output": {"approved": True}})
    assert (done.status, done.json["output"]) == (200, {"approved": True})
    assert (await api.get("/api/v1/tasks")).json["items"] == []


async def test_a_failed_step_is_completed_by_hand_and_its_execution_goes_on(api: Api) -> None:
    await api.publish(REJOINED)
    failed = await api.start("rejoined", wait="10s")
    assert failed["status"] == "failed"
    path = f"/api/v1/executions/{failed['execution_id']}"
    done = await api.post(f"{path}/steps/refused.1/complete", {"output": 7})
    assert (done.status, done.json["status"], done.json["output"], done.json["error"]) == (200, "completed", 7, None)
    steps = (await api.get(f"{path}/steps")).json["items"]
    assert [(step["step_id"], step["status"], step["output"]) for step in steps] == [
        ("refused.1", "completed", 7),
        ("after.1", "completed", 7),
    ]
    assert ("workflow_resumed", None) in await names_of(api, failed["execution_id"])


async def test_a_skipped_step_says_so_and_takes_its_success_connections(api: Api) -> None:
    await api.publish(HOLD, REJOINED)
    held = await api.start("hold", input={"gate": "g"})
    failed = await api.start("rejoined", wait="10s")
    for execution_id, step_id in ((held["execution_id"], "held.1"), (failed["execution_id"], "refused.1")):
        path = f"/api/v1/executions/{execution_id}"
        skipped = await api.post(f"{path}/steps/{step_id}/skip")
        assert (skipped.status, skipped.json["status"]) == (200, "completed")
        first, after = (await api.get(f"{path}/steps")).json["items"]
        assert (first["status"], first["output"], first["error"]) == ("skipped", None, None)
        assert after["status"] == "completed"
        names = await names_of(api, execution_id)
        assert ("workflow_step_skipped", step_id) in names
        assert ("workflow_step_completed", step_id) not in names


async def test_one_item_is_completed_by_hand(api: Api) -> None:
    await api.publish(EACH)
    execution_id = (await api.start("each", input=["a", "b"]))["execution_id"]
    path = f"/api/v1/executions/{execution_id}"
    assert (await api.post(f"{path}/steps/each.1:1/complete", {"output": "mine"})).json["status"] == "running"
    GATES.setdefault("a", asyncio.Event()).set()
    assert (await api.until(execution_id, "completed"))["output"] == ["through", "mine"]


async def test_what_can_not_be_done_by_hand_is_refused(api: Api) -> None:
    await api.publish(HOLD, FAILING)
    execution_id = (await api.start("hold", input={"gate": "g"}))["execution_id"]
    path = f"/api/v1/executions/{execution_id}/steps"
    for action in ("complete", "skip"):
        for unknown in ("held.2", "none.1", "a b", "held"):
            assert (await api.post(f"{path}/{unknown}/{action}", {})).status == 404, unknown
        assert (await api.post(f"/api/v1/executions/none/steps/held.1/{action}", {})).code == "not_found"
    assert (await api.post(f"{path}/held.1/complete", {"result": 1})).paths == ["/result"]
    assert (await api.post(f"{path}/held.1/complete", {"output": "x" * 1_100_000})).code == "payload_too_large"
    await api.post(f"{path}/held.1/complete", {"output": 1})
    assert (await api.post(f"{path}/held.1/complete", {"output": 1})).code == "ended"
    failed = await api.start("failing", wait="10s")
    await api.post(f"/api/v1/executions/{failed['execution_id']}/steps/refused.1/skip", {})
    assert (await api.execution(failed["execution_id"]))["status"] == "completed"
