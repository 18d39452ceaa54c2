"""Corners where words of the language meet: what a retry, a fork or a migration finds there."""

from typing import Any

import pytest
from world import NOON_AT, World, call, graph_of, group, node, pure, refused

from workflow_engine.engine.validation import validate
from workflow_engine.models.command import CompleteByHand, Retry

LIMIT = {"key": "k", "concurrency": 1}


def granted(world: World) -> World:
    """Whatever slots were asked for are there."""
    for step in list(world.slots):
        world.grant(step)
    return world


# --- retry and fork: a group that had to queue does not go on inside


@pytest.mark.parametrize("queue", [{"lock": "l"}, {"limit": LIMIT}])
def test_retry_reopens_the_failed_step_inside_of_a_group_that_queues(queue: dict[str, Any]) -> None:
    world = granted(World([group("g", [call("a"), call("b")], ["a -> b"], **queue)]).start())
    world.complete("g.1~a.1")
    world.fail("g.1~b.1")
    world.do(Retry())
    granted(world)
    assert world.active() == ["g.1", "g.1~b.1"]


def test_retry_reopens_the_failed_step_inside_of_an_item_with_a_lock() -> None:
    world = World([group("g", [call("a")], lock="l", foreach={"items": [1, 2]})]).start()
    world.fail("g.1:0~a.1")
    world.do(Retry())
    assert list(world.under_way) == ["g.1:0~a.1"]


@pytest.mark.parametrize("queue", [{"lock": "l"}, {"limit": LIMIT}])
def test_a_fork_goes_on_inside_of_a_group_that_queues(queue: dict[str, Any]) -> None:
    world = granted(World([group("g", [call("a"), call("b")], ["a -> b"], **queue)]).start())
    world.complete("g.1~a.1")
    fork = granted(world.fork())
    assert fork.active() == ["g.1", "g.1~b.1"]


def test_a_value_by_hand_for_the_failed_step_inside_of_a_group_with_a_lock_is_taken() -> None:
    world = World([group("g", [call("a"), call("b")], ["a -> b"], lock="l")]).start()
    world.fail("g.1~a.1")
    world.do(CompleteByHand("g.1~a.1", 1))
    assert world.active() == ["g.1", "g.1~b.1"]


def test_retry_of_a_lock_s_deadlock_meets_it_again() -> None:
    world = World([group("g", [call("a", lock="l")], lock="l")]).start()
    world.do(Retry())
    assert world.status == "failed"
    assert world.error["type"] == "deadlock"


# --- retry and fork: a group in its back-off is taken for one that is through


def test_retry_lets_a_group_that_was_in_its_back_off_do_its_work() -> None:
    retry = {"max_attempts": 2, "initial": "1h"}
    world = World([group("g", [call("a")], retry=retry), call("b")]).start()
    world.fail("g.1~a.1")
    world.fail("b.1")
    world.do(Retry())
    assert sorted(world.active()) == ["b.1", "g.1", "g.1~a.2"]


def test_a_fork_lets_a_group_that_was_in_its_back_off_do_its_work() -> None:
    world = World([group("g", [call("a")], retry={"max_attempts": 2, "initial": "1h"})]).start()
    world.fail("g.1~a.1")
    fork = world.fork()
    assert fork.active() == ["g.1", "g.1~a.2"]
    fork.complete("g.1~a.2", 3)
    assert fork.output == 3


# --- foreach


def test_the_results_that_a_foreach_had_when_it_was_enough_can_be_read() -> None:
    nodes = [call("f", foreach={"items": [1, 2], "complete_after": 1, "rest": "continue"})]
    world = World([*nodes, *pure("z", output="${ steps.f.output }")], ["f -> z"]).start()
    world.complete("f.1:1", "b")
    assert world.view("z")["output"] == [None, "b"]


# --- fork


def test_a_fork_of_a_failed_execution_begins_its_waits_again() -> None:
    world = World([node("w", "wait", input_={"for": "1h"}), call("a")]).start()
    world.wait(1800)
    world.fail("a.1")
    assert world.fork().state.steps["w.1"].due_at == NOON_AT + (1800 + 3600) * 1_000_000


def test_a_fork_from_after_a_compensation_is_no_success() -> None:
    nodes = [call("a", compensate="u"), call("u"), call("b")]
    world = World(nodes, ["a -> b"], outcomes={"a": 1}, on_failure="compensate").start()
    world.fail("b.1")
    assert world.fork(outcomes={"u": None}).status != "completed"
    world.complete("u.1")
    assert world.fork().status != "completed"


# --- migrate


@pytest.mark.parametrize("nodes", [{"a": "b", "b": "a"}, {"a": "b", "b": "c"}])
def test_names_that_move_on_give_no_step_id_twice(nodes: dict[str, str]) -> None:
    world = World([call("a"), call("b")], ["a -> b", "b -> a"], start=["a"]).start()
    world.complete("a.1")
    first, second = nodes["a"], nodes["b"]
    new = graph_of([call(first), call(second)], [f"{first} -> {second}", f"{second} -> {first}"], start=[first])
    assert world.migrate(new, nodes) is None
    world.complete("b.1")
    assert len(world.started()) == len(set(world.started()))


def test_a_condition_that_holds_in_the_new_version_is_looked_at() -> None:
    world = World([node("w", "wait", input_={"condition": "vars.x > 5"})], variables={"x": 3}).start()
    new = graph_of([node("w", "wait", input_={"condition": "vars.x > 2"})], variables={"x": 3})
    assert world.migrate(new) is None
    assert world.status == "completed"


@pytest.mark.parametrize("how", ["migrate", "fork"])
def test_an_output_that_only_the_new_version_reads_is_there(how: str) -> None:
    world = World([call("a"), call("b")], ["a -> b"]).start()
    world.complete("a.1", 42)
    nodes = [call("a"), call("b"), *pure("z", output="${ steps.a.output }")]
    new = graph_of(nodes, ["a -> b", "b -> z"])
    if how == "migrate":
        assert world.migrate(new) is None
    else:
        world = world.fork(graph=new)
    world.complete("b.1")
    assert world.output == 42


# --- compensation


def test_what_undoes_keeps_to_its_limit() -> None:
    nodes = [call("a", compensate="u"), call("u", limit=LIMIT), node("stop", "fail")]
    world = World(nodes, ["a -> stop"], outcomes={"a": 1}, on_failure="compensate").start()
    assert list(world.slots) == ["u.1"]
    assert world.calls == ["a.1"]


def test_a_timeout_of_the_execution_is_a_failure_that_undoes() -> None:
    nodes = [call("a", compensate="u"), call("u"), call("b")]
    world = World(nodes, ["a -> b"], outcomes={"a": 1}, on_failure="compensate", timeout="1h").start()
    world.wait(3600)
    assert world.active() == ["u.1"]


def test_an_end_inside_of_what_undoes_does_not_turn_a_failure_into_a_success() -> None:
    end = node("e", "end", input_={"terminate": True})
    nodes = [call("a", compensate="u"), group("u", [end]), call("b")]
    world = World(nodes, ["a -> b"], outcomes={"a": 1, "b": refused()}, on_failure="compensate").start()
    assert world.status == "failed"


def test_a_group_that_undoes_sees_the_names_inside() -> None:
    arguments = {"made": "${ output }", "seat": "${ item }"}
    inner = {"id": "free", "type": "function", "with": {"name": "free", "arguments": arguments}}
    nodes = [
        {"id": "book", "type": "set", "foreach": {"items": [1]}, "compensate": "back"},
        {"id": "back", "type": "group", "nodes": [inner]},
    ]
    assert [problem.message for problem in validate({"id": "x", "nodes": nodes}).problems] == []


# --- ends


def test_an_end_that_was_cancelled_in_a_group_becomes_an_error_of_type_failed() -> None:
    world = World([group("g", [node("e", "end", input_={"status": "cancelled"})])]).start()
    assert world.error["type"] == "failed"
