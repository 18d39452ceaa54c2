"""group: a scope of its own, with its variables, its output, its end and its errors."""

from typing import Any

import pytest
from world import World, call, connection, group, node, pure, refused

from workflow_engine.models.command import Cancel, Pause, Resume, Retry, SetVariables
from workflow_engine.models.step import StepError


def test_a_group_starts_before_its_nodes_and_ends_after_them() -> None:
    nodes = [group("g", pure("a", "b"), ["a -> b"]), *pure("z")]
    world = World(nodes, ["g -> z"]).start()
    assert world.names()[1:] == [
        "step_started:g.1",
        "step_started:g.1~a.1",
        "step_completed:g.1~a.1",
        "step_started:g.1~b.1",
        "step_completed:g.1~b.1",
        "step_completed:g.1",
        "step_started:z.1",
        "step_completed:z.1",
        "execution_completed",
    ]


def test_every_activation_opens_a_scope_of_its_own() -> None:
    nodes = [group("g", pure("a", output="${ steps.a.count }")), *pure("z")]
    world = World(nodes, ["g -> g if steps.g.count < 3", "g -> z else"], start=["g"]).start()
    assert [step for step in world.started() if "~" in step] == ["g.1~a.1", "g.2~a.1", "g.3~a.1"]
    assert world.status == "completed"


def test_the_output_is_that_of_the_last_node_by_default() -> None:
    nodes = [group("g", [*pure("a", output=1), *pure("b", output="${ steps.a.output + 1 }")], ["a -> b"])]
    assert World(nodes).start().output == 2


def test_several_last_nodes_give_a_map_by_node() -> None:
    nodes = [group("g", [*pure("b", output=2), *pure("a", output=1)])]
    assert World(nodes).start().output == {"b": 2, "a": 1}


def test_the_output_is_evaluated_inside_and_sees_what_ran_and_what_did_not() -> None:
    inner = [*pure("a", output=1), *pure("b")]
    output = "${ [steps.a.output, steps.b.status, vars.n, output] }"
    world = World([group("g", inner, ["a -> b if false"], variables={"n": 7}, output=output)]).start()
    assert world.output == [1, "skipped", 7, 1]


def test_the_assignments_of_a_group_are_made_outside() -> None:
    nodes = [group("g", pure("a", output=3), variables={"n": 0}, assign={"n": "${ output }"})]
    world = World(nodes, variables={"n": 1}).start()
    assert world.state.variables == {"n": 3}


def test_a_node_inside_sees_the_nodes_around_it() -> None:
    nodes = [*pure("s", output="around"), group("g", [group("h", pure("a", output="${ steps.s.output }"))])]
    assert World(nodes, ["s -> g"]).start().output == "around"


class TestVariables:
    def test_an_assignment_goes_to_the_nearest_scope_that_declares_the_variable(self) -> None:
        inner = pure("a", assign={"x": "${ vars.x + 1 }", "y": "${ vars.x }", "z": 9})
        nodes = [group("g", inner, variables={"x": 5}, output="${ vars.x }")]
        world = World(nodes, variables={"x": 1, "y": 0}).start()
        assert world.output == 6
        assert world.state.variables == {"x": 1, "y": 5, "z": 9}

    def test_the_nearest_is_looked_for_from_inside_to_outside(self) -> None:
        inner = group("h", pure("a", assign={"x": 10, "y": 20}), variables={"y": 0}, output="${ vars.y }")
        nodes = [group("g", [inner], variables={"x": 0}, output="${ [vars.x, steps.h.output] }")]
        world = World(nodes, variables={"x": 1, "y": 2}).start()
        assert world.output == [10, 20]
        assert world.state.variables == {"x": 1, "y": 2}

    def test_first_values_see_what_is_around_and_begin_anew_with_each_activation(self) -> None:
        nodes = [
            group(
                "g", pure("a", assign={"n": "${ vars.n + 1 }"}), variables={"n": "${ vars.base }"}, output="${ vars.n }"
            ),
            *pure("z"),
        ]
        world = World(
            nodes, ["g -> g if steps.g.count < 2", "g -> z else"], start=["g"], variables={"base": 10}
        ).start()
        assert [fact.output for fact in world.all("step_completed") if fact.step in ("g.1", "g.2")] == [11, 11]

    def test_each_item_has_its_own(self) -> None:
        inner = [call("a", assign={"n": "${ vars.n + output }"}), *pure("b", output="${ vars.n }")]
        nodes = [group("g", inner, ["a -> b"], variables={"n": "${ item }"}, foreach={"items": [10, 20]})]
        world = World(nodes).start()
        world.complete("g.1:1~a.1", 2)
        world.complete("g.1:0~a.1", 1)
        assert world.output == [11, 22]

    def test_their_changes_are_told_with_their_final_values_once_per_transition(self) -> None:
        inner = [*pure("a", "b", assign={"n": "${ vars.n + 1 }"}), call("c")]
        world = World([group("g", inner, ["a -> b", "b -> c"], variables={"n": 0})]).start()
        (fact,) = world.all("variables_changed")
        assert (fact.changed, fact.scope) == ({"n": 2}, "g.1~")

    def test_what_can_not_be_evaluated_is_an_error_of_the_group(self) -> None:
        nodes = [group("g", pure("a"), variables={"n": "${ input.missing }"}), *pure("h", output="${ error.type }")]
        world = World(nodes, ["g ->! h"]).start({})
        assert world.output == "expression_error"
        assert world.started() == ["g.1", "h.1"]


class TestItemsAndIterationsInside:
    def test_item_and_index_are_visible_everywhere_inside(self) -> None:
        inner = group("h", pure("a", output="${ [order, at] }"))
        foreach = {"items": ["x", "y"], "as": "order", "index_as": "at"}
        assert World([group("g", [inner], foreach=foreach)]).start().output == [["x", 0], ["y", 1]]

    def test_the_inner_item_hides_the_outer_one(self) -> None:
        inner = pure("a", output="${ item }", foreach={"items": "${ item }"})
        assert World([group("g", inner, foreach={"items": [[1, 2], [3]]})]).start().output == [[1, 2], [3]]

    def test_iteration_is_visible_inside(self) -> None:
        nodes = [group("g", pure("a", output="${ iteration }"), repeat={"max": 3})]
        world = World(nodes).start()
        assert world.output == 2
        assert [step for step in world.started() if step.endswith("~a.1")] == [f"g.1:{n}~a.1" for n in range(3)]

    def test_conditions_inside_see_them(self) -> None:
        inner = [*pure("s", "odd", "even")]
        ways = ["s -> odd if item % 2 == 1", "s -> even else"]
        world = World([group("g", inner, ways, foreach={"items": [1, 2]})]).start()
        assert [step for step in world.started() if "s.1" not in step and "~" in step] == [
            "g.1:0~odd.1",
            "g.1:1~even.1",
        ]


class TestFinish:
    def test_all_waits_for_every_path(self) -> None:
        world = World([group("g", [call("a"), call("b")])]).start()
        world.complete("g.1~a.1")
        assert world.active() == ["g.1", "g.1~b.1"]
        world.complete("g.1~b.1")
        assert world.status == "completed"

    def test_first_ends_with_the_first_path_and_withdraws_the_rest(self) -> None:
        nodes = [group("g", [call("a"), call("b"), *pure("c")], ["a -> c"], finish="first"), *pure("z")]
        world = World(nodes, ["g -> z"], output="${ steps.g.output }").start()
        world.complete("g.1~b.1", "won")
        assert world.names()[4:] == [
            "step_completed:g.1~b.1",
            "step_cancelled:g.1~a.1",
            "step_completed:g.1",
            "step_started:z.1",
            "step_completed:z.1",
            "execution_completed",
        ]
        assert world.withdrawn == ["g.1~a.1"]
        assert world.output == "won"

    def test_first_leaves_queued_tokens_and_inner_groups_behind(self) -> None:
        inner = [*pure("s"), call("slow"), group("h", [call("deep")]), *pure("fast", "j", output=1)]
        ways = ["s -> slow", "s -> h", "s -> fast", "slow -> j", {"from": "s", "to": "j"}, "h -> j"]
        world = World([group("g", inner, ways, finish="first")]).start()
        assert world.status == "completed"
        assert world.output == 1
        assert world.active() == []

    def test_an_end_that_failed_makes_the_group_fail(self) -> None:
        end = node("e", "end", input_={"status": "failed", "message": "no stock"})
        nodes = [group("g", [call("a"), end]), *pure("h", output="${ error }")]
        world = World(nodes, ["g ->! h"]).start()
        assert world.active() == ["g.1", "g.1~a.1"]
        world.complete("g.1~a.1")
        assert world.output["type"] == "failed"
        assert world.output["message"] == "no stock"
        assert (world.output["node"], world.output["step_id"]) == ("g", "g.1")

    def test_the_worst_end_of_its_paths_decides(self) -> None:
        ends = [
            node(name, "end", input_={"status": name, "message": name}) for name in ("cancelled", "failed", "completed")
        ]
        world = World([group("g", ends)]).start()
        assert world.status == "failed"
        assert world.error["message"] == "cancelled"

    @pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
    def test_terminate_ends_the_execution_from_inside_past_all_error_connections(self, status: str) -> None:
        end = node("e", "end", input_={"status": status, "terminate": True})
        nodes = [group("g", [group("h", [call("a"), end], ["a -> e"])]), call("b"), *pure("never")]
        world = World(nodes, ["g ->! never", "b -> never"]).start()
        world.complete("g.1~h.1~a.1")
        assert world.status == status
        assert world.active() == []
        assert "never.1" not in world.started()
        assert sorted(fact.step for fact in world.all("step_cancelled")) == ["b.1", "g.1", "g.1~h.1"]

    def test_a_join_that_deadlocks_inside_is_an_error_of_the_group(self) -> None:
        inner = [*pure("s"), *pure("a", "b"), *pure("j", join="all")]
        nodes = [group("g", inner, ["s -> a", "s -> b if false", "a -> j", "b -> j"]), *pure("h", output="${ error }")]
        world = World(nodes, ["g ->! h"]).start()
        assert world.output["type"] == "deadlock"
        assert world.output["node"] == "j"

    def test_only_the_scope_that_can_not_move_is_deadlocked(self) -> None:
        inner = [*pure("s"), *pure("a", "b"), *pure("j", join="all")]
        nodes = [group("g", inner, ["s -> a", "s -> b if false", "a -> j", "b -> j"]), call("other"), *pure("h")]
        world = World(nodes, ["g ->! h"]).start()
        assert world.active() == ["other.1"]
        assert world.started()[-1] == "h.1"


class TestErrors:
    def test_an_error_inside_withdraws_the_scope_and_meets_the_group_s_error_connections(self) -> None:
        nodes = [group("g", [call("a"), group("h", [call("b")])]), *pure("z", output="${ error }")]
        world = World(nodes, ["g ->! z"]).start()
        world.fail("g.1~a.1", refused("boom"))
        assert world.names()[5:] == [
            "step_failed:g.1~a.1",
            "step_cancelled:g.1~h.1~b.1",
            "step_cancelled:g.1~h.1",
            "step_failed:g.1",
            "step_started:z.1",
            "step_completed:z.1",
            "execution_completed",
        ]
        assert world.output["type"] == "boom"
        assert (world.output["node"], world.output["step_id"]) == ("a", "g.1~a.1")
        assert world.view("g")["error"]["type"] == "boom"

    def test_an_error_is_caught_by_the_nearest(self) -> None:
        inner = [call("a"), *pure("caught")]
        nodes = [group("g", inner, ["a ->! caught"]), *pure("z"), *pure("never")]
        world = World(nodes, ["g -> z", "g ->! never"]).start()
        world.fail("g.1~a.1")
        assert world.started()[-2:] == ["g.1~caught.1", "z.1"]
        assert world.status == "completed"

    def test_an_error_that_nobody_catches_fails_every_scope_that_it_leaves(self) -> None:
        world = World([group("g", [group("h", [call("a")])]), call("b")]).start()
        world.fail("g.1~h.1~a.1", refused("boom"))
        failed = [fact.step for fact in world.all("step_failed")]
        assert failed == ["g.1~h.1~a.1", "g.1~h.1", "g.1"]
        assert [fact.step for fact in world.all("step_cancelled")] == ["b.1"]
        assert world.status == "failed"
        assert (world.error["type"], world.error["step_id"]) == ("boom", "g.1~h.1~a.1")

    def test_a_group_that_may_be_tried_again_begins_anew_and_counts_on(self) -> None:
        inner = [*pure("s", assign={"n": "${ vars.n + 1 }"}), call("a")]
        fields: dict[str, Any] = {"variables": {"n": 0}, "retry": {"max_attempts": 2, "initial": "5s", "jitter": 0}}
        world = World([group("g", inner, ["s -> a"], output="${ vars.n }", **fields)]).start()
        world.fail("g.1~a.1", refused("boom"))
        assert world.status == "running"
        assert world.active() == ["g.1"]
        world.run_clock()
        assert world.active() == ["g.1", "g.1~a.2"]
        world.complete("g.1~a.2")
        assert world.output == 1
        assert [fact.step for fact in world.all("step_started")] == ["g.1", "g.1~s.1", "g.1~a.1", "g.1~s.2", "g.1~a.2"]
        assert len(world.all("step_retrying")) == 1

    def test_its_attempts_are_counted_and_the_last_error_leaves(self) -> None:
        retry = {"max_attempts": 3, "initial": "1s"}
        world = World([group("g", [call("a")], retry=retry)], outcomes={"a": refused("boom")}).start()
        world.run_clock()
        assert world.status == "failed"
        assert [step for step in world.started() if "~" in step] == ["g.1~a.1", "g.1~a.2", "g.1~a.3"]
        assert world.all("step_failed")[-1].attempt == 3

    def test_a_timeout_withdraws_all_inside(self) -> None:
        nodes = [group("g", [call("a"), node("w", "wait", input_={"for": "5h"})], timeout="1h"), *pure("late")]
        world = World(nodes, [{**connection("g ->! late"), "when": "error.type == 'timeout'"}]).start()
        world.wait(3600)
        assert world.started()[-1] == "late.1"
        assert sorted(fact.step for fact in world.all("step_cancelled")) == ["g.1~a.1", "g.1~w.1"]
        assert world.withdrawn == ["g.1~a.1"]

    def test_an_output_that_can_not_be_evaluated_is_the_group_s_error(self) -> None:
        nodes = [group("g", pure("a"), output="${ steps.a.output.x }"), *pure("h", output="${ error.type }")]
        assert World(nodes, ["g ->! h"]).start().output == "expression_error"


class TestOperator:
    def test_retry_reopens_the_innermost_failed_step_with_the_scopes_around_it(self) -> None:
        inner = [call("a"), call("b"), *pure("j", output="${ vars.n }")]
        nodes = [group("g", [group("h", inner, ["a -> j", "b -> j"], variables={"n": 5})])]
        world = World(nodes).start()
        world.complete("g.1~h.1~a.1")
        world.fail("g.1~h.1~b.1")
        assert world.do(Retry()) == [None]
        resumed = world.names()[world.names().index("execution_resumed") :]
        assert resumed == [
            "execution_resumed",
            "step_reopened:g.1",
            "step_reopened:g.1~h.1",
            "step_reopened:g.1~h.1~b.1",
        ]
        world.complete("g.1~h.1~b.1")
        assert world.status == "completed"
        assert world.output == 5
        assert world.started().count("g.1~h.1~a.1") == 1

    def test_retry_reopens_the_siblings_that_the_error_had_withdrawn(self) -> None:
        nodes = [group("g", [call("a"), node("w", "wait", input_={"signal": "go"})]), call("b")]
        world = World(nodes).start()
        world.fail("g.1~a.1")
        world.do(Retry())
        assert sorted(world.active()) == ["b.1", "g.1", "g.1~a.1", "g.1~w.1"]
        world.signal("go")
        world.complete("b.1")
        world.complete("g.1~a.1")
        assert world.status == "completed"

    def test_retry_goes_on_with_the_variables_that_the_group_had(self) -> None:
        inner = [*pure("s", assign={"n": 8}), call("a"), *pure("z", output="${ vars.n }")]
        world = World([group("g", inner, ["s -> a", "a -> z"], variables={"n": 0})]).start()
        world.fail("g.1~a.1")
        world.do(Retry())
        world.complete("g.1~a.1")
        assert world.output == 8

    def test_retry_of_an_output_that_failed_evaluates_it_again(self) -> None:
        world = World([group("g", [call("a")], output="${ vars.m.x }")], variables={"m": {}}, outcomes={"a": 1}).start()
        assert world.error["type"] == "expression_error"
        world.do(SetVariables({"m": {"x": 4}}), Retry())
        assert world.output == 4
        assert world.calls == ["g.1~a.1"]

    def test_a_pause_lets_nothing_start_inside(self) -> None:
        world = World([group("g", [call("a"), call("b")], ["a -> b"])]).start()
        world.do(Pause())
        world.complete("g.1~a.1")
        assert world.status == "paused/operator"
        assert world.active() == ["g.1"]
        world.do(Resume())
        assert world.active() == ["g.1", "g.1~b.1"]

    def test_cancel_withdraws_the_inner_steps_before_the_outer_ones(self) -> None:
        world = World([group("g", [group("h", [call("a"), node("p", "human")])])]).start()
        assert world.asked == ["g.1~h.1~p.1"]
        world.do(Cancel())
        assert [fact.step for fact in world.all("step_cancelled")] == [
            "g.1~h.1~a.1",
            "g.1~h.1~p.1",
            "g.1~h.1",
            "g.1",
        ]
        assert world.status == "cancelled"
        assert world.asked == []

    def test_a_scope_that_only_waits_pauses_the_execution(self) -> None:
        world = World([group("g", [node("w", "wait", input_={"signal": "go"})])]).start()
        assert world.status == "paused/input"
        (paused,) = world.all("execution_paused")
        assert paused.waiting_for == [
            {"node_id": "w", "step_id": "g.1~w.1", "kind": "signal", "name": "go", "until": None}
        ]


def test_groups_nest_as_deep_as_a_definition_goes() -> None:
    inner: dict[str, Any] = call("leaf")
    for depth in range(20):
        inner = group(f"g{depth}", [inner])
    world = World([inner], outcomes={"leaf": 1}).start()
    assert world.output == 1
    world = World([inner]).start()
    world.fail(world.active()[-1], StepError("boom", "no"))
    assert len(world.all("step_failed")) == 21
    world.do(Retry())
    world.complete(world.active()[-1], 2)
    assert world.output == 2
