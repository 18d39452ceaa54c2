"""Many starts in one request."""

import asyncio
import os
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from api import CALL, HOLD, PURE, SIGNAL, Api, Reply, served

BATCH = "/api/v1/workflows/{}/executions/batch"
SUMMARY = {
    "execution_id",
    "workflow_id",
    "version",
    "status",
    "reason",
    "progress_percentage",
    "sequence",
    "priority",
    "metadata",
    "labels",
    "created_at",
    "started_at",
    "finished_at",
}


async def batch(api: Api, workflow_id: str, executions: Any, **headers: str) -> Reply:
    return await api.post(BATCH.format(workflow_id), {"executions": executions}, **headers)


async def listed(api: Api) -> set[str]:
    """The ids of all executions."""
    return {item["execution_id"] for page in await api.pages("/api/v1/executions", 500) for item in page}


def commits(database: Path) -> int:
    """How many commits wrote the first transitions of all executions."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        row = connection.execute("SELECT count(DISTINCT commit_id) FROM transitions WHERE number = 1").fetchone()
        return int(row[0])


async def test_a_thousand_begin_in_one_commit_and_complete(api: Api, tmp_path: Path) -> None:
    await api.publish(CALL)
    reply = await batch(api, "call", [{"input": {"n": number}} for number in range(1_000)])
    assert (reply.status, reply.json["accepted"], reply.json["refused"]) == (202, 1_000, 0)
    items = reply.json["items"]
    assert [item["index"] for item in items] == list(range(1_000))
    ids = [item["execution_id"] for item in items]
    assert len(set(ids)) == 1_000
    assert commits(tmp_path / "routes.db") == 1
    await asyncio.gather(*(api.until(one, "completed") for one in ids[-10:]))
    assert [(await api.execution(one))["output"] for one in ids[:3]] == [0, 2, 4]
    for page in await api.pages("/api/v1/executions?status=running", 500):
        for item in page:
            await api.until(item["execution_id"], "completed")
    assert len(await listed(api)) == 1_000


async def test_an_accepted_one_is_shown_as_the_list_shows_it(api: Api) -> None:
    await api.publish(SIGNAL)
    given = {"execution_id": "s-1", "priority": 7, "labels": {"team": "red"}, "metadata": {"n": 1}}
    item = (await batch(api, "signalled", [given])).json["items"][0]
    assert item["execution"].keys() == SUMMARY
    assert item["execution"] == (await api.get("/api/v1/executions")).json["items"][0]
    assert (item["execution"]["status"], item["execution"]["reason"]) == ("paused", "input")


async def test_everything_that_a_start_takes_is_taken(api: Api) -> None:
    await api.publish(HOLD)
    one = {"input": {"gate": "g"}, "variables": {"limit": 2}, "delay": "1h", "version": 1}
    item = (await batch(api, "hold", [one, {"input": {"gate": "h"}}])).json["items"]
    delayed, held = [await api.execution(one["execution_id"]) for one in item]
    assert (delayed["status"], delayed["input"], delayed["variables"]) == ("pending", {"gate": "g"}, {"limit": 2})
    assert (held["status"], held["active_nodes"]) == ("running", ["held"])


async def test_a_bad_one_is_told_as_it_would_be_alone_and_the_others_start(api: Api) -> None:
    await api.publish(PURE)
    await api.start("pure", input={"n": 0}, execution_id="taken")
    bad: list[Any] = [
        {"input": {"n": "x"}},
        {"input": {"n": 1}, "prio": 3},
        {"input": {"n": 1}, "priority": 10},
        {"input": {"n": 1}, "version": 7},
        {"input": {"n": 1}, "execution_id": "taken"},
        {"input": {"n": 1}, "execution_id": "-x"},
        {"input": {"n": 1}, "delay": "soon"},
        {"input": {"n": 1}, "callbacks": [1]},
        {"input": {"n": 1, "text": "x" * 1_100_000}},
    ]
    executions = [{"input": {"n": 1}}, *bad, {"input": {"n": 2}}]
    reply = (await batch(api, "pure", executions)).json
    assert (reply["accepted"], reply["refused"]) == (2, len(bad))
    for item, body in zip(reply["items"][1:-1], bad, strict=True):
        alone = await api.post("/api/v1/workflows/pure/executions", body)
        problem = item["problem"]
        expected = {**alone.json, "instance": f"{BATCH.format('pure')}#/executions/{item['index']}"}
        assert (item["status"], problem) == (alone.status, expected), body
        assert item["execution_id"] == body.get("execution_id")
    for place in (0, -1):
        await api.until(reply["items"][place]["execution_id"], "completed")
    assert len(await listed(api)) == 3


async def test_values_that_are_no_start_are_refused_one_by_one(api: Api) -> None:
    await api.publish(PURE)
    reply = (await batch(api, "pure", [None, 1, "x", [], {"input": {"n": 1}}])).json
    assert [item["status"] for item in reply["items"]] == [422] * 4 + [202]


async def test_of_two_with_one_id_the_first_starts(api: Api, tmp_path: Path) -> None:
    await api.publish(PURE)
    executions = [{"input": {"n": n}, "execution_id": name} for n, name in enumerate(("a", "b", "a", "c", "b"))]
    reply = (await batch(api, "pure", executions)).json
    assert [item["status"] for item in reply["items"]] == [202, 202, 409, 202, 409]
    assert reply["items"][2]["problem"]["code"] == "already_exists"
    assert commits(tmp_path / "routes.db") == 1
    assert [(await api.until(name, "completed"))["output"] for name in "abc"] == [0, 2, 6]


async def test_ids_that_are_taken_leave_one_commit_for_the_others(api: Api, tmp_path: Path) -> None:
    await api.publish(PURE)
    first = [{"input": {"n": n}, "execution_id": f"e{n}"} for n in range(0, 200, 2)]
    assert (await batch(api, "pure", first)).json["accepted"] == 100
    every = [{"input": {"n": n}, "execution_id": f"e{n}"} for n in range(200)]
    reply = (await batch(api, "pure", every)).json
    assert [item["status"] for item in reply["items"]] == [409, 202] * 100
    assert commits(tmp_path / "routes.db") == 2
    assert await listed(api) == {f"e{n}" for n in range(200)}
    assert (await api.until("e199", "completed"))["output"] == 398


async def test_batches_at_the_same_time_share_no_execution(api: Api) -> None:
    await api.publish(PURE)
    executions = [{"input": {"n": n}, "execution_id": f"e{n}"} for n in range(100)]
    replies = await asyncio.gather(*(batch(api, "pure", executions[at:] + executions[:at]) for at in range(0, 100, 10)))
    assert sum(reply.json.get("accepted", 0) for reply in replies) == 100
    assert {reply.status for reply in replies} <= {202, 422}
    assert len(await listed(api)) == 100


async def test_none_accepted_is_422_and_names_each(api: Api) -> None:
    await api.publish(PURE)
    reply = await batch(api, "pure", [{"input": {"n": "x"}}, {"inputs": 1}, {"input": {"n": 1}, "version": 9}])
    assert (reply.status, reply.code) == (422, "none_accepted")
    problems = [(one["path"], one["code"]) for one in reply.json["problems"]]
    assert problems == [
        ("/executions/0", "invalid_input"),
        ("/executions/1", "invalid_body"),
        ("/executions/2", "not_found"),
    ]
    assert "/n" in reply.json["problems"][0]["message"]
    assert "/inputs" in reply.json["problems"][1]["message"]
    assert await listed(api) == set()


async def test_a_body_that_is_no_batch_is_422_and_starts_nothing(api: Api) -> None:
    await api.publish(PURE)
    good = {"input": {"n": 1}}
    wrong: list[tuple[Any, str]] = [
        ({}, "/executions"),
        ({"executions": []}, "/executions"),
        ({"executions": good}, "/executions"),
        ({"executions": [good], "wait": "1s"}, "/wait"),
        ({"executions": [good] * 1_001}, "/executions"),
    ]
    for body, place in wrong:
        reply = await api.post(BATCH.format("pure"), body)
        assert (reply.status, reply.paths) == (422, [place]), reply
    assert "1000" in reply.json["problems"][0]["message"]
    assert (await api.post(BATCH.format("pure"), b"{")).status == 400
    assert await listed(api) == set()


async def test_the_limit_of_a_body_holds_for_the_whole(tmp_path: Path) -> None:
    async with served(tmp_path, body_max_bytes=20_000) as api:
        await api.publish(PURE)
        reply = await batch(api, "pure", [{"input": {"n": 1, "text": "x" * 15_000}}] * 2)
        assert (reply.status, reply.code) == (413, "body_too_large")
        assert "20000" in reply.json["detail"]


async def test_a_workflow_that_takes_no_starts_refuses_the_whole(api: Api) -> None:
    other = api.as_tenant("other")
    await other.publish(PURE)
    executions = [{"input": {"n": 1}}, {"nonsense": True}]
    assert (await batch(api, "pure", executions)).code == "not_found"
    assert (await batch(other, "pure", executions)).json["accepted"] == 1
    assert await listed(api) == set()
    await other.call("DELETE", "/api/v1/workflows/pure")
    assert (await batch(other, "pure", executions)).code == "archived"


async def test_two_tenants_may_use_the_same_ids(api: Api) -> None:
    other = api.as_tenant("other")
    for one in (api, other):
        await one.publish(PURE)
        assert (await batch(one, "pure", [{"input": {"n": 1}, "execution_id": "same"}])).json["accepted"] == 1
    assert await listed(api) == await listed(other) == {"same"}


async def test_a_repeated_request_gets_the_same_answer_and_starts_nothing(api: Api) -> None:
    await api.publish(PURE)
    await api.start("pure", input={"n": 0}, execution_id="taken")
    executions = [{"input": {"n": 1}, "execution_id": "taken"}, {"input": {"n": "x"}}, {"input": {"n": 2}}]
    first = await batch(api, "pure", executions, Idempotency_Key="k")
    assert [item["status"] for item in first.json["items"]] == [409, 422, 202]
    again = await batch(api, "pure", executions, Idempotency_Key="k")
    assert (again.status, again.body, again.headers["Idempotency-Replayed"]) == (202, first.body, "true")
    assert (await batch(api, "pure", executions[1:], Idempotency_Key="k")).code == "key_reused"
    assert len(await listed(api)) == 2


async def test_a_batch_that_was_refused_does_not_use_up_its_key(api: Api) -> None:
    await api.publish(PURE)
    assert (await batch(api, "pure", [{"input": {"n": "x"}}], Idempotency_Key="k")).code == "none_accepted"
    assert (await batch(api, "pure", [{"input": {"n": 1}}], Idempotency_Key="k")).status == 202


async def test_fifty_requests_with_one_key_start_one_batch(api: Api) -> None:
    await api.publish(PURE)
    executions = [{"input": {"n": n}} for n in range(20)]
    replies = await asyncio.gather(*(batch(api, "pure", executions, Idempotency_Key="k") for _ in range(50)))
    assert {reply.status for reply in replies} <= {202, 409}
    assert len({reply.body for reply in replies if reply.status == 202}) == 1
    assert len(await listed(api)) == 20


async def test_others_are_served_while_a_thousand_start(api: Api) -> None:
    await api.publish(SIGNAL)
    starting = asyncio.create_task(batch(api, "signalled", [{}] * 1_000))
    served = 0
    while not starting.done():
        await api.get("/api/v1/executions?limit=1")
        served += 1
    assert (await starting).json["accepted"] == 1_000
    assert served >= 3


@asynccontextmanager
async def server_process(folder: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, aiohttp.ClientSession]]:
    """`workflow-engine serve` as a process of its own, and a client; killed at the end."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WORKFLOW_ENGINE_")}
    command = (sys.executable, "-m", "workflow_engine.cli.entry", "serve", "--port", "0", "--db", folder / "killed.db")
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=folder,
        env={**clean, "XDG_DATA_HOME": str(folder)},
    )
    try:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        async with aiohttp.ClientSession(line.split(" listens on ")[1].split()[0]) as session:
            yield process, session
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_all_of_an_accepted_batch_is_there_after_kill_9(tmp_path: Path) -> None:
    keyed = {"Idempotency-Key": "k"}
    body = {"executions": [{}] * 1_000}
    async with server_process(tmp_path) as (process, session):
        async with session.post("/api/v1/workflows", json=SIGNAL) as answer:
            assert answer.status == 201
        async with session.post(BATCH.format("signalled"), json=body, headers=keyed) as answer:
            assert answer.status == 202
            first = await answer.read()
        process.kill()
    async with server_process(tmp_path) as (_, session):
        async with session.post(BATCH.format("signalled"), json=body, headers=keyed) as answer:
            assert (await answer.read(), answer.headers["Idempotency-Replayed"]) == (first, "true")
        found: set[str] = set()
        query: dict[str, str] = {"status": "paused", "limit": "500"}
        while query.get("cursor", "") is not None:
            async with session.get("/api/v1/executions", params=query) as answer:
                page = msgspec.json.decode(await answer.read())
            found |= {item["execution_id"] for item in page["items"]}
            query["cursor"] = page["next_cursor"]
    assert found == {item["execution_id"] for item in msgspec.json.decode(first)["items"]}
    assert len(found) == 1_000
