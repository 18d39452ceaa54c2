"""Control from outside: pause, resume, cancel, terminate, retry; ends, timeouts and limits."""

from typing import Any

import pytest
from world import NOON_AT, World, call, connection, node, pure, refused

from workflow_engine.engine.working import Working
from workflow_engine.models.command import (
    Abort,
    Cancel,
    CompleteStep,
    FireTimers,
    Pause,
    Recover,
    Resume,
    Retry,
    SetVariables,
    Signal,
    Start,
    Terminate,
)
from workflow_engine.models.effect import Dispatch
from workflow_engine.models.instant import MICROSECONDS
from workflow_engine.models.limits import Limits


def code(world: World, command: Any) -> str | None:
    """Why a command is rejected."""
    rejection = world.do(command)[0]
    return rejection.code if rejection is not None else None


# --- pause and resume


def test_a_paused_execution_records_what_ends_and_starts_nothing() -> None:
    world = World([call("a"), call("b")], ["a -> b"]).start()
    world.do(Pause())
    assert world.status == "paused/operator"
    world.complete("a.1", 1)
    assert world.view("a")["status"] == "completed"
    assert world.active() == []
    world.do(Resume())
    assert world.status == "running"
    assert world.active() == ["b.1"]


def test_timers_and_signals_complete_their_waits_while_an_operator_pauses() -> None:
    nodes = [node("t", "wait", input_={"for": "5s"}), node("w", "wait", input_={"signal": "go"}), *pure("x", "y")]
    world = World(nodes, ["t -> x", "w -> y"]).start()
    world.do(Pause())
    world.wait(5)
    world.signal("go")
    assert world.active() == []
    assert world.status == "paused/operator"
    assert world.started() == ["t.1", "w.1"]
    world.do(Resume())
    assert world.status == "completed"


def test_a_back_off_that_ends_during_a_pause_waits_for_the_resume() -> None:
    world = World([call("a", retry={"max_attempts": 2, "initial": "1s", "jitter": 0})]).start()
    world.fail("a.1")
    world.do(Pause())
    assert world.working.next_due_at() is None
    world.wait(60)
    assert world.calls == ["a.1"]
    world.do(Resume())
    assert world.calls == ["a.1", "a.1"]


def test_a_pause_while_it_waits_becomes_the_operators() -> None:
    world = World([node("w", "wait", input_={"signal": "go"})]).start()
    world.do(Pause())
    assert [fact.reason for fact in world.all("execution_paused")] == ["input", "operator"]
    world.do(Resume())
    assert world.status == "paused/input"


def test_resume_without_an_operators_pause_is_rejected() -> None:
    assert code(World([call("a")]).start(), Resume()) == "not_paused"
    assert code(World([node("w", "wait", input_={"for": "1h"})]).start(), Resume()) == "not_paused"


def test_a_second_pause_is_rejected() -> None:
    world = World([call("a")]).start()
    world.do(Pause())
    assert code(world, Pause()) == "already_paused"


def test_a_failure_ends_a_paused_execution() -> None:
    world = World([call("a")]).start()
    world.do(Pause())
    world.fail("a.1")
    assert world.status == "failed"
    assert not world.state.is_operator_paused


# --- cancel, terminate, abort


@pytest.mark.parametrize("command", [Cancel("enough"), Terminate("enough")])
def test_cancel_and_terminate_withdraw_everything(command: Any) -> None:
    nodes = [call("a"), node("h", "human"), node("w", "wait", input_={"for": "1h"}), call("f", foreach={"items": [1]})]
    world = World(nodes).start()
    world.do(command)
    assert world.status == "cancelled"
    assert world.active() == []
    assert sorted(world.withdrawn) == ["a.1", "f.1:0"]
    assert world.asked == []
    assert world.names()[-1] == "execution_cancelled"
    assert world.all("execution_cancelled")[0].reason == "enough"
    assert world.working.next_due_at() is None


def test_a_delayed_execution_can_be_cancelled_before_it_begins() -> None:
    world = World([call("a")]).start(delay_s=60)
    world.do(Cancel())
    world.wait(60)
    assert world.status == "cancelled"
    assert world.calls == []


@pytest.mark.parametrize(
    "command", [Cancel(), Terminate(), Pause(), Resume(), Retry(), Signal("go"), SetVariables({"n": 1})]
)
def test_an_ended_execution_takes_no_commands(command: Any) -> None:
    world = World(pure("a")).start()
    assert code(world, command) == "ended"
    assert world.names()[-1] == "execution_completed"


def test_the_first_end_of_a_burst_wins() -> None:
    world = World([call("a")]).start()
    first, second, third = world.do(CompleteStep("a.1", 1, 0, 1), Cancel(), Terminate())
    assert (first, second) == (None, None)
    assert third is not None
    assert world.status == "cancelled"


def test_what_does_not_exist_takes_no_commands_and_starts_once() -> None:
    world = World([call("a")])
    assert code(world, Cancel()) == "not_started"
    world.start()
    assert code(world, Start("flow", 1)) == "already_started"


def test_abort_fails_the_execution_with_the_engines_error() -> None:
    world = World([call("a")]).start()
    world.do(Abort(refused("internal", "a bug")))
    assert world.status == "failed"
    assert world.error["type"] == "internal"
    assert set(world.error) == {"type", "message", "details", "node", "step_id", "attempt"}


# --- end nodes


@pytest.mark.parametrize(
    ("statuses", "status"),
    [
        (["completed", "completed"], "completed"),
        (["failed", "completed"], "failed"),
        (["failed", "cancelled"], "cancelled"),
        (["cancelled", "failed"], "cancelled"),
    ],
)
def test_the_worst_end_of_a_path_decides_when_all_paths_have_ended(statuses: list[str], status: str) -> None:
    nodes = [call("a"), *(node(f"e{index}", "end", input_={"status": kind}) for index, kind in enumerate(statuses))]
    world = World([*nodes], ["a -> e1"]).start()
    assert world.status == "running"
    world.complete("a.1")
    assert world.status == status


def test_an_end_that_fails_gives_its_message_and_its_node() -> None:
    nodes = [node("bad", "end", input_={"status": "failed", "message": "not ${ input }"}), call("a")]
    world = World(nodes).start("approved")
    world.complete("a.1")
    assert (world.error["type"], world.error["message"], world.error["node"]) == ("failed", "not approved", "bad")


def test_a_message_of_an_end_may_be_any_value() -> None:
    world = World([node("bad", "end", input_={"status": "failed", "message": "${ {'n': 1} }"})]).start()
    assert world.error["message"] == '{"n":1}'


@pytest.mark.parametrize("input_", [{"status": "${ input }"}, {"terminate": "${ input }"}])
def test_an_end_whose_fields_make_no_sense_is_an_expression_error(input_: dict[str, Any]) -> None:
    error = World([node("e", "end", input_=input_)]).start("done").error
    assert error["type"] == "expression_error"
    assert next(iter(input_)) in error["message"]


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_terminate_ends_the_whole_execution_at_once(status: str) -> None:
    nodes = [call("a"), node("e", "end", input_={"status": status, "terminate": True, "message": "so"}), *pure("h")]
    world = World(nodes, ["e ->! h"]).start()
    assert world.status == status
    assert world.withdrawn == ["a.1"]
    assert "h.1" not in world.started()
    if status == "failed":
        assert (world.error["message"], world.error["node"]) == ("so", "e")


def test_an_execution_that_an_end_node_failed_has_nothing_to_retry() -> None:
    world = World([node("e", "end", input_={"status": "failed"})]).start()
    assert code(world, Retry()) == "nothing_to_retry"


# --- start, delay, timeouts, limits


def test_a_delayed_execution_is_pending_until_it_is_due() -> None:
    world = World([call("a")]).start(delay_s=10)
    assert world.status == "pending"
    assert world.names() == []
    assert code(world, Pause()) == "pending"
    world.wait(9)
    assert world.status == "pending"
    world.wait(1)
    assert world.status == "running"
    assert world.state.started_at == NOON_AT + 10 * MICROSECONDS


def test_variables_patched_before_a_delayed_start_count() -> None:
    world = World(pure("a", output="${ vars }"), variables={"n": 1, "m": 2}).start(delay_s=10, variables={"m": 3})
    world.do(SetVariables({"n": 7}))
    world.wait(10)
    assert world.output == {"n": 7, "m": 3}


def test_variables_patched_in_the_very_transition_of_the_start_count() -> None:
    world = World(pure("a", output="${ vars.n }", assign={"m": 1}), variables={"n": 1}).start(delay_s=10)
    world.now += 10 * MICROSECONDS
    world.do(SetVariables({"n": 7}), FireTimers())
    assert world.output == 7
    assert world.state.variables == {"n": 7, "m": 1}


def test_the_first_values_of_variables_may_be_expressions_that_a_start_overrides() -> None:
    world = World(pure("a"), variables={"n": "${ input.n * 2 }", "m": 1}).start({"n": 4}, variables={"m": 5})
    assert world.state.variables == {"n": 8, "m": 5}


def test_first_values_that_fail_fail_the_execution_that_has_started() -> None:
    world = World(pure("a"), variables={"n": "${ input.n }"}).start({})
    assert world.names() == ["execution_started", "execution_failed"]
    assert world.error["type"] == "expression_error"


def test_an_execution_that_takes_too_long_fails_with_timeout() -> None:
    world = World([call("a")], timeout="1h").start()
    world.wait(3600)
    assert world.status == "failed"
    assert world.error["type"] == "timeout"
    assert world.withdrawn == ["a.1"]


def test_a_timeout_that_is_none_fails_the_execution() -> None:
    assert World([call("a")], timeout="${ input }").start(5).error["type"] == "expression_error"
    assert World([call("a")], timeout="${ input.no }").start({}).error["type"] == "expression_error"


def test_max_steps_ends_a_runaway_and_nothing_catches_it() -> None:
    world = World(pure("a", "h"), ["a -> a", "a ->! h"], start=["a"], limits=Limits(max_steps=10)).start()
    assert world.status == "failed"
    assert world.error["type"] == "limit_exceeded"
    assert world.error["details"] == {"limit": "max_steps", "max": 10}
    assert len(world.started()) == 10


def test_max_steps_counts_items_and_joins_that_were_not_enabled() -> None:
    items = World(pure("a", foreach={"items": [1, 2, 3]}), limits=Limits(max_steps=3)).start()
    assert items.error["type"] == "limit_exceeded"
    assert items.started() == ["a.1", "a.1:0", "a.1:1"]
    nodes = [*pure("s", "a", "b"), *pure("j", join="all")]
    join = World(nodes, ["s -> a", "s -> b if false", "a -> j", "b -> j"], limits=Limits(max_steps=2)).start()
    assert join.error["type"] == "limit_exceeded"


def test_a_count_join_that_the_limit_stops_leaves_no_debt() -> None:
    nodes = [*pure("s"), call("a"), call("b"), *pure("j", join={"count": 1})]
    world = World(nodes, ["s -> a", "s -> b", "a -> j", "b -> j"], limits=Limits(max_steps=3)).start()
    world.complete("a.1")
    assert world.error["type"] == "limit_exceeded"
    assert world.state.scopes[""].owed == {}


def test_a_transition_is_bounded_and_says_that_work_is_left() -> None:
    nodes = pure("a", assign={"n": "${ vars.n + 1 }"})
    world = World(nodes, ["a -> a if vars.n < 2500"], start=["a"], variables={"n": 0}, is_folded=False).start()
    assert world.state.variables == {"n": 2500}
    assert len(world.log) == 3
    counts = [encoded.count(b"step_started") for _, encoded in world.log]
    assert counts == [1000, 1000, 500]


def test_a_transition_is_bounded_by_expression_units_too() -> None:
    nodes = pure("a", assign={"n": "${ vars.n + 1 }"})
    limits = Limits(transition_units_max=500)
    world = World(nodes, ["a -> a if vars.n < 200"], start=["a"], variables={"n": 0}, limits=limits).start()
    assert len(world.log) > 5


# --- retry


def test_retry_reopens_the_failed_step_in_place_as_a_new_generation() -> None:
    world = World([call("a"), *pure("z")], ["a -> z"]).start()
    world.fail("a.1")
    world.do(Retry())
    assert world.status == "running"
    assert world.state.error is None
    assert world.under_way == {"a.1": (1, 1)}
    assert world.names()[-2:] == ["execution_resumed", "step_reopened:a.1"]
    world.complete("a.1", 5)
    assert world.status == "completed"
    assert world.started() == ["a.1", "z.1"]


def test_a_result_of_the_old_generation_is_stale() -> None:
    world = World([call("a")]).start()
    world.fail("a.1")
    world.do(Retry())
    assert code(world, CompleteStep("a.1", 1, 0, "zombie")) == "stale"
    world.complete("a.1", "fresh")
    assert world.output == "fresh"


def test_retry_reopens_the_siblings_that_the_error_had_withdrawn() -> None:
    nodes = [call("a"), call("b"), node("h", "human"), node("w", "wait", input_={"for": "1h"}), *pure("j")]
    world = World(nodes, [f"{name} -> j" for name in "abhw"]).start()
    world.complete("b.1", "kept")
    world.fail("a.1")
    world.do(Retry())
    assert world.active() == ["a.1", "h.1", "w.1"]
    assert world.asked == ["h.1"]
    assert world.calls == ["a.1", "b.1", "a.1"]
    world.complete("a.1")
    world.answer("h.1")
    world.wait(3600)
    assert world.started()[-1] == "j.1"
    assert world.status == "completed"


def test_variables_may_be_patched_first_and_the_input_is_evaluated_anew() -> None:
    nodes = [call("a") | {"with": {"name": "work", "arguments": {"n": "${ vars.n }"}}}]
    world = World(nodes, variables={"n": 1}).start()
    world.fail("a.1")
    assert world.do(SetVariables({"n": 2})) == [None]
    assert world.status == "failed"
    world.do(Retry())
    assert world.state.steps["a.1"].input["arguments"] == {"n": 2}


def test_a_retried_step_has_all_its_attempts_again() -> None:
    world = World([call("a", retry={"max_attempts": 2, "jitter": 0})], outcomes={"a": refused("odd")}).start()
    world.run_clock()
    world.do(Retry())
    world.run_clock()
    assert world.calls == ["a.1"] * 4
    assert world.error["attempt"] == 2


def test_a_retried_pure_step_is_decided_anew() -> None:
    world = World([*pure("a", output="${ vars.n + 1 }"), *pure("z")], ["a -> z"]).start()
    assert world.status == "failed"
    world.do(SetVariables({"n": 1}))
    world.do(Retry())
    assert world.status == "completed"
    assert world.view("a")["count"] == 1


def test_a_retried_wait_that_had_timed_out_begins_again() -> None:
    world = World([node("w", "wait", input_={"signal": "go"}, timeout="5s")]).start()
    world.wait(5)
    assert world.error["type"] == "timeout"
    world.wait(100)
    world.do(Retry())
    assert world.status == "paused/input"
    assert world.working.next_due_at() == world.now + 5 * MICROSECONDS
    world.signal("go", 1)
    assert world.output == 1


def test_a_retry_that_fails_again_can_be_retried_again() -> None:
    world = World([*pure("a", output="${ vars.n }"), call("b")]).start()
    for _ in range(3):
        world.do(Retry())
        assert world.status == "failed"
    world.do(SetVariables({"n": 1}), Retry())
    assert world.active() == ["b.1"]
    assert [fact.step for fact in world.all("step_reopened")] == ["a.1"] * 4


def test_a_foreach_resumes_with_its_finished_items_kept() -> None:
    world = World([call("a", foreach={"items": "${ input }", "concurrency": 2})]).start([1, 2, 3, 4])
    world.complete("a.1:0", "first")
    world.fail("a.1:1")
    assert world.active() == []
    world.do(Retry())
    assert world.active() == ["a.1", "a.1:1", "a.1:2"]
    assert world.under_way["a.1:1"] == (1, 1)
    world.complete("a.1:1", "second")
    world.complete("a.1:2", "third")
    assert world.under_way["a.1:3"] == (1, 0)
    world.complete("a.1:3", "fourth")
    assert world.output == ["first", "second", "third", "fourth"]


def test_a_foreach_whose_items_failed_takes_them_anew() -> None:
    world = World(pure("a", foreach={"items": "${ vars.items }"}, output="${ item }")).start()
    assert world.error["type"] == "expression_error"
    world.do(SetVariables({"items": [1, 2]}), Retry())
    assert world.output == [1, 2]


def test_a_foreach_whose_connections_failed_after_all_items_completes_at_the_retry() -> None:
    world = World(pure("a", "z", foreach={"items": [1, 2]}), ["a -> z if vars.n == 1"]).start()
    assert world.error["type"] == "expression_error"
    world.do(SetVariables({"n": 1}))
    world.do(Retry())
    assert world.status == "completed"
    assert world.started()[:4] == ["a.1", "a.1:0", "a.1:1", "z.1"]


def test_an_item_that_fails_again_and_is_caught_now_leaves_no_item_to_reopen() -> None:
    arguments = {"n": "${ vars.n }"}
    each = call("a", foreach={"items": [1, 2, 3]}) | {"with": {"name": "work", "arguments": arguments}}
    world = World([each, *pure("h")], ["a ->! h if vars.caught"], variables={"n": 1, "caught": False}).start()
    world.fail("a.1:1")
    assert sorted(world.state.reopenable) == ["a.1", "a.1:0", "a.1:1", "a.1:2"]
    world.do(SetVariables({"n": 1, "caught": True}))
    world.state.variables.pop("n")
    world.working = Working(world.graph, world.state, world.limits)
    world.is_folded = False  # the variable was taken away behind the log's back, so that the item's input fails
    world.do(Retry())
    assert world.started()[-1] == "h.1"
    assert world.status == "completed"
    assert world.state.reopenable == {}


def test_tokens_stand_again_where_they_stood() -> None:
    nodes = [*pure("s"), call("a"), call("b"), *pure("j", join="all")]
    world = World(nodes, ["s -> a", "s -> b", "a -> j", "b -> j"]).start()
    world.complete("a.1")
    world.fail("b.1")
    assert world.state.scopes[""].tokens == {}
    world.do(Retry())
    assert world.state.scopes[""].tokens == {2: 1}
    world.complete("b.1")
    assert world.started()[-1] == "j.1"


def test_retry_of_a_deadlock_meets_the_deadlock_again() -> None:
    nodes = [*pure("s", "a", "b"), *pure("j", join="all")]
    world = World(nodes, ["s -> a", "s -> b if false", "a -> j", "b -> j"]).start()
    world.do(Retry())
    assert world.error["type"] == "deadlock"
    assert world.all("step_reopened")[0].status == "pending"


def test_a_target_that_reports_deadlock_is_called_again_by_a_retry() -> None:
    world = World([call("a")]).start()
    world.fail("a.1", refused("deadlock", "two rows were locked crosswise"))
    world.do(Retry())
    assert world.under_way == {"a.1": (1, 1)}


def test_retry_of_an_output_that_failed_evaluates_it_again() -> None:
    world = World(pure("a"), output="${ vars.n }").start()
    assert world.error["type"] == "expression_error"
    world.do(SetVariables({"n": 3}))
    world.do(Retry())
    assert world.output == 3


def test_retry_after_the_executions_timeout_starts_its_clock_anew() -> None:
    world = World([call("a")], timeout="1h").start()
    world.wait(3600)
    world.do(Retry())
    assert world.state.timeout_at == world.now + 3600 * MICROSECONDS
    world.complete("a.1")
    assert world.status == "completed"


def test_retry_begins_an_execution_that_was_aborted_before_it_began() -> None:
    world = World(pure("a")).start(delay_s=60)
    world.do(Abort(refused("internal")))
    world.do(Retry())
    assert world.started() == ["a.1"]
    assert world.status == "completed"


def test_only_a_failed_execution_can_be_retried() -> None:
    assert code(World([call("a")]).start(), Retry()) == "not_failed"


def test_retry_is_rejected_where_the_timeout_can_not_be_evaluated() -> None:
    world = World([call("a")], timeout="${ vars.limit }", variables={"limit": "1h"}).start()
    world.fail("a.1")
    world.do(SetVariables({"limit": 5}))
    assert code(world, Retry()) == "invalid_timeout"
    assert world.status == "failed"


# --- recovery


def test_recover_dispatches_what_was_outstanding_and_nothing_else() -> None:
    nodes = [call("a"), call("b", retry={"max_attempts": 2}), node("h", "human"), call("f", foreach={"items": [1]})]
    world = World(nodes).start()
    world.fail("b.1")
    world.working = Working(world.graph, world.folded(), world.limits)
    world.state = world.working.state
    decision = world.decide(Recover())
    assert decision.effects == [Dispatch("a.1", is_repeat=True), Dispatch("f.1:0", is_repeat=True)]
    assert decision.facts == []


def test_recover_takes_up_a_transition_that_was_cut_short() -> None:
    nodes = pure("a", assign={"n": "${ vars.n + 1 }"})
    limits = Limits(transition_steps_max=5)
    world = World(nodes, [connection("a -> a if vars.n < 20")], start=["a"], variables={"n": 0}, limits=limits)
    assert world._transition(Start("flow", 1)).is_unfinished
    world.working = Working(world.graph, world.folded(), limits)
    world.state = world.working.state
    world.do(Recover())
    assert world.status == "completed"
    assert len(world.started()) == 20
