import asyncio

from api import CALL, HOLD, HUMAN, PURE, SIGNAL, Api

START = "/api/v1/workflows/call/executions"


async def test_fifty_starts_with_one_key_make_one_execution(api: Api) -> None:
    await api.publish(CALL)
    body = {"input": {"n": 1}}
    replies = await asyncio.gather(*(api.post(START, body, Idempotency_Key="k") for _ in range(50)))
    accepted = [reply for reply in replies if reply.status == 202]
    refused = [reply for reply in replies if reply.status == 409]
    assert len(accepted) + len(refused) == 50
    assert len({reply.json["execution_id"] for reply in accepted}) == 1
    assert {reply.code for reply in refused} <= {"in_progress"}
    assert len((await api.get("/api/v1/executions")).json["items"]) == 1


async def test_a_repeated_start_gets_the_same_answer_and_says_so(api: Api) -> None:
    await api.publish(CALL)
    first = await api.post(START, {"input": {"n": 1}, "priority": 3}, Idempotency_Key="k")
    await api.until(first.json["execution_id"], "completed")
    again = await api.post(START, b'{ "priority" : 3,"input":{"n":1}}', Idempotency_Key="k")
    assert (again.status, again.body) == (first.status, first.body)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers


async def test_a_start_that_was_waited_for_replays_its_end(api: Api) -> None:
    await api.publish(CALL)
    first = await api.post(f"{START}?wait=10s", {"input": {"n": 4}}, Idempotency_Key="k")
    assert (first.status, first.json["output"]) == (200, 8)
    for path in (START, f"{START}?wait=1s"):
        again = await api.post(path, {"input": {"n": 4}}, Idempotency_Key="k")
        assert (again.status, again.body) == (200, first.body)


async def test_a_key_with_another_body_is_422_and_stays_good(api: Api) -> None:
    await api.publish(CALL)
    first = await api.post(START, {"input": {"n": 1}}, Idempotency_Key="k")
    other = await api.post(START, {"input": {"n": 2}}, Idempotency_Key="k")
    assert (other.status, other.code) == (422, "key_reused")
    assert (await api.post(START, {"input": {"n": 1}}, Idempotency_Key="k")).body == first.body


async def test_a_key_counts_for_one_route_and_one_tenant(api: Api) -> None:
    await api.publish(CALL, PURE)
    other = api.as_tenant("other")
    await other.publish(CALL)
    body = {"input": {"n": 1}}
    replies = [
        await api.post(START, body, Idempotency_Key="k"),
        await api.post("/api/v1/workflows/pure/executions", body, Idempotency_Key="k"),
        await other.post(START, body, Idempotency_Key="k"),
    ]
    assert [reply.status for reply in replies] == [202] * 3
    assert len({reply.json["execution_id"] for reply in replies}) == 3


async def test_a_refused_request_does_not_use_up_its_key(api: Api) -> None:
    await api.publish(PURE, HOLD)
    path = "/api/v1/workflows/pure/executions"
    assert (await api.post(path, {"input": {"n": "x"}}, Idempotency_Key="k")).status == 422
    assert (await api.post(path, {"input": {"n": 1}}, Idempotency_Key="k")).status == 202
    execution_id = (await api.start("hold", input={"gate": "a"}))["execution_id"]
    resume = f"/api/v1/executions/{execution_id}/resume"
    assert (await api.post(resume, {}, Idempotency_Key="r")).status == 409
    await api.post(f"/api/v1/executions/{execution_id}/pause", {})
    assert (await api.post(resume, {}, Idempotency_Key="r")).status == 200


async def test_malformed_keys_are_422(api: Api) -> None:
    await api.publish(CALL)
    for key in ("", "x" * 256, "a b", "é"):
        reply = await api.post(START, {"input": {"n": 1}}, Idempotency_Key=key)
        assert (reply.status, reply.code) == (422, "invalid_key"), key
    assert (await api.post(START, {"input": {"n": 1}}, Idempotency_Key="0")).status == 202
    assert (await api.post(START, {"input": {"n": 1}}, Idempotency_Key="x" * 255)).status == 202


async def test_control_signals_variables_and_tasks_happen_once_per_key(api: Api) -> None:
    await api.publish(SIGNAL, HUMAN, HOLD)
    held = f"/api/v1/executions/{(await api.start('hold', input={'gate': 'a'}))['execution_id']}"
    asked = await api.start("asked", input={"amount": 1, "who": "anna"})
    task = (await api.get("/api/v1/tasks")).json["items"][0]
    delayed = await api.start("signalled", delay="1h")
    requests = [
        ("POST", f"{held}/pause", {}),
        ("POST", f"{held}/resume", {}),
        ("PATCH", f"{held}/variables", {"limit": 4}),
        ("POST", f"/api/v1/executions/{delayed['execution_id']}/signals/x", {"payload": 1}),
        ("POST", f"/api/v1/tasks/{task['task_id']}/complete", {"output": {"approved": True}}),
        ("POST", f"{held}/cancel", {}),
    ]
    for method, path, body in requests:
        first = await api.call(method, path, body, Idempotency_Key="k")
        again = await api.call(method, path, body, Idempotency_Key="k")
        assert first.status in (200, 202), first
        assert (again.status, again.body) == (first.status, first.body), path
        assert again.headers["Idempotency-Replayed"] == "true"
    assert (await api.execution(asked["execution_id"]))["status"] == "completed"
    assert (await api.execution(delayed["execution_id"]))["sequence"] == 1


async def test_publishing_happens_once_per_key(api: Api) -> None:
    first = await api.post("/api/v1/workflows", PURE, Idempotency_Key="k")
    again = await api.post("/api/v1/workflows", PURE, Idempotency_Key="k")
    assert (first.status, again.status, again.body) == (201, 201, first.body)
    assert (await api.post("/api/v1/workflows?strict=true", PURE, Idempotency_Key="k")).code == "key_reused"
    changed = PURE | {"name": "Two"}
    put = await api.call("PUT", "/api/v1/workflows/pure", changed, Idempotency_Key="p")
    assert (put.status, put.json["version"]) == (201, 2)
    assert (await api.call("PUT", "/api/v1/workflows/pure", changed, Idempotency_Key="p")).body == put.body
