"""What a display knows of an execution, from its events alone."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from workflow_engine import Engine
from workflow_engine.cli.display import PLAIN_LINES, PlainDisplay
from workflow_engine.cli.progress import Progress
from workflow_engine.models.workflow import Definition


def document(nodes: int) -> dict[str, Any]:
    chain = [{"id": f"n{number}", "type": "set"} for number in range(nodes)]
    connections = [{"from": f"n{number}", "to": f"n{number + 1}"} for number in range(nodes - 1)]
    each = {"id": "each", "type": "set", "foreach": {"items": list(range(40))}}
    last = {"id": "ask", "type": "human", "with": {"title": "ok?"}}
    more = [{"from": f"n{nodes - 1}", "to": "each"}, {"from": "each", "to": "ask"}]
    return {"id": "chain", "nodes": [*chain, each, last], "connections": [*connections, *more]}


@pytest.fixture
async def events(tmp_path: Any) -> AsyncIterator[list[dict[str, Any]]]:
    async with Engine(f"sqlite:///{tmp_path}/p.db") as engine:
        await engine.publish(document(100))
        execution = await engine.start("chain")
        found = []
        async for event in execution.events():
            found.append(event)
            if event["event"] == "workflow_paused":
                break
        yield found


def progress() -> Progress:
    return Progress.of("e1", Definition.model_validate(document(100)))


async def test_progress_follows_the_events(events: list[dict[str, Any]]) -> None:
    shown = progress()
    for event in events:
        shown.take(event)
    assert (shown.status, shown.reason) == ("paused", "input")
    assert shown.steps == 100 + 40 + 1
    each, ask = shown.nodes["each"], shown.nodes["ask"]
    assert (each.status, each.items_done, each.items_total) == ("completed", 40, 40)
    assert (ask.status, ask.active, ask.note) == ("waiting", 1, "waits for a person")


async def test_active_and_latest_nodes_have_room_first(events: list[dict[str, Any]]) -> None:
    shown = progress()
    for event in events:
        shown.take(event)
    assert [node.node_id for node in shown.foremost(4)] == ["n98", "n99", "each", "ask"]


async def test_plain_display_counts_what_a_burst_has_more(
    events: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    display = PlainDisplay(progress())
    for event in events:
        display.take(event)
    display.close()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 + PLAIN_LINES
    assert lines[0].endswith("more events")
    assert lines[-1].endswith("waits for people or signals")
    assert all(line.isprintable() for line in lines)
