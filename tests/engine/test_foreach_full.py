"""foreach: an early end, items that outlive their node, items that come later, groups as items, and size."""

import gc
import time
from typing import Any

import pytest
from world import NOON_AT, World, call, group, node, pure, refused

from workflow_engine.models.command import (
    AddItems,
    Cancel,
    CompleteByHand,
    CompleteStep,
    Pause,
    Resume,
    Retry,
    SetVariables,
    Skip,
    Terminate,
)
from workflow_engine.models.limits import Limits


def each(items: Any = (1, 2, 3), **foreach: Any) -> dict[str, Any]:
    """A call per item."""
    return call("f", foreach={"items": list(items) if isinstance(items, tuple) else items, **foreach})


def cancelled(world: World) -> list[str]:
    return [fact.step for fact in world.all("step_cancelled")]


def test_every_item_sends_its_own_events() -> None:
    world = World(pure("f", foreach={"items": [1, 2]})).start()
    assert world.names()[1:] == [
        "step_started:f.1",
        "step_started:f.1:0",
        "step_completed:f.1:0",
        "step_started:f.1:1",
        "step_completed:f.1:1",
        "step_completed:f.1",
        "execution_completed",
    ]


class TestEarlyEnd:
    def test_complete_after_withdraws_the_remaining_items_which_are_null(self) -> None:
        world = World([each((1, 2, 3, 4), complete_after=2, concurrency=3), *pure("z")], ["f -> z"]).start()
        world.complete("f.1:2", "c")
        assert world.status == "running"
        world.complete("f.1:0", "a")
        assert cancelled(world) == ["f.1:1", "f.1:3"]
        assert world.started()[-1] == "z.1"
        assert world.status == "completed"

    def test_the_list_has_null_for_what_was_withdrawn_or_never_began(self) -> None:
        world = World([each((1, 2, 3, 4), complete_after=1, concurrency=2)]).start()
        world.complete("f.1:1", "b")
        assert world.output == [None, "b", None, None]

    def test_complete_after_counts_no_failed_and_no_skipped_items(self) -> None:
        world = World([each((1, 2, 3, 4), complete_after=1, on_error="continue")]).start()
        world.fail("f.1:0")
        world.do(Skip("f.1:1"))
        assert world.status == "running"
        world.complete("f.1:2", "c")
        assert world.output == [None, None, "c", None]

    def test_it_ends_well_when_no_item_is_left_to_reach_the_number(self) -> None:
        world = World([each((1, 2), complete_after=5)]).start()
        world.complete("f.1:0")
        world.complete("f.1:1")
        assert world.status == "completed"

    def test_complete_after_may_be_an_expression_and_is_fixed_at_the_start(self) -> None:
        world = World([each((1, 2, 3), complete_after="${ vars.n }")], variables={"n": 2}).start()
        world.do(SetVariables({"n": 1}))
        world.complete("f.1:0")
        assert world.status == "running"
        world.complete("f.1:2")
        assert world.status == "completed"

    @pytest.mark.parametrize("enough", [0, 1.5, "2", None])
    def test_a_complete_after_that_is_no_positive_integer_is_an_error_of_the_node(self, enough: Any) -> None:
        world = World([each((1, 2), complete_after="${ input }"), *pure("h")], ["f ->! h"]).start(enough)
        assert world.started() == ["f.1", "h.1"]
        assert "complete_after" in world.view("f")["error"]["message"]

    def test_complete_when_sees_completed_and_vars_and_steps(self) -> None:
        condition = "completed >= vars.enough && steps.s.output == 'yes'"
        nodes = [*pure("s", output="yes"), each((1, 2, 3), complete_when=condition)]
        world = World(nodes, ["s -> f"], variables={"enough": 2}).start()
        world.complete("f.1:0", "a")
        assert world.status == "running"
        world.complete("f.1:2", "c")
        assert world.output == ["a", None, "c"]

    def test_complete_when_is_looked_at_after_a_failed_item_too(self) -> None:
        world = World([each((1, 2, 3), complete_when="completed == 0", on_error="continue")]).start()
        world.fail("f.1:0")
        assert world.output == [None, None, None]

    def test_complete_when_may_read_what_the_items_assign(self) -> None:
        nodes = [
            call("f", foreach={"items": [1, 2, 3], "complete_when": "vars.found"}, assign={"found": "${ output }"})
        ]
        world = World(nodes, variables={"found": False}).start()
        world.complete("f.1:0", False)
        world.complete("f.1:1", True)
        assert world.output == [False, True, None]

    def test_a_complete_when_that_fails_is_an_error_of_the_node(self) -> None:
        nodes = [each((1, 2), complete_when="vars.missing.x"), *pure("h", output="${ [error.type, error.step_id] }")]
        world = World(nodes, ["f ->! h"], variables={"missing": {}}).start()
        world.complete("f.1:0")
        assert world.output == ["expression_error", "f.1"]
        assert cancelled(world) == ["f.1:1"]


class TestRestContinues:
    def test_the_rest_goes_on_while_the_tokens_move_on(self) -> None:
        nodes = [each((1, 2, 3), complete_after=1, rest="continue", concurrency=2), *pure("z")]
        world = World(nodes, ["f -> z"]).start()
        world.complete("f.1:1", "b")
        assert set(world.started()[-2:]) == {"f.1:2", "z.1"}
        assert world.status == "running"
        assert cancelled(world) == []
        world.complete("f.1:0", "a")
        world.complete("f.1:2", "c")
        assert world.status == "completed"

    def test_an_error_of_the_rest_leaves_the_scope(self) -> None:
        nodes = [each((1, 2), complete_after=1, rest="continue"), call("z"), *pure("h")]
        world = World(nodes, ["f -> z", "f ->! h"]).start()
        world.complete("f.1:0")
        world.fail("f.1:1", refused("boom"))
        assert world.status == "failed"
        assert (world.error["type"], world.error["step_id"]) == ("boom", "f.1:1")
        assert "h.1" not in world.started()
        assert cancelled(world) == ["z.1"]


class TestNoWait:
    def test_the_node_completes_at_once_with_null_and_its_items_live_on(self) -> None:
        nodes = [each((1, 2), wait=False), *pure("z", output="${ steps.f.output }")]
        world = World(nodes, ["f -> z"]).start()
        assert world.names()[1:5] == [
            "step_started:f.1",
            "step_completed:f.1",
            "step_started:f.1:0",
            "step_started:f.1:1",
        ]
        assert "z.1" in world.started()
        assert world.status == "running"
        world.complete("f.1:1")
        world.complete("f.1:0")
        assert world.status == "completed"
        assert world.output is None

    def test_the_enclosing_scope_ends_only_when_they_have(self) -> None:
        nodes = [group("g", [each((1, 2), wait=False), *pure("z")], ["f -> z"]), *pure("after")]
        world = World(nodes, ["g -> after"]).start()
        assert "after.1" not in world.started()
        world.complete("g.1~f.1:0")
        world.complete("g.1~f.1:1")
        assert world.started()[-1] == "after.1"

    def test_joins_do_not_wait_for_them(self) -> None:
        nodes = [*pure("s"), each((1,), wait=False), call("b"), *pure("j")]
        world = World(nodes, ["s -> f", "s -> b", "f -> j", "b -> j"]).start()
        world.complete("b.1")
        assert world.started().count("j.1") == 1
        assert world.active() == ["f.1", "f.1:0"]
        world.complete("f.1:0")
        assert world.status == "completed"

    def test_an_item_s_uncaught_error_leaves_the_scope(self) -> None:
        inner = [each((1, 2), wait=False), call("z"), *pure("never")]
        nodes = [group("g", inner, ["f -> z", "f ->! never"]), *pure("h", output="${ error.step_id }")]
        world = World(nodes, ["g ->! h"]).start()
        world.fail("g.1~f.1:0", refused("boom"))
        assert world.output == "g.1~f.1:0"
        assert set(cancelled(world)) == {"g.1~f.1:1", "g.1~z.1"}
        assert "g.1~never.1" not in world.started()

    def test_on_error_continue_passes_their_errors_over(self) -> None:
        world = World([each((1, 2), wait=False, on_error="continue")]).start()
        world.fail("f.1:0")
        world.complete("f.1:1")
        assert world.status == "completed"

    def test_no_items_leave_nothing_behind(self) -> None:
        world = World([each("${ input }", wait=False), *pure("z")], ["f -> z"]).start([])
        assert world.started() == ["f.1", "z.1"]
        assert world.status == "completed"

    def test_the_concurrency_holds_for_them(self) -> None:
        world = World([each((1, 2, 3), wait=False, concurrency=1)]).start()
        for number in range(3):
            assert world.active() == ["f.1", f"f.1:{number}"]
            world.complete(f"f.1:{number}")
        assert world.status == "completed"

    def test_items_that_only_wait_pause_the_execution(self) -> None:
        nodes = [node("w", "wait", input_={"signal": "go"}, foreach={"items": [1, 2], "wait": False}), *pure("z")]
        world = World(nodes, ["w -> z"]).start()
        assert world.status == "paused/input"
        world.signal("go")
        world.signal("go")
        assert world.status == "completed"

    def test_cancel_and_terminate_withdraw_them(self) -> None:
        for command in (Cancel(), Terminate()):
            world = World([each((1, 2), wait=False), *pure("z")], ["f -> z"]).start()
            world.do(command)
            assert world.status == "cancelled"
            assert cancelled(world) == ["f.1:0", "f.1:1"]
            assert world.withdrawn == ["f.1:0", "f.1:1"]

    def test_retry_reopens_the_items_that_were_open(self) -> None:
        world = World([each((1, 2, 3), wait=False, concurrency=2), *pure("z")], ["f -> z"]).start()
        world.complete("f.1:0")
        world.fail("f.1:1")
        assert world.status == "failed"
        world.do(Retry())
        assert set(world.active()) == {"f.1", "f.1:1", "f.1:2"}
        world.complete("f.1:1")
        world.complete("f.1:2")
        assert world.status == "completed"
        assert world.started().count("z.1") == 1


class TestAddItems:
    def test_items_are_added_behind_the_last(self) -> None:
        world = World([each((1, 2), concurrency=1)]).start()
        assert world.do(AddItems("f.1", [3, 4])) == [None]
        assert world.names()[-1] == "items_added:f.1"
        for number in range(4):
            world.complete(f"f.1:{number}", number)
        assert world.output == [0, 1, 2, 3]

    def test_they_see_themselves_and_their_index(self) -> None:
        nodes = [node("p", "human", input_={"title": "${ item } ${ index }"}, foreach={"items": ["a"]})]
        world = World(nodes).start()
        world.do(AddItems("p.1", ["b"]))
        assert world.state.steps["p.1:1"].input["title"] == "b 1"

    def test_they_start_at_once_where_there_is_room(self) -> None:
        world = World([each((1,))]).start()
        world.do(AddItems("f.1", [2, 3]))
        assert world.active() == ["f.1", "f.1:0", "f.1:1", "f.1:2"]

    def test_they_wait_for_an_operator_s_resume(self) -> None:
        world = World([each((1,))]).start()
        world.do(Pause())
        world.do(AddItems("f.1", [2]))
        assert world.active() == ["f.1", "f.1:0"]
        world.do(Resume())
        assert world.active() == ["f.1", "f.1:0", "f.1:1"]

    def test_no_items_change_nothing(self) -> None:
        world = World([each((1,))]).start()
        before = len(world.facts)
        assert world.do(AddItems("f.1", [])) == [None]
        assert len(world.facts) == before

    def test_a_foreach_that_waits_not_takes_items_while_one_lives(self) -> None:
        world = World([each((1,), wait=False)]).start()
        assert world.do(AddItems("f.1", [2])) == [None]
        world.complete("f.1:0")
        world.complete("f.1:1")
        assert world.status == "completed"
        assert world.do(AddItems("f.1", [3]))[0].code == "ended"

    @pytest.mark.parametrize(("step", "code"), [("f.1:0", "no_foreach"), ("f.2", "not_active"), ("b.1", "no_foreach")])
    def test_only_an_active_foreach_takes_items(self, step: str, code: str) -> None:
        world = World([each((1,)), call("b")]).start()
        assert world.do(AddItems(step, [2]))[0].code == code

    def test_one_that_has_ended_early_takes_no_more(self) -> None:
        world = World([each((1, 2), complete_after=1, rest="continue")]).start()
        world.complete("f.1:0")
        assert world.do(AddItems("f.1", [3]))[0].code == "not_active"

    def test_items_that_are_too_large_are_refused(self) -> None:
        world = World([each((1,))], limits=Limits(payload_bytes_max=100)).start()
        assert world.do(AddItems("f.1", ["x" * 100]))[0].code == "payload_too_large"


class TestGroupsAsItems:
    def test_each_item_has_a_scope_and_results_are_in_item_order(self) -> None:
        inner = [call("a"), *pure("b", output="${ [item, steps.a.output] }")]
        world = World([group("g", inner, ["a -> b"], foreach={"items": ["x", "y"]})]).start()
        world.complete("g.1:1~a.1", 2)
        world.complete("g.1:0~a.1", 1)
        assert world.output == [["x", 1], ["y", 2]]
        assert world.state.scopes.keys() == {""}

    def test_a_failed_item_withdraws_all_inside_of_the_others(self) -> None:
        inner = [call("a"), node("w", "wait", input_={"signal": "go"})]
        world = World([group("g", inner, foreach={"items": [1, 2]})]).start()
        world.fail("g.1:0~a.1", refused("boom"))
        assert [fact.step for fact in world.all("step_failed")] == ["g.1:0~a.1", "g.1:0", "g.1"]
        assert cancelled(world) == ["g.1:0~w.1", "g.1:1~a.1", "g.1:1~w.1", "g.1:1"]
        assert world.error["step_id"] == "g.1:0~a.1"

    def test_on_error_continue_makes_it_null(self) -> None:
        inner = [call("a"), node("w", "wait", input_={"signal": "go"})]
        foreach = {"items": [1, 2], "on_error": "continue"}
        world = World([group("g", inner, foreach=foreach, output="${ steps.a.output }")]).start()
        world.fail("g.1:0~a.1")
        world.complete("g.1:1~a.1", 2)
        world.signal("go")
        assert world.output == [None, 2]
        assert [fact.step for fact in world.all("step_failed")] == ["g.1:0~a.1", "g.1:0"]

    def test_each_item_is_tried_again_by_itself(self) -> None:
        retry = {"max_attempts": 2, "initial": "1s", "jitter": 0}
        world = World([group("g", [call("a")], foreach={"items": [1, 2]}, retry=retry)]).start()
        world.fail("g.1:0~a.1")
        world.complete("g.1:1~a.1", "second")
        world.run_clock()
        assert world.active() == ["g.1", "g.1:0", "g.1:0~a.2"]
        world.complete("g.1:0~a.2", "first")
        assert world.output == ["first", "second"]

    def test_each_item_has_its_own_timeout(self) -> None:
        foreach = {"items": [1, 2], "concurrency": 1, "on_error": "continue"}
        world = World([group("g", [call("a")], foreach=foreach, timeout="1h")]).start()
        world.wait(3600)
        assert world.active() == ["g.1", "g.1:1", "g.1:1~a.1"]
        assert world.state.steps["g.1:1"].timeout_at == NOON_AT + 7_200_000_000

    def test_retry_reopens_the_inner_step_of_the_failed_item_and_what_was_withdrawn(self) -> None:
        inner = [call("a"), call("b")]
        world = World([group("g", inner, ["a -> b"], foreach={"items": [1, 2, 3], "concurrency": 2})]).start()
        world.complete("g.1:0~a.1")
        world.complete("g.1:1~a.1")
        world.fail("g.1:0~b.1")
        world.do(Retry())
        assert set(world.active()) == {"g.1", "g.1:0", "g.1:0~b.1", "g.1:1", "g.1:1~b.1"}
        world.complete("g.1:1~b.1", 1)
        world.complete("g.1:0~b.1", 0)
        world.complete("g.1:2~a.1")
        world.complete("g.1:2~b.1", 2)
        assert world.output == [0, 1, 2]
        assert world.calls.count("g.1:1~a.1") == 1

    def test_an_end_ends_the_item_alone(self) -> None:
        inner = [*pure("s"), node("stop", "end"), call("a")]
        ways = ["s -> stop if item == 1", "s -> a else"]
        world = World([group("g", inner, ways, foreach={"items": [1, 2]})]).start()
        world.complete("g.1:1~a.1", 2)
        assert world.output == [None, 2]

    def test_by_hand_an_item_or_all_of_them(self) -> None:
        world = World([group("g", [call("a")], foreach={"items": [1, 2, 3]})]).start()
        world.do(CompleteByHand("g.1:0", "by hand"))
        world.do(Skip("g.1:1"))
        world.complete("g.1:2~a.1", 3)
        assert world.output == ["by hand", None, 3]
        assert cancelled(world) == ["g.1:0~a.1", "g.1:1~a.1"]

    def test_nested_foreach_groups(self) -> None:
        inner = group("h", pure("a", output="${ row * 10 + item }"), foreach={"items": [1, 2]})
        world = World([group("g", [inner], foreach={"items": [1, 2], "as": "row"})]).start()
        assert world.output == [[11, 12], [21, 22]]


def seconds_per_item(count: int) -> float:
    """What an item of a foreach of groups costs, from its start to its end, its group's inner call included."""
    inner = [call("a"), *pure("b", output="${ item }")]
    nodes = [group("g", inner, ["a -> b"], foreach={"items": "${ input }", "concurrency": 100})]
    world = World(nodes, is_folded=False)
    gc.collect()
    began = time.process_time()
    world.start(list(range(count)))
    while world.under_way:
        calls, world.under_way = world.under_way, {}
        world.decide(*(CompleteStep(step, *call, 0) for step, call in calls.items()))
    took = time.process_time() - began
    assert world.output == list(range(count))
    return took / count


def test_the_cost_of_an_item_does_not_grow_with_their_number() -> None:
    few, many = (min(seconds_per_item(count) for _ in range(2)) for count in (2_000, 10_000))
    assert many < 3 * few, f"{few * 1e6:.0f} us per item of 2,000, {many * 1e6:.0f} us per item of 10,000"


def test_a_hundred_thousand_items_are_never_active_at_once() -> None:
    world = World([call("f", foreach={"items": "${ lists.range(100000) }", "concurrency": 50})], is_folded=False)
    world.start()
    most = 0
    for _ in range(200):
        most = max(most, len(world.active()))
        for step in list(world.under_way):
            world.complete(step)
    assert most == 51
    assert world.state.steps["f.1"].finished == 200 * 50
