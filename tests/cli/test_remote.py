"""The commands against a server: publish, start, signal, executions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_command import Ran
from served import Served, free_port

from workflow_engine.client import backoff

Cli = Callable[..., Ran]


def write(name: str, **definition: Any) -> Path:
    path = Path(name)
    path.write_text(json.dumps(definition))
    return path


def adding(id_: str) -> Path:
    """A workflow that adds one and ends at once."""
    nodes = [{"id": "add", "type": "set", "output": "${ input + 1 }"}]
    return write(f"{id_}.json", id=id_, input={"type": "integer"}, nodes=nodes)


def waiting(id_: str) -> Path:
    """A workflow that waits for a signal and fails where it says so."""
    nodes = [
        {"id": "paid", "type": "wait", "with": {"signal": "paid"}},
        {"id": "refused", "type": "fail", "with": {"type": "refused", "message": "no money"}},
    ]
    connections = [{"from": "paid", "to": "refused", "when": "steps.paid.output == 'no'"}]
    output = "${ steps.paid.output }"
    return write(f"{id_}.json", id=id_, nodes=nodes, connections=connections, output=output)


def test_publish_makes_versions_and_same_content_keeps_its_version(remote: Cli) -> None:
    first = remote("publish", adding("versions"), "--json").json
    assert first == {"file": "versions.json", "id": "versions", "version": 1, "name": "versions", "is_new": True}
    assert remote("publish", "versions.json").out == "versions.json: versions version 1, as before\n"
    write("versions.json", id="versions", nodes=[{"id": "other", "type": "set"}])
    assert remote("publish", "versions.json").out == "versions.json: versions version 2\n"
    Path("versions.yaml").write_text("{id: versions, nodes: [{id: other, type: set}]}")
    assert remote("publish", "versions.yaml", "--json").json["version"] == 2


def test_refused_definitions_are_told_with_their_places_and_the_others_published(remote: Cli) -> None:
    write("broken.json", id="broken", nodes=[{"id": "a", "type": "functoin"}])
    Path("nameless.json").write_text("[]")
    Path("torn.json").write_text("{")
    ran = remote("publish", "broken.json", "nameless.json", "torn.json", "no.json", adding("good"), "--json")
    assert ran.code == 2
    *refused, good = ran.json["files"]
    assert [one["error"]["code"] for one in refused] == [
        "definition_invalid",
        "definition_invalid",
        "invalid_json",
        "unreadable",
    ]
    assert refused[0]["error"]["problems"][0]["path"] == "/nodes/0/type"
    assert good["version"] == 1
    assert "broken.json:/nodes/0/type: error unknown_node_type" in ran.err
    assert "did you mean `function`?" in ran.err


def test_start_prints_the_id_and_nothing_else(remote: Cli) -> None:
    remote("publish", waiting("plain"))
    started = remote("start", "plain")
    assert started.code == 0
    execution_id = started.out.strip()
    assert remote("executions", "show", execution_id, "--json").json["execution_id"] == execution_id
    assert f"workflow-engine executions watch {execution_id}" in started.err


def test_start_that_waits_prints_the_output_and_tells_the_end_by_its_exit_code(remote: Cli) -> None:
    remote("publish", adding("sum"), waiting("long"))
    completed = remote("start", "sum", "--input", "41", "--wait", "30s")
    assert (completed.code, completed.out) == (0, "42\n")
    assert "completed in" in completed.err
    unfinished = remote("start", "long", "--wait", "50ms", "--json")
    assert (unfinished.code, unfinished.json["status"]) == (3, "paused")
    write("fails.json", id="fails", nodes=[{"id": "f", "type": "fail", "with": {"type": "t", "message": "m"}}])
    remote("publish", "fails.json")
    failed = remote("start", "fails", "--wait", "30s")
    assert (failed.code, failed.out) == (1, "")
    assert "t: m (node f)" in failed.err


def test_start_takes_version_id_labels_variables_and_delay(remote: Cli) -> None:
    definition = {"id": "options", "variables": {"n": 1}}
    wait = {"id": "w", "type": "wait", "with": {"signal": "s"}}
    write("options.json", **definition, nodes=[wait])
    remote("publish", "options.json")
    write("options.json", **definition, nodes=[wait, {"id": "more", "type": "set"}])
    remote("publish", "options.json")
    words = ["--execution-id", "opt-1", "--version", 1, "--label", "team=red", "--set", "n=7", "--delay", "1h"]
    started = remote("start", "options", "--input", "[]", *words, "--json").json
    assert (started["execution_id"], started["version"], started["status"]) == ("opt-1", 1, "pending")
    assert (started["labels"], started["variables"], started["input"]) == ({"team": "red"}, {"n": 7}, [])
    again = remote("start", "options", "--execution-id", "opt-1", "--json")
    assert (again.code, again.json["error"]["code"]) == (2, "already_exists")


def test_signal_is_received_and_its_payload_comes_through(remote: Cli) -> None:
    remote("publish", waiting("signalled"))
    remote("start", "signalled", "--execution-id", "sig-1")
    Path("payload.json").write_text('{"eur": 12345678901234567890}')
    assert remote("signal", "sig-1", "a/b c?").out == "sig-1 has the signal a/b c?\n"
    assert remote("signal", "sig-1", "paid", "--payload", "@payload.json").code == 0
    watched = remote("executions", "watch", "sig-1")
    assert watched.code == 0
    assert json.loads(watched.out) == {"eur": 12345678901234567890}
    late = remote("signal", "sig-1", "paid", "--json")
    assert (late.code, late.json["error"]["message"]) == (2, "the execution is completed")


def test_operator_pauses_resumes_cancels_terminates_and_retries(remote: Cli) -> None:
    remote("publish", waiting("steered"))

    def steer(action: str, execution_id: str, *words: str) -> str:
        return remote("executions", action, execution_id, *words).out

    for number in (1, 2, 3):
        remote("start", "steered", "--execution-id", f"st-{number}")
    assert steer("pause", "st-1") == "st-1 is paused (operator)\n"
    assert steer("resume", "st-1") == "st-1 is paused (input)\n"
    assert steer("cancel", "st-1", "--reason", "ordered twice") == "st-1 is cancelled\n"
    assert steer("terminate", "st-2") == "st-2 is cancelled\n"
    watched = remote("executions", "watch", "st-1")
    assert watched.code == 1
    assert "cancelled: ordered twice" in watched.err
    remote("signal", "st-3", "paid", "--payload", '"no"')
    assert remote("executions", "watch", "st-3").code == 1
    assert remote("executions", "retry", "st-3", "--json").code == 0
    refused = remote("executions", "resume", "st-1", "--json")
    assert (refused.code, "cancelled" in refused.json["error"]["message"]) == (2, True)


def test_executions_are_listed_filtered_and_paged(remote: Cli) -> None:
    remote("publish", waiting("listed"), adding("unlisted"))
    for number in (1, 2, 3):
        remote("start", "listed", "--execution-id", f"l-{number}", "--label", f"kind=k{number}")
    remote("executions", "cancel", "l-2")

    def ids(*words: object) -> list[str]:
        page = remote("executions", "list", "--workflow", "listed", "--json", *words).json
        return [item["execution_id"] for item in page["items"]]

    assert ids() == ["l-3", "l-2", "l-1"]
    assert ids("--status", "cancelled") == ["l-2"]
    assert ids("--label", "kind=k1") == ["l-1"]
    page = remote("executions", "list", "--workflow", "listed", "--limit", "2", "--json").json
    assert ids("--limit", "2", "--cursor", page["next_cursor"]) == ["l-1"]
    table = remote("executions", "list", "--workflow", "listed", "--limit", "2")
    heads, first, _ = table.out.splitlines()
    assert heads.split() == ["EXECUTION", "WORKFLOW", "STATUS", "PROGRESS", "CREATED"]
    assert first.startswith("l-3        listed v1  paused (input)")
    assert "there may be more: --cursor" in table.err
    forged = remote("executions", "list", "--cursor", "x", "--json")
    assert (forged.code, forged.json["error"]["code"]) == (2, "invalid_cursor")


def test_execution_is_shown_with_all_its_steps(remote: Cli) -> None:
    each = {"id": "each", "type": "set", "foreach": {"items": "${ input }"}, "output": "${ item }"}
    write("many.json", id="many", nodes=[each])
    remote("publish", "many.json")
    items = json.dumps(list(range(700)))
    assert remote("start", "many", "--input", items, "--execution-id", "many-1", "--wait", "30s").code == 0
    shown = remote("executions", "show", "many-1", "--json").json
    assert [step["output"] for step in shown["steps"] if ":" in step["step_id"]] == list(range(700))
    text = remote("executions", "show", "many-1").out
    assert "status     completed, 100 %" in text
    assert "the last 100 of 701 steps" in text


def test_tenants_do_not_see_each_other(remote: Cli) -> None:
    remote("publish", waiting("mine"), "--tenant", "a")
    remote("start", "mine", "--execution-id", "mine-1", "--tenant", "a")
    assert remote("executions", "show", "mine-1", "--tenant", "a").code == 0
    for words in (["show"], ["watch"], ["cancel"], ["show", "--tenant", "b"]):
        ran = remote("executions", words[0], "mine-1", *words[1:], "--json")
        assert (ran.code, ran.json["error"]["code"]) == (2, "not_found")


def test_unreachable_server_is_named_with_the_way_out(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST_S", 0.01)
    url = f"http://127.0.0.1:{free_port()}"
    for words in (["executions", "list"], ["publish", adding("nowhere")], ["executions", "watch", "x"]):
        ran = cli(*words, "--url", url, "--json")
        assert ran.code == 1
        assert ran.json["error"]["code"] == "server_unreachable"
        assert ran.json["error"]["message"] == f"{url} can't be reached: connection refused"
        assert "workflow-engine serve" in ran.json["error"]["hint"]


def test_invalid_input_is_refused_with_its_places(remote: Cli) -> None:
    remote("publish", adding("strict"))
    ran = remote("start", "strict", "--input", '"x"')
    assert ran.code == 2
    assert "the input is not valid: /: must be a whole number" in ran.err
    assert remote("start", "strict", "--input", "{").code == 2
    assert remote("start", "strict", "--wait", "soon").code == 2
    assert remote("start", "strict", "--input", "1", "--version", "9").code == 2


@pytest.mark.parametrize("url", ["ftp://x", "127.0.0.1:8000", "http://", "http://a:b@c", "http://x?y=1", "http://x:y"])
def test_url_that_can_be_none_of_a_server_is_refused(cli: Cli, url: str) -> None:
    ran = cli("executions", "list", "--url", url, "--json")
    assert (ran.code, "is no URL of a server" in ran.json["error"]["message"]) == (2, True)


@pytest.mark.parametrize("words", [["--token", "a b"], ["--token", "a\nX-Tenant-ID: b"], ["--tenant", "ä"]])
def test_credentials_can_carry_no_second_header(cli: Cli, words: list[str]) -> None:
    ran = cli("executions", "list", "--url", "http://127.0.0.1:1", *words, "--json")
    assert (ran.code, "visible ASCII" in ran.json["error"]["message"]) == (2, True)
    assert words[1] not in ran.err


def test_database_and_server_can_not_both_be_asked(remote: Cli, server: Served) -> None:
    for words in (["list"], ["show", "x"]):
        ran = remote("executions", *words, "--db", "o.db", "--url", server.url)
        assert (ran.code, "leave one of them out" in ran.err) == (2, True)


def test_server_is_found_in_the_env_file_and_an_option_wins(
    cli: Cli, server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WORKFLOW_ENGINE_URL", raising=False)
    Path(".env").write_text(f"WORKFLOW_ENGINE_URL={server.url}/\n")
    assert cli("executions", "list").code == 0
    assert cli("executions", "list", "--url", f"http://127.0.0.1:{free_port()}").code == 1
