"""`GET .../explain`: every answer has the documented shape (the client checks that), and another tenant's is none."""

from api import FAILING, GATES, HOLD, HUMAN, PURE, SIGNAL, Api

RULES = {
    "id": "rules",
    "variables": {"n": 1},
    "nodes": [
        {"id": "check", "type": "decision"},
        {"id": "low", "type": "wait", "with": {"any": [{"signal": "go"}, {"for": "1d"}]}},
        {"id": "high", "type": "set"},
        {"id": "merge", "type": "join"},
        {"id": "rule", "type": "wait", "with": {"condition": "vars.n > 3"}, "lock": "one"},
        {"id": "queued", "type": "set", "lock": "one"},
    ],
    "connections": [
        {"from": "check", "to": "low", "when": "vars.n < 2 && input.n == 1"},
        {"from": "check", "to": "high", "otherwise": True},
        {"from": "low", "to": "merge"},
        {"from": "rule", "to": "merge"},
    ],
}


async def test_waits_locks_and_decisions_are_explained(api: Api) -> None:
    await api.publish(RULES)
    started = await api.start("rules", input={"n": 1})
    await api.until(started["execution_id"], "paused")
    found = (await api.get(f"/api/v1/executions/{started['execution_id']}/explain")).json
    assert (found["status"], found["reason"], found["total"]) == ("paused", "input", 5)
    assert [(one["node_id"], [cause["kind"] for cause in one["causes"]]) for one in found["nodes"]] == [
        ("low", ["signal", "timer"]),
        ("rule", ["condition"]),
        ("queued", ["lock"]),
        ("high", ["connection"]),
        ("merge", ["connection", "connection"]),
    ]
    (decision,) = found["decisions"]
    assert decision["taken"] == ["low"]
    assert [one["expression"] for one in decision["connections"][0]["values"]] == [
        "vars.n < 2 && input.n == 1",
        "vars.n < 2",
        "vars.n",
        "input.n == 1",
        "input.n",
    ]


async def test_the_call_that_is_named_moves_it_on(api: Api) -> None:
    await api.publish(SIGNAL, HUMAN)
    for workflow_id, given, body in (
        ("signalled", {}, {"payload": 1}),
        ("asked", {"amount": 1, "who": "ann"}, {"output": {"approved": True}}),
    ):
        started = await api.start(workflow_id, input=given)
        await api.until(started["execution_id"], "paused")
        found = (await api.get(f"/api/v1/executions/{started['execution_id']}/explain")).json
        method, path = found["nodes"][0]["causes"][0]["how"].split(" ")
        assert (await api.call(method, path, body)).status in (200, 202)
        await api.until(started["execution_id"], "completed")


async def test_failures_calls_and_ended_executions_are_explained(api: Api) -> None:
    await api.publish(FAILING, HOLD, PURE)
    failed = await api.start("failing", wait="5s")
    found = (await api.get(f"/api/v1/executions/{failed['execution_id']}/explain")).json
    assert [(one["node_id"], one["causes"][0]["error"]) for one in found["nodes"]] == [("refused", failed["error"])]
    held = await api.start("hold", input={"gate": "explained"})
    found = (await api.get(f"/api/v1/executions/{held['execution_id']}/explain")).json
    assert [(one["node_id"], one["causes"][0]["kind"]) for one in found["nodes"]] == [
        ("held", "lease"),
        ("after", "connection"),
    ]
    GATES["explained"].set()
    done = await api.start("pure", wait="5s", input={"n": 1})
    found = (await api.get(f"/api/v1/executions/{done['execution_id']}/explain")).json
    assert (found["summary"], found["nodes"], found["decisions"]) == ("It is completed.", [], [])


async def test_another_tenants_execution_is_not_there(api: Api) -> None:
    await api.publish(PURE)
    done = await api.start("pure", wait="5s", input={"n": 1})
    refused = await api.as_tenant("other").get(f"/api/v1/executions/{done['execution_id']}/explain")
    assert (refused.status, refused.code) == (404, "not_found")
