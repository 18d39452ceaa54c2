"""cancel: a node that withdraws others when it completes."""

import pytest
from world import World, call, group, node, pure

from workflow_engine.models.command import CompleteByHand, Skip


def cancelled(world: World) -> list[str]:
    return [fact.step for fact in world.all("step_cancelled")]


def test_it_withdraws_the_active_steps_of_the_named_nodes() -> None:
    world = World([call("a"), call("b"), call("other"), call("x", cancel=["a", "b"])]).start()
    world.complete("x.1")
    assert world.names()[-3:] == ["step_completed:x.1", "step_cancelled:a.1", "step_cancelled:b.1"]
    assert world.active() == ["other.1"]
    assert world.withdrawn == ["a.1", "b.1"]
    assert world.view("a")["status"] == "cancelled"
    assert "x.1" in world.all("step_cancelled")[0].reason


def test_all_inside_of_them_goes_too() -> None:
    nodes = [
        group("g", [group("h", [call("a"), node("p", "human")])]),
        call("f", foreach={"items": [1, 2]}),
        call("r", repeat={"max": 2}),
        call("x", cancel=["g", "f", "r"]),
    ]
    world = World(nodes).start()
    world.complete("x.1")
    assert cancelled(world) == ["g.1~h.1~a.1", "g.1~h.1~p.1", "g.1~h.1", "g.1", "f.1:0", "f.1:1", "f.1", "r.1:0", "r.1"]
    assert world.asked == []
    assert world.status == "completed"


def test_items_that_outlive_their_node_go_too() -> None:
    world = World([call("f", foreach={"items": [1, 2], "wait": False}), call("x", cancel=["f"])]).start()
    world.complete("x.1")
    assert cancelled(world) == ["f.1:0", "f.1:1"]
    assert world.status == "completed"


def test_tokens_on_the_incoming_connections_of_the_named_nodes_go() -> None:
    nodes = [*pure("s"), call("a"), call("b"), *pure("j", join="all"), call("x", cancel=["j"]), call("y")]
    world = World(nodes, ["s -> a", "s -> b", "a -> j", "b -> j", "s -> x", "s -> y"]).start()
    world.complete("a.1")
    world.complete("x.1")
    assert world.state.scopes[""].tokens == {}
    world.complete("b.1")
    world.complete("y.1")
    assert world.error["type"] == "deadlock"
    assert [edge["from"] for edge in world.error["details"]["connections"]] == ["a"]


def test_a_start_node_that_has_not_begun_is_withdrawn() -> None:
    nodes = [*pure("x", cancel=["late"]), call("late"), call("other")]
    world = World(nodes).start()
    assert "late.1" not in world.started()
    assert world.active() == ["other.1"]


def test_tokens_that_it_gives_itself_stay() -> None:
    world = World([*pure("x", cancel=["a"]), call("a")], ["x -> a"]).start()
    assert world.active() == ["a.1"]


def test_it_acts_on_success_only() -> None:
    world = World([call("a"), call("x", cancel=["a"]), *pure("h")], ["x ->! h"]).start()
    world.fail("x.1")
    assert world.active() == ["a.1"]


def test_a_retry_that_waits_and_a_wait_go() -> None:
    nodes = [
        call("a", retry={"max_attempts": 3}),
        node("w", "wait", input_={"for": "1h"}),
        call("x", cancel=["a", "w"]),
    ]
    world = World(nodes).start()
    world.fail("a.1")
    world.complete("x.1")
    assert cancelled(world) == ["a.1", "w.1"]
    assert world.working.next_due_at() is None
    assert world.status == "completed"


def test_a_step_that_waits_for_its_lock_goes_and_its_turn_with_it() -> None:
    world = World([call("a", lock="l"), call("b", lock="l"), call("c", lock="l"), call("x", cancel=["b"])]).start()
    world.complete("x.1")
    world.complete("a.1")
    assert list(world.under_way) == ["c.1"]


def test_other_activations_of_its_own_node_can_be_withdrawn() -> None:
    nodes = [*pure("s"), call("a", cancel=["a"])]
    world = World(nodes, [{"from": "s", "to": "a", "tokens": 3}]).start()
    assert world.active() == ["a.1", "a.2", "a.3"]
    world.complete("a.2")
    assert cancelled(world) == ["a.1", "a.3"]
    assert world.status == "completed"


def test_a_late_result_of_what_was_withdrawn_changes_nothing() -> None:
    world = World([call("a"), call("x", cancel=["a"]), call("y")]).start()
    attempt = world.under_way["a.1"]
    world.complete("x.1")
    world.under_way["a.1"] = attempt
    assert world.complete("a.1").code == "stale"


def test_a_join_that_waited_for_what_was_withdrawn_goes_on() -> None:
    nodes = [*pure("s"), call("a"), call("slow"), call("x", cancel=["slow"]), *pure("j"), *pure("z")]
    world = World(nodes, ["s -> a", "s -> slow", "s -> x", "a -> j", "slow -> j", "x -> z"]).start()
    world.complete("a.1")
    world.complete("x.1")
    assert set(world.started()[-2:]) == {"j.1", "z.1"}
    assert world.status == "completed"


class TestInsideOfGroups:
    def test_it_acts_in_its_own_activation_of_the_scope_alone(self) -> None:
        inner = [call("a"), call("x", cancel=["a"])]
        world = World([group("g", inner, foreach={"items": [1, 2]})]).start()
        world.complete("g.1:0~x.1")
        assert cancelled(world) == ["g.1:0~a.1"]
        assert "g.1:1~a.1" in world.active()

    def test_a_scope_that_is_emptied_ends_normally(self) -> None:
        inner = [call("a"), call("x", cancel=["a"], output=1)]
        world = World([group("g", inner), *pure("z", output="${ steps.g.output }")], ["g -> z"]).start()
        world.complete("g.1~x.1")
        assert world.output == 1


@pytest.mark.parametrize("command", [CompleteByHand("x.1", 1), Skip("x.1")])
def test_it_acts_when_an_operator_ends_the_node_well(command: CompleteByHand | Skip) -> None:
    world = World([call("a"), call("x", cancel=["a"])]).start()
    world.do(command)
    assert cancelled(world) == ["a.1"]
    assert world.status == "completed"


def test_a_foreach_withdraws_once_after_its_last_item() -> None:
    world = World([call("a"), call("f", foreach={"items": [1, 2]}, cancel=["a"])]).start()
    world.complete("f.1:0")
    assert cancelled(world) == []
    world.complete("f.1:1")
    assert cancelled(world) == ["a.1"]


def test_an_error_of_its_conditions_withdraws_nothing() -> None:
    world = World([call("a"), call("x", cancel=["a"]), *pure("z", "h")], ["x -> z if vars.q.r", "x ->! h"]).start()
    world.complete("x.1")
    assert cancelled(world) == []
    assert world.active() == ["a.1"]
