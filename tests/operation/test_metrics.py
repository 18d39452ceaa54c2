import re
from pathlib import Path

import aiohttp
from own_door import served
from server_process import ServerProcess, settings

from workflow_engine.services.metrics import PREFIX

DOCS = Path(__file__).parents[2] / "docs" / "operation.md"
LABELS = {"code", "le", "method", "outcome", "reason", "route", "status", "type", "version"}

ECHO = {
    "id": "echo",
    "nodes": [{"id": "step", "type": "function", "with": {"name": "echo", "arguments": {"value": "${ input }"}}}],
}


def families(text: str) -> dict[str, str]:
    """Every metric of ours and its kind, by the names that documents use."""
    found = re.findall(rf"^# TYPE ({PREFIX}_\S+) (\S+)$", text, re.MULTILINE)
    return {name: kind for name, kind in found if not name.endswith("_created")}


async def test_every_metric_is_documented_and_every_documented_one_is_there(tmp_path: Path) -> None:
    async with (
        served(tmp_path) as door,
        aiohttp.ClientSession() as client,
        client.get(f"{door.url}/metrics") as answer,
    ):
        there = families(await answer.text())
    rows = re.findall(rf"^\| `({PREFIX}_[a-z_]+)` \| (\w+) \|", DOCS.read_text(), re.MULTILINE)
    assert dict(rows) == there
    assert len(rows) == len(there)


async def test_work_moves_the_metrics(tmp_path: Path) -> None:
    environment = settings(functions="served_functions")
    async with ServerProcess(tmp_path, environment=environment) as server:
        await server.publish(ECHO)
        ids = [await server.start("echo", input=number) for number in range(5)]
        for execution_id in ids:
            await server.until_status(execution_id)
        moved = {
            name: await server.metric(f"{PREFIX}_{name}")
            for name in (
                "executions_started_total",
                "executions_finished_total",
                "steps_total",
                "step_duration_seconds_count",
                "step_queue_wait_seconds_count",
            )
        }
        assert set(moved.values()) == {5.0}, moved
        for name in ("decide_seconds", "commit_wait_seconds", "commit_seconds", "commit_group_size"):
            assert await server.metric(f"{PREFIX}_{name}_count") >= 5, name
        assert await server.metric(f"{PREFIX}_http_connections") >= 1
        assert await server.metric(f"{PREFIX}_store_wal_bytes") > 0
        _, text = await server.get("/metrics")
        assert f'{PREFIX}_steps_total{{outcome="completed",type="function"}} 5.0' in text
        start = 'method="POST",route="/api/v1/workflows/{workflow_id}/executions",status="202"'
        assert f"{PREFIX}_http_request_seconds_count{{{start}}} 5.0" in text


async def test_no_label_holds_what_a_caller_chose(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path) as server:
        await server.call("GET", "/api/v1/executions/canary-1", X_Tenant_ID="canary-2")
        await server.call("GET", "/canary-3/canary-4")
        await server.call("PROPFIND", "/canary-5")
        _, text = await server.get("/metrics")
    assert "canary" not in text
    assert set(re.findall(r'[{,]([a-z_]+)="', text)) <= LABELS
    assert 'method="other",route="unmatched"' in text


async def test_two_engines_in_one_process_count_apart(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with served(tmp_path / "a") as one, served(tmp_path / "b") as other, aiohttp.ClientSession() as client:
        for _ in range(3):
            await client.get(f"{one.url}/health/live")
        counts = []
        for door in (one, other):
            async with client.get(f"{door.url}/metrics") as answer:
                counts.append((await answer.text()).count('route="/health/live"'))
    assert counts[0] > 0
    assert counts[1] == 0


async def test_open_metrics_are_given_to_those_who_ask(tmp_path: Path) -> None:
    async with served(tmp_path) as door, aiohttp.ClientSession() as client:
        headers = {"Accept": "application/openmetrics-text; version=1.0.0"}
        async with client.get(f"{door.url}/metrics", headers=headers) as answer:
            assert answer.content_type == "application/openmetrics-text"
            assert (await answer.text()).endswith("# EOF\n")
