"""`executions fork|migrate|cancel --compensate|bulk` and `steps` against a server."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_command import Ran

Cli = Callable[..., Ran]

HELD: dict[str, Any] = {
    "variables": {"limit": 1},
    "nodes": [
        {"id": "paid", "type": "wait", "with": {"signal": "paid"}},
        {"id": "last", "type": "set", "output": "${ vars.limit }"},
    ],
    "connections": [{"from": "paid", "to": "last"}],
    "output": "${ steps.last.output }",
}


def publish(remote: Cli, id_: str, **definition: Any) -> None:
    path = Path(f"{id_}.json")
    path.write_text(json.dumps({"id": id_, **definition}))
    ran = remote("publish", path)
    assert ran.code == 0, ran


def test_fork_prints_the_new_id_and_nothing_else(remote: Cli) -> None:
    publish(remote, "forked", **HELD)
    remote("start", "forked", "--execution-id", "fk-1")
    ran = remote("executions", "fork", "fk-1", "--sequence", "2", "--set", "limit=9")
    assert ran.code == 0
    fork = ran.out.strip()
    assert f"workflow-engine executions watch {fork}" in ran.err
    remote("signal", fork, "paid")
    assert remote("executions", "show", fork, "--json").json["output"] == 9
    assert remote("executions", "show", "fk-1", "--json").json["status"] == "paused"
    assert remote("executions", "fork", "fk-1", "--json").json["variables"] == {"limit": 1}
    refused = remote("executions", "fork", "fk-1", "--sequence", "99", "--json")
    assert (refused.code, refused.json["error"]["problems"][0]["path"]) == (2, "/sequence")


def test_migrate_tells_first_and_moves_then(remote: Cli) -> None:
    publish(remote, "moved", **HELD)
    remote("start", "moved", "--execution-id", "mv-1")
    settled = {**HELD["nodes"][0], "id": "settled"}
    connections = [{"from": "settled", "to": "last"}]
    publish(remote, "moved", **{**HELD, "nodes": [settled, HELD["nodes"][1]], "connections": connections})
    lost = remote("executions", "migrate", "mv-1", "--version", "2", "--dry-run")
    assert lost.code == 2
    assert lost.out.startswith("paid.1: paid -> -\n")
    assert "error cannot_migrate: the step paid.1" in lost.out
    assert lost.out.endswith("mv-1 can't go on with version 2\n")
    words = ["--version", "2", "--node", "paid=settled"]
    told = remote("executions", "migrate", "mv-1", *words, "--dry-run")
    assert (told.code, told.out) == (0, "paid.1: paid -> settled\nmv-1 can go on with version 2\n")
    assert remote("executions", "show", "mv-1", "--json").json["version"] == 1
    assert remote("executions", "migrate", "mv-1", *words).out == "mv-1 is paused (input)\n"
    assert remote("executions", "show", "mv-1", "--json").json["version"] == 2
    assert remote("executions", "migrate", "mv-1", "--version", "2", "--node", "x").code == 2


def test_cancel_undoes_what_was_completed_if_asked(remote: Cli) -> None:
    room = {"id": "room", "type": "set", "output": "R", "compensate": "undo"}
    nodes = [room, HELD["nodes"][0], {"id": "undo", "type": "set"}]
    publish(remote, "undone", nodes=nodes, connections=[{"from": "room", "to": "paid"}])
    remote("start", "undone", "--execution-id", "un-1")
    assert remote("executions", "cancel", "un-1", "--compensate").out == "un-1 is cancelled\n"
    steps = remote("executions", "show", "un-1", "--json").json["steps"]
    assert {step["step_id"]: step["status"] for step in steps} == {
        "room.1": "compensated",
        "paid.1": "cancelled",
        "undo.1": "completed",
    }
    watched = remote("executions", "watch", "un-1")
    assert "undoes room.1" in watched.err


def test_bulk_tells_how_many_took_it_and_which_did_not(remote: Cli) -> None:
    publish(remote, "crowd", **HELD)
    for number in range(4):
        words = ["--label", f"half={'even' if number % 2 == 0 else 'odd'}"]
        remote("start", "crowd", "--execution-id", f"mn-{number}", *words)
    even = ["--workflow", "crowd", "--label", "half=even"]
    assert remote("executions", "bulk", "pause", *even, "--dry-run").out == "mn-2\nmn-0\n"
    assert remote("executions", "bulk", "pause", *even).out == "pause: 2 of 2 executions\n"
    refused = remote("executions", "bulk", "resume", "mn-0", "mn-1")
    assert (refused.code, refused.out) == (2, "resume: 1 of 2 executions\n")
    assert "mn-1: not_paused: " in refused.err
    cancelled = remote("executions", "bulk", "cancel", "--workflow", "crowd", "--json", "--reason", "over").json
    assert cancelled == {"matched": 4, "succeeded": 4, "failed": []}
    nothing = remote("executions", "bulk", "cancel", "--workflow", "nobody", "--dry-run")
    assert (nothing.code, nothing.out) == (0, "no execution matches\n")


@pytest.mark.parametrize(
    "words",
    [
        ["cancel"],
        ["cancel", "x", "--all"],
        ["cancel", "--workflow", "crowd", "--all"],
        ["delete", "--all"],
        ["pause", "--all", "--reason", "x"],
        ["pause", "--status", "dead"],
        ["pause", "--label", "x"],
        ["pause", "--since", "yesterday"],
        ["pause", "a b"],
    ],
)
def test_bulk_that_is_not_clear_is_refused(remote: Cli, words: list[str]) -> None:
    ran = remote("executions", "bulk", *words, "--json")
    assert (ran.code, "error" in ran.json) == (2, True)


def test_steps_are_completed_and_skipped_by_hand(remote: Cli) -> None:
    publish(remote, "handled", **HELD)
    for number in (1, 2):
        remote("start", "handled", "--execution-id", f"hd-{number}")
    done = remote("steps", "complete", "hd-1", "paid.1", "--output", '{"eur": 5}')
    assert (done.code, done.out) == (0, "hd-1 is completed\n")
    assert remote("steps", "skip", "hd-2", "paid.1", "--json").json["status"] == "completed"
    shown = remote("executions", "show", "hd-2").out
    assert "skipped" in shown
    assert "paid.1: skipped by an operator" in remote("executions", "watch", "hd-2").err
    late = remote("steps", "skip", "hd-2", "paid.1", "--json")
    assert (late.code, late.json["error"]["code"]) == (2, "ended")
    unknown = remote("steps", "complete", "hd-1", "nothing.1", "--json")
    assert (unknown.code, unknown.json["error"]["code"]) == (2, "not_found")


def test_items_are_added_to_a_foreach_that_runs(remote: Cli) -> None:
    each = {"id": "each", "type": "wait", "foreach": {"items": "${ input }"}, "with": {"signal": "go"}}
    publish(remote, "grown", nodes=[each])
    remote("start", "grown", "--input", "[1, 2]", "--execution-id", "gr-1")
    Path("more.json").write_text("[3, 4, 5]")
    assert remote("steps", "add-items", "gr-1", "each.1", "--items", "@more.json").out == "each.1 of gr-1 has 5 items\n"
    added = remote("steps", "add-items", "gr-1", "each.1", "--items", "[6]", "--json").json
    assert added["input"]["items"] == [1, 2, 3, 4, 5, 6]
    for words in (["--items", "7"], ["--items", "[]"], []):
        assert remote("steps", "add-items", "gr-1", "each.1", *words).code == 2
