"""One action for many executions."""

import asyncio
from typing import Any

from api import FAILING, HOLD, SIGNAL, Api

BULK = "/api/v1/executions/bulk"
FLAKY: dict[str, Any] = {
    "id": "flaky",
    "nodes": [
        {"id": "say", "type": "wait", "with": {"signal": "go"}},
        {"id": "no", "type": "fail", "with": {"type": "t", "message": "m"}},
    ],
    "connections": [{"from": "say", "to": "no"}],
}


async def started(api: Api, workflow_id: str, count: int, **body: Any) -> list[str]:
    replies = [await api.start(workflow_id, **body) for _ in range(count)]
    return [reply["execution_id"] for reply in replies]


async def statuses(api: Api, execution_ids: list[str]) -> list[str]:
    return [(await api.execution(execution_id))["status"] for execution_id in execution_ids]


async def test_a_filter_chooses_and_the_others_stay_as_they_are(api: Api) -> None:
    await api.publish(SIGNAL, HOLD)
    red = await started(api, "signalled", 3, labels={"team": "red"}, metadata={"batch": 7})
    blue = await started(api, "signalled", 2, labels={"team": "blue"})
    held = await started(api, "hold", 1, input={"gate": "g"}, labels={"team": "red"})
    chosen = {"workflow_id": "signalled", "status": "paused", "label": ["team:red"], "metadata": {"batch": 7}}
    reply = await api.post(BULK, {"action": "cancel", "filter": chosen, "reason": "over"})
    assert (reply.status, reply.json) == (
        200,
        {"matched": 3, "succeeded": 3, "failed": [], "execution_ids": None, "next_cursor": None},
    )
    assert await statuses(api, [*red, *blue, *held]) == ["cancelled"] * 3 + ["paused"] * 2 + ["running"]
    events = (await api.get(f"/api/v1/executions/{red[0]}/events")).json["items"]
    assert events[-1]["data"]["reason"] == "over"


async def test_since_and_until_choose_by_age(api: Api) -> None:
    await api.publish(SIGNAL)
    ids = await started(api, "signalled", 4)
    instants = [(await api.execution(one))["created_at"] for one in ids]
    body = {"action": "pause", "filter": {"since": instants[1], "until": instants[3]}, "dry_run": True}
    assert (await api.post(BULK, body)).json["execution_ids"] == [ids[2], ids[1]]


async def test_each_that_can_not_take_it_is_named(api: Api) -> None:
    await api.publish(SIGNAL)
    ids = await started(api, "signalled", 3)
    await api.post(f"/api/v1/executions/{ids[1]}/cancel", {})
    reply = (await api.post(BULK, {"action": "pause", "ids": [*ids, "none", ids[0]]})).json
    assert (reply["matched"], reply["succeeded"]) == (4, 2)
    failed = {one["execution_id"]: one["code"] for one in reply["failed"]}
    assert failed == {ids[1]: "ended", "none": "not_found"}
    assert all(one["detail"] for one in reply["failed"])
    assert await statuses(api, ids) == ["paused", "cancelled", "paused"]


async def test_every_action_is_taken(api: Api) -> None:
    await api.publish(HOLD, FAILING)
    held = await started(api, "hold", 2, input={"gate": "g"})
    for action, expected in (("pause", "paused"), ("resume", "running"), ("terminate", "cancelled")):
        reply = (await api.post(BULK, {"action": action, "ids": held})).json
        assert (reply["succeeded"], reply["failed"]) == (2, []), action
        assert await statuses(api, held) == [expected] * 2
    failing = await started(api, "failing", 2, wait="5s")
    before = [(await api.execution(one))["sequence"] for one in failing]
    assert (await api.post(BULK, {"action": "retry", "filter": {"status": "failed"}})).json["succeeded"] == 2
    for one, sequence in zip(failing, before, strict=True):
        assert (await api.until(one, "failed"))["sequence"] >= sequence


async def test_all_has_to_be_said(api: Api) -> None:
    await api.publish(SIGNAL)
    ids = await started(api, "signalled", 2)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"action": "cancel"}, "/filter"),
        ({"action": "cancel", "filter": {}}, "/filter"),
        ({"action": "cancel", "filter": {"label": []}}, "/filter"),
        ({"action": "cancel", "filter": {"status": "paused"}, "all": True}, "/filter"),
        ({"action": "cancel", "ids": ids, "all": True}, "/filter"),
        ({"action": "delete", "all": True}, "/action"),
        ({"action": "pause", "all": True, "reason": "x"}, "/reason"),
        ({"action": "terminate", "all": True, "compensate": True}, "/compensate"),
        ({"action": "pause", "filter": {"status": "done"}}, "/filter/status"),
        ({"action": "pause", "filter": {"label": ["red"]}}, "/filter/label/0"),
        ({"action": "pause", "filter": {"label": ["a:1", "a:2"]}}, "/filter/label"),
        ({"action": "pause", "filter": {"since": "yesterday"}}, "/filter/since"),
        ({"action": "pause", "filter": {"owner": "x"}}, "/filter/owner"),
        ({"action": "pause", "all": True, "limit": 10_001}, "/limit"),
        ({"action": "pause", "ids": ids, "cursor": "x"}, "/cursor"),
        ({"all": True}, "/action"),
    ]
    for body, place in wrong:
        reply = await api.post(BULK, body)
        assert (reply.status, reply.paths) == (422, [place]), (body, reply)
    assert await statuses(api, ids) == ["paused"] * 2
    assert (await api.post(BULK, {"action": "cancel", "all": True})).json["succeeded"] == 2


async def test_another_tenant_s_executions_are_not_touched(api: Api) -> None:
    other = api.as_tenant("other")
    await other.publish(SIGNAL)
    theirs = await started(other, "signalled", 1)
    assert (await api.post(BULK, {"action": "cancel", "all": True})).json["matched"] == 0
    failed = (await api.post(BULK, {"action": "cancel", "ids": theirs})).json["failed"]
    assert [one["code"] for one in failed] == ["not_found"]
    assert await statuses(other, theirs) == ["paused"]


async def test_a_cursor_leads_on_to_what_is_beyond_the_limit(api: Api) -> None:
    await api.publish(SIGNAL)
    ids = await started(api, "signalled", 5)
    body: dict[str, Any] = {"action": "cancel", "filter": {"workflow_id": "signalled", "status": "paused"}, "limit": 2}
    seen = []
    while True:
        reply = (await api.post(BULK, body)).json
        seen.append(reply["succeeded"])
        if reply["next_cursor"] is None:
            break
        assert (
            await api.post(BULK, {**body, "filter": {"status": "paused"}, "cursor": reply["next_cursor"]})
        ).code == ("invalid_cursor")
        body["cursor"] = reply["next_cursor"]
    assert seen == [2, 2, 1]
    assert await statuses(api, ids) == ["cancelled"] * 5


async def test_a_dry_run_changes_nothing(api: Api) -> None:
    await api.publish(SIGNAL)
    ids = await started(api, "signalled", 3)
    reply = (await api.post(BULK, {"action": "cancel", "all": True, "dry_run": True, "limit": 2})).json
    assert (reply["matched"], reply["succeeded"], reply["execution_ids"]) == (2, 0, [ids[2], ids[1]])
    assert reply["next_cursor"] is not None
    assert await statuses(api, ids) == ["paused"] * 3


async def test_a_repeated_request_gets_the_same_answer_and_acts_once(api: Api) -> None:
    await api.publish(FLAKY)
    ids = await started(api, "flaky", 3)
    for one in ids:
        await api.post(f"/api/v1/executions/{one}/signals/go", {})
    body = {"action": "retry", "ids": ids}
    first = await api.post(BULK, body, Idempotency_Key="k")
    assert first.json["succeeded"] == 3
    ends = [(await api.execution(one))["sequence"] for one in ids]
    again = await api.post(BULK, body, Idempotency_Key="k")
    assert (again.body, again.headers["Idempotency-Replayed"]) == (first.body, "true")
    assert [(await api.execution(one))["sequence"] for one in ids] == ends
    assert (await api.post(BULK, {**body, "action": "cancel"}, Idempotency_Key="k")).code == "key_reused"


async def test_a_thousand_are_steered_while_others_are_served(api: Api) -> None:
    await api.publish(SIGNAL)
    await api.post("/api/v1/workflows/signalled/executions/batch", {"executions": [{}] * 1_000})
    bulk = asyncio.create_task(api.post(BULK, {"action": "cancel", "all": True, "limit": 10_000}))
    served = 0
    while not bulk.done():
        await api.get("/api/v1/executions?limit=1")
        served += 1
    assert (await bulk).json["succeeded"] == 1_000
    assert served >= 30, "meant to have a turn after each commit of a few"
