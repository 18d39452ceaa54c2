"""The public events and their order; outputs, variables and progress."""

from typing import Any

import pytest
from world import World, call, connection, node, pure, refused, tag

from workflow_engine.engine.apply import apply, apply_transition
from workflow_engine.models.command import Cancel, Pause, Resume, Retry, SetVariables, Signal
from workflow_engine.models.errors import InvariantViolated
from workflow_engine.models.event import ExecutionCompleted, SignalTaken, StepStarted
from workflow_engine.models.execution import ExecutionState
from workflow_engine.models.limits import Limits

# --- events


def test_every_activation_sends_one_start_and_one_end_and_an_end_comes_before_what_it_caused() -> None:
    world = World([*pure("a"), call("b"), *pure("c")], ["a -> b", "b -> c"]).start()
    world.complete("b.1")
    assert world.names() == [
        "execution_started",
        "step_started:a.1",
        "step_completed:a.1",
        "step_started:b.1",
        "step_completed:b.1",
        "step_started:c.1",
        "step_completed:c.1",
        "execution_completed",
    ]


def test_the_sequence_counts_the_public_events_from_one() -> None:
    world = World([call("a")]).start()
    world.complete("a.1")
    assert world.state.sequence == len(world.public()) == 4


def test_items_send_events_of_their_own() -> None:
    world = World([call("a", foreach={"items": [1]})]).start()
    world.complete("a.1:0")
    assert world.names()[1:-1] == [
        "step_started:a.1",
        "step_started:a.1:0",
        "step_completed:a.1:0",
        "step_completed:a.1",
    ]


def test_a_decision_point_comes_before_the_next_nodes_events_and_tells_what_was_looked_at() -> None:
    nodes = [node("d", "decision"), *pure("a", "b", "c")]
    world = World(nodes, ["d -> a if input > 5", "d -> b if input > 2", "d -> c else"]).start(3)
    made = world.all("decision_made")[0]
    assert made.taken == ["b"]
    assert made.connections == [
        {"to": "a", "when": "input > 5", "result": False},
        {"to": "b", "when": "input > 2", "result": True},
    ]
    assert world.names().index("decision_made:d.1") < world.names().index("step_started:b.1")


def test_any_node_with_conditional_connections_has_a_decision_point_and_others_have_none() -> None:
    world = World(pure("a", "b", "c"), ["a -> b if true", "a -> c else", "b -> c"]).start()
    assert [fact.step for fact in world.all("decision_made")] == ["a.1"]
    assert world.all("decision_made")[0].connections[-1] == {"to": "c", "when": "otherwise", "result": False}


def test_a_conditional_error_connection_has_a_decision_point_too() -> None:
    world = World([call("a"), *pure("b", "c")], ["a ->! b if error.type == 'odd'", "a ->! c"]).start()
    world.fail("a.1")
    assert world.all("decision_made")[0].taken == ["c"]
    assert world.names()[-5:-1] == ["decision_made:a.1", "step_failed:a.1", "step_started:c.1", "step_completed:c.1"]


def test_a_completed_step_names_the_next_node_and_how_long_it_took() -> None:
    world = World([call("a"), *pure("b")], ["a -> b"]).start()
    world.now += 1_234_567
    world.complete("a.1", 1)
    first, last = world.all("step_completed")
    assert (first.next_node, first.duration_ms, first.output, first.attempt) == ("b", 1234, 1, 1)
    assert last.next_node is None


def test_retries_send_retrying_and_no_second_start() -> None:
    world = World([call("a", retry={"max_attempts": 2})], outcomes={"a": refused("odd")}).start()
    world.run_clock()
    assert world.names() == [
        "execution_started",
        "step_started:a.1",
        "step_retrying:a.1",
        "step_failed:a.1",
        "execution_failed",
    ]


def test_emit_puts_its_own_event_on_the_stream() -> None:
    world = World([node("e", "emit", input_={"event": "order-${ input }", "data": {"n": "${ input }"}})]).start(7)
    emitted = world.all("custom_emitted")[0]
    assert (emitted.event, emitted.data, emitted.step) == ("order-7", {"n": 7}, "e.1")
    assert world.output is None


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
def test_the_terminal_event_is_the_last(end: str) -> None:
    world = World([call("a"), *pure("b", assign={"n": 1})], ["a -> b"]).start()
    if end == "completed":
        world.complete("a.1")
    elif end == "failed":
        world.fail("a.1")
    else:
        world.do(Cancel())
    assert tag(world.public()[-1]) == f"execution_{end}"
    assert sum(tag(fact) == f"execution_{end}" for fact in world.facts) == 1
    before = len(world.facts)
    world.do(Signal("go"), Pause(), Resume(), Cancel())
    assert len(world.facts) == before


def test_after_a_failure_only_variables_and_a_retry_speak() -> None:
    world = World([call("a")]).start()
    world.fail("a.1")
    world.do(SetVariables({"n": 1}))
    assert world.names()[-2:] == ["execution_failed", "variables_changed"]
    world.do(Retry())
    assert world.names()[-2:] == ["execution_resumed", "step_reopened:a.1"]


def test_a_rejected_command_leaves_no_trace() -> None:
    world = World([call("a")]).start()
    at, number = world.state.at, world.state.number
    world.now += 5
    world.do(Resume())
    assert (world.state.at, world.state.number) == (at, number)


# --- variables and outputs


def test_variables_are_recorded_once_per_transition_with_their_final_values() -> None:
    nodes = [*pure("a", assign={"n": 1}), *pure("b", assign={"n": "${ vars.n + 1 }", "m": "${ vars.n }"})]
    world = World(nodes, ["a -> b"], variables={"n": 0}).start()
    assert [fact.changed for fact in world.all("variables_changed")] == [{"n": 2, "m": 1}]


def test_the_assignments_of_a_node_happen_at_the_same_time_and_after_its_output() -> None:
    nodes = pure(
        "a", output="${ vars.x + vars.y }", assign={"x": "${ vars.y }", "y": "${ vars.x }", "sum": "${ output }"}
    )
    world = World(nodes, variables={"x": 1, "y": 2}).start()
    assert world.state.variables == {"x": 2, "y": 1, "sum": 3}


def test_an_assignment_that_fails_changes_nothing() -> None:
    nodes = [*pure("a", assign={"x": 5, "y": "${ vars.no }"}), *pure("h")]
    world = World(nodes, ["a ->! h"], variables={"x": 1}).start()
    assert world.state.variables == {"x": 1}
    assert world.all("variables_changed") == []


def test_an_assignment_that_is_taken_back_leaves_the_earlier_ones() -> None:
    nodes = [*pure("a", assign={"x": 2}), *pure("b", assign={"x": 3, "new": 1}), *pure("h", output="${ vars.x }")]
    world = World(nodes, ["a -> b", "b -> h if vars.no", "b ->! h"], variables={"x": 1}).start()
    assert world.output == 2
    assert world.state.variables == {"x": 2}


def test_what_is_taken_out_of_the_variables_does_not_change_with_them() -> None:
    nodes = [*pure("a", output="${ vars }", assign={"n": 2}), *pure("b", assign={"n": 3, "all": "${ vars }"})]
    world = World(nodes, ["a -> b"], variables={"n": 1}, output="${ steps.a.output }").start()
    assert world.output == {"n": 1}
    assert world.state.variables == {"n": 3, "all": {"n": 2}}


def test_what_is_taken_out_of_the_steps_does_not_change_with_them() -> None:
    nodes = [*pure("a"), *pure("b", output="${ steps.a }")]
    world = World(nodes, ["a -> b", "b -> a if steps.b.count < 2"], start=["a"]).start()
    seen = [fact.output for fact in world.all("step_completed") if fact.step.startswith("b")]
    view = {"status": "completed", "output": None, "error": None, "attempt": 1}
    assert seen == [{**view, "count": 1}, {**view, "count": 2}]


def test_set_variables_merges() -> None:
    world = World([call("a")], variables={"n": 1, "m": {"x": 1}}).start()
    world.do(SetVariables({"m": {"y": 2}, "k": None}))
    assert world.state.variables == {"n": 1, "m": {"y": 2}, "k": None}
    assert len(world.all("variables_changed")) == 1
    world.do(SetVariables({}))
    assert len(world.all("variables_changed")) == 1


def test_a_variable_that_is_too_large_is_refused() -> None:
    world = World([call("a")], limits=Limits(payload_bytes_max=100)).start()
    rejection = world.do(SetVariables({"n": "x" * 101}))[0]
    assert rejection is not None
    assert rejection.code == "payload_too_large"
    assert world.state.variables == {}


def test_steps_may_be_read_by_a_name_that_is_computed() -> None:
    nodes = [*pure("a", output=1), *pure("b", output="${ steps[input].output }"), *pure("c", output="${ size(steps) }")]
    connections = ["a -> b", "b -> c"]
    assert World(nodes, connections, output="${ steps.b.output }").start("a").output == 1
    assert World(nodes, connections, output="${ steps.map(name, name) }").start("a").output == ["a", "b", "c"]
    assert World(nodes, connections).start("z").error["type"] == "expression_error"


def test_a_step_that_was_never_activated_reads_as_pending_while_the_scope_runs_and_as_skipped_after() -> None:
    nodes = [*pure("a", assign={"seen": "${ steps.b }"}), *pure("b")]
    world = World(nodes, ["a -> b if false"], output="${ [vars.seen.status, steps.b.status, steps.b.output] }").start()
    assert world.output == ["pending", "skipped", None]


def test_the_default_output_is_that_of_the_last_node() -> None:
    assert World([*pure("a", output=1), *pure("b", output=2)], ["a -> b"]).start().output == 2


def test_the_default_output_of_several_last_nodes_is_a_map() -> None:
    nodes = [*pure("s"), *pure("b", output=2), *pure("a", output=1)]
    world = World(nodes, ["s -> a", "s -> b"]).start()
    assert world.output == {"a": 1, "b": 2}
    assert list(world.output) == ["b", "a"]


def test_the_default_output_takes_a_node_once_and_its_latest() -> None:
    nodes = [*pure("s"), call("b")]
    world = World(nodes, [{**connection("s -> b"), "tokens": 2}]).start()
    world.complete("b.2", "two")
    world.complete("b.1", "one")
    assert world.output == "one"


@pytest.mark.parametrize("assign", [{}, {"seen": "${ steps.a.output }"}])
def test_the_default_output_does_not_depend_on_whether_somebody_reads_a_node(assign: dict[str, Any]) -> None:
    nodes = [*pure("s"), call("a"), call("b", assign=assign)]
    world = World(nodes, [{**connection("s -> a"), "tokens": 2}, "a -> b if steps.a.count == 2"]).start()
    world.complete("a.1", "first")
    world.complete("a.2", "second")
    world.complete("b.1", "b")
    assert world.output == {"a": "second", "b": "b"}


def test_the_output_of_the_definition_sees_everything() -> None:
    output = {"n": "${ input + vars.n + steps.a.output }", "id": "${ execution.id }"}
    world = World(pure("a", output=3), output=output, variables={"n": 2}).start(1)
    assert world.output == {"n": 6, "id": "e1"}


def test_an_output_that_fails_fails_the_execution() -> None:
    world = World(pure("a"), output="${ vars.no }").start()
    assert world.error["type"] == "expression_error"
    assert "output" in world.error["message"]


def test_now_is_constant_within_a_transition() -> None:
    nodes = [*pure("a", output="${ now }"), *pure("b", output="${ [steps.a.output, string(now)] }")]
    world = World(nodes, ["a -> b"]).start()
    assert world.output[0] == world.output[1]


def test_a_payload_that_grows_too_large_is_an_error_of_its_step() -> None:
    nodes = pure("a", output="${ [input, input, input] }")
    world = World(nodes, limits=Limits(payload_bytes_max=1000)).start("x" * 500)
    assert world.error["type"] == "payload_too_large"


# --- progress


def test_progress_never_falls_and_is_100_only_at_completion() -> None:
    world = World([call("a"), call("b"), call("c")], ["a -> b", "b -> c"]).start()
    seen = [world.state.progress]
    for step in ("a.1", "b.1", "c.1"):
        world.complete(step)
        seen.append(world.state.progress)
    assert seen == [0, 33, 66, 100]


def test_progress_counts_only_what_can_still_be_reached() -> None:
    nodes = [node("d", "decision"), call("a"), call("b"), call("c")]
    world = World(nodes, ["d -> a if input", "d -> b else", "b -> c"]).start(True)
    assert world.state.progress == 50


def test_progress_does_not_fall_when_a_cycle_goes_back() -> None:
    world = World(
        [call("a"), call("b"), call("c")], ["a -> b", "b -> a if steps.b.count < 3", "b -> c else"], start=["a"]
    )
    world.start()
    seen = []
    for _ in range(3):
        for name in "ab":
            world.complete(world.active()[0])
            seen.append((name, world.state.progress))
    assert seen == sorted(seen, key=lambda pair: pair[1])
    assert world.state.progress < 100


def test_a_foreach_makes_progress_by_its_items() -> None:
    world = World([call("a", foreach={"items": "${ input }"})]).start(list(range(10)))
    for number in range(5):
        world.complete(f"a.1:{number}")
    assert world.state.progress == 50


def test_a_failed_execution_keeps_its_progress() -> None:
    world = World([call("a"), call("b")], ["a -> b"]).start()
    world.complete("a.1")
    world.fail("b.1")
    assert world.state.progress == 50


# --- the fold


def test_a_fold_refuses_a_log_with_a_gap() -> None:
    with pytest.raises(InvariantViolated, match="transition 3"):
        apply_transition(ExecutionState("acme", "e1", number=1), [], number=3, at=0)


@pytest.mark.parametrize(
    "fact", [SignalTaken(7), StepStarted("a.1", "a", "processing", took=[0]), ExecutionCompleted()]
)
def test_a_fold_refuses_a_fact_that_can_not_follow(fact: Any) -> None:
    world = World(pure("a")).start()
    with pytest.raises(InvariantViolated):
        apply(world.state, fact)
