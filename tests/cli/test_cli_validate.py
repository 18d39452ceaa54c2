"""`validate` and `graph`."""

from collections.abc import Callable
from pathlib import Path

from cli_command import BROKEN, FLOWS, Ran

Cli = Callable[..., Ran]


def test_valid_file_exits_0(cli: Cli) -> None:
    ran = cli("validate", FLOWS / "order.yaml")
    assert (ran.code, ran.out) == (0, f"{FLOWS / 'order.yaml'}: valid\n")


def test_problems_name_file_place_code_and_way_out(cli: Cli) -> None:
    file = BROKEN / "misspelt_fields.yaml"
    ran = cli("validate", file)
    assert ran.code == 2
    assert (
        f"{file}:/nodes/0/tiemout: error unknown_field: `tiemout` is not known here\n    did you mean `timeout`?"
        in (ran.out)
    )


def test_json_of_one_file_is_an_object(cli: Cli) -> None:
    file = BROKEN / "misspelt_fields.yaml"
    document = cli("validate", file, "--json").json
    assert list(document) == ["file", "valid", "problems"]
    assert (document["file"], document["valid"]) == (str(file), False)
    assert set(document["problems"][0]) == {"severity", "code", "path", "message", "hint"}


def test_json_of_several_files_is_one_document(cli: Cli) -> None:
    good, bad = FLOWS / "order.yaml", BROKEN / "wrong_types.yaml"
    ran = cli("validate", good, bad, "--json")
    assert ran.code == 2
    assert [(one["file"], one["valid"]) for one in ran.json["files"]] == [(str(good), True), (str(bad), False)]


def test_every_broken_file_is_told_without_a_traceback(cli: Cli) -> None:
    Path("binary.yaml").write_bytes(b"\xff\xfe\x00")
    Path("tabs.yaml").write_text("id: x\n\tnodes: []\n")
    Path("empty.yaml").write_text("")
    files = [*sorted(BROKEN.glob("*.yaml")), "binary.yaml", "tabs.yaml", "empty.yaml", "missing.yaml", "."]
    ran = cli("validate", *files, "--json")
    assert ran.code == 2
    valid = [one["file"] for one in ran.json["files"] if one["valid"]]
    assert [Path(name).name for name in valid] == ["warnings_only.yaml"]
    assert all(one["problems"] for one in ran.json["files"])


def test_strict_takes_warnings_for_errors(cli: Cli) -> None:
    file = BROKEN / "warnings_only.yaml"
    assert cli("validate", file).code == 0
    strict = cli("validate", file, "--strict", "--json")
    assert (strict.code, strict.json["valid"]) == (2, False)


def test_graph_draws_shapes_labels_and_error_connections(cli: Cli) -> None:
    ran = cli("graph", FLOWS / "shapes.yaml")
    assert ran.code == 0
    lines = [line.strip() for line in ran.out.splitlines()]
    assert lines[:4] == ["---", 'title: "All #quot;shapes#quot; #lt;b#gt;"', "---", "flowchart TD"]
    assert lines[4:] == [
        'end_{"a #quot;quoted#quot; #96;#35;1#96; #lt;node#gt;<br/><small>decision</small>"}',
        'call_[["call<br/><small>http · foreach</small>"]]',
        'ask[/"ask<br/><small>human</small>"\\]',
        'nap("nap<br/><small>wait</small>")',
        'both{{"both<br/><small>join</small>"}}',
        'tell>"tell<br/><small>emit</small>"]',
        'bad>"bad<br/><small>fail</small>"]',
        'over(["over<br/><small>end</small>"])',
        'end_ -->|"input.a == #quot;x#quot;"| call_',
        'end_ -->|"people: otherwise"| ask',
        'call_ -->|"2 tokens"| both',
        'call_ -.->|"on error"| bad',
        "ask --> nap",
        "nap --> both",
        "both --> tell",
        "tell --> over",
    ]


def test_graph_draws_groups_as_subgraphs(cli: Cli) -> None:
    ran = cli("graph", FLOWS / "group.yaml")
    lines = [line.strip() for line in ran.out.splitlines()]
    start = lines.index('subgraph inner["inner<br/><small>group</small>"]')
    assert lines[start + 3 : start + 5] == ["one --> two", "end"]
    assert lines[-1] == "inner --> after"


def test_graph_shows_how_far_an_execution_is(cli: Cli) -> None:
    file = FLOWS / "order.yaml"
    cli("run", file, "-i", '{"amount": 200}', "--execution-id", "o1")
    drawn = cli("graph", file, "--execution", "o1").out
    assert "class tax,big completed" in drawn
    assert "class approve waiting" in drawn
    assert "class paid,rejected,done pending" in drawn
    cli("resume", "o1", "--answer", 'approve={"approved": false}')
    assert "class paid,done skipped" in cli("graph", file, "--execution", "o1").out
    assert cli("graph", FLOWS / "shapes.yaml", "--execution", "o1").code == 2


def test_graph_of_a_broken_file_exits_2(cli: Cli) -> None:
    ran = cli("graph", BROKEN / "misspelt_fields.yaml")
    assert (ran.code, ran.out) == (2, "")
    assert "did you mean `timeout`?" in ran.err
