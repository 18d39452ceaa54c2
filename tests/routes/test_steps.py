from typing import Any

from api import FAILING, GATES, HOLD, HUMAN, Api

FIELDS = {
    "step_id",
    "node_id",
    "type",
    "status",
    "attempts",
    "input",
    "output",
    "error",
    "worker",
    "scheduled_at",
    "started_at",
    "finished_at",
}
EACH: dict[str, Any] = {
    "id": "each",
    "nodes": [
        {
            "id": "each",
            "type": "function",
            "foreach": {"items": "${ input }", "concurrency": 7},
            "with": {"name": "routes.double", "arguments": {"n": "${ item }"}},
        },
        {"id": "total", "type": "set", "output": "${ sum(steps.each.output) }"},
    ],
    "connections": [{"from": "each", "to": "total"}],
}


async def test_steps_show_what_went_in_and_came_out(api: Api) -> None:
    await api.publish(HOLD)
    execution_id = (await api.start("hold", input={"gate": "g"}))["execution_id"]
    path = f"/api/v1/executions/{execution_id}/steps"
    (held,) = (await api.get(path)).json["items"]
    assert held.keys() == FIELDS
    assert (held["step_id"], held["type"], held["status"], held["attempts"]) == ("held.1", "function", "processing", 1)
    assert (held["output"], held["finished_at"]) == (None, None)
    GATES["g"].set()
    await api.until(execution_id, "completed")
    held, after = (await api.get(path)).json["items"]
    assert held["input"] == {"name": "routes.hold", "arguments": {"gate": "g"}}
    assert (held["status"], held["output"], after["output"]) == ("completed", "through", {"limit": 1})
    assert held["worker"]
    assert after["worker"] is None
    assert held["scheduled_at"] <= held["started_at"] <= held["finished_at"] <= after["started_at"]
    assert (await api.get(f"{path}/held.1")).json == held
    assert (await api.get(f"{path}/held.2")).code == "not_found"


async def test_a_foreach_shows_its_list_and_every_item_in_order_of_activation(api: Api) -> None:
    await api.publish(EACH)
    numbers = list(range(30))
    ended = await api.start("each", wait="30s", input=numbers)
    path = f"/api/v1/executions/{ended['execution_id']}/steps"
    everything = (await api.get(f"{path}?limit=500")).json["items"]
    assert [step["step_id"] for step in everything] == ["each.1", *(f"each.1:{n}" for n in numbers), "total.1"]
    assert everything[0]["output"] == [2 * n for n in numbers]
    assert everything[0]["input"] == {"items": numbers}
    assert [step["output"] for step in everything[1:-1]] == [2 * n for n in numbers]
    for limit in (1, 4, 32):
        assert [step for page in await api.pages(path, limit) for step in page] == everything
    assert (await api.get(f"{path}/each.1")).json == everything[0]
    assert (await api.get(f"{path}/each.1:7")).json == everything[8]


async def test_a_failed_step_shows_its_error_and_a_retry_opens_it_again(api: Api) -> None:
    await api.publish(FAILING)
    failed = await api.start("failing", wait="10s")
    path = f"/api/v1/executions/{failed['execution_id']}"
    (step,) = (await api.get(f"{path}/steps")).json["items"]
    assert (step["status"], step["error"]) == ("failed", failed["error"])
    assert step["finished_at"] is not None
    await api.post(f"{path}/retry", {})
    await api.until(failed["execution_id"], "failed")
    assert (await api.get(f"{path}/steps")).json["items"][0]["status"] == "failed"


async def test_a_waiting_step_is_waiting_and_a_withdrawn_one_cancelled(api: Api) -> None:
    await api.publish(HUMAN)
    started = await api.start("asked", input={"amount": 1, "who": "anna"})
    path = f"/api/v1/executions/{started['execution_id']}"
    assert (await api.get(f"{path}/steps/approve.1")).json["status"] == "waiting"
    await api.post(f"{path}/cancel", {})
    step = (await api.get(f"{path}/steps/approve.1")).json
    assert (step["status"], step["finished_at"] is not None) == ("cancelled", True)


async def test_a_page_of_large_steps_ends_early(api: Api) -> None:
    big = {
        "id": "big",
        "nodes": [
            {"id": "each", "type": "set", "foreach": {"items": "${ input }"}, "output": "${ execution.metadata.none }"},
        ],
    }
    big["nodes"][0]["output"] = "${ vars.text }"  # type: ignore[index]
    big["variables"] = {"text": "x" * 600_000}  # type: ignore[assignment]
    await api.publish(big)
    ended = await api.start("big", wait="30s", input=list(range(20)))
    assert ended["status"] == "completed", ended["error"]
    pages = await api.pages(f"/api/v1/executions/{ended['execution_id']}/steps", 500)
    assert len(pages) > 1
    assert [step["step_id"] for page in pages for step in page] == ["each.1", *(f"each.1:{n}" for n in range(20))]
