"""`POST /api/v1/workflows/test`: a definition's tests, run without publishing it."""

import asyncio
from typing import Any

from api import CALL, Api

PATH = "/api/v1/workflows/test"

RACE: dict[str, Any] = {
    "id": "race",
    "nodes": [
        {"id": "a", "type": "function", "with": {"name": "work"}},
        {"id": "b", "type": "function", "with": {"name": "work"}},
        {"id": "week", "type": "wait", "with": {"for": "7d"}},
        {"id": "sorry", "type": "set"},
    ],
    "connections": [
        {"from": "a", "to": "week"},
        {"from": "b", "to": "week"},
        {"from": "a", "to": "sorry", "on": "error"},
    ],
    "tests": [
        {"name": "both", "stubs": {"a": {"output": 1}, "b": {"output": 1}}, "expect": {"path": [["a", "b"], "week"]}},
        {"name": "ordered", "stubs": {"a": {"output": 1}, "b": {"output": 1}}, "expect": {"path": ["a", "b", "week"]}},
    ],
}
ENDLESS: dict[str, Any] = {
    "id": "endless",
    "start": ["a"],
    "nodes": [{"id": "a", "type": "set"}, {"id": "b", "type": "set"}],
    "connections": [{"from": "a", "to": "b"}, {"from": "b", "to": "a"}],
    "tests": [{"name": "ends"}],
}


async def test_tests_run_without_publishing_or_calling(api: Api) -> None:
    reply = await api.post(PATH, RACE)
    assert reply.status == 200
    assert reply.json["passed"]
    both, ordered = reply.json["tests"]
    assert (both["name"], both["passed"], both["seed"], both["virtual_s"]) == ("both", True, None, 7 * 86_400)
    assert ordered["path"] == ["a", "b", "week"]
    assert reply.json["coverage"] == {
        "nodes": {"covered": ["a", "b", "week"], "missed": ["sorry"]},
        "connections": {"covered": ["a -> week", "b -> week"], "missed": ["a -> sorry on error"]},
    }
    assert (await api.get("/api/v1/workflows")).json["items"] == []


async def test_seeds_find_a_race_and_a_name_chooses(api: Api) -> None:
    reply = await api.post(f"{PATH}?seeds=100&name=ordered", RACE)
    (ordered,) = reply.json["tests"]
    assert (reply.json["passed"], ordered["passed"], ordered["runs"]) == (False, False, ordered["seed"])
    assert ordered["problems"] == [
        {
            "what": "path",
            "message": "expected a, b, week, was b, a, week",
            "expected": ["a", "b", "week"],
            "actual": ["b", "a", "week"],
        }
    ]
    assert ordered["last_events"][-1] == "+7d the execution completed"
    assert (await api.post(f"{PATH}?name=nobody", RACE)).json["passed"] is False


async def test_yaml_is_taken(api: Api) -> None:
    body = b"id: hello\nnodes: [{id: a, type: set, output: 1}]\ntests: [{name: one, expect: {output: 1}}]\n"
    reply = await api.call("POST", PATH, body, Content_Type="application/yaml")
    assert (reply.status, reply.json["passed"]) == (200, True)


async def test_a_definition_that_is_not_valid_is_refused_as_at_publishing(api: Api) -> None:
    wrong = RACE | {"tests": [{"name": "a", "stubs": {"c": {"output": 1}}, "expect": {"statsu": "failed"}}]}
    for path in (PATH, "/api/v1/workflows"):
        reply = await api.post(path, wrong)
        assert (reply.status, reply.code) == (422, "definition_invalid")
        assert set(reply.paths) == {"/tests/0/stubs/c", "/tests/0/expect/statsu"}
    for query in ("seeds=0", "seeds=101", "seeds=x", "seed=1"):
        assert (await api.post(f"{PATH}?{query}", RACE)).status == 422


async def test_tests_belong_to_the_version_and_are_shown_with_it(api: Api) -> None:
    reply = await api.post("/api/v1/workflows", RACE)
    assert (reply.status, reply.json["definition"]["tests"]) == (201, RACE["tests"])
    without = {key: value for key, value in RACE.items() if key != "tests"}
    assert (await api.call("PUT", "/api/v1/workflows/race", without)).json["version"] == 2


async def test_a_workflow_that_never_ends_is_given_up_and_holds_nobody_up(api: Api) -> None:
    await api.publish(CALL)
    hostile = asyncio.create_task(api.post(f"{PATH}?seeds=100", ENDLESS))
    other = api.as_tenant("other")
    await other.publish(CALL)
    shown = await other.start("call", wait="10s", input={"n": 2})
    assert shown["status"] == "completed"
    assert not hostile.done()
    reply = await hostile
    assert (reply.status, reply.json["passed"]) == (200, False)
    assert "limit_exceeded" in " ".join(reply.json["tests"][0]["last_events"])
