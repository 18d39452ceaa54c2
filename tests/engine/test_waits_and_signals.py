"""Waits for a clock, a signal or a person; and what a pause tells."""

from typing import Any

import pytest
from world import NOON_AT, World, call, node, pure, refused

from workflow_engine.models.command import Answer, Decline, FireTimers, SetVariables, Signal
from workflow_engine.models.instant import MICROSECONDS, rfc3339
from workflow_engine.models.limits import Limits


def wait(name: str = "w", *, foreach: Any = None, timeout: Any = None, **input_: Any) -> dict[str, Any]:
    """A `wait` node; `for_` stands for `for`."""
    fields = {"foreach": foreach, "timeout": timeout}
    arguments = {key.removesuffix("_"): value for key, value in input_.items()}
    return node(name, "wait", input_=arguments, **{key: value for key, value in fields.items() if value is not None})


# --- the clock


def test_a_wait_for_a_duration_ends_when_it_is_over_and_not_before() -> None:
    world = World([wait(for_="10s")]).start()
    assert world.status == "paused/timer"
    world.wait(9.999999)
    assert world.status == "paused/timer"
    world.wait(0.000001)
    assert world.status == "completed"
    assert world.output == {"kind": "for"}


def test_a_timer_fires_late_rather_than_never() -> None:
    world = World([wait(for_="10s")]).start()
    world.wait(86_400)
    assert world.status == "completed"


def test_a_wait_until_an_instant_ends_then() -> None:
    world = World([wait(until=rfc3339(NOON_AT + 5 * MICROSECONDS))]).start()
    world.wait(5)
    assert world.output == {"kind": "until"}


@pytest.mark.parametrize("until", ["2020-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "1969-12-31T23:59:59Z"])
def test_an_instant_in_the_past_fires_at_once(until: str) -> None:
    world = World([wait(until=until)]).start()
    assert world.status == "completed"
    assert world.names() == ["execution_started", "step_started:w.1", "step_completed:w.1", "execution_completed"]


@pytest.mark.parametrize("until", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "soon", 5, None])
def test_an_instant_that_is_none_is_an_error_of_the_node(until: Any) -> None:
    world = World([wait(until="${ input }")]).start(until)
    assert world.error["type"] == "expression_error"


@pytest.mark.parametrize("duration", ["ten", "-1s", "101w", 5, None])
def test_a_duration_that_is_none_is_an_error_of_the_node(duration: Any) -> None:
    world = World([wait(for_="${ input }")]).start(duration if duration != "101w" else "P6000W")
    assert world.error["type"] == "expression_error"


def test_a_clock_wait_of_less_than_a_second_sends_no_pause() -> None:
    world = World([wait(for_="999ms")]).start()
    assert world.status == "running"
    world.run_clock()
    assert world.status == "completed"
    assert world.all("execution_paused") == []


def test_a_pause_does_not_end_because_its_clock_is_nearly_there() -> None:
    world = World([wait(for_="10s")]).start()
    world.now += int(9.5 * MICROSECONDS)
    world.do(SetVariables({"n": 1}))
    assert world.status == "paused/timer"
    assert world.all("execution_resumed") == []


def test_a_pause_that_has_ended_says_so() -> None:
    world = World([wait(for_="10s"), call("a")], ["w -> a"]).start()
    world.wait(10)
    assert world.status == "running"
    assert len(world.all("execution_resumed")) == 1


def test_many_timers_due_at_once_fire_in_bounded_transitions() -> None:
    foreach = {"items": "${ input }", "concurrency": 100}
    world = World([wait(for_="10s", foreach=foreach)], limits=Limits(transition_steps_max=20)).start(list(range(100)))
    world.now += 10 * MICROSECONDS
    assert len(world.decide(FireTimers()).facts) < 45
    world.run_clock(wakes_max=5)
    assert world.status == "completed"


def test_timers_that_no_longer_hold_do_not_pile_up() -> None:
    nodes = [wait(signal="go", timeout="1h")]
    world = World(nodes, ["w -> w if steps.w.count < 500"], start=["w"], is_folded=False).start()
    for _ in range(500):
        world.signal("go")
        assert len(world.working.timers) < 80
    assert world.status == "completed"


# --- signals


def test_a_wait_for_a_signal_gives_its_payload() -> None:
    world = World([wait(signal="go")]).start()
    assert world.status == "paused/input"
    world.signal("stop", 1)
    world.signal("go", {"n": 2})
    assert world.output == {"n": 2}


def test_signals_are_kept_in_order_and_each_is_taken_once() -> None:
    nodes = [wait("a", signal="go"), wait("b", signal="go"), wait("c", signal="go")]
    world = World(
        [*pure("s"), *nodes], ["s -> a", "a -> b", "b -> c"], output="${ [steps.a, steps.b].map(x, x.output) }"
    )
    world.start()
    world.do(Signal("go", 1), Signal("go", 2))
    assert world.active() == ["c.1"]
    assert world.state.signals == []
    world.signal("go", 3)
    assert world.output == [1, 2]


def test_a_signal_is_kept_until_somebody_waits_for_it() -> None:
    world = World([call("a"), wait(signal="go")], ["a -> w"]).start()
    world.signal("go", "early")
    assert world.status == "running"
    world.complete("a.1")
    assert world.output == "early"


def test_the_oldest_wait_that_matches_takes_a_signal() -> None:
    nodes = [wait("a", signal="go", when="signal.payload > 5"), wait("b", signal="go"), wait("c", signal="go")]
    world = World(nodes).start()
    world.signal("go", 1)
    assert world.active() == ["a.1", "c.1"]
    world.signal("go", 9)
    assert world.active() == ["c.1"]


def test_a_wait_takes_the_oldest_signal_that_matches_and_leaves_the_others() -> None:
    world = World([call("a"), wait(signal="go", when="signal.payload > 5")], ["a -> w"]).start()
    for payload in (1, 7, 9):
        world.signal("go", payload)
    world.complete("a.1")
    assert world.output == 7
    assert [signal.payload for signal in world.state.signals] == [1, 9]


def test_a_condition_that_fails_on_a_payload_is_no_match() -> None:
    world = World([wait(signal="go", when="signal.payload.n > 5")]).start()
    world.signal("go", "odd")
    assert world.status == "paused/input"
    world.signal("go", {"n": 6})
    assert world.status == "completed"


def test_a_signal_that_is_only_recorded_leaves_the_pause_as_it_is() -> None:
    world = World([wait(signal="go")]).start()
    world.signal("other")
    assert [event for event in world.names() if "paused" in event or "resumed" in event] == ["execution_paused"]


def test_one_wait_after_the_other_for_signals_is_one_pause() -> None:
    world = World([wait("a", signal="go"), wait("b", signal="go")], ["a -> b"]).start()
    world.signal("go")
    assert world.active() == ["b.1"]
    assert len(world.all("execution_paused")) == 1


def test_a_thousand_signals_may_wait_unread_and_no_more() -> None:
    world = World([call("a")], limits=Limits(signals_unread_max=3)).start()
    for _ in range(3):
        assert world.signal("go") is None
    rejection = world.signal("go")
    assert rejection is not None
    assert rejection.code == "limit_exceeded"
    assert Limits().signals_unread_max == 1000


def test_unread_signals_have_a_size_limit_together() -> None:
    world = World([call("a")], limits=Limits(signals_unread_bytes_max=20)).start()
    assert world.signal("go", "x" * 10) is None
    rejection = world.signal("go", "x" * 10)
    assert rejection is not None
    assert rejection.code == "limit_exceeded"


def test_a_payload_that_is_too_large_is_refused() -> None:
    rejection = World([call("a")], limits=Limits(payload_bytes_max=100)).start().signal("go", "x" * 101)
    assert rejection is not None
    assert rejection.code == "payload_too_large"


def test_a_wait_for_a_signal_may_time_out() -> None:
    world = World([wait(signal="go", timeout="5s"), *pure("h")], ["w ->! h if error.type == 'timeout'"]).start()
    assert world.status == "paused/input"
    world.wait(5)
    assert world.started()[-1] == "h.1"


def test_signals_are_received_before_the_execution_begins() -> None:
    world = World([wait(signal="go")]).start(delay_s=10)
    world.signal("go", "early")
    assert world.status == "pending"
    world.wait(10)
    assert world.output == "early"


# --- people


def test_a_person_is_asked_and_the_answer_is_the_output() -> None:
    world = World([node("h", "human", input_={"title": "Pay ${ input }?"})]).start(5)
    assert world.status == "paused/input"
    assert world.asked == ["h.1"]
    assert world.state.steps["h.1"].input == {"title": "Pay 5?"}
    world.answer("h.1", {"ok": True})
    assert world.output == {"ok": True}
    assert world.asked == []


def test_a_person_may_decline() -> None:
    world = World([node("h", "human"), *pure("x", output="${ error.type }")], ["h ->! x"]).start()
    assert world.do(Decline("h.1", refused("refused"))) == [None]
    assert world.output == "refused"
    assert world.asked == []


def test_a_person_who_does_not_answer_in_time_is_a_timeout() -> None:
    world = World([node("h", "human", timeout="48h"), *pure("x", output="${ error.type }")], ["h ->! x"]).start()
    world.wait(48 * 3600)
    assert world.output == "timeout"
    assert world.asked == []


@pytest.mark.parametrize("step", ["h.2", "nobody.1", "a.1", "w.1"])
def test_an_answer_to_what_nobody_asked_is_rejected(step: str) -> None:
    world = World([node("h", "human"), call("a"), wait(signal="go")]).start()
    for command in (Answer(step, 1), Decline(step, refused())):
        rejection = world.do(command)[0]
        assert rejection is not None
        assert rejection.code == "not_waiting"


def test_a_second_answer_is_rejected() -> None:
    world = World([node("h", "human"), call("a")]).start()
    first, second = world.do(Answer("h.1", 1), Answer("h.1", 2))
    assert first is None
    assert second is not None


# --- what a pause tells


def test_the_reason_is_input_if_anything_but_a_clock_is_awaited() -> None:
    world = World([wait("a", for_="10s"), wait("b", signal="go")]).start()
    assert world.status == "paused/input"
    world.signal("go")
    assert world.status == "paused/timer"
    assert [fact.reason for fact in world.all("execution_paused")] == ["input", "timer"]


def test_an_execution_with_a_call_under_way_or_in_back_off_is_running() -> None:
    world = World([wait(signal="go"), call("a", retry={"max_attempts": 2})]).start()
    assert world.status == "running"
    world.fail("a.1")
    assert world.status == "running"
    world.run_clock()
    world.complete("a.1")
    assert world.status == "paused/input"


def test_a_pause_names_what_is_waited_for() -> None:
    until = rfc3339(NOON_AT + 10 * MICROSECONDS)
    nodes = [wait("a", for_="10s"), wait("b", signal="go"), node("h", "human", timeout="10s")]
    world = World(nodes).start()
    assert world.all("execution_paused")[0].waiting_for == [
        {"node_id": "a", "step_id": "a.1", "kind": "for", "name": None, "until": until},
        {"node_id": "b", "step_id": "b.1", "kind": "signal", "name": "go", "until": None},
        {"node_id": "h", "step_id": "h.1", "kind": "human", "name": None, "until": until},
    ]
    assert world.all("step_started")[1].waiting_for == {"kind": "signal", "name": "go"}
