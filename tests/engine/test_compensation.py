"""compensate: what was completed is undone, the latest first."""

from typing import Any

import pytest
from world import World, call, connection, group, node, pure, refused

from workflow_engine.engine.working import Working
from workflow_engine.models.command import (
    Cancel,
    CompleteByHand,
    CompleteStep,
    Pause,
    Recover,
    Resume,
    Retry,
    Skip,
    Start,
    Terminate,
)


def undo(name: str, **arguments: str) -> dict[str, Any]:
    """A call that undoes, with these arguments."""
    return call(name) | {"with": {"name": "undo", "arguments": arguments}}


def trip(**fields: Any) -> World:
    """A flight, then a hotel, then a call that may fail; both can be undone."""
    nodes = [
        call("flight", compensate="no_flight"),
        call("hotel", compensate="no_hotel"),
        call("pay"),
        undo("no_flight", of="${ output }"),
        undo("no_hotel", of="${ output }"),
    ]
    outcomes = {"flight": "F", "hotel": "H"}
    return World(
        nodes, ["flight -> hotel", "hotel -> pay"], outcomes=outcomes, on_failure="compensate", **fields
    ).start()


def test_completed_steps_are_undone_in_reverse_order_each_with_its_own_output() -> None:
    world = trip()
    world.fail("pay.1", refused("boom"))
    assert world.status == "running"
    assert world.active() == ["no_hotel.1"]
    assert world.state.steps["no_hotel.1"].input["arguments"] == {"of": "H"}
    world.complete("no_hotel.1")
    assert world.state.steps["no_flight.1"].input["arguments"] == {"of": "F"}
    world.complete("no_flight.1")
    assert world.names()[world.names().index("step_failed:pay.1") :] == [
        "step_failed:pay.1",
        "compensation_started",
        "step_started:no_hotel.1",
        "step_completed:no_hotel.1",
        "step_started:no_flight.1",
        "step_completed:no_flight.1",
        "execution_failed",
    ]
    assert world.error["type"] == "boom"
    assert "compensation" not in world.error
    assert [world.view(name)["status"] for name in ("flight", "hotel", "pay")] == [
        "compensated",
        "compensated",
        "failed",
    ]
    assert [fact.undoes for fact in world.all("step_started") if fact.undoes] == ["hotel.1", "flight.1"]
    assert world.all("compensation_started")[0].steps == ["hotel.1", "flight.1"]


def test_the_order_is_that_of_completion_and_not_of_the_document() -> None:
    nodes = [call("a", compensate="u"), call("b", compensate="u"), call("x"), undo("u", of="${ output }")]
    world = World(nodes, on_failure="compensate").start()
    world.complete("b.1", "B")
    world.complete("a.1", "A")
    world.fail("x.1")
    undone = []
    while world.active():
        step = world.active()[0]
        undone.append((step, world.state.steps[step].input["arguments"]["of"]))
        world.complete(step)
    assert undone == [("u.1", "A"), ("u.2", "B")]


def test_what_undoes_stands_outside_of_the_normal_flow() -> None:
    world = trip()
    world.complete("pay.1", "paid")
    assert world.status == "completed"
    assert world.started() == ["flight.1", "hotel.1", "pay.1"]


def test_without_on_failure_nothing_is_undone() -> None:
    world = World([call("a", compensate="u"), undo("u"), call("b")], ["a -> b"], outcomes={"a": 1}).start()
    world.fail("b.1")
    assert world.status == "failed"
    assert world.started() == ["a.1", "b.1"]


def test_an_error_that_is_caught_undoes_nothing() -> None:
    nodes = [call("a", compensate="u"), undo("u"), call("b"), *pure("h")]
    world = World(nodes, ["a -> b", "b ->! h"], outcomes={"a": 1}, on_failure="compensate").start()
    world.fail("b.1")
    assert world.status == "completed"


def test_steps_that_failed_or_were_withdrawn_or_skipped_are_not_undone() -> None:
    nodes = [call("a", compensate="u"), call("b", compensate="u"), call("c", compensate="u"), undo("u"), call("x")]
    world = World(nodes, on_failure="compensate").start()
    world.do(Skip("c.1"))
    world.complete("a.1")
    world.fail("x.1")
    assert world.all("compensation_started")[0].steps == ["a.1"]


def test_what_was_completed_by_hand_is_undone() -> None:
    world = World(
        [call("a", compensate="u"), undo("u", of="${ output }"), call("b")], ["a -> b"], on_failure="compensate"
    )
    world.start()
    world.do(CompleteByHand("a.1", "by hand"))
    world.fail("b.1")
    assert world.state.steps["u.1"].input["arguments"] == {"of": "by hand"}


def test_nothing_to_undo_is_a_plain_failure_that_can_be_retried() -> None:
    world = World([call("a", compensate="u"), undo("u")], on_failure="compensate").start()
    world.fail("a.1")
    assert world.status == "failed"
    assert world.all("compensation_started") == []
    world.do(Retry())
    world.complete("a.1", 1)
    assert world.output == 1


def test_what_was_undone_can_not_be_retried() -> None:
    world = trip()
    world.fail("pay.1")
    world.complete("no_hotel.1")
    world.complete("no_flight.1")
    assert world.do(Retry())[0].code == "nothing_to_retry"


class TestFailures:
    def test_one_does_not_stop_the_others_and_is_told_in_the_error(self) -> None:
        world = trip()
        world.fail("pay.1", refused("boom"))
        world.fail("no_hotel.1", refused("closed", "no answer"))
        assert world.active() == ["no_flight.1"]
        world.complete("no_flight.1")
        assert world.status == "failed"
        assert world.error["type"] == "boom"
        (failure,) = world.error["compensation"]
        assert (failure["type"], failure["step_id"]) == ("closed", "no_hotel.1")
        assert world.view("hotel")["status"] == "completed"
        assert world.view("flight")["status"] == "compensated"

    def test_it_has_the_attempts_of_its_node(self) -> None:
        nodes = [call("a", compensate="u"), {**undo("u"), "retry": {"max_attempts": 2}}, call("b")]
        world = World(nodes, ["a -> b"], outcomes={"a": 1}, on_failure="compensate").start()
        world.fail("b.1")
        world.fail("u.1")
        assert world.status == "running"
        world.run_clock()
        world.complete("u.1")
        assert "compensation" not in world.error

    def test_an_input_that_can_not_be_evaluated_is_one_of_them(self) -> None:
        nodes = [call("a", compensate="u"), undo("u", of="${ output.missing }"), call("b")]
        world = World(nodes, ["a -> b"], outcomes={"a": {}}, on_failure="compensate").start()
        world.fail("b.1")
        assert world.error["compensation"][0]["type"] == "expression_error"

    def test_a_timeout_of_what_undoes_is_one_of_them(self) -> None:
        nodes = [call("a", compensate="u"), node("u", "wait", input_={"signal": "undone"}, timeout="1h"), call("b")]
        world = World(nodes, ["a -> b"], outcomes={"a": 1}, on_failure="compensate").start()
        world.fail("b.1")
        assert world.status == "paused/input"
        world.run_clock()
        assert world.error["compensation"][0]["type"] == "timeout"


class TestNames:
    def test_item_and_index_of_what_is_undone(self) -> None:
        nodes = [
            call("seat", foreach={"items": ["x", "y"], "as": "place"}, compensate="free"),
            undo("free", of="${ [place, index, output] }"),
            node("stop", "fail", input_={"type": "full"}),
        ]
        world = World(nodes, ["seat -> stop"], outcomes={"seat": lambda step: step.index * 10}, on_failure="compensate")
        world.start()
        assert world.state.steps["free.1"].input["arguments"] == {"of": ["y", 1, 10]}
        world.complete("free.1")
        assert world.state.steps["free.2"].input["arguments"] == {"of": ["x", 0, 0]}
        world.complete("free.2")
        assert world.error["type"] == "full"

    def test_the_iteration_of_what_is_undone(self) -> None:
        nodes = [call("a", repeat={"max": 2}, compensate="u"), undo("u", of="${ iteration }"), node("stop", "fail")]
        world = World(nodes, ["a -> stop"], outcomes={"a": None}, on_failure="compensate").start()
        seen = []
        while world.active():
            step = world.active()[0]
            seen.append(world.state.steps[step].input["arguments"]["of"])
            world.complete(step)
        assert seen == [1, 0]

    def test_the_item_of_a_group_around_it_though_the_group_is_over(self) -> None:
        inner = [call("a", compensate="u"), undo("u", of="${ [item, output] }")]
        nodes = [group("g", inner, foreach={"items": ["x", "y"]}), node("stop", "fail")]
        world = World(nodes, ["g -> stop"], outcomes={"a": lambda step: step.step_id}, on_failure="compensate").start()
        assert world.active() == ["g.1:1~u.1"]
        assert world.state.steps["g.1:1~u.1"].input["arguments"] == {"of": ["y", "g.1:1~a.1"]}
        world.complete("g.1:1~u.1")
        world.complete("g.1:0~u.1")
        assert world.status == "failed"
        assert world.state.scopes.keys() == {""}

    def test_variables_and_input_are_there(self) -> None:
        nodes = [call("a", compensate="u"), undo("u", of="${ [input, vars.x] }"), call("b")]
        world = World(nodes, ["a -> b"], variables={"x": 1}, outcomes={"a": 1}, on_failure="compensate").start("in")
        world.fail("b.1")
        assert world.state.steps["u.1"].input["arguments"] == {"of": ["in", 1]}


class TestGroups:
    def test_several_steps_of_one_group_that_is_over(self) -> None:
        inner = [call("a", compensate="ua"), undo("ua"), call("b", compensate="ub"), undo("ub")]
        nodes = [group("g", inner, ["a -> b"]), node("stop", "fail")]
        world = World(nodes, ["g -> stop"], outcomes={"a": 1, "b": 2}, on_failure="compensate").start()
        world.complete("g.1~ub.1")
        world.complete("g.1~ua.1")
        assert world.status == "failed"
        assert world.started()[-2:] == ["g.1~ub.1", "g.1~ua.1"]

    def test_a_group_that_failed_in_its_middle(self) -> None:
        inner = [call("a", compensate="u"), undo("u"), call("b")]
        world = World([group("g", inner, ["a -> b"])], outcomes={"a": 1}, on_failure="compensate").start()
        world.fail("g.1~b.1")
        assert world.active() == ["g.1~u.1"]
        world.complete("g.1~u.1")
        assert world.status == "failed"

    def test_a_group_may_be_undone_as_a_whole_and_may_undo(self) -> None:
        back = group("back", [undo("first"), undo("second")], ["first -> second"])
        nodes = [group("g", [call("a")], compensate="back", output="made"), back, node("stop", "fail")]
        world = World(nodes, ["g -> stop"], outcomes={"a": 1}, on_failure="compensate").start()
        assert world.active() == ["back.1", "back.1~first.1"]
        world.complete("back.1~first.1")
        world.complete("back.1~second.1")
        assert world.status == "failed"
        assert world.view("g")["status"] == "compensated"

    def test_an_attempt_of_a_group_that_begins_anew_is_undone_too(self) -> None:
        inner = [call("a", compensate="u"), undo("u", of="${ output }"), call("b")]
        retry = {"max_attempts": 2, "initial": "1s"}
        outcomes = {"a": lambda step: step.step_id, "b": refused()}
        world = World([group("g", inner, ["a -> b"], retry=retry)], outcomes=outcomes, on_failure="compensate").start()
        world.run_clock()
        assert world.all("compensation_started")[0].steps == ["g.1~a.2", "g.1~a.1"]
        world.complete("g.1~u.1")
        world.complete("g.1~u.2")
        assert world.status == "failed"


class TestOperator:
    def test_cancel_undoes_if_asked(self) -> None:
        world = trip()
        world.do(Cancel(reason="too late", compensate=True))
        assert world.withdrawn == ["pay.1"]
        world.complete("no_hotel.1")
        world.complete("no_flight.1")
        assert world.status == "cancelled"
        assert world.all("execution_cancelled")[0].reason == "too late"

    def test_cancel_undoes_nothing_by_default(self) -> None:
        world = trip()
        world.do(Cancel())
        assert world.status == "cancelled"
        assert world.calls == ["flight.1", "hotel.1", "pay.1"]

    def test_a_cancel_whose_compensation_fails_ends_failed(self) -> None:
        world = trip()
        world.do(Cancel(reason="too late", compensate=True))
        world.fail("no_hotel.1", refused("closed"))
        world.complete("no_flight.1")
        assert world.status == "failed"
        assert (world.error["type"], world.error["message"]) == ("cancelled", "too late")
        assert [failure["type"] for failure in world.error["compensation"]] == ["closed"]

    def test_cancel_without_on_failure_undoes_too(self) -> None:
        world = World([call("a", compensate="u"), undo("u"), call("b")], ["a -> b"], outcomes={"a": 1}).start()
        world.do(Cancel(compensate=True))
        assert world.active() == ["u.1"]

    def test_cancel_with_nothing_to_undo_ends_at_once(self) -> None:
        world = World([call("a", compensate="u"), undo("u")]).start()
        world.do(Cancel(compensate=True))
        assert world.status == "cancelled"

    def test_terminate_undoes_nothing_and_stops_what_undoes(self) -> None:
        world = trip()
        world.do(Terminate())
        assert world.status == "cancelled"
        assert world.started() == ["flight.1", "hotel.1", "pay.1"]
        world = trip()
        world.fail("pay.1")
        assert world.do(Cancel())[0].code == "compensating"
        world.do(Terminate())
        assert world.status == "cancelled"
        assert world.withdrawn == ["no_hotel.1"]

    def test_a_pause_starts_no_further_undoing(self) -> None:
        world = trip()
        world.fail("pay.1")
        world.do(Pause())
        world.complete("no_hotel.1")
        assert world.active() == []
        world.do(Resume())
        assert world.active() == ["no_flight.1"]

    def test_a_restart_goes_on_where_it_stood(self) -> None:
        world = trip()
        world.fail("pay.1")
        world.working = Working(world.graph, world.folded(), world.limits)
        world.state = world.working.state
        (effect,) = world.decide(Recover()).effects
        assert effect.step == "no_hotel.1"
        world.complete("no_hotel.1")
        world.complete("no_flight.1")
        assert world.status == "failed"

    def test_a_late_result_of_the_flow_changes_nothing(self) -> None:
        world = World([call("a", compensate="u"), undo("u"), call("b"), call("c")], on_failure="compensate").start()
        world.complete("a.1")
        world.fail("b.1")
        assert world.do(CompleteStep("c.1", 1, 0, None))[0].code == "stale"
        assert world.active() == ["u.1"]


class TestEnds:
    def test_an_end_that_failed_is_a_failure(self) -> None:
        nodes = [call("a", compensate="u"), undo("u"), node("e", "end", input_={"status": "failed", "message": "no"})]
        world = World(nodes, ["a -> e"], outcomes={"a": 1}, on_failure="compensate").start()
        assert world.active() == ["u.1"]
        world.complete("u.1")
        assert (world.status, world.error["message"]) == ("failed", "no")

    @pytest.mark.parametrize("terminate", [True, False])
    def test_an_end_that_was_cancelled_is_none(self, terminate: bool) -> None:
        end = node("e", "end", input_={"status": "cancelled", "terminate": terminate})
        world = World(
            [call("a", compensate="u"), undo("u"), end], ["a -> e"], outcomes={"a": 1}, on_failure="compensate"
        )
        world.start()
        assert world.status == "cancelled"
        assert world.started() == ["a.1", "e.1"]

    def test_a_failed_end_that_terminates_is_a_failure(self) -> None:
        end = node("e", "end", input_={"status": "failed", "terminate": True})
        world = World(
            [call("a", compensate="u"), undo("u"), end], ["a -> e"], outcomes={"a": 1}, on_failure="compensate"
        )
        world.start()
        assert world.active() == ["u.1"]

    def test_a_deadlock_is_a_failure(self) -> None:
        nodes = [call("a", compensate="u"), undo("u"), *pure("b"), *pure("j", join="all")]
        ways: list[Any] = ["a -> j", connection("a -> b if false"), "b -> j"]
        world = World(nodes, ways, outcomes={"a": 1}, on_failure="compensate").start()
        assert world.active() == ["u.1"]
        world.complete("u.1")
        assert world.error["type"] == "deadlock"


def test_a_step_whose_input_failed_at_the_start_undoes_nothing() -> None:
    world = World([call("a", compensate="u"), undo("u")], on_failure="compensate", timeout="${ input.t }")
    world.decide(Start("flow", 1, {}))
    assert world.status == "failed"
