"""Cancelling with compensation: what was completed is undone, and everybody can see it."""

from typing import Any

from api import Api


def undoing(name: str) -> dict[str, Any]:
    call = {"name": "routes.double", "arguments": {"n": "${ output }"}}
    return {"id": f"undo_{name}", "type": "function", "with": call}


BOOKED: dict[str, Any] = {
    "id": "booked",
    "nodes": [
        {"id": "flight", "type": "set", "output": "${ 1 }", "compensate": "undo_flight"},
        {"id": "hotel", "type": "set", "output": "${ 2 }", "compensate": "undo_hotel"},
        {"id": "paid", "type": "wait", "with": {"signal": "paid"}},
        undoing("flight"),
        undoing("hotel"),
    ],
    "connections": [{"from": "flight", "to": "hotel"}, {"from": "hotel", "to": "paid"}],
}


async def booked(api: Api) -> str:
    await api.publish(BOOKED)
    return str((await api.start("booked"))["execution_id"])


async def test_cancel_with_compensate_undoes_in_reverse_order(api: Api) -> None:
    execution_id = await booked(api)
    path = f"/api/v1/executions/{execution_id}"
    before = (await api.get(f"{path}/steps/flight.1")).json
    assert before["status"] == "completed"
    reply = await api.post(f"{path}/cancel", {"reason": "changed my mind", "compensate": True})
    assert reply.status == 200
    await api.until(execution_id, "cancelled")
    steps = (await api.get(f"{path}/steps")).json["items"]
    assert [(step["step_id"], step["status"], step["output"]) for step in steps] == [
        ("flight.1", "compensated", 1),
        ("hotel.1", "compensated", 2),
        ("paid.1", "cancelled", None),
        ("undo_hotel.1", "completed", 4),
        ("undo_flight.1", "completed", 2),
    ]
    assert (await api.get(f"{path}/steps/flight.1")).json["status"] == "compensated"
    events = (await api.get(f"{path}/events?limit=500")).json["items"]
    (compensating,) = [event["data"] for event in events if event["event"] == "workflow_compensating"]
    assert (compensating["steps"], compensating["error"], compensating["reason"]) == (
        ["hotel.1", "flight.1"],
        None,
        "changed my mind",
    )
    undoes = [event["data"]["compensates"] for event in events if "compensates" in event["data"]]
    assert undoes == ["hotel.1", "flight.1"]
    assert (events[-1]["event"], events[-1]["data"]["reason"]) == ("workflow_cancelled", "changed my mind")


async def test_plain_cancel_and_terminate_undo_nothing(api: Api) -> None:
    await api.publish(BOOKED)
    for action in ("cancel", "terminate"):
        execution_id = (await api.start("booked"))["execution_id"]
        await api.post(f"/api/v1/executions/{execution_id}/{action}", {})
        steps = (await api.get(f"/api/v1/executions/{execution_id}/steps")).json["items"]
        assert [step["status"] for step in steps] == ["completed", "completed", "cancelled"]


async def test_terminate_takes_no_compensate(api: Api) -> None:
    execution_id = await booked(api)
    assert (await api.post(f"/api/v1/executions/{execution_id}/terminate", {"compensate": True})).paths == [
        "/compensate"
    ]
