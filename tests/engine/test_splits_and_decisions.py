"""Splits, decisions and tokens: which connections go on after a step."""

from typing import Any

import pytest
from world import World, call, connection, node, pure


def test_every_connection_without_a_condition_gets_a_token() -> None:
    world = World(pure("a", "b", "c"), ["a -> b", "a -> c"]).start()
    assert world.started() == ["a.1", "b.1", "c.1"]
    assert world.status == "completed"


def test_a_split_takes_every_connection_that_holds() -> None:
    world = World(
        pure("a", "b", "c", "d"), ["a -> b if input.n > 1", "a -> c if input.n > 2", "a -> d if input.n > 3"]
    ).start({"n": 3})
    assert world.started() == ["a.1", "b.1", "c.1"]


def test_otherwise_of_a_split_is_taken_when_no_condition_holds() -> None:
    connections = ["a -> b else", "a -> c if input.n > 2", "a -> d"]
    assert World(pure("a", "b", "c", "d"), connections).start({"n": 0}).started() == ["a.1", "b.1", "d.1"]
    assert World(pure("a", "b", "c", "d"), connections).start({"n": 3}).started() == ["a.1", "c.1", "d.1"]


def test_a_path_without_a_connection_that_holds_ends() -> None:
    world = World(pure("a", "b"), ["a -> b if false"]).start()
    assert world.started() == ["a.1"]
    assert world.status == "completed"


def test_a_decision_takes_the_first_connection_that_holds_and_its_target_is_the_output() -> None:
    nodes = [node("d", "decision"), *pure("a", "b", "c")]
    world = World(
        nodes, ["d -> a if input > 9", "d -> b if input > 3", "d -> c if input > 2"], output="${ steps.d.output }"
    ).start(5)
    assert world.started() == ["d.1", "b.1"]
    assert world.output == "b"


def test_an_unconditional_connection_of_a_decision_holds() -> None:
    nodes = [node("d", "decision"), *pure("a", "b")]
    assert World(nodes, ["d -> a", "d -> b if true"]).start().started() == ["d.1", "a.1"]


def test_a_decision_falls_back_on_its_otherwise_wherever_that_stands() -> None:
    nodes = [node("d", "decision"), *pure("a", "b")]
    assert World(nodes, ["d -> a else", "d -> b if input"]).start(False).started() == ["d.1", "a.1"]
    assert World(nodes, ["d -> a else", "d -> b if input"]).start(True).started() == ["d.1", "b.1"]


def test_a_decision_that_matches_nothing_fails_with_no_match_and_names_itself() -> None:
    world = World([node("d", "decision"), *pure("a")], ["d -> a if false"]).start()
    assert world.status == "failed"
    assert world.error["type"] == "no_match"
    assert world.error["node"] == "d"
    assert "otherwise" in world.error["message"]


def test_no_match_can_be_caught() -> None:
    world = World([node("d", "decision"), *pure("a", "rescue")], ["d -> a if false", "d ->! rescue"]).start()
    assert world.started() == ["d.1", "rescue.1"]
    assert world.status == "completed"


def test_a_decision_chooses_before_its_output_and_assign() -> None:
    nodes = [node("d", "decision", assign={"n": 1}, output="${ output + '!' }"), *pure("a", "b")]
    world = World(
        nodes, ["d -> a if vars.n == 1", "d -> b else"], variables={"n": 0}, output="${ steps.d.output }"
    ).start()
    assert world.started() == ["d.1", "b.1"]
    assert world.output == "b!"


def test_a_split_looks_at_its_conditions_after_its_output_and_assign() -> None:
    nodes = [*pure("s", assign={"n": 1}, output=7), *pure("a", "b")]
    world = World(nodes, ["s -> a if vars.n == 1 && steps.s.output == 7", "s -> b else"], variables={"n": 0}).start()
    assert world.started() == ["s.1", "a.1"]


def test_a_condition_sees_its_own_node_as_completed() -> None:
    condition = "steps.s.status == 'completed' && steps.s.count == 1 && steps.s.attempt == 1"
    assert World(pure("s", "a"), [f"s -> a if {condition}"]).start().started() == ["s.1", "a.1"]


def test_a_condition_that_fails_makes_its_node_fail_and_takes_its_assignments_back() -> None:
    nodes = [*pure("s", assign={"n": 1}), *pure("a", "rescue")]
    world = World(nodes, ["s -> a if vars.missing == 1", "s ->! rescue"], variables={"n": 0}).start()
    assert world.started() == ["s.1", "rescue.1"]
    assert world.view("s")["error"]["type"] == "expression_error"
    assert "s -> a" in world.view("s")["error"]["message"]
    assert world.state.variables == {"n": 0}


def test_a_condition_that_gives_no_bool_is_an_expression_error() -> None:
    assert World(pure("s", "a"), ["s -> a if input"]).start(1).error["type"] == "expression_error"


# --- tokens


def test_a_connection_gives_as_many_tokens_as_it_says() -> None:
    world = World(pure("a", "b"), [{**connection("a -> b"), "tokens": 3}]).start()
    assert world.started() == ["a.1", "b.1", "b.2", "b.3"]


def test_a_number_of_tokens_may_be_an_expression() -> None:
    world = World(pure("a", "b"), [{**connection("a -> b"), "tokens": "${ input.n }"}]).start({"n": 2})
    assert world.started() == ["a.1", "b.1", "b.2"]


@pytest.mark.parametrize("tokens", [0, "${ input.n }"])
def test_no_tokens_at_all_end_the_path(tokens: Any) -> None:
    nodes = [*pure("a", output="from a"), *pure("b")]
    world = World(nodes, [{**connection("a -> b"), "tokens": tokens}]).start({"n": 0})
    assert world.started() == ["a.1"]
    assert world.output == "from a"


@pytest.mark.parametrize("tokens", [-1, 1.5, "1", True, None, 100_001])
def test_a_number_of_tokens_that_is_none_is_an_error_of_the_node(tokens: Any) -> None:
    world = World(pure("a", "b"), [{**connection("a -> b"), "tokens": "${ input.n }"}]).start({"n": tokens})
    assert world.error["type"] == "expression_error"
    assert "tokens" in world.error["message"]
    assert world.error["node"] == "a"


def test_no_tokens_on_an_error_connection_end_the_path_without_an_output() -> None:
    nodes = [node("f", "fail", input_={"type": "boom"}), *pure("a")]
    world = World(nodes, [{**connection("f ->! a"), "tokens": 0}]).start()
    assert world.status == "completed"
    assert world.output is None
    assert world.all("step_failed")[0].next_node is None


# --- start


def test_the_start_nodes_are_those_without_incoming_connections() -> None:
    assert World(pure("a", "b", "c"), ["a -> c"]).start().started() == ["a.1", "b.1", "c.1"]


def test_start_names_other_start_nodes() -> None:
    assert World(pure("a", "b"), ["a -> b", "b -> a if false"], start=["b"]).start().started() == ["b.1"]


def test_nodes_fire_in_document_order_round_by_round() -> None:
    world = World(pure("c", "a", "b", "z"), ["c -> z", "a -> b"], start=["a", "c"]).start()
    assert world.started() == ["c.1", "a.1", "b.1", "z.1"]


# --- cycles


def test_each_turn_of_a_cycle_is_a_new_step() -> None:
    nodes = [*pure("a", assign={"n": "${ vars.n + 1 }"}), *pure("b")]
    world = World(nodes, ["a -> a if vars.n < 3", "a -> b else"], variables={"n": 0}, start=["a"]).start()
    assert world.started() == ["a.1", "a.2", "a.3", "b.1"]
    assert world.view("a")["count"] == 3


def test_the_output_of_the_last_completed_turn_stays_readable_while_the_node_runs_again() -> None:
    nodes = [call("a"), *pure("s")]
    world = World(
        nodes, ["a -> s", "s -> a if steps.a.output < 2"], start=["a"], output="${ [steps.a.output, steps.a.count] }"
    ).start()
    world.complete("a.1", 1)
    assert world.view("a") == {"status": "processing", "output": 1, "error": None, "attempt": 1, "count": 1}
    world.complete("a.2", 2)
    assert world.output == [2, 2]
