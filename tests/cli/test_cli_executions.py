"""`executions list|show`."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cli_command import FLOWS, Ran

Cli = Callable[..., Ran]
ORDER = FLOWS / "order.yaml"


@pytest.fixture
def three(cli: Cli) -> None:
    for number, amount in enumerate((1, 200, -1)):
        label = ["--label", f"kind=k{number}"]
        cli("run", ORDER, "--db", "o.db", "--execution-id", f"o{number}", "-i", f'{{"amount": {amount}}}', *label)


@pytest.mark.usefixtures("three")
def test_executions_are_listed_newest_first_and_filtered(cli: Cli) -> None:
    def ids(*words: str) -> list[str]:
        return [
            item["execution_id"] for item in cli("executions", "list", "--db", "o.db", "--json", *words).json["items"]
        ]

    assert ids() == ["o2", "o1", "o0"]
    assert ids("--status", "paused") == ["o1"]
    assert ids("--label", "kind=k0") == ["o0"]
    assert ids("--label", "kind=k0", "--label", "team=shop") == ["o0"]
    assert ids("--label", "kind=k0", "--label", "team=other") == []
    assert ids("--workflow", "other") == []
    page = cli("executions", "list", "--db", "o.db", "--json", "--limit", "2").json
    assert ids("--limit", "2", "--cursor", page["next_cursor"]) == ["o0"]
    table = cli("executions", "list", "--db", "o.db").out.splitlines()
    assert table[0].split() == ["EXECUTION", "WORKFLOW", "STATUS", "PROGRESS", "CREATED"]
    assert "paused (input)" in table[2]


@pytest.mark.usefixtures("three")
def test_wrong_filters_are_refused(cli: Cli) -> None:
    for words in (["--status", "dead"], ["--label", "x"], ["--cursor", "?"], ["--limit", "0"]):
        assert cli("executions", "list", "--db", "o.db", *words).code == 2


@pytest.mark.usefixtures("three")
def test_execution_is_shown_with_its_steps(cli: Cli) -> None:
    shown = cli("executions", "show", "o2", "--db", "o.db", "--json").json
    assert shown["status"] == "failed"
    (step,) = shown["steps"]
    names = {"step_id", "node_id", "type", "status", "attempts", "input", "output", "error", "worker"}
    assert set(step) == names | {"scheduled_at", "started_at", "finished_at"}
    assert (step["step_id"], step["type"], step["status"]) == ("tax.1", "function", "failed")
    assert step["error"]["type"] == "negative"
    waiting = cli("executions", "show", "o1", "--db", "o.db", "--json").json
    assert waiting["waiting_for"][0]["step_id"] == "approve.1"
    text = cli("executions", "show", "o1", "--db", "o.db").out
    assert "status     paused (input)" in text
    assert "approve.1" in text


@pytest.mark.usefixtures("three")
def test_unknown_execution_is_not_found(cli: Cli) -> None:
    ran = cli("executions", "show", "o9", "--db", "o.db", "--json")
    assert (ran.code, ran.json["error"]["code"]) == (2, "not_found")


def test_output_of_a_foreach_is_listed(cli: Cli) -> None:
    Path("each.yaml").write_text(
        '{id: e, nodes: [{id: n, type: set, foreach: {items: [3, 4]}, output: "${ item * 2 }"}]}'
    )
    cli("run", "each.yaml", "--db", "e.db", "--execution-id", "e1")
    steps = {
        step["step_id"]: step["output"]
        for step in cli("executions", "show", "e1", "--db", "e.db", "--json").json["steps"]
    }
    assert steps == {"n.1": [6, 8], "n.1:0": 6, "n.1:1": 8}
