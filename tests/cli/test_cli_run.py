"""`run` and `resume` in this process: what they print and how they exit."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from cli_command import FLOWS, Ran

ORDER = FLOWS / "order.yaml"
Cli = Callable[..., Ran]


def test_completed_execution_prints_its_output_and_exits_0(cli: Cli) -> None:
    ran = cli("run", ORDER, "--input", '{"amount": 10}')
    assert ran.code == 0
    assert json.loads(ran.out.removeprefix("a function may print\n")) == {"total": 20, "note": "none"}
    assert "\x1b" not in ran.err
    assert f"functions  {FLOWS / 'order.py'}" in ran.err


def test_fresh_database_is_made_in_the_data_folder_and_named(cli: Cli, tmp_path: Path) -> None:
    ran = cli("run", ORDER, "-i", '{"amount": 10}', "--json")
    database = Path(ran.json["database"])
    assert database.parent == tmp_path / "data" / "workflow-engine" / "runs"
    assert database.name == f"order-{ran.json['execution_id']}.db"
    assert f"database   {database}" in ran.err
    assert database.parent.stat().st_mode & 0o077 == 0


def test_json_is_one_document_although_a_function_prints(cli: Cli) -> None:
    ran = cli("run", ORDER, "--input", '{"amount": 10}', "--json", "--label", "kind=test", "--set", "limit=5000")
    resource = ran.json
    assert (resource["status"], resource["progress_percentage"]) == ("completed", 100)
    assert resource["labels"] == {"team": "shop", "kind": "test"}
    assert resource["variables"] == {"limit": 5000}
    assert "waiting_for" not in resource
    assert "a function may print" in ran.err


def test_failed_execution_exits_1_and_says_why(cli: Cli) -> None:
    ran = cli("run", ORDER, "--input", '{"amount": -1}')
    assert ran.code == 1
    assert "negative: a negative [31m amount (node tax)" in ran.err
    assert "\x1b" not in ran.err
    assert "workflow-engine executions show" in ran.err


def test_input_comes_from_a_file(cli: Cli) -> None:
    Path("in.json").write_text('{"amount": 3}')
    assert cli("run", ORDER, "--input", "@in.json", "--json").json["output"]["total"] == 6


def test_person_and_signal_are_waited_for_with_exit_3_and_resumed(cli: Cli) -> None:
    ran = cli("run", ORDER, "-i", '{"amount": 200}', "--db", "o.db", "--execution-id", "o1", "--json")
    assert ran.code == 3
    assert ran.json["waiting_for"][0]["node_id"] == "approve"
    assert ran.json["waiting_for"][0]["title"] == "Approve 400?"
    resume = f"workflow-engine resume o1 --db {Path('o.db').absolute()} --answer approve=JSON"
    assert resume in ran.err

    wrong = cli("resume", "o1", "--db", "o.db", "--answer", 'approve={"approved": 1}', "--json")
    assert wrong.code == 2
    assert wrong.json["error"]["problems"][0]["path"] == "/approved"

    answered = cli("resume", "o1", "--db", "o.db", "--answer", 'approve={"approved": true, "note": "fine"}', "--json")
    assert answered.code == 3
    assert [wait["name"] for wait in answered.json["waiting_for"]] == ["paid"]
    assert "--signal paid=JSON" in answered.err

    signalled = cli("resume", "o1", "--db", "o.db", "--signal", "paid={}")
    assert signalled.code == 0
    assert json.loads(signalled.out) == {"total": 400, "note": "fine"}


def test_still_waiting_execution_says_so_again(cli: Cli) -> None:
    cli("run", ORDER, "-i", '{"amount": 200}', "--db", "o.db", "--execution-id", "o1")
    assert cli("resume", "o1", "--db", "o.db").code == 3


def test_finished_execution_shows_its_result_again(cli: Cli) -> None:
    first = cli("run", ORDER, "-i", '{"amount": 200}', "--execution-id", "o1")
    assert first.code == 3
    refused = cli("resume", "o1", "--answer", 'approve={"approved": false}', "--json")
    assert (refused.code, refused.json["status"]) == (1, "failed")
    again = cli("resume", "o1", "--signal", "paid", "--json")
    assert (again.code, again.json) == (1, refused.json)
    assert "signals and answers were not delivered" in again.err


def test_timers_are_waited_for(cli: Cli) -> None:
    Path("nap.yaml").write_text("{id: nap, nodes: [{id: nap, type: wait, with: {for: 20ms}}]}")
    assert cli("run", "nap.yaml").code == 0


def test_taken_execution_id_is_refused_with_the_way_on(cli: Cli) -> None:
    for database in ([], ["--db", "o.db"]):
        words = ["run", ORDER, "-i", '{"amount": 1}', "--execution-id", "o1", *database]
        assert cli(*words).code == 0
        again = cli(*words)
        assert again.code == 2
        assert "exists already" in again.err
        assert "workflow-engine resume o1 --db" in again.err


def test_refused_before_anything_is_made(cli: Cli, tmp_path: Path) -> None:
    Path("broken.yaml").write_text("{id: b, nodes: [{id: a, type: sett}]}")
    Path("no.json").write_text("{")
    Path("fails.py").write_text("1 / 0\n")
    for words, said in (
        (["run", "broken.yaml"], "did you mean `set`?"),
        (["run", "missing.yaml"], "can't be read"),
        (["run", ORDER], "the input is not valid"),
        (["run", ORDER, "--input", "{"], "can't be used as JSON"),
        (["run", ORDER, "--input", "@no.json"], "no.json"),
        (["run", ORDER, "--input", str(ORDER)], f"write @{ORDER}"),
        (["run", ORDER, "--input", "{}"], "amount"),
        (["run", ORDER, "--input", '{"amount": NaN}'], "NaN"),
        (["run", ORDER, "--set", "limit=x"], "--set limit"),
        (["run", ORDER, "--execution-id", "../x"], "can't be the id"),
        (["run", ORDER, "-i", '{"amount": 1}', "--functions", "fails.py"], "ZeroDivisionError in line 1"),
        (["run", ORDER, "-i", '{"amount": 1}', "--functions", "none.py"], "there is no file"),
        (["run", ORDER, "-i", '{"amount": 1}', "--functions", "no_such_module"], "no_such_module"),
        (["run", ORDER, "--nope"], "No such option"),
        (["run"], "Missing argument"),
        (["resume", "o1"], "holds no database"),
        (["resume", "o1", "--db", "none.db"], "there is no database"),
    ):
        for json_ in ([], ["--json"]):
            ran = cli(*words, *json_)
            assert ran.code == 2, words
            assert said in " ".join(ran.err.split()), (said, ran.err)
            assert "Traceback" not in ran.err
            assert ran.json["error"]["message"] if json_ else ran.out == ""
    assert not (tmp_path / "data").exists()


def test_wrong_setting_is_a_clear_message(cli: Cli, monkeypatch: object) -> None:
    os.environ["WORKFLOW_ENGINE_MAX_STEPS"] = "many"
    try:
        ran = cli("run", ORDER, "-i", '{"amount": 1}')
    finally:
        del os.environ["WORKFLOW_ENGINE_MAX_STEPS"]
    assert ran.code == 2
    assert "WORKFLOW_ENGINE_MAX_STEPS" in ran.err


def test_file_that_is_no_database_is_refused(cli: Cli) -> None:
    Path("o.db").write_text("no database, but text that is long enough to be taken for one" * 100)
    for words in (["run", ORDER, "-i", '{"amount": 1}'], ["resume", "o1"], ["executions", "list"]):
        ran = cli(*words, "--db", "o.db")
        assert ran.code == 2
        assert "o.db" in ran.err


def test_unexpected_error_hides_its_traceback_unless_asked(cli: Cli, monkeypatch: object) -> None:
    from workflow_engine.cli import definition

    def fail(name: str) -> None:
        raise ZeroDivisionError(name)

    original, definition.read_definition = definition.read_definition, fail  # type: ignore[assignment]
    try:
        ran = cli("run", "x.yaml")
        shown = cli("run", "x.yaml", "--debug")
    finally:
        definition.read_definition = original
    assert (ran.code, shown.code) == (70, 70)
    assert "Traceback" not in ran.err
    assert "Traceback" in shown.err


def test_functions_of_an_execution_that_can_not_be_trusted_are_not_run(cli: Cli) -> None:
    Path("mine.yaml").write_text(ORDER.read_text())
    Path("mine.py").write_text("marker = open('loaded', 'w').close()\n")
    source = str(FLOWS / "order.py")
    cli("run", "mine.yaml", "-i", '{"amount": 200}', "--db", "o.db", "--execution-id", "o1", "--functions", source)
    Path("mine.py").chmod(0o666)
    refused = cli("resume", "o1", "--db", "o.db", "--answer", 'approve={"approved": true}')
    assert refused.code == 2
    assert "--functions FILE" in refused.err
    assert cli("resume", "o1", "--db", "o.db", "--functions", source).code == 3
