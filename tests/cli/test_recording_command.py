"""`record`: a finished execution becomes a test of its definition, and that test passes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_command import Ran

from workflow_engine.cli.yaml_text import yaml_text
from workflow_engine.models.document import parse_document

Cli = Callable[..., Ran]


def asked(id_: str) -> Path:
    """A workflow that asks a person and waits for a message."""
    path = Path(f"{id_}.json")
    nodes = [
        {"id": "ask", "type": "human", "with": {"form": {"type": "object", "required": ["ok"]}}},
        {"id": "paid", "type": "wait", "with": {"signal": "paid"}},
        {"id": "wait", "type": "wait", "with": {"for": "10ms"}},
    ]
    connections = [{"from": "ask", "to": "paid"}, {"from": "paid", "to": "wait"}]
    tests = [{"name": "recorded e", "expect": {"status": "paused"}}]
    path.write_text(json.dumps({"id": id_, "nodes": nodes, "connections": connections, "tests": tests}))
    return path


def test_an_execution_of_a_database_becomes_a_test_that_passes(cli: Cli) -> None:
    assert cli("run", asked("kept"), "--db", "e.db", "--execution-id", "e").code == 3
    assert cli("record", "e", "--db", "e.db").code == 2
    assert cli("resume", "e", "--db", "e.db", "--answer", 'ask={"ok": true}').code == 3
    assert cli("resume", "e", "--db", "e.db", "--signal", "paid=5").code == 0
    ran = cli("record", "e", "--db", "e.db", "-o", "kept.yaml")
    assert (ran.code, ran.out) == (0, "")
    assert "workflow-engine test kept.yaml" in ran.err
    tested = cli("test", "kept.yaml", "--seeds", "10", "--json")
    assert tested.code == 0, tested.out
    assert [test["name"] for test in tested.json["files"][0]["tests"]] == ["recorded e", "recorded e 2"]
    (alone,) = parse_document(cli("record", "e", "--db", "e.db", "--only", "--name", "mine").out.encode(), kind="yaml")
    assert alone["name"] == "mine"
    assert [{key: entry[key] for key in entry if key != "after"} for entry in alone["script"]] == [
        {"answer": "ask.1", "output": {"ok": True}},
        {"signal": "paid", "payload": 5},
    ]
    assert alone["expect"]["path"] == ["ask", "paid", "wait"]


def test_an_execution_of_a_server_becomes_a_test_that_passes(remote: Cli) -> None:
    assert remote("publish", asked("far")).code == 0
    assert remote("start", "far", "--execution-id", "far-1").code == 0
    assert "only one that has ended can be recorded" in remote("record", "far-1").err
    assert remote("signal", "far-1", "paid", "--payload", "5").code == 0
    assert remote("executions", "cancel", "far-1").code == 0
    ran = remote("record", "far-1", "-o", "far.yaml")
    assert (ran.code, ran.err.count("warning")) == (0, 0), ran.err
    tested = remote("test", "far.yaml", "--filter", "recorded far-1", "--json")
    assert (tested.code, tested.json["passed_tests"]) == (0, 1)


def test_what_is_not_there_is_told(cli: Cli) -> None:
    asked("kept")
    cli("run", "kept.json", "--db", "e.db", "--execution-id", "e")
    absent = cli("record", "nobody", "--db", "e.db")
    assert (absent.code, "'nobody'" in absent.err) == (2, True)
    assert cli("record", "e", "--db", "e.db", "--url", "http://127.0.0.1:1").code == 2


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -3,
        1.5,
        1e300,
        "",
        "no",
        "on",
        "null",
        "~",
        "True",
        "12",
        "0x1f",
        "0o17",
        "1e3",
        ".5",
        "1_000",
        "2026-01-31",
        "2026-01-31T08:00:00Z",
        "a: b",
        "- a",
        "${ {'a': 1} }",
        "'quoted' \"twice\"",
        "two\nlines\n",
        " blanks ",
        "größer ☃",
        "#comment",
        "=",
        "<<",
        {"on": [{}, [], "no"], "12": {"null": None}},
    ],
)
def test_yaml_is_read_back_as_it_was(value: Any) -> None:
    document = {"value": value, "again": [value, value]}
    assert parse_document(yaml_text(document).encode(), kind="yaml") == document


def test_yaml_quotes_no_more_than_it_must() -> None:
    assert yaml_text({"on": "no", "at": "2026-01-31", "twelve": "12"}) == "on: no\nat: 2026-01-31\ntwelve: '12'\n"
