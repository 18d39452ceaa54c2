"""wait: the first of several things, a condition, and signals that nobody keeps."""

from typing import Any

import pytest
from world import NOON_AT, World, call, group, node, pure

from workflow_engine.engine.working import Working
from workflow_engine.models.command import Cancel, Pause, Resume, Retry, SetVariables
from workflow_engine.models.instant import rfc3339


def wait_for(**given: Any) -> dict[str, Any]:
    return node("w", "wait", input_=given)


def any_of(*choices: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return node("w", "wait", input_={"any": list(choices)}, **fields)


class TestAny:
    @pytest.mark.parametrize(
        ("choices", "happens", "output"),
        [
            (
                [{"for": "1h"}, {"signal": "go"}],
                lambda world: world.signal("go", {"n": 1}),
                {"index": 1, "kind": "signal", "name": "go", "payload": {"n": 1}},
            ),
            (
                [{"signal": "go"}, {"for": "1h"}],
                lambda world: world.wait(3600),
                {"index": 1, "kind": "for", "name": None, "payload": None},
            ),
            (
                [{"signal": "go"}, {"until": rfc3339(NOON_AT + 60_000_000)}],
                lambda world: world.wait(60),
                {"index": 1, "kind": "until", "name": None, "payload": None},
            ),
            (
                [{"condition": "vars.x > 1"}, {"signal": "go"}],
                lambda world: world.do(SetVariables({"x": 2})),
                {"index": 0, "kind": "condition", "name": None, "payload": None},
            ),
        ],
    )
    def test_the_first_wins_and_the_output_says_which(self, choices: Any, happens: Any, output: Any) -> None:
        world = World([any_of(*choices)], variables={"x": 1}).start()
        happens(world)
        assert world.output == output

    def test_the_first_of_two_clocks(self) -> None:
        world = World([any_of({"for": "2h"}, {"for": "1h"})]).start()
        assert world.status == "paused/timer"
        world.run_clock()
        assert world.output["index"] == 1
        assert world.now == NOON_AT + 3_600_000_000

    def test_of_what_is_there_already_the_first_in_order_wins(self) -> None:
        choices = [{"for": "1h"}, {"condition": "true"}, {"signal": "go"}, {"until": "2001-01-01T00:00:00Z"}]
        world = World([call("a"), any_of(*choices)], ["a -> w"]).start()
        world.signal("go")
        world.complete("a.1")
        assert world.output["index"] == 1
        assert [signal.name for signal in world.state.signals] == ["go"]

    def test_a_signal_is_not_taken_by_a_wait_that_another_choice_has_ended(self) -> None:
        world = World([any_of({"signal": "go"}, {"for": "1s"}), call("b")]).start()
        world.wait(1)
        world.signal("go")
        assert [signal.name for signal in world.state.signals] == ["go"]

    def test_each_signal_has_its_own_when(self) -> None:
        choices = [
            {"signal": "go", "when": "signal.payload.n > 5"},
            {"signal": "go", "when": "signal.payload.n < 0"},
        ]
        world = World([any_of(*choices)]).start()
        world.signal("go", {"n": 3})
        world.signal("go", {"n": -1})
        assert world.output == {"index": 1, "kind": "signal", "name": "go", "payload": {"n": -1}}

    def test_the_reason_is_input_if_anything_but_a_clock_is_awaited(self) -> None:
        assert World([any_of({"for": "1h"}, {"signal": "go"})]).start().status == "paused/input"
        assert World([any_of({"for": "1h"}, {"condition": "vars.x"})], variables={"x": False}).start().status == (
            "paused/input"
        )

    def test_what_it_waits_for_is_shown(self) -> None:
        world = World([any_of({"for": "1h"}, {"signal": "go"})]).start()
        (paused,) = world.all("execution_paused")
        assert paused.waiting_for == [
            {
                "node_id": "w",
                "step_id": "w.1",
                "kind": "any",
                "name": "go",
                "until": rfc3339(NOON_AT + 3_600_000_000),
            }
        ]

    def test_a_timeout_is_an_error_beside_the_choices(self) -> None:
        nodes = [any_of({"signal": "a"}, {"signal": "b"}, timeout="1h"), *pure("h", output="${ error.type }")]
        world = World(nodes, ["w ->! h"]).start()
        world.run_clock()
        assert world.output == "timeout"

    def test_a_choice_that_can_not_be_evaluated_is_an_error_of_the_step(self) -> None:
        world = World([any_of({"signal": "a"}, {"for": "${ input }"})]).start("soon")
        assert world.error["type"] == "expression_error"

    def test_one_signal_satisfies_one_wait_the_oldest_that_fits(self) -> None:
        nodes = [any_of({"signal": "go"}, {"signal": "stop"}), node("v", "wait", input_={"signal": "go"})]
        world = World(nodes).start()
        world.signal("go", 1)
        assert world.active() == ["v.1"]
        world.signal("stop")
        assert world.active() == ["v.1"]


class TestConditions:
    def test_a_condition_that_holds_does_not_wait(self) -> None:
        world = World([wait_for(condition="true")]).start()
        assert world.output == {"kind": "condition"}
        assert world.all("execution_paused") == []

    def test_it_is_looked_at_when_a_variable_changes(self) -> None:
        world = World([wait_for(condition="vars.x > 2")], variables={"x": 1}).start()
        assert world.status == "paused/input"
        world.do(SetVariables({"x": 2}))
        assert world.status == "paused/input"
        world.do(SetVariables({"x": 3}))
        assert world.status == "completed"

    def test_it_is_looked_at_when_another_path_assigns(self) -> None:
        nodes = [wait_for(condition="vars.x == 'ready'"), call("a", assign={"x": "${ output }"})]
        world = World(nodes, variables={"x": None}).start()
        world.complete("a.1", "ready")
        assert world.status == "completed"

    @pytest.mark.parametrize(
        "condition", ["steps.a.status == 'completed'", "steps.a.count > 0", "steps['a'].output == 7"]
    )
    def test_it_is_looked_at_when_a_step_ends(self, condition: str) -> None:
        world = World([wait_for(condition=condition), call("a")]).start()
        world.complete("a.1", 7)
        assert world.names()[-3:] == ["step_completed:a.1", "step_completed:w.1", "execution_completed"]

    def test_it_is_looked_at_when_a_step_starts_fails_or_is_withdrawn(self) -> None:
        for status in ("processing", "failed", "cancelled"):
            nodes = [wait_for(condition=f"steps.a.status == '{status}'"), call("s"), call("a"), call("x", cancel=["a"])]
            world = World([*nodes, *pure("h")], ["s -> a", "a ->! h"]).start()
            world.complete("s.1")
            if status == "failed":
                world.fail("a.1")
            elif status == "cancelled":
                world.complete("x.1")
            assert world.view("w")["status"] == "completed"

    def test_several_are_looked_at_oldest_first(self) -> None:
        nodes = [node(name, "wait", input_={"condition": "vars.go"}) for name in "bac"]
        world = World(nodes, variables={"go": False}).start()
        world.do(SetVariables({"go": True}))
        assert [fact.step for fact in world.all("step_completed")] == ["b.1", "a.1", "c.1"]

    def test_one_that_ends_lets_the_next_one_hold(self) -> None:
        nodes = [
            node("b", "wait", input_={"condition": "steps.a.status == 'completed'"}),
            node("a", "wait", input_={"condition": "vars.go"}),
        ]
        world = World(nodes, variables={"go": False}).start()
        world.do(SetVariables({"go": True}))
        assert [fact.step for fact in world.all("step_completed")] == ["a.1", "b.1"]
        assert world.status == "completed"

    def test_a_change_that_does_not_last_is_not_missed(self) -> None:
        nodes = [wait_for(condition="vars.x == 1"), call("a"), *pure("b", assign={"x": 1}), *pure("c", assign={"x": 2})]
        world = World(nodes, ["a -> b", "b -> c"], variables={"x": 0}).start()
        world.complete("a.1")
        assert world.status == "completed"

    def test_in_an_operator_s_pause_it_is_looked_at_on_resume(self) -> None:
        world = World([wait_for(condition="vars.x > 2")], variables={"x": 1}).start()
        world.do(Pause())
        world.do(SetVariables({"x": 3}))
        assert world.status == "paused/operator"
        world.working = Working(world.graph, world.folded(), world.limits)
        world.state = world.working.state
        world.do(Resume())
        assert world.status == "completed"

    def test_a_condition_that_fails_is_an_error_of_the_step(self) -> None:
        nodes = [wait_for(condition="vars.x.y > 2"), *pure("h", output="${ error.type }")]
        world = World(nodes, ["w ->! h"], variables={"x": {"y": 1}}).start()
        world.do(SetVariables({"x": 5}))
        assert world.output == "expression_error"

    def test_inside_a_group_it_sees_item_and_the_group_s_variables(self) -> None:
        inner = [wait_for(condition="vars.n >= item"), call("a", assign={"n": "${ vars.n + 1 }"})]
        ways = ["a -> a if steps.a.count < item"]
        fields: dict[str, Any] = {"variables": {"n": 0}, "foreach": {"items": [1, 2]}, "start": ["w", "a"]}
        world = World([group("g", inner, ways, **fields)], outcomes={"a": None}).start()
        assert world.status == "completed"

    def test_inside_a_group_it_sees_what_changes_outside(self) -> None:
        nodes = [group("g", [wait_for(condition="steps.a.output == 1")]), call("a")]
        world = World(nodes).start()
        world.complete("a.1", 1)
        assert world.status == "completed"

    def test_two_changes_in_one_burst_are_looked_at_together(self) -> None:
        world = World([wait_for(condition="vars.x == 1 && vars.y == 1")], variables={"x": 0, "y": 0}).start()
        world.do(SetVariables({"x": 1}), SetVariables({"y": 1}))
        assert world.status == "completed"

    def test_retry_looks_at_it_again(self) -> None:
        world = World([wait_for(condition="vars.x"), call("a")], variables={"x": False}).start()
        world.fail("a.1")
        world.do(SetVariables({"x": True}))
        assert world.status == "failed"
        world.do(Retry())
        assert world.active() == ["a.1"]


class TestTransientSignals:
    def test_one_that_comes_while_nobody_waits_is_lost(self) -> None:
        nodes = [wait_for(signal="go", durable=False), call("a")]
        world = World(nodes, ["a -> w"]).start()
        assert world.signal("go", 1) is None
        assert world.names()[-1] == "signal_received"
        assert world.all("signal_received")[0].is_lost
        world.complete("a.1")
        assert world.status == "paused/input"
        world.signal("go", 2)
        assert world.output == 2

    def test_one_that_the_when_does_not_accept_is_lost_too(self) -> None:
        world = World([wait_for(signal="go", durable=False, when="signal.payload > 5")]).start()
        world.signal("go", 1)
        assert world.state.signals == []
        world.signal("go", 6)
        assert world.output == 6

    def test_one_of_that_name_that_was_kept_for_a_durable_wait_is_not_taken(self) -> None:
        nodes = [
            wait_for(signal="go", durable=False),
            call("a"),
            call("b"),
            node("v", "wait", input_={"signal": "go"}),
        ]
        world = World(nodes, ["a -> w", "b -> v"]).start()
        world.signal("go", 1)
        world.complete("a.1")
        assert set(world.active()) == {"b.1", "w.1"}
        world.complete("b.1")
        assert world.active() == ["w.1"]

    def test_in_an_operator_s_pause_it_completes_the_wait_that_is_there(self) -> None:
        world = World([wait_for(signal="go", durable=False)]).start()
        world.do(Pause())
        world.signal("go", 1)
        assert world.active() == []
        world.do(Resume())
        assert world.output == 1

    def test_as_one_choice_of_several(self) -> None:
        nodes = [call("a"), any_of({"signal": "go", "durable": False}, {"signal": "kept"})]
        world = World(nodes, ["a -> w"]).start()
        world.signal("go")
        world.signal("kept", 3)
        world.complete("a.1")
        assert world.output == {"index": 1, "kind": "signal", "name": "kept", "payload": 3}


def test_cancel_leaves_no_wait_behind() -> None:
    world = World([any_of({"signal": "go"}, {"for": "1h"}, {"condition": "vars.x"})], variables={"x": False}).start()
    world.do(Cancel())
    assert world.status == "cancelled"
    assert world.working.next_due_at() is None
    assert world.working.signal_waits == world.working.condition_waits == {}
