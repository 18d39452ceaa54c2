"""Joins: when paths that meet go on."""

from typing import Any

import pytest
from world import World, call, connection, node, pure

DIAMOND = ["s -> a", "s -> b", "a -> j", "b -> j"]


def diamond(join: Any = "auto", *, arms: str = "ab", **fields: Any) -> World:
    """`s` splits into calls that meet in `j`, which goes on to `end`."""
    nodes = [*pure("s"), *(call(arm) for arm in arms), *pure("j", join=join), *pure("end")]
    connections = [*(f"s -> {arm}" for arm in arms), *(f"{arm} -> j" for arm in arms), "j -> end"]
    return World(nodes, connections, **fields)


# --- auto


def test_an_auto_join_waits_for_every_branch_that_was_taken() -> None:
    world = diamond().start()
    world.complete("a.1")
    assert world.view("a")["status"] == "completed"
    assert "j" not in world.state.scopes[""].views
    world.complete("b.1")
    assert world.started()[3:] == ["j.1", "end.1"]


def test_an_auto_join_does_not_wait_for_a_branch_that_was_not_taken() -> None:
    nodes = [*pure("s"), call("a"), call("b"), *pure("j")]
    world = World(nodes, ["s -> a", "s -> b if false", "a -> j", "b -> j"]).start()
    world.complete("a.1")
    assert world.status == "completed"
    assert world.started() == ["s.1", "a.1", "j.1"]


def test_a_merge_after_a_decision_fires_at_once() -> None:
    nodes = [node("d", "decision"), *pure("a", "b", "j")]
    world = World(nodes, ["d -> a if input", "d -> b else", "a -> j", "b -> j"]).start(True)
    assert world.started() == ["d.1", "a.1", "j.1"]


def test_an_auto_join_goes_on_when_a_branch_ends_early() -> None:
    nodes = [*pure("s"), call("a"), call("b"), *pure("j")]
    world = World(nodes, ["s -> a", "s -> b", "a -> j", "b -> j if steps.b.output"]).start()
    world.complete("a.1")
    assert world.status == "running"
    world.complete("b.1", False)
    assert world.started()[-1] == "j.1"
    assert world.status == "completed"


def test_an_auto_join_goes_on_at_once_when_a_longer_pure_branch_ends_beside_other_work() -> None:
    nodes = [*pure("s", "a", "b", "c", "d"), *pure("j"), call("other")]
    world = World(nodes, ["s -> a", "s -> b", "a -> j", "b -> c", "c -> d", "d -> j if false"], start=["s", "other"])
    world.start()
    assert world.active() == ["other.1"]
    assert "j.1" in world.started()


def test_an_auto_join_waits_for_the_error_handler_that_rejoins() -> None:
    nodes = [*pure("s"), call("a"), call("b"), call("handler"), *pure("j")]
    world = World(nodes, [*DIAMOND, "a ->! handler", "handler -> j"]).start()
    world.fail("a.1")
    world.complete("b.1")
    assert world.active() == ["handler.1"]
    world.complete("handler.1")
    assert world.started()[-1] == "j.1"
    assert world.started().count("j.1") == 1
    assert world.status == "completed"


def test_an_auto_join_waits_for_a_branch_that_is_tried_again() -> None:
    nodes = [*pure("s"), call("a"), call("b", retry={"max_attempts": 2}), *pure("j")]
    world = World(nodes, DIAMOND).start()
    world.fail("b.1")
    world.complete("a.1")
    assert world.active() == ["b.1"]
    world.run_clock()
    world.complete("b.1")
    assert world.status == "completed"


def test_an_auto_join_waits_for_a_branch_that_waits() -> None:
    nodes = [*pure("s", "a"), node("b", "wait", input_={"signal": "go"}), *pure("j")]
    world = World(nodes, DIAMOND).start()
    assert world.active() == ["b.1"]
    world.signal("go")
    assert world.started()[-1] == "j.1"


def test_two_splits_into_one_join_fire_it_once() -> None:
    nodes = [*pure("s", "t"), call("a"), call("b"), call("c"), *pure("j")]
    world = World(nodes, ["s -> a", "s -> b", "t -> b", "t -> c", "a -> j", "b -> j", "c -> j"]).start()
    assert world.active() == ["a.1", "b.1", "c.1"]
    world.complete("c.1")
    world.complete("a.1")
    world.complete("b.1")
    assert [step for step in world.started() if step.startswith("j")] == ["j.1"]


def test_a_decision_inside_one_arm_does_not_confuse_the_join() -> None:
    nodes = [*pure("s"), call("a"), node("d", "decision"), *pure("x", "y", "j")]
    world = World(nodes, ["s -> a", "s -> d", "d -> x if true", "d -> y else", "a -> j", "x -> j", "y -> j"]).start()
    assert world.active() == ["a.1"]
    world.complete("a.1")
    assert [step for step in world.started() if step.startswith("j")] == ["j.1"]


def test_an_auto_join_takes_one_token_per_connection_and_further_ones_stay_queued() -> None:
    nodes = [*pure("s", "a", "b", "j")]
    world = World(nodes, ["s -> a", "s -> b", {**connection("a -> j"), "tokens": 3}, "b -> j"]).start()
    assert [step for step in world.started() if step.startswith("j")] == ["j.1", "j.2", "j.3"]
    took = [fact.took for fact in world.all("step_started") if fact.node == "j"]
    assert took == [[2, 3], [2], [2]]


def test_a_cycle_into_an_auto_join_fires_it_anew_each_turn() -> None:
    nodes = [*pure("s", "j"), *pure("w", assign={"n": "${ vars.n + 1 }"}), *pure("out")]
    connections = ["s -> j", "j -> w", "w -> j if vars.n < 3", "w -> out else"]
    world = World(nodes, connections, variables={"n": 0}).start()
    assert world.started() == ["s.1", "j.1", "w.1", "j.2", "w.2", "j.3", "w.3", "out.1"]


def test_a_node_with_a_connection_to_itself_does_not_wait_for_itself() -> None:
    nodes = [*pure("s", "j"), call("other")]
    world = World(nodes, ["s -> j", "j -> j if steps.j.count < 2"], start=["s", "other"]).start()
    assert world.active() == ["other.1"]
    assert world.started() == ["s.1", "j.1", "other.1", "j.2"]


def test_the_first_waiting_auto_join_is_forced_when_nothing_else_can_move() -> None:
    # Each of the two could still be reached from the other.
    nodes = pure("s", "t", "j", "k")
    world = World(nodes, ["s -> j", "t -> k", "j -> k", "k -> j if steps.k.count < 2"]).start()
    assert world.started()[:3] == ["s.1", "t.1", "j.1"]
    assert world.status == "completed"


# --- any, all


def test_every_token_fires_an_any_join() -> None:
    world = diamond("any").start()
    world.complete("b.1")
    world.complete("a.1")
    assert world.started()[3:] == ["j.1", "end.1", "j.2", "end.2"]


def test_an_all_join_wants_a_token_on_every_connection() -> None:
    world = diamond("all").start()
    world.complete("a.1")
    assert world.active() == ["b.1"]
    world.complete("b.1")
    assert world.started()[3:] == ["j.1", "end.1"]


def test_an_all_join_fires_again_for_further_tokens() -> None:
    nodes = pure("s", "a", "b") + pure("j", join="all")
    two = [{**connection(f"s -> {arm}"), "tokens": 2} for arm in "ab"]
    world = World(nodes, [*two, "a -> j", "b -> j"]).start()
    assert [step for step in world.started() if step.startswith("j")] == ["j.1", "j.2"]


# --- deadlock


def test_an_all_join_that_can_never_fire_is_a_deadlock_that_names_what_is_missing() -> None:
    nodes = [*pure("s", "a", "b"), *pure("j", join="all")]
    world = World(nodes, ["s -> a", "s -> b if false", "a -> j", "b -> j"]).start()
    assert world.status == "failed"
    assert world.error["type"] == "deadlock"
    assert world.error["node"] == "j"
    assert world.error["message"].endswith("from: b")
    assert world.error["details"] == {"connections": [{"from": "b", "to": "j"}]}


def test_a_deadlock_can_be_caught() -> None:
    nodes = [*pure("s", "a", "b"), *pure("j", join="all"), *pure("rescue")]
    world = World(nodes, ["s -> a", "s -> b if false", "a -> j", "b -> j", "j ->! rescue"]).start()
    assert world.started()[-1] == "rescue.1"
    assert world.status == "completed"


@pytest.mark.parametrize(
    "broken",
    [
        call("j", join="all", timeout="${ vars.missing }"),
        node("j", "function", join="all", input_={"name": "work", "arguments": {"x": "${ vars.missing }"}}),
        node("j", "set", join="all", foreach={"items": "${ vars.missing }"}),
        node("j", "human", join="all", input_={"title": "${ vars.missing }"}),
    ],
)
def test_a_deadlocked_node_of_any_type_fails_without_looking_at_its_input(broken: dict[str, Any]) -> None:
    world = World([*pure("s", "a", "b"), broken], ["s -> a", "s -> b if false", "a -> j", "b -> j"]).start()
    assert world.error["type"] == "deadlock"
    assert world.calls == []


def test_a_count_join_with_too_few_tokens_is_a_deadlock() -> None:
    nodes = [*pure("s", "a"), *pure("j", join={"count": 3})]
    world = World(nodes, ["s -> a", {**connection("a -> j"), "tokens": 2}]).start()
    assert world.error["type"] == "deadlock"
    assert "3 tokens" in world.error["message"]


def test_two_deadlocked_joins_fail_one_after_the_other_in_document_order() -> None:
    nodes = [*pure("s", "x"), *pure("k", "j", join="all"), *pure("r")]
    connections = ["s -> k", "x -> k", "s -> j", "x -> j", "s -> x if false", "k ->! r", "j ->! r"]
    world = World(nodes, connections).start()
    assert [fact.step for fact in world.all("step_failed")] == ["k.1", "j.1"]
    assert world.status == "completed"


# --- count


def test_a_count_join_fires_at_the_nth_token_and_absorbs_the_rest_of_the_round() -> None:
    world = diamond({"count": 2}, arms="abc").start()
    world.complete("c.1")
    assert "j.1" not in world.started()
    world.complete("a.1")
    assert world.started()[-2:] == ["j.1", "end.1"]
    assert world.state.scopes[""].owed == {"j": [4]}
    world.complete("b.1")
    assert world.started()[-2:] == ["j.1", "end.1"]
    assert world.status == "completed"


def test_a_debt_ends_when_the_owing_branch_can_not_come_any_more() -> None:
    nodes = [*pure("s"), call("a"), call("b"), *pure("j", join={"count": 1})]
    world = World(nodes, ["s -> a", "s -> b", "a -> j", "b -> j if steps.b.output"]).start()
    world.complete("a.1")
    assert world.state.scopes[""].owed == {"j": [3]}
    world.complete("b.1", False)
    assert world.state.scopes[""].owed == {}
    assert world.status == "completed"


def test_only_branches_that_were_taken_owe_a_token() -> None:
    nodes = [*pure("s"), call("a"), call("b"), call("c"), *pure("j", join={"count": 1})]
    connections = ["s -> a", "s -> b", "s -> c if false", "a -> j", "b -> j", "c -> j"]
    world = World(nodes, connections).start()
    world.complete("a.1")
    assert world.state.scopes[""].owed == {"j": [4]}


def test_the_next_round_of_a_count_join_starts_when_no_debt_is_left() -> None:
    nodes = [*pure("s"), call("a"), call("b"), *pure("j", join={"count": 1})]
    connections = [{**connection("s -> a"), "tokens": 2}, "s -> b", "a -> j", "b -> j"]
    world = World(nodes, connections).start()
    world.complete("a.1")
    world.complete("a.2")
    assert [step for step in world.started() if step.startswith("j")] == ["j.1"]
    world.complete("b.1")  # absorbed: it belongs to the first round
    assert [step for step in world.started() if step.startswith("j")] == ["j.1", "j.2"]
    assert world.status == "completed"


def test_a_round_takes_at_most_one_token_from_each_connection() -> None:
    nodes = [*pure("s"), call("a"), call("b"), *pure("j", join={"count": 2})]
    connections = [{**connection("s -> a"), "tokens": 2}, "s -> b", "a -> j", "b -> j"]
    world = World(nodes, connections).start()
    world.complete("a.1")
    world.complete("a.2")
    assert "j.1" not in world.started()
    world.complete("b.1")
    assert next(fact.took for fact in world.all("step_started") if fact.node == "j") == [2, 3]
    assert world.error["type"] == "deadlock"  # the second token of a has no partner


def test_with_one_incoming_connection_count_counts_tokens_and_starts_anew() -> None:
    nodes = [*pure("s", "a"), *pure("j", join={"count": 2})]
    world = World(nodes, ["s -> a", {**connection("a -> j"), "tokens": 4}]).start()
    assert world.started() == ["s.1", "a.1", "j.1", "j.2"]
    assert world.status == "completed"


def test_a_count_join_in_a_cycle_absorbs_the_late_tokens_of_each_turn() -> None:
    nodes = [
        *pure("s"),
        call("a"),
        call("b"),
        *pure("j", join={"count": 1}, assign={"n": "${ vars.n + 1 }"}),
        *pure("out"),
    ]
    connections = ["s -> a", "s -> b", "a -> j", "b -> j", "j -> s if vars.n < 2", "j -> out else"]
    world = World(nodes, connections, start=["s"], variables={"n": 0}).start()
    world.complete("a.1")
    assert world.active() == ["b.1", "a.2", "b.2"]
    world.complete("b.1")  # the debt of the first round
    assert [step for step in world.started() if step.startswith("j")] == ["j.1"]
    world.complete("b.2")
    assert [step for step in world.started() if step.startswith("j")] == ["j.1", "j.2"]
    world.complete("a.2")
    assert world.status == "completed"
    assert world.started()[-1] == "out.1"


def test_the_rest_of_a_round_that_is_there_already_goes_with_it() -> None:
    nodes = [*pure("s", "a", "b", "c"), *pure("j", join={"count": 2})]
    world = World(nodes, ["s -> a", "s -> b", "s -> c", "a -> j", "b -> j", "c -> j"]).start()
    assert [step for step in world.started() if step.startswith("j")] == ["j.1"]
    assert world.status == "completed"
