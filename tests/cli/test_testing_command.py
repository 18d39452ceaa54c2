"""`test`: what it prints of definitions and their tests, and what its exit codes mean."""

from collections.abc import Callable
from pathlib import Path

from cli_command import Ran

FLOW = """
id: flow
nodes:
  - {id: a, type: function, with: {name: work}}
  - {id: b, type: function, with: {name: work}}
  - {id: week, type: wait, with: {for: 7d}}
  - {id: never, type: set}
connections:
  - {from: a, to: week}
  - {from: b, to: week}
  - {from: a, to: never, on: error}
tests:
  - name: both
    stubs: {a: {output: 1}, b: {output: 2}}
    expect: {path: [[a, b], week]}
"""
RACE = """
  - name: a race
    stubs: {a: {output: 1}, b: {output: 2}}
    expect: {path: [a, b, week]}
"""


def written(name: str, text: str) -> str:
    Path(name).write_text(text)
    return name


def test_a_file_whose_tests_pass_is_told_with_its_coverage(cli: Callable[..., Ran]) -> None:
    ran = cli("test", written("flow.yaml", FLOW))
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[0] == "flow.yaml"
    assert lines[1].startswith("  ok      both (7d in ")
    assert lines[2:] == [
        "  covered: nodes 3 of 4, connections 2 of 3",
        "    not visited: never",
        "    not taken: a -> never on error",
        "1 file, 1 test: 1 passed",
    ]


def test_many_seeds_find_a_race_and_name_the_seed_that_finds_it_again(cli: Callable[..., Ran]) -> None:
    file = written("flow.yaml", FLOW + RACE)
    assert cli("test", file).code == 0
    ran = cli("test", file, "--seeds", "100")
    assert ran.code == 1
    assert ran.out.splitlines()[-1] == "1 file, 2 tests: 1 passed, 1 failed (each over 100 seeds)"
    seed = ran.out.partition(", seed ")[2].partition(")")[0]
    assert "path: expected a, b, week, was b, a, week" in ran.out
    assert "last events:" in ran.out
    assert "            +7d the execution completed" in ran.out.splitlines()
    again = cli("test", file, "--seed", seed, "--filter", "race")
    assert (again.code, again.out.splitlines()[-1]) == (1, "1 file, 1 test: 0 passed, 1 failed (with a seed)")


def test_the_summary_is_of_all_files(cli: Callable[..., Ran]) -> None:
    ran = cli("test", written("one.yaml", FLOW), written("two.yaml", FLOW), "--seeds", "3")
    assert (ran.code, ran.out.splitlines()[-1]) == (0, "2 files, 2 tests: 2 passed (each over 3 seeds)")


def test_json_is_one_document(cli: Callable[..., Ran]) -> None:
    ran = cli("test", written("flow.yaml", FLOW + RACE), "--seeds", "50", "--json")
    document = ran.json
    (file,) = document.pop("files")
    assert document == {
        "passed": False,
        "invalid": 0,
        "tests": 2,
        "passed_tests": 1,
        "failed_tests": 1,
        "seeds": 50,
    }
    assert (file["file"], file["valid"], file["passed"]) == ("flow.yaml", True, False)
    assert file["coverage"]["nodes"] == {"covered": ["a", "b", "week"], "missed": ["never"]}
    assert file["coverage"]["connections"]["missed"] == ["a -> never on error"]
    both, race = file["tests"]
    assert (both["name"], both["passed"], both["runs"], both["problems"]) == ("both", True, 50, [])
    assert both["virtual_s"] == 7 * 86_400
    assert race["problems"] == [
        {
            "what": "path",
            "message": "expected a, b, week, was b, a, week",
            "expected": ["a", "b", "week"],
            "actual": ["b", "a", "week"],
        }
    ]
    assert race["last_events"][-1] == "+7d the execution completed"


def test_a_definition_that_is_not_valid_is_told_and_the_others_are_run(cli: Callable[..., Ran]) -> None:
    broken = written("broken.yaml", FLOW.replace("stubs: {a:", "stubs: {aa:"))
    ran = cli("test", broken, "nowhere.yaml", written("flow.yaml", FLOW))
    assert ran.code == 2
    assert "broken.yaml: not valid" in ran.out
    assert "/tests/0/stubs/aa: error unknown_node: there is no node `aa`" in ran.out
    assert "nowhere.yaml:/: error unreadable" in ran.out
    assert ran.out.splitlines()[-1] == "3 files, 1 test: 1 passed; 2 files not valid"
    document = cli("test", broken, "--json").json
    assert document["files"][0]["problems"][0]["code"] == "unknown_node"


def test_no_tests_are_a_warning_unless_nothing_was_run_at_all(cli: Callable[..., Ran]) -> None:
    bare = written("bare.yaml", FLOW.partition("tests:")[0])
    ran = cli("test", bare, written("flow.yaml", FLOW))
    assert (ran.code, ran.err) == (0, "warning: bare.yaml has no tests\n")
    alone = cli("test", bare)
    assert (alone.code, alone.out) == (2, "1 file, 0 tests: 0 passed\n")
    assert "nothing was run" in alone.err
    assert cli("test", bare, "--json").code == 2


def test_a_filter_that_fits_no_test_is_told(cli: Callable[..., Ran]) -> None:
    ran = cli("test", written("flow.yaml", FLOW), "--filter", "refund")
    assert ran.code == 2
    assert "flow.yaml has no test whose name holds 'refund'" in ran.err
