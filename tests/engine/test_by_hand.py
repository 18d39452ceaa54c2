"""Skip a step, or complete it by hand with a value."""

from typing import Any

import pytest
from world import World, call, group, node, pure, refused

from workflow_engine.models.command import CompleteByHand, CompleteStep, Pause, Resume, Retry, Skip
from workflow_engine.models.limits import Limits

LIMIT = {"key": "k", "concurrency": 1}
KINDS: dict[str, dict[str, Any]] = {
    "call": call("x"),
    "wait": node("x", "wait", input_={"signal": "go"}),
    "timer": node("x", "wait", input_={"for": "1h"}),
    "human": node("x", "human"),
    "group": group("x", [call("inner"), node("asked", "human")]),
    "foreach": call("x", foreach={"items": [1, 2]}),
    "repeat": call("x", repeat={"max": 3}),
    "groups": group("x", [call("inner")], foreach={"items": [1, 2]}),
    "limited": call("x", limit=LIMIT),
    "locked": call("x", lock="l"),
    "child": node("x", "workflow", input_={"workflow_id": "other"}),
}


def at(kind: str) -> World:
    """An execution that stands at a step `x.1` of a kind, which goes on to `z`."""
    nodes = [KINDS[kind], *pure("z", output="${ [steps.x.output, steps.x.status] }")]
    ways = ["x -> z"]
    if kind == "locked":
        nodes.append(call("holder", lock="l"))
        nodes.reverse()
    return World(nodes, ways).start()


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_of_any_kind_can_be_completed_by_hand(kind: str) -> None:
    world = at(kind)
    assert world.do(CompleteByHand("x.1", {"by": "hand"})) == [None]
    if kind == "locked":
        world.complete("holder.1")
    assert world.status == "completed"
    assert world.view("z")["status"] == "completed"
    given = world.output["z"] if kind == "locked" else world.output
    assert given == [{"by": "hand"}, "completed"]
    assert "step_completed:x.1" in world.names()


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_of_any_kind_can_be_skipped(kind: str) -> None:
    world = at(kind)
    assert world.do(Skip("x.1")) == [None]
    if kind == "locked":
        world.complete("holder.1")
    assert world.status == "completed"
    given = world.output["z"] if kind == "locked" else world.output
    assert given == [None, "skipped"]
    (fact,) = [fact for fact in world.all("step_completed") if fact.step == "x.1"]
    assert fact.is_skipped
    assert world.view("x")["count"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_did_is_withdrawn_with_all_inside(kind: str) -> None:
    world = at(kind)
    calls = [step for step in world.under_way if step != "holder.1"]
    world.do(Skip("x.1"))
    assert sorted(world.withdrawn) == sorted(calls)
    assert world.asked == []
    assert [step for step in world.active() if step != "holder.1"] == []
    assert world.slots == {}
    if kind == "limited":
        assert world.freed == ["x.1"]


@pytest.mark.parametrize("kind", ["call", "wait", "human", "group", "foreach", "repeat", "groups", "child"])
def test_a_failed_execution_goes_on_with_a_value_for_what_had_failed(kind: str) -> None:
    world = at(kind)
    inner = next(iter(world.under_way), None)
    if inner is None:
        world = World([KINDS[kind] | {"timeout": "1h"}, *pure("z", output="${ steps.x.output }")], ["x -> z"]).start()
        world.run_clock()
    else:
        world.fail(inner, refused("boom"))
    assert world.status == "failed"
    assert world.do(CompleteByHand("x.1", 7)) == [None]
    assert world.status == "completed"
    assert "execution_resumed" in world.names()


def test_the_failed_item_alone_can_be_completed_by_hand() -> None:
    world = World([call("f", foreach={"items": [1, 2]})]).start()
    world.complete("f.1:0", "a")
    world.fail("f.1:1")
    world.do(CompleteByHand("f.1:1", "b"))
    assert world.output == ["a", "b"]


def test_the_failed_step_inside_of_a_group_can_be_skipped() -> None:
    world = World([group("g", [call("a"), call("b")], ["a -> b"])]).start()
    world.fail("g.1~a.1")
    world.do(Skip("g.1~a.1"))
    assert world.active() == ["g.1", "g.1~b.1"]
    world.complete("g.1~b.1", 2)
    assert world.output == 2


def test_the_siblings_that_were_withdrawn_go_on() -> None:
    world = World([call("a"), call("b"), *pure("j")], ["a -> j", "b -> j"]).start()
    world.fail("a.1")
    world.do(Skip("a.1"))
    assert list(world.under_way) == ["b.1"]
    world.complete("b.1")
    assert world.status == "completed"


def test_a_step_that_an_error_had_withdrawn_is_none_that_failed() -> None:
    world = World([call("a"), call("b")]).start()
    world.fail("a.1")
    assert world.do(Skip("b.1"))[0].code == "not_active"
    assert world.status == "failed"


def test_output_and_assign_apply_to_a_value_by_hand_and_not_to_a_skipped_step() -> None:
    fields: dict[str, Any] = {"output": "${ output * 2 }", "assign": {"n": "${ output }"}}
    world = World([call("a", **fields)], variables={"n": 0}).start()
    world.do(CompleteByHand("a.1", 4))
    assert (world.output, world.state.variables) == (8, {"n": 8})
    world = World([call("a", **fields)], variables={"n": 0}).start()
    world.do(Skip("a.1"))
    assert (world.output, world.state.variables) == (None, {"n": 0})


def test_the_success_connections_are_looked_at_with_the_value() -> None:
    nodes = [call("a"), *pure("yes", "no")]
    ways = ["a -> yes if steps.a.output == true", "a -> no else"]
    for command, target in ((CompleteByHand("a.1", True), "yes.1"), (Skip("a.1"), "no.1")):
        world = World(nodes, ways).start()
        world.do(command)
        assert world.started()[-1] == target


def test_a_late_result_is_stale() -> None:
    world = World([call("a"), call("b")]).start()
    world.do(CompleteByHand("a.1", 1))
    assert world.do(CompleteStep("a.1", 1, 0, 2))[0].code == "stale"
    world.complete("b.1")
    assert world.output["a"] == 1


def test_a_step_in_its_back_off_does_not_try_again() -> None:
    world = World([call("a", retry={"max_attempts": 2})]).start()
    world.fail("a.1")
    world.do(CompleteByHand("a.1", 1))
    assert world.output == 1
    assert world.working.next_due_at() is None


def test_the_holder_of_a_lock_gives_it_up() -> None:
    world = World([call("a", lock="l"), call("b", lock="l")]).start()
    world.do(Skip("a.1"))
    assert list(world.under_way) == ["b.1"]


def test_in_an_operator_s_pause_nothing_follows_before_the_resume() -> None:
    world = World([call("a"), call("b")], ["a -> b"]).start()
    world.do(Pause())
    world.do(CompleteByHand("a.1", 1))
    assert world.active() == []
    world.do(Resume())
    assert world.active() == ["b.1"]


@pytest.mark.parametrize("step", ["b.1", "a.2", "nothing"])
def test_what_is_not_active_is_refused(step: str) -> None:
    world = World([call("a"), *pure("b")], ["a -> b"]).start()
    before = len(world.facts)
    assert [rejection.code for rejection in world.do(CompleteByHand(step, 1), Skip(step))] == ["not_active"] * 2
    assert len(world.facts) == before


def test_a_foreach_that_has_completed_is_not_active_though_its_items_are() -> None:
    world = World([call("f", foreach={"items": [1, 2], "wait": False})]).start()
    assert world.do(Skip("f.1"))[0].code == "not_active"
    assert world.do(Skip("f.1:0"), CompleteByHand("f.1:1", 1)) == [None, None]
    assert world.status == "completed"


def test_an_ended_execution_refuses() -> None:
    world = World([call("a")], outcomes={"a": 1}).start()
    assert world.do(CompleteByHand("a.1", 1))[0].code == "ended"


def test_a_value_that_is_too_large_is_refused() -> None:
    world = World([call("a")], limits=Limits(payload_bytes_max=100)).start()
    assert world.do(CompleteByHand("a.1", "x" * 101))[0].code == "payload_too_large"
    assert world.active() == ["a.1"]


def test_what_undoes_can_be_skipped() -> None:
    nodes = [call("a", compensate="u"), call("u"), call("b", compensate="v"), call("v"), call("c")]
    outcomes = {"a": 1, "b": 2, "c": refused()}
    world = World(nodes, ["a -> b", "b -> c"], outcomes=outcomes, on_failure="compensate").start()
    world.do(Skip("v.1"))
    assert world.active() == ["u.1"]
    world.do(CompleteByHand("u.1", None))
    assert world.status == "failed"


def test_a_skipped_step_can_not_be_retried_into_life() -> None:
    world = World([call("a"), call("b")]).start()
    world.do(Skip("a.1"))
    world.fail("b.1")
    world.do(Retry())
    assert world.active() == ["b.1"]
