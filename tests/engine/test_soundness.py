"""Soundness at publish: what is found, where it is said to be, and by which way it comes about."""

from typing import Any

import pytest
from world import World, call, connection, node, pure, refused

from workflow_engine.engine.validation import validate
from workflow_engine.engine.validation.outline import outline_of
from workflow_engine.engine.validation.soundness import Finding, ScopeVerdict, soundness_of


def document(nodes: list[dict[str, Any]], connections: list[Any], **fields: Any) -> dict[str, Any]:
    return {"id": "flow", "nodes": nodes, "connections": [connection(item) for item in connections], **fields}


def scopes(nodes: list[dict[str, Any]], connections: list[Any], **fields: Any) -> list[ScopeVerdict]:
    return soundness_of(outline_of(document(nodes, connections, **fields)))


def only(nodes: list[dict[str, Any]], connections: list[Any], **fields: Any) -> Finding:
    """The one finding of a definition of one scope."""
    (scope,) = scopes(nodes, connections, **fields)
    (finding,) = scope.findings
    assert scope.verdict == ("not_proved" if finding.code == "not_proved" else "unsound")
    return finding


def is_sound(nodes: list[dict[str, Any]], connections: list[Any], **fields: Any) -> bool:
    found = scopes(nodes, connections, **fields)
    assert all(scope.findings == [] for scope in found if scope.verdict == "sound")
    return all(scope.verdict == "sound" for scope in found)


DIAMOND = ["s -> a", "s -> b", "a -> j", "b -> j"]
CHOICE = ["s -> a if vars.x", "s -> b else", "a -> j", "b -> j"]
ALL = {"join": "all"}


# --- joins that wait for ever


def test_an_all_join_after_a_split_is_sound() -> None:
    assert is_sound([*pure("s"), call("a"), call("b"), *pure("j", **ALL)], DIAMOND)


def test_an_all_join_after_a_decision_never_fires_and_the_way_there_is_told() -> None:
    finding = only([node("s", "decision"), *pure("a", "b"), *pure("j", **ALL)], CHOICE)
    assert (finding.code, finding.path) == ("join_never_fires", "/nodes/3")
    assert finding.message == "the join `j` never fires: it holds a token from `a`, and none comes from `b`"
    assert finding.hint.startswith("The way there: `s` goes to `a`, not to `b`.")


@pytest.mark.parametrize("join", ["auto", "any", {"count": 1}])
def test_other_joins_after_a_decision_are_sound(join: Any) -> None:
    assert is_sound([node("s", "decision"), *pure("a", "b"), *pure("j", join=join)], CHOICE)


def test_an_all_join_can_wait_for_a_branch_that_is_taken_under_a_condition() -> None:
    finding = only([*pure("s", "a", "b"), *pure("j", **ALL)], ["s -> a", "s -> b if vars.x", "a -> j", "b -> j"])
    assert finding.code == "deadlock"
    assert "`s` goes to `a`, not to `b`" in finding.hint


def test_an_all_join_can_wait_for_a_branch_that_fails_into_a_handler_elsewhere() -> None:
    nodes = [*pure("s"), call("a"), call("b"), *pure("j", **ALL), *pure("handler")]
    finding = only(nodes, [*DIAMOND, "b ->! handler"])
    assert finding.code == "deadlock"
    assert "`b` fails and goes to `handler`" in finding.hint


def test_a_handler_that_rejoins_makes_it_sound() -> None:
    nodes = [*pure("s"), call("a"), call("b"), *pure("m", join="any"), *pure("j", **ALL)]
    assert is_sound(nodes, ["s -> a", "s -> b", "a -> j", "b -> m", "b ->! m", "m -> j"])


def test_an_error_without_a_connection_ends_everything_and_is_no_finding() -> None:
    assert is_sound([*pure("s"), call("a"), node("b", "fail"), *pure("j", **ALL)], DIAMOND)


def test_a_deadlock_that_is_caught_for_sure_is_no_finding_and_one_caught_perhaps_is() -> None:
    nodes = [node("s", "decision"), *pure("a", "b"), *pure("j", **ALL), *pure("handler")]
    assert is_sound(nodes, [*CHOICE, "j ->! handler"])
    assert only(nodes, [*CHOICE, "j ->! handler if error.type == 'deadlock'"]).code == "join_never_fires"


def test_a_step_that_ends_all_rescues_a_join_that_would_wait() -> None:
    rescue = node("stop", "end", input_={"terminate": True})
    nodes = [node("s", "decision"), *pure("a", "b"), *pure("j", **ALL), call("watch"), rescue]
    assert is_sound(nodes, [*CHOICE, "watch -> stop"])
    assert not is_sound(nodes, [*CHOICE, "watch -> stop if vars.x"])


def test_a_count_join_of_more_than_its_connections_never_fires() -> None:
    finding = only([*pure("s", "a", "b"), *pure("j", join={"count": 3})], DIAMOND)
    assert (finding.code, finding.path) == ("join_never_fires", "/nodes/3/join/count")


def test_a_count_join_with_one_connection_counts_tokens_and_must_use_them_up() -> None:
    way = {"from": "s", "to": "j"}
    assert is_sound([*pure("s"), *pure("j", join={"count": 2})], [{**way, "tokens": 4}])
    left = only([*pure("s"), *pure("j", join={"count": 2})], [{**way, "tokens": 3}])
    assert left.code == "tokens_left_behind"
    assert left.hint.startswith("It happens whatever the conditions say.")


def test_a_shortest_way_is_told() -> None:
    nodes = [*pure("in"), call("work"), node("again", "decision"), node("s", "decision"), *pure("a", "b", "j")]
    nodes[-1]["join"] = "all"
    ways = ["in -> work", "work -> again", "again -> work if vars.x", "again -> s else", *CHOICE]
    told = "The way there: `again` goes to `s`, not to `work`; `s` goes to `a`, not to `b`."
    assert only(nodes, ways).hint.startswith(told)


def test_wide_splits_are_followed_condition_by_condition() -> None:
    arms = [f"a{number}" for number in range(40)]
    ways = [*(f"s -> {arm} if vars.x" for arm in arms), *(f"{arm} -> j" for arm in arms)]
    assert is_sound(
        [*pure("s", *arms), *pure("j"), *pure("p", "q"), *pure("z", **ALL)],
        [*ways, "j -> p", "j -> q", "p -> z", "q -> z"],
    )
    assert only([*pure("s", *arms), *pure("j", **ALL)], ways).code == "deadlock"


def test_what_is_unsound_does_deadlock_by_the_way_that_is_told() -> None:
    nodes = [*pure("s"), call("a"), call("b"), *pure("j", **ALL), *pure("handler")]
    assert only(nodes, [*DIAMOND, "b ->! handler"]).hint.startswith("The way there: `b` fails")
    world = World(nodes, [*DIAMOND, "b ->! handler"], outcomes={"a": 1, "b": refused()}).start()
    assert world.error["type"] == "deadlock"


# --- cycles


def test_a_cycle_without_a_way_out_spins() -> None:
    finding = only(pure("s", "a", "b"), ["s -> a", "a -> b", "b -> a"])
    assert (finding.code, finding.path) == ("endless_cycle", "/nodes/1")
    assert "`a` -> `b` -> `a`" in finding.message


def test_a_decision_whose_ways_all_lead_back_is_no_way_out() -> None:
    nodes = [*pure("s", "a"), node("d", "decision"), *pure("b")]
    finding = only(nodes, ["s -> a", "a -> d", "d -> a if vars.x", "d -> b else", "b -> a"])
    assert finding.code == "endless_cycle"


@pytest.mark.parametrize(
    ("inside", "ways"),
    [
        (node("b", "decision"), ["b -> a if vars.x", "b -> e else"]),
        (node("b", "decision"), ["b -> a if vars.x"]),
        (call("b"), ["b -> a"]),
        (node("b", "wait", input_={"for": "1s"}), ["b -> a"]),
        (node("b", "set", repeat={"max": 2, "delay": "1s"}), ["b -> a"]),
        (node("b", "end"), ["b -> a"]),
    ],
)
def test_a_guard_a_wait_a_call_or_an_end_makes_a_cycle_sound(inside: dict[str, Any], ways: list[str]) -> None:
    assert is_sound([*pure("s", "a"), inside, *pure("e")], ["s -> a", "a -> b", *ways])


def test_a_cycle_that_waits_for_a_call_beside_it_does_not_spin() -> None:
    assert is_sound([*pure("s", "a", "b"), call("c")], ["s -> a", "a -> b", "a -> c", "b -> a", "c -> a"])


def test_a_cycle_with_a_split_and_any_joins_breeds_tokens() -> None:
    nodes = [*pure("s"), *pure("a", join="any"), call("b"), call("c")]
    finding = only(nodes, ["s -> a", "a -> b", "a -> c", "b -> a", "c -> a"])
    assert (finding.code, finding.path) == ("unbounded_tokens", "/nodes/1")


def test_a_loop_that_leaves_tokens_before_an_all_join_lets_them_grow() -> None:
    nodes = [*pure("s", "a"), node("d", "decision"), *pure("x"), *pure("j", **ALL)]
    ways = ["s -> a", "a -> d", "a -> x", "x -> j", "d -> a if vars.x", "d -> j else"]
    (scope,) = scopes(nodes, ways)
    assert {finding.code for finding in scope.findings} >= {"unbounded_tokens"}


def test_a_loop_that_starts_a_path_of_its_own_on_each_turn_is_sound() -> None:
    nodes = [*pure("s", "a"), call("job"), node("d", "decision"), *pure("e")]
    assert is_sound(nodes, ["s -> a", "a -> job", "a -> d", "d -> a if vars.x", "d -> e else"])


def test_loops_with_a_split_and_a_join_inside_are_sound() -> None:
    nodes = [*pure("s", "a"), call("b"), call("c"), *pure("j", **ALL), node("d", "decision"), *pure("e")]
    assert is_sound(
        nodes, ["s -> a", "a -> b", "a -> c", "b -> j", "c -> j", "j -> d", "d -> a if vars.x", "d -> e else"]
    )


# --- scopes, cancel lists, templates, limits


def test_each_group_has_a_verdict_of_its_own() -> None:
    body = document([node("s", "decision"), *pure("a", "b"), *pure("j", **ALL)], CHOICE)
    group = {"id": "g", "type": "group", "nodes": body["nodes"], "connections": body["connections"]}
    root, inside = scopes([*pure("first"), group], ["first -> g"])
    assert (root.path, root.verdict) == ("", "sound")
    assert (inside.path, inside.verdict) == ("/nodes/1", "unsound")
    assert inside.findings[0].path == "/nodes/1/nodes/3"


def test_a_group_that_ends_with_its_first_path_leaves_nothing_waiting() -> None:
    body = document(
        [*pure("s"), call("a"), *pure("b"), *pure("j", **ALL)], ["s -> a", "s -> b", "b -> j", "s -> j if vars.x"]
    )
    group = {"id": "g", "type": "group", **{name: body[name] for name in ("nodes", "connections")}}
    assert not is_sound([group], [])
    assert is_sound([{**group, "finish": "first"}], [])


def test_a_cancel_list_that_withdraws_what_waits_makes_it_sound() -> None:
    nodes = [*pure("s"), call("a"), call("b"), *pure("j", **ALL)]
    ways = ["s -> a", "s -> b", "b -> j", "s -> j if vars.x"]
    assert not is_sound(nodes, ways)
    nodes[1]["cancel"] = ["b", "j"]
    assert is_sound(nodes, ways)
    nodes[1]["cancel"] = ["j"]
    assert only(nodes, ways).code == "deadlock"  # `b` may come after


def test_numbers_of_tokens_that_are_known_at_run_time_only_prove_nothing() -> None:
    way = {"from": "s", "to": "a", "tokens": "${ vars.n }"}
    assert is_sound([*pure("s"), call("a")], [way])
    ways = ["a -> b if vars.x", "a -> c else", "b -> d", "c -> d", "d -> e", "d -> f", "e -> j", "f -> j"]
    nodes = [*pure("s"), call("a"), *pure("b", "c", "d", "e", "f"), *pure("j", **ALL)]
    assert only(nodes, [way, *ways]).code == "not_proved"
    assert only([*pure("s"), call("a"), *pure("j", **ALL)], [way, "a -> j", "s -> j"]).code != "not_proved"


def test_where_the_limit_is_hit_the_scope_is_said_to_be_not_proved() -> None:
    nodes = [*pure("s"), call("a"), call("b"), node("d", "decision"), *pure("x", "y"), *pure("j"), *pure("z", **ALL)]
    ways = ["s -> a", "s -> d", "d -> x if vars.x", "d -> y else", "x -> j", "y -> j", "j -> z", "a -> z", "z -> b"]
    outline = outline_of(document(nodes, ways))
    assert [scope.verdict for scope in soundness_of(outline)] == ["sound"]
    (given_up,) = soundness_of(outline, markings_max=2)
    assert given_up.verdict == "not_proved"
    assert given_up.findings[0].message.startswith("the definition could not be proved sound: too many markings")


def test_findings_are_warnings_of_a_valid_definition() -> None:
    nodes = [node("s", "decision"), *pure("a", "b"), *pure("j", **ALL)]
    validation = validate(document(nodes, CHOICE, variables={"x": True}))
    assert validation.valid
    assert [(problem.severity, problem.code) for problem in validation.problems] == [("warning", "join_never_fires")]


def test_documents_with_errors_are_not_looked_at() -> None:
    problems = validate(document([*pure("s"), *pure("j", **ALL)], ["s -> j", "s -> nowhere"])).problems
    assert [problem.code for problem in problems] == ["unknown_node"]


@pytest.mark.parametrize("shape", ["series", "choices", "parallel", "wide"])
def test_a_thousand_nodes_are_proved_within_the_limits(shape: str) -> None:
    nodes, ways = SHAPES[shape](250)
    assert len(nodes) >= 1_000
    assert is_sound(nodes, ways)


def _blocks(count: int, first: str, join: str, ways: list[str]) -> tuple[list[dict[str, Any]], list[str]]:
    nodes: list[dict[str, Any]] = []
    connections: list[str] = []
    for at in range(count):
        nodes += [node(f"s{at}", first), call(f"a{at}"), call(f"b{at}"), *pure(f"j{at}", join=join)]
        connections += [way.replace("#", str(at)) for way in ways]
        connections += [f"j{at} -> s{at + 1}"] if at < count - 1 else []
    # at the end something that a search has to prove
    nodes += [*pure("p", "q"), *pure("z", **ALL)]
    return nodes, [*connections, f"j{count - 1} -> p", f"j{count - 1} -> q", "p -> z", "q -> z"]


def _wide(count: int) -> tuple[list[dict[str, Any]], list[str]]:
    nodes, connections = [*pure("start"), *pure("z", **ALL)], []
    for at in range(count):
        nodes += [node(f"d{at}", "decision"), call(f"a{at}"), call(f"b{at}"), *pure(f"j{at}")]
        connections += [f"start -> d{at}", f"d{at} -> a{at} if vars.x", f"d{at} -> b{at} else"]
        connections += [f"a{at} -> j{at}", f"b{at} -> j{at}", f"j{at} -> z"]
    return nodes, connections


SHAPES: dict[str, Any] = {
    "series": lambda count: _blocks(count, "set", "auto", ["s# -> a#", "a# -> b#", "b# -> j#"]),
    "choices": lambda count: _blocks(
        count, "decision", "auto", ["s# -> a# if vars.x", "s# -> b# else", "a# -> j#", "b# -> j#"]
    ),
    "parallel": lambda count: _blocks(count, "set", "all", ["s# -> a#", "s# -> b#", "a# -> j#", "b# -> j#"]),
    "wide": _wide,
}
