import asyncio
from typing import Any

from api import CALL, FAILING, GATES, HOLD, PURE, SIGNAL, Api

EXECUTION_FIELDS = {
    "execution_id",
    "workflow_id",
    "version",
    "status",
    "reason",
    "input",
    "output",
    "error",
    "variables",
    "progress_percentage",
    "sequence",
    "active_nodes",
    "priority",
    "metadata",
    "labels",
    "created_at",
    "started_at",
    "finished_at",
}


async def test_a_start_answers_202_with_the_execution_and_where_it_is(api: Api) -> None:
    await api.publish(HOLD)
    body = {"input": {"gate": "a"}, "priority": 7, "metadata": {"user_id": "u1"}, "labels": {"team": "red", "n": 3}}
    reply = await api.post("/api/v1/workflows/hold/executions", body)
    assert reply.status == 202
    started = reply.json
    assert started.keys() == EXECUTION_FIELDS
    assert reply.headers["Location"] == f"/api/v1/executions/{started['execution_id']}"
    shown = {name: started[name] for name in ("status", "version", "input", "priority", "metadata", "labels")}
    assert shown == {"status": "running", "version": 1, **body}
    assert started["active_nodes"] == ["held"]
    assert await api.execution(started["execution_id"]) == started


async def test_wait_answers_200_with_the_end_and_202_when_the_time_is_over(api: Api) -> None:
    await api.publish(CALL, PURE, HOLD)
    for workflow_id in ("call", "pure"):
        reply = await api.post(f"/api/v1/workflows/{workflow_id}/executions?wait=30s", {"input": {"n": 21}})
        assert (reply.status, reply.json["status"], reply.json["output"]) == (200, "completed", 42)
        assert await api.execution(reply.json["execution_id"]) == reply.json
    reply = await api.post("/api/v1/workflows/hold/executions?wait=50ms", {"input": {"gate": "a"}})
    assert (reply.status, reply.json["status"]) == (202, "running")


async def test_wait_is_bounded(api: Api) -> None:
    await api.publish(PURE)
    for wait in ("61s", "-1s", "x", "", "30"):
        reply = await api.post(f"/api/v1/workflows/pure/executions?wait={wait}", {"input": {"n": 1}})
        assert (reply.status, reply.code) == (422, "invalid_parameter"), wait


async def test_a_delayed_start_is_pending_until_it_is_due(api: Api) -> None:
    await api.publish(PURE)
    started = await api.start("pure", input={"n": 1}, delay="300ms")
    assert (started["status"], started["started_at"]) == ("pending", None)
    ended = await api.until(started["execution_id"], "completed")
    assert ended["started_at"] > started["created_at"]


async def test_what_a_start_can_not_take_is_named(api: Api) -> None:
    await api.publish(PURE)
    long = "x" * 257
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"priority": 10}, "/priority"),
        ({"priority": -1}, "/priority"),
        ({"priority": "9"}, "/priority"),
        ({"priority": 5.5}, "/priority"),
        ({"version": 0}, "/version"),
        ({"execution_id": ""}, "/execution_id"),
        ({"execution_id": "../up"}, "/execution_id"),
        ({"execution_id": "x" * 129}, "/execution_id"),
        ({"metadata": {"a": {"b": 1}}}, "/metadata/a"),
        ({"metadata": {"a": long}}, "/metadata/a"),
        ({"labels": {str(n): n for n in range(33)}}, "/labels"),
        ({"labels": {"": 1}}, "/labels/"),
        ({"variables": {"": 1}}, "/variables/"),
        ({"delay": "soon"}, "/delay"),
        ({"delay": "-1s"}, "/delay"),
        ({"callbacks": [{"url": "https://x.example"}]}, "/callbacks"),
        ({"status": "completed"}, "/status"),
        ({"tenant_id": "other"}, "/tenant_id"),
        ({"input": {"n": "1"}}, "/n"),
        ({"input": {}}, ""),
    ]
    for body, place in wrong:
        reply = await api.post("/api/v1/workflows/pure/executions", {"input": {"n": 1}} | body)
        assert reply.status == 422, (body, reply)
        assert any(path.startswith(place) for path in reply.paths), (body, reply.json)
    assert (await api.get("/api/v1/executions")).json["items"] == []


async def test_callbacks_are_refused_by_name(api: Api) -> None:
    await api.publish(PURE)
    reply = await api.post("/api/v1/workflows/pure/executions", {"input": {"n": 1}, "callbacks": [{"url": "x"}]})
    assert (reply.status, reply.code) == (422, "not_supported_yet")


async def test_an_input_over_the_payload_limit_is_refused_by_name(api: Api) -> None:
    await api.publish(CALL)
    reply = await api.post("/api/v1/workflows/call/executions", {"input": {"n": "x" * (1 << 20)}})
    assert (reply.status, reply.code) == (422, "payload_too_large")


async def test_unknown_workflows_versions_and_executions_are_404(api: Api) -> None:
    await api.publish(PURE)
    assert (await api.post("/api/v1/workflows/none/executions", {})).status == 404
    assert (await api.post("/api/v1/workflows/pure/executions", {"version": 2, "input": {"n": 1}})).status == 404
    for path in ("", "/steps", "/steps/a.1", "/explain"):
        assert (await api.get(f"/api/v1/executions/none{path}")).code == "not_found"
    for action in ("pause", "resume", "cancel", "terminate", "retry", "signals/x"):
        assert (await api.post(f"/api/v1/executions/none/{action}", {})).code == "not_found", action


async def test_a_repeated_execution_id_is_409(api: Api) -> None:
    await api.publish(PURE)
    await api.start("pure", input={"n": 1}, execution_id="order-1")
    reply = await api.post("/api/v1/workflows/pure/executions", {"input": {"n": 2}, "execution_id": "order-1"})
    assert (reply.status, reply.code) == (409, "already_exists")
    assert (await api.execution("order-1"))["input"] == {"n": 1}


async def test_pause_resume_and_patched_variables_steer_an_execution(api: Api) -> None:
    await api.publish(HOLD)
    execution_id = (await api.start("hold", input={"gate": "g"}))["execution_id"]
    path = f"/api/v1/executions/{execution_id}"
    paused = await api.post(f"{path}/pause")
    assert (paused.status, paused.json["status"], paused.json["reason"]) == (200, "paused", "operator")
    assert (await api.post(f"{path}/pause", {})).code == "already_paused"
    GATES["g"].set()
    changed = await api.call("PATCH", f"{path}/variables", {"limit": 9, "more": [1]})
    assert (changed.status, changed.json["variables"]) == (200, {"limit": 9, "more": [1]})
    resumed = await api.post(f"{path}/resume", {})
    assert resumed.status == 200
    assert (await api.post(f"{path}/resume", {})).status == 409
    assert (await api.until(execution_id, "completed"))["output"] == {"limit": 9, "more": [1]}
    assert (await api.post(f"{path}/cancel", {})).code == "ended"


async def test_cancel_terminate_and_retry_answer_with_the_execution(api: Api) -> None:
    await api.publish(HOLD, FAILING)
    for action in ("cancel", "terminate"):
        execution_id = (await api.start("hold", input={"gate": action}))["execution_id"]
        reply = await api.post(f"/api/v1/executions/{execution_id}/{action}", {"reason": "enough"})
        assert (reply.status, reply.json["status"]) == (200, "cancelled")
    failed = await api.start("failing", wait="10s")
    assert (failed["status"], failed["error"]["node"]) == ("failed", "refused")
    retried = await api.post(f"/api/v1/executions/{failed['execution_id']}/retry", {})
    assert (retried.status, retried.json["status"]) == (200, "running")


async def test_a_signal_is_recorded_and_ends_its_wait(api: Api) -> None:
    await api.publish(SIGNAL)
    execution_id = (await api.start("signalled"))["execution_id"]
    await api.until(execution_id, "paused")
    reply = await api.post(f"/api/v1/executions/{execution_id}/signals/payment%2Fconfirmed", {"payload": {"eur": 5}})
    assert (reply.status, reply.json["status"], reply.json["output"]) == (202, "completed", {"eur": 5})
    assert (await api.post(f"/api/v1/executions/{execution_id}/signals/x", {"payload": 1})).status == 409


async def test_filters_of_the_list_combine(api: Api) -> None:
    await api.publish(PURE, HOLD)
    ids = []
    for number in range(6):
        labels = {"team": "red" if number % 2 else "blue", "n": number}
        started = await api.start("pure", wait="5s", input={"n": number}, labels=labels, metadata={"k": number % 3})
        ids.append(started["execution_id"])
    held = await api.start("hold", input={"gate": "a"})

    async def listed(query: str) -> list[str]:
        reply = await api.get(f"/api/v1/executions?{query}")
        assert reply.status == 200, reply
        return [item["execution_id"] for item in reply.json["items"]]

    assert await listed("") == [held["execution_id"], *ids[::-1]]
    assert await listed("workflow_id=pure") == ids[::-1]
    assert await listed("status=running") == [held["execution_id"]]
    assert await listed("label=team:red") == [ids[5], ids[3], ids[1]]
    assert await listed("label=team:red&label=n:3") == [ids[3]]
    assert await listed("metadata.k=1&label=team:blue") == [ids[4]]
    third = (await api.execution(ids[2]))["created_at"]
    assert await listed(f"since={third}&workflow_id=pure") == ids[5:1:-1]
    assert await listed(f"until={third}") == ids[1::-1]


async def test_pages_hold_everything_once(api: Api) -> None:
    await api.publish(PURE)
    ids = [(await api.start("pure", input={"n": n}))["execution_id"] for n in range(7)]
    pages = await api.pages("/api/v1/executions?workflow_id=pure", 3)
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [item["execution_id"] for page in pages for item in page] == ids[::-1]
    assert [len(page) for page in await api.pages("/api/v1/executions", 7)] == [7]


async def test_many_who_wait_for_one_another_are_all_answered(api: Api) -> None:
    await api.publish(CALL)
    ended = await asyncio.gather(*(api.start("call", wait="30s", input={"n": n}) for n in range(100)))
    assert [one["output"] for one in ended] == [2 * n for n in range(100)]
