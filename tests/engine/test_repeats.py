"""repeat: a node again and again, while a condition holds, until one does, or a number of times."""

from typing import Any

import pytest
from world import World, call, connection, group, node, pure, refused

from workflow_engine.models.command import Cancel, CompleteByHand, Pause, Resume, Retry, SetVariables, Skip
from workflow_engine.models.limits import Limits


def counting(repeat: dict[str, Any], **fields: Any) -> World:
    """A node that adds one to `vars.n` in each iteration and gives it."""
    nodes = pure("a", assign={"n": "${ vars.n + 1 }"}, output="${ vars.n + 1 }", repeat=repeat, **fields)
    return World(nodes, variables={"n": 0, "max": 3}).start()


def test_each_iteration_is_an_activation_of_its_own() -> None:
    world = counting({"max": 2})
    assert world.names()[1:] == [
        "step_started:a.1",
        "step_started:a.1:0",
        "step_completed:a.1:0",
        "step_started:a.1:1",
        "step_completed:a.1:1",
        "step_completed:a.1",
        "variables_changed",
        "execution_completed",
    ]


def test_without_a_condition_it_goes_round_exactly_max_times() -> None:
    assert counting({"max": 4}).output == 4


def test_while_is_looked_at_before_an_iteration() -> None:
    world = counting({"while": "vars.n < 3"})
    assert world.output == 3
    assert world.state.variables["n"] == 3


def test_zero_iterations_give_null_and_go_on() -> None:
    nodes = [*pure("a", output=1, repeat={"while": "false"}), *pure("z", output="${ [steps.a.output, steps.a.count] }")]
    world = World(nodes, ["a -> z"]).start()
    assert world.started() == ["a.1", "z.1"]
    assert world.output == [None, 1]


def test_until_is_looked_at_after_an_iteration_and_sees_what_it_gave() -> None:
    world = counting({"until": "steps.a.output >= 2 && vars.n == 2"})
    assert world.output == 2
    assert [fact.step for fact in world.all("step_completed")] == ["a.1:0", "a.1:1", "a.1"]


def test_until_that_holds_at_once_still_means_one_iteration() -> None:
    assert counting({"until": "true"}).output == 1


def test_iteration_counts_from_zero_in_all_that_may_name_it() -> None:
    repeat = {"until": "iteration == 2", "delay": "${ string(iteration) + 's' }"}
    nodes = [call("a", repeat=repeat) | {"with": {"name": "work", "arguments": {"n": "${ iteration }"}}}]
    world = World(nodes, outcomes={"a": lambda step: step.input["arguments"]["n"]}).start()
    world.run_clock()
    assert world.output == 2
    assert [fact.input["arguments"]["n"] for fact in world.all("step_started") if fact.input] == [0, 1, 2]


def test_while_sees_the_iteration_that_would_begin() -> None:
    world = World(pure("a", output="${ iteration }", repeat={"while": "iteration < 2"})).start()
    assert world.output == 1


@pytest.mark.parametrize("repeat", [{"while": "true", "max": 3}, {"until": "false", "max": 3}])
def test_max_with_the_condition_still_open_is_limit_exceeded(repeat: dict[str, Any]) -> None:
    nodes = [*pure("a", repeat=repeat), *pure("h", output="${ error }")]
    world = World(nodes, ["a ->! h"]).start()
    assert world.output["type"] == "limit_exceeded"
    assert "3 times" in world.output["message"]
    assert [step for step in world.started() if step.startswith("a")] == ["a.1", "a.1:0", "a.1:1", "a.1:2"]


@pytest.mark.parametrize("repeat", [{"while": "iteration < 3", "max": 3}, {"until": "iteration == 2", "max": 3}])
def test_max_is_no_error_where_the_condition_is_over_with_it(repeat: dict[str, Any]) -> None:
    assert World(pure("a", repeat=repeat)).start().status == "completed"


def test_max_may_be_an_expression_and_has_to_be_a_positive_integer() -> None:
    assert World(pure("a", output="${ iteration }", repeat={"max": "${ input }"})).start(3).output == 2
    world = World(pure("a", repeat={"max": "${ input }"})).start("many")
    assert world.error["type"] == "expression_error"
    assert "repeat.max" in world.error["message"]


def test_iterations_count_as_steps() -> None:
    world = World(pure("a", repeat={"while": "true"}), limits=Limits(max_steps=10)).start()
    assert (world.error["type"], world.error["details"]) == ("limit_exceeded", {"limit": "max_steps", "max": 10})
    assert len(world.started()) == 10


class TestDelay:
    def test_the_delay_lies_between_iterations_only(self) -> None:
        world = World(pure("a", repeat={"max": 3, "delay": "1m"})).start()
        assert world.status == "paused/timer"
        (paused,) = world.all("execution_paused")
        assert paused.waiting_for[0] | {"until": None} == {
            "node_id": "a",
            "step_id": "a.1",
            "kind": "for",
            "name": None,
            "until": None,
        }
        world.wait(59)
        assert world.started() == ["a.1", "a.1:0"]
        world.wait(1)
        world.wait(60)
        assert world.started() == ["a.1", "a.1:0", "a.1:1", "a.1:2"]
        assert world.status == "completed"

    def test_a_delay_that_ends_in_an_operator_s_pause_is_over_at_once_on_resume(self) -> None:
        world = World(pure("a", repeat={"max": 2, "delay": "1m"})).start()
        world.do(Pause())
        world.wait(600)
        assert world.started() == ["a.1", "a.1:0"]
        world.do(Resume())
        assert world.status == "completed"

    def test_while_is_looked_at_after_the_delay(self) -> None:
        world = World(pure("a", repeat={"while": "vars.go", "delay": "1m"}), variables={"go": True}).start()
        world.do(SetVariables({"go": False}))
        world.wait(60)
        assert world.started() == ["a.1", "a.1:0"]
        assert world.status == "completed"

    def test_a_delay_that_is_none_is_an_error_of_the_node(self) -> None:
        world = World(pure("a", repeat={"max": 2, "delay": "${ input }"})).start("soon")
        assert world.error["type"] == "expression_error"

    def test_cancel_in_a_delay(self) -> None:
        world = World(pure("a", repeat={"max": 2, "delay": "1m"})).start()
        world.do(Cancel())
        assert world.status == "cancelled"
        assert [fact.step for fact in world.all("step_cancelled")] == ["a.1"]


class TestErrors:
    def test_the_error_of_an_iteration_is_the_node_s(self) -> None:
        nodes = [call("a", repeat={"max": 3}), *pure("h", output="${ error.step_id }")]
        world = World(nodes, ["a ->! h"]).start()
        world.complete("a.1:0")
        world.fail("a.1:1", refused("boom"))
        assert world.output == "a.1:1"
        assert [fact.step for fact in world.all("step_failed")] == ["a.1:1", "a.1"]

    def test_an_iteration_has_attempts_of_its_own(self) -> None:
        world = World([call("a", repeat={"max": 2}, retry={"max_attempts": 2})]).start()
        world.fail("a.1:0")
        world.run_clock()
        world.complete("a.1:0")
        world.fail("a.1:1")
        world.run_clock()
        world.complete("a.1:1", 7)
        assert world.output == 7

    def test_a_condition_that_fails_is_an_error_of_the_node(self) -> None:
        for word in ("while", "until"):
            nodes = [*pure("a", repeat={word: "vars.n.x"}), *pure("h", output="${ [error.type, error.step_id] }")]
            world = World(nodes, ["a ->! h"], variables={"n": {}}).start()
            assert world.output == ["expression_error", "a.1"]

    def test_retry_goes_on_with_the_iteration_that_failed(self) -> None:
        world = World([call("a", repeat={"max": 3})]).start()
        world.complete("a.1:0", 0)
        world.fail("a.1:1")
        world.do(Retry())
        assert world.active() == ["a.1", "a.1:1"]
        world.complete("a.1:1", 1)
        world.complete("a.1:2", 2)
        assert world.output == 2

    def test_retry_in_a_group_that_is_repeated_reopens_the_inner_step(self) -> None:
        world = World([group("g", [call("a"), call("b")], ["a -> b"], repeat={"max": 2})]).start()
        world.complete("g.1:0~a.1")
        world.complete("g.1:0~b.1")
        world.complete("g.1:1~a.1")
        world.fail("g.1:1~b.1")
        world.do(Retry())
        assert world.active() == ["g.1", "g.1:1", "g.1:1~b.1"]
        world.complete("g.1:1~b.1", 5)
        assert world.output == 5


class TestByOperator:
    def test_an_iteration_completed_by_hand_is_followed_by_the_next(self) -> None:
        world = World([call("a", repeat={"max": 2})]).start()
        world.do(CompleteByHand("a.1:0", 1))
        assert world.withdrawn == ["a.1:0"]
        assert world.active() == ["a.1", "a.1:1"]
        world.complete("a.1:1", 2)
        assert world.output == 2

    def test_the_node_completed_by_hand_withdraws_its_iteration(self) -> None:
        world = World([call("a", repeat={"max": 5}), *pure("z", output="${ steps.a.output }")], ["a -> z"]).start()
        world.do(CompleteByHand("a.1", "enough"))
        assert world.output == "enough"
        assert [fact.step for fact in world.all("step_cancelled")] == ["a.1:0"]

    def test_the_node_skipped_goes_on(self) -> None:
        world = World([call("a", repeat={"max": 5}), *pure("z")], ["a -> z"]).start()
        world.do(Skip("a.1"))
        assert world.status == "completed"
        assert world.all("step_completed")[0].is_skipped


def test_a_repeat_in_a_foreach_is_repeated_for_each_item() -> None:
    nodes = pure("a", output="${ item * 10 + iteration }", foreach={"items": [1, 2]}, repeat={"max": 3})
    world = World(nodes).start()
    assert world.output == [12, 22]
    assert world.started().count("a.1:1") == 1
    assert [step for step in world.started() if step.startswith("a.1:1:")] == ["a.1:1:0", "a.1:1:1", "a.1:1:2"]


def test_retry_reopens_an_iteration_of_an_item() -> None:
    world = World([call("a", foreach={"items": [1, 2]}, repeat={"max": 2})]).start()
    world.complete("a.1:0:0")
    world.complete("a.1:1:0")
    world.fail("a.1:1:1")
    world.do(Retry())
    assert sorted(world.active()) == ["a.1", "a.1:0", "a.1:0:1", "a.1:1", "a.1:1:1"]
    world.complete("a.1:1:1", "b")
    world.complete("a.1:0:1", "a")
    assert world.output == ["a", "b"]


def test_a_wait_can_be_repeated() -> None:
    world = World([node("w", "wait", input_={"signal": "go"}, repeat={"until": "steps.w.output == 'stop'"})]).start()
    world.signal("go", "on")
    assert world.status == "paused/input"
    world.signal("go", "stop")
    assert world.output == "stop"


def test_kept_signals_feed_one_iteration_each() -> None:
    nodes = [call("first"), node("w", "wait", input_={"signal": "go"}, repeat={"max": 3})]
    world = World(nodes, ["first -> w"]).start()
    for number in range(3):
        world.signal("go", number)
    world.complete("first.1")
    assert world.output == 2


def test_a_decision_can_not_choose_in_an_iteration_but_only_at_its_end() -> None:
    nodes = [node("d", "decision", repeat={"max": 2}, assign={"n": "${ vars.n + 1 }"}), *pure("a", "b")]
    world = World(nodes, [connection("d -> a if vars.n == 2"), "d -> b else"], variables={"n": 0}).start()
    assert world.started() == ["d.1", "d.1:0", "d.1:1", "a.1"]


def test_many_iterations_are_decided_in_bounded_transitions() -> None:
    world = World(pure("a", repeat={"max": 5_000}), is_folded=False).start()
    assert world.status == "completed"
    assert len(world.log) > 4
