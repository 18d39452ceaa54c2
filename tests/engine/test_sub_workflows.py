"""workflow: a child execution as a step, seen from its parent."""

from typing import Any

import pytest
from world import NOON_AT, World, call, group, node, pure, refused

from workflow_engine.engine.working import Working
from workflow_engine.models.command import Cancel, CompleteStep, NoteChild, Pause, Recover, Retry, Terminate
from workflow_engine.models.effect import Dispatch


def child(**fields: Any) -> dict[str, Any]:
    """A node that starts another workflow."""
    given = {"workflow_id": "other", "input": {"n": "${ vars.n }"}}
    return node("w", "workflow", input_=given, **fields)


def parent(*more: dict[str, Any], **fields: Any) -> World:
    return World([child(**fields), *more], variables={"n": 3}).start()


def test_it_is_asked_for_with_its_evaluated_input() -> None:
    world = parent()
    assert world.last.effects == [Dispatch("w.1")]
    assert world.state.steps["w.1"].input == {"workflow_id": "other", "input": {"n": 3}}
    assert world.status == "running"


def test_the_child_s_output_is_the_node_s() -> None:
    world = parent()
    world.complete("w.1", {"sum": 6})
    assert world.output == {"sum": 6}


def test_the_child_s_error_is_the_node_s_and_may_be_caught() -> None:
    nodes = [child(), *pure("h", output="${ [error.type, error.message, error.details.execution_id] }")]
    world = World(nodes, ["w ->! h"], variables={"n": 1}).start()
    world.fail("w.1", refused("no_stock", "sold out", details={"execution_id": "c1"}))
    assert world.output == ["no_stock", "sold out", "c1"]


class TestPauses:
    @pytest.mark.parametrize("reason", ["input", "timer"])
    def test_the_parent_that_waits_for_nothing_else_mirrors_the_child_s_pause(self, reason: str) -> None:
        world = parent()
        world.note_child("w.1", reason)
        assert world.status == f"paused/{reason}"
        (paused,) = world.all("execution_paused")
        assert [(wait["node_id"], wait["step_id"], wait["kind"]) for wait in paused.waiting_for] == [
            ("w", "w.1", "workflow")
        ]
        world.note_child("w.1", None)
        assert world.status == "running"
        assert world.names()[-1] == "execution_resumed"

    def test_an_operator_s_pause_of_the_child_is_news_from_outside(self) -> None:
        world = parent()
        world.note_child("w.1", "operator")
        assert world.status == "paused/input"

    def test_a_changed_reason_is_told(self) -> None:
        world = parent()
        world.note_child("w.1", "timer")
        world.note_child("w.1", "input")
        assert [fact.reason for fact in world.all("execution_paused")] == ["timer", "input"]

    def test_the_same_news_twice_is_recorded_once(self) -> None:
        world = parent()
        world.note_child("w.1", "timer")
        before = len(world.facts)
        assert world.note_child("w.1", "timer") is None
        assert len(world.facts) == before

    def test_other_work_keeps_it_running(self) -> None:
        world = parent(call("a"))
        world.note_child("w.1", "input")
        assert world.status == "running"
        world.complete("a.1")
        assert world.status == "paused/input"

    def test_a_clock_beside_an_input_is_input(self) -> None:
        world = parent(node("t", "wait", input_={"for": "1h"}))
        world.note_child("w.1", "input")
        assert world.status == "paused/input"
        world.note_child("w.1", "timer")
        assert world.status == "paused/timer"

    def test_several_children(self) -> None:
        nodes = [node("w", "workflow", input_={"workflow_id": "other"}, foreach={"items": [1, 2]})]
        world = World(nodes).start()
        world.note_child("w.1:0", "input")
        assert world.status == "running"
        world.note_child("w.1:1", "timer")
        assert world.status == "paused/input"
        world.complete("w.1:0")
        assert world.status == "paused/timer"
        world.complete("w.1:1")
        assert world.status == "completed"

    def test_the_end_of_a_paused_child_goes_on(self) -> None:
        world = parent()
        world.note_child("w.1", "input")
        world.complete("w.1", 4)
        assert world.output == 4

    def test_it_outlives_the_process(self) -> None:
        world = parent()
        world.note_child("w.1", "input")
        world.working = Working(world.graph, world.folded(), world.limits)
        world.state = world.working.state
        assert world.decide(Recover()).effects == [Dispatch("w.1", is_repeat=True)]
        assert world.status == "paused/input"

    def test_news_of_another_attempt_is_stale(self) -> None:
        world = parent()
        assert world.do(NoteChild("w.1", 2, 0, "input"))[0].code == "stale"
        assert world.do(NoteChild("w.1", 1, 1, "input"))[0].code == "stale"
        assert world.do(NoteChild("w.2", 1, 0, "input"))[0].code == "stale"
        assert world.status == "running"

    def test_an_operator_s_pause_of_the_parent_comes_first(self) -> None:
        world = parent()
        world.do(Pause())
        world.note_child("w.1", "timer")
        assert world.status == "paused/operator"

    def test_a_pause_is_forgotten_by_the_next_attempt(self) -> None:
        world = parent(retry={"max_attempts": 2})
        world.note_child("w.1", "input")
        world.fail("w.1", refused("unavailable"))
        assert world.status == "running"
        world.run_clock()
        assert world.under_way == {"w.1": (2, 0)}
        assert world.status == "running"


class TestTimeouts:
    def test_its_timeout_is_a_timer_that_withdraws_the_child(self) -> None:
        nodes = [child(timeout="30d", retry={"max_attempts": 1}), *pure("h", output="${ error.type }")]
        world = World(nodes, ["w ->! h"], variables={"n": 1}).start()
        assert world.state.steps["w.1"].timeout_at == NOON_AT + 30 * 86_400_000_000
        assert world.state.steps["w.1"].timeout_s is None
        world.run_clock()
        assert world.output == "timeout"
        assert world.withdrawn == ["w.1"]

    def test_each_attempt_has_its_own(self) -> None:
        world = parent(timeout="1h", retry={"max_attempts": 2, "initial": "1m", "jitter": 0, "on": ["timeout"]})
        world.wait(3600)
        assert world.withdrawn == ["w.1"]
        world.wait(60)
        assert world.state.steps["w.1"].timeout_at == NOON_AT + (3660 + 3600) * 1_000_000
        world.wait(3600)
        assert world.status == "failed"


class TestControl:
    @pytest.mark.parametrize("command", [Cancel(), Terminate()])
    def test_the_end_of_the_parent_withdraws_the_child(self, command: Cancel | Terminate) -> None:
        world = parent()
        world.do(command)
        assert world.withdrawn == ["w.1"]
        assert world.do(CompleteStep("w.1", 1, 0, 1))[0].code == "ended"

    def test_retry_asks_for_a_new_child(self) -> None:
        world = parent()
        world.fail("w.1", refused("boom"))
        world.do(Retry())
        assert world.under_way == {"w.1": (1, 1)}
        world.complete("w.1", 2)
        assert world.output == 2

    def test_in_a_group_that_times_out(self) -> None:
        world = World([group("g", [child()], timeout="1h"), *pure("h")], ["g ->! h"], variables={"n": 1}).start()
        world.note_child("g.1~w.1", "input")
        assert world.status == "paused/input"
        world.run_clock()
        assert world.withdrawn == ["g.1~w.1"]
        assert world.started()[-1] == "h.1"


def test_a_call_that_is_delivered_at_most_once_is_marked_when_it_is_asked_for_again() -> None:
    world = World([call("a", delivery="at_most_once"), *pure("h", output="${ error.type }")], ["a ->! h"])
    world.start()
    assert world.last.effects == [Dispatch("a.1")]
    world.working = Working(world.graph, world.folded(), world.limits)
    world.state = world.working.state
    assert world.decide(Recover()).effects == [Dispatch("a.1", is_repeat=True)]
    world.fail("a.1", refused("worker_lost"))
    assert world.output == "worker_lost"


def test_a_call_that_is_delivered_at_most_once_is_not_tried_again() -> None:
    world = World([node("a", "function", input_={"name": "work"}, delivery="at_most_once")]).start()
    world.fail("a.1", refused("unavailable"))
    assert world.status == "failed"
