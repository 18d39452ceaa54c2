"""Errors and their connections, and when a failed attempt is repeated."""

from typing import Any

import pytest
from world import NOON_AT, World, call, connection, node, pure, refused

from workflow_engine.engine.graph import compile_graph
from workflow_engine.engine.outcomes import back_off_s, next_attempt_at
from workflow_engine.engine.validation import validate
from workflow_engine.models.command import CompleteStep, FailStep
from workflow_engine.models.execution import Step
from workflow_engine.models.instant import MICROSECONDS
from workflow_engine.models.node import RetryPolicy
from workflow_engine.models.step import StepError


def test_the_first_error_connection_that_holds_gets_the_token() -> None:
    connections = ["a ->! b if error.type == 'timeout'", "a ->! c if error.type == 'unavailable'", "a ->! d"]
    world = World([call("a"), *pure("b", "c", "d")], connections).start()
    world.fail("a.1")
    assert world.started() == ["a.1", "c.1"]
    assert world.status == "completed"


def test_otherwise_of_error_connections_takes_what_no_condition_took() -> None:
    connections = ["a ->! b else", "a ->! c if error.type == 'timeout'"]
    world = World([call("a"), *pure("b", "c")], connections).start()
    world.fail("a.1")
    assert world.started() == ["a.1", "b.1"]


def test_an_error_has_type_message_details_node_step_and_attempt() -> None:
    world = World([call("a"), *pure("b", output="${ error }")], ["a ->! b"]).start()
    world.fail("a.1", StepError("odd", "it is odd", {"n": 3}))
    error = {"type": "odd", "message": "it is odd", "details": {"n": 3}, "node": "a", "step_id": "a.1", "attempt": 1}
    assert world.output == error
    assert world.view("a")["error"] == error


def test_a_caught_error_stays_readable_as_the_steps_error() -> None:
    nodes = [call("a"), *pure("b", "c", output="${ steps.a.error.type }")]
    world = World(nodes, ["a ->! b", "b -> c"]).start()
    world.fail("a.1", refused("odd"))
    assert world.output == "odd"


def test_each_handler_sees_the_error_of_the_token_that_it_took() -> None:
    nodes = [*pure("s"), call("a"), *pure("h", assign={"seen": "${ vars.seen + [error.message] }"})]
    connections = [{**connection("s -> a"), "tokens": 2}, "a ->! h"]
    world = World(nodes, connections, variables={"seen": []}, output="${ vars.seen }").start()
    world.do(
        FailStep("a.1", 1, 0, refused(message="first")),
        FailStep("a.2", 1, 0, refused(message="second")),
    )
    assert world.output == ["first", "second"]


def test_several_tokens_of_one_error_each_carry_it() -> None:
    nodes = [call("a"), *pure("h", assign={"seen": "${ vars.seen + [error.message] }"})]
    world = World(
        nodes, [{**connection("a ->! h"), "tokens": 2}], variables={"seen": []}, output="${ vars.seen }"
    ).start()
    world.fail("a.1", refused(message="no"))
    assert world.output == ["no", "no"]
    assert world.state.scopes[""].errors == {}


def test_a_count_join_on_an_error_connection_sees_the_last_of_its_errors() -> None:
    nodes = [*pure("s"), call("a"), *pure("h", join={"count": 2}, output="${ error.message }")]
    world = World(nodes, [{**connection("s -> a"), "tokens": 2}, "a ->! h"]).start()
    world.fail("a.1", refused(message="first"))
    world.fail("a.2", refused(message="second"))
    assert world.output == "second"


def test_a_join_sees_the_error_whichever_of_its_connections_brought_it() -> None:
    nodes = [call("a"), call("b"), *pure("j", output="${ error.type }")]
    world = World(nodes, ["a ->! j", "b -> j"]).start()
    world.complete("b.1")
    world.fail("a.1", refused("odd"))
    assert world.output == "odd"


def test_an_uncaught_error_cancels_the_siblings_and_fails_the_execution() -> None:
    nodes = [*pure("s"), call("a"), call("b"), node("w", "wait", input_={"for": "1h"}), *pure("h")]
    world = World(nodes, ["s -> a", "s -> b", "s -> w", "a ->! h if false"]).start()
    world.fail("a.1", refused("odd"))
    assert world.status == "failed"
    assert world.error["type"] == "odd"
    assert world.withdrawn == ["b.1"]
    assert world.names()[-4:] == ["step_failed:a.1", "step_cancelled:b.1", "step_cancelled:w.1", "execution_failed"]


def test_a_handler_may_fail_in_its_turn() -> None:
    nodes = [call("a"), node("h", "fail", input_={"type": "worse", "message": "${ error.message }"}), *pure("z")]
    world = World(nodes, ["a ->! h", "h ->! z if error.type == 'never'"]).start()
    world.fail("a.1", refused(message="why"))
    assert (world.error["type"], world.error["message"], world.error["node"]) == ("worse", "why", "h")


def test_an_error_condition_that_fails_takes_the_errors_place_and_keeps_it_in_the_details() -> None:
    world = World([call("a"), *pure("b")], ["a ->! b if error.nothing == 1"]).start()
    world.fail("a.1", refused("odd"))
    assert world.error["type"] == "expression_error"
    assert world.error["details"]["while_handling"]["type"] == "odd"


def test_a_fail_node_raises_its_error_and_may_have_an_error_connection() -> None:
    nodes = [
        node("f", "fail", input_={"type": "mine", "message": "n is ${ input }", "details": {"n": "${ input }"}}),
        *pure("h", output="${ [error.type, error.message, error.details] }"),
    ]
    assert World(nodes, ["f ->! h"]).start(3).output == ["mine", "n is 3", {"n": 3}]


@pytest.mark.parametrize(("message", "shown"), [("${ 5 }", "5"), ("${ {'a': 1} }", '{"a":1}'), ("${ null }", "")])
def test_a_message_that_is_no_text_is_shown_as_json(message: str, shown: str) -> None:
    assert World([node("f", "fail", input_={"message": message})]).start().error["message"] == shown


@pytest.mark.parametrize("type", ["${ 5 }", "${ '' }", "${ null }"])
def test_an_error_type_that_is_no_text_is_an_expression_error(type: str) -> None:  # noqa: A002
    error = World([node("f", "fail", input_={"type": type})]).start().error
    assert error["type"] == "expression_error"
    assert "`type` of f" in error["message"]


def test_an_input_that_can_not_be_evaluated_fails_the_step_that_has_started() -> None:
    world = World([node("a", "function", input_={"name": "work", "arguments": {"x": "${ vars.no }"}})]).start()
    assert world.names() == ["execution_started", "step_started:a.1", "step_failed:a.1", "execution_failed"]
    assert world.calls == []


def test_an_output_that_fails_fails_the_step_whose_call_succeeded() -> None:
    world = World(
        [call("a", output="${ output.missing }"), *pure("h")], ["a ->! h if error.type == 'expression_error'"]
    )
    world.start().complete("a.1", {})
    assert world.started()[-1] == "h.1"


def test_a_call_gets_the_timeout_of_its_node() -> None:
    world = World([call("a", timeout="${ string(input) + 's' }")]).start(5)
    assert world.state.steps["a.1"].timeout_s == 5.0
    assert world.working.next_due_at() is None  # its handler keeps it


# --- retries


def policy(**fields: Any) -> RetryPolicy:
    """The policy of a node with these fields."""
    document = {"id": "x", "nodes": [{"id": "a", "type": "function", "with": {"name": "f"}, **fields}]}
    definition = validate(document).definition
    assert definition is not None
    found = compile_graph(definition).by_id["a"].retry
    assert found is not None
    return found


def test_the_back_off_grows_by_the_factor_up_to_the_longest() -> None:
    retry = policy(retry={"initial": "2s", "factor": 3, "max": "1m"})
    assert [back_off_s(retry, attempt) for attempt in (1, 2, 3, 4, 5, 100_000)] == [2, 6, 18, 54, 60, 60]


def test_the_spread_stays_within_the_jitter_and_is_the_same_each_time() -> None:
    retry = policy(retry={"initial": "10s", "factor": 1, "jitter": 0.2, "max_attempts": 9})
    delays = set()
    for number in range(200):
        step = Step(f"a.{number}", "a", "processing", 0)
        at = next_attempt_at(retry, step, refused(), 0, "e1")
        assert at == next_attempt_at(retry, step, refused(), 0, "e1")
        assert at is not None
        assert 8 <= at / MICROSECONDS <= 12
        delays.add(at)
    assert len(delays) > 190
    assert min(delays) < 9 * MICROSECONDS
    assert max(delays) > 11 * MICROSECONDS


def test_retry_after_is_a_floor_and_no_ceiling() -> None:
    retry = policy(retry={"initial": "10s", "factor": 1, "jitter": 0})
    step = Step("a.1", "a", "processing", 0)
    for wish_s, delay_s in ((3.0, 10), (25.0, 25), (None, 10)):
        assert next_attempt_at(retry, step, refused(retry_after_s=wish_s), 0, "e1") == delay_s * MICROSECONDS


@pytest.mark.parametrize("wish_s", [float("inf"), float("nan"), 1e300, -5.0])
def test_a_senseless_retry_after_does_no_harm(wish_s: float) -> None:
    retry = policy(retry={"initial": "10s", "jitter": 0})
    at = next_attempt_at(retry, Step("a.1", "a", "processing", 0), refused(retry_after_s=wish_s), 0, "e1")
    assert at is not None
    assert 10 * MICROSECONDS <= at < 2**53


def test_a_step_is_tried_as_often_as_its_policy_says() -> None:
    world = World([call("a", retry={"max_attempts": 3, "jitter": 0})], outcomes={"a": refused("odd")}).start()
    world.run_clock()
    assert world.calls == ["a.1"] * 3
    assert world.now == NOON_AT + 3 * MICROSECONDS
    assert world.error["attempt"] == 3
    assert world.error["type"] == "odd"
    assert [fact.attempt for fact in world.all("step_retrying")] == [1, 2]
    assert [fact.next_at for fact in world.all("step_retrying")] == [NOON_AT + MICROSECONDS, NOON_AT + 3 * MICROSECONDS]
    assert world.started() == ["a.1"]


def test_a_later_attempt_may_succeed() -> None:
    world = World([call("a", retry={"max_attempts": 3})], outcomes={"a": lambda step: step.attempt}, output="${ 0 }")
    world.outcomes = {"a": lambda step: refused() if step.attempt < 3 else "at last"}
    world.start().run_clock()
    assert world.status == "completed"
    assert world.view("a")["attempt"] == 3
    assert world.all("step_completed")[0].attempt == 3


def test_on_names_the_only_errors_that_are_repeated_and_not_on_those_that_are_not() -> None:
    assert policy(retry={"on": ["odd"]}).covers("odd")
    assert not policy(retry={"on": ["odd"]}).covers("timeout")
    assert not policy(retry={"not_on": ["odd"]}).covers("odd")
    assert policy(retry={"not_on": ["odd"]}).covers("timeout")


@pytest.mark.parametrize(
    "type", ["expression_error", "invalid_input", "forbidden", "cancelled", "limit_exceeded", "http_404", "no_match"]
)
def test_a_retry_without_on_leaves_permanent_errors_alone(type: str) -> None:  # noqa: A002
    world = World([call("a", retry={"max_attempts": 3})], outcomes={"a": refused(type)}).start()
    assert world.status == "failed"
    assert world.calls == ["a.1"]


def test_a_call_without_a_retry_of_its_own_is_repeated_on_transient_errors() -> None:
    plain = {"id": "a", "type": "function", "with": {"name": "work"}}
    assert World([plain], outcomes={"a": refused("timeout")}).start().status == "running"
    assert World([plain], outcomes={"a": refused("odd")}).start().status == "failed"


def test_a_post_without_a_retry_of_its_own_repeats_only_what_had_no_effect() -> None:
    post = node("a", "http", input_={"method": "POST", "url": "https://example.org/"})
    assert World([post], outcomes={"a": refused("unavailable")}).start().status == "failed"
    assert World([post], outcomes={"a": refused("unavailable", no_effect=True)}).start().status == "running"


def test_a_result_that_comes_during_the_back_off_is_stale() -> None:
    world = World([call("a", retry={"max_attempts": 3})]).start()
    world.fail("a.1")
    rejections = world.do(CompleteStep("a.1", 1, 0, 1), FailStep("a.1", 1, 0, refused()))
    assert [rejection.code for rejection in rejections if rejection] == ["stale", "stale"]
    assert world.status == "running"


def test_a_result_of_an_earlier_attempt_is_stale() -> None:
    world = World([call("a", retry={"max_attempts": 3})]).start()
    world.fail("a.1")
    world.run_clock()
    rejection = world.do(CompleteStep("a.1", 1, 0, "zombie"))[0]
    assert rejection is not None
    assert rejection.code == "stale"
    world.complete("a.1", "fresh")
    assert world.output == "fresh"


def test_a_second_result_of_the_same_attempt_is_stale() -> None:
    world = World([call("a"), call("b")], ["a -> b"]).start()
    first, second = world.do(CompleteStep("a.1", 1, 0, 1), CompleteStep("a.1", 1, 0, 2))
    assert first is None
    assert second is not None
    assert second.code == "stale"


@pytest.mark.parametrize("kind", ["wait", "human", "foreach"])
def test_an_outcome_can_only_be_reported_of_a_call(kind: str) -> None:
    nodes = {
        "wait": node("a", "wait", input_={"for": "1h"}),
        "human": node("a", "human"),
        "foreach": call("a", foreach={"items": [1, 2]}),
    }
    world = World([nodes[kind]]).start()
    for command in (CompleteStep("a.1", 1, 0, None), FailStep("a.1", 1, 0, refused())):
        rejection = world.do(command)[0]
        assert rejection is not None
        assert rejection.code == "not_called"
    assert not world.state.is_terminal
