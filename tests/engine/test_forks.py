"""fork: a new execution that begins where another one stood, at any of its transitions."""

from typing import Any

import pytest
from world import NOON_AT, World, call, graph_of, group, node, pure, refused

from workflow_engine.models.command import AddItems, Cancel, Fork, Pause, SetVariables, Start
from workflow_engine.models.effect import AskSlot


def chain(**fields: Any) -> World:
    return World([call("a"), call("b"), call("c")], ["a -> b", "b -> c"], **fields).start("in")


def test_its_log_begins_at_one_with_an_event_that_names_its_origin() -> None:
    world = chain()
    world.complete("a.1", 1)
    fork = world.fork()
    (first,) = fork.all("execution_forked")
    assert fork.public()[0] == first
    assert (first.origin_id, first.origin_sequence, first.version) == ("e1", world.state.sequence, 1)
    assert fork.state.sequence == len(fork.public())
    assert fork.names() == ["execution_forked", "step_reopened:b.1"]


def test_from_every_transition_it_ends_as_the_other_did() -> None:
    nodes = [
        call("a"),
        call("f", foreach={"items": [1, 2, 3], "concurrency": 2}),
        group(
            "g", [call("p"), call("q"), *pure("j", output="${ item }")], ["p -> j", "q -> j"], foreach={"items": [7, 8]}
        ),
        call("r", repeat={"max": 2}),
        node("w", "wait", input_={"signal": "go"}),
        *pure("z", output="${ [steps.f.output, steps.g.output, steps.r.output, steps.w.output] }"),
    ]
    ways = ["a -> f", "a -> g", "f -> z", "g -> z", "g -> r", "r -> w", "w -> z"]
    world = World(nodes, ways, outcomes=dict.fromkeys("afpqr", lambda step: step.step_id)).start()
    world.signal("go", "went")
    assert world.status == "completed"
    for number in range(1, len(world.log) - 1):
        fork = world.fork(number, outcomes=world.outcomes)
        assert fork.rejection is None
        if fork.status != "completed":
            fork.signal("go", "went")
        assert fork.status == "completed"
        assert fork.output == world.output, number


def test_what_was_completed_is_not_done_again() -> None:
    world = chain()
    world.complete("a.1", 1)
    world.complete("b.1", 2)
    fork = world.fork()
    assert fork.calls == ["c.1"]
    fork.complete("c.1", 3)
    assert fork.output == 3


def test_what_was_running_starts_anew_with_a_new_generation_and_all_its_attempts() -> None:
    world = World([call("a", retry={"max_attempts": 2})]).start()
    world.fail("a.1")
    assert world.state.steps["a.1"].retry_at is not None
    fork = world.fork()
    assert fork.under_way == {"a.1": (1, 1)}
    fork.fail("a.1")
    fork.run_clock()
    fork.complete("a.1", 1)
    assert fork.output == 1


def test_its_input_is_evaluated_anew_with_changed_variables() -> None:
    nodes = [node("p", "human", input_={"title": "${ vars.x }"})]
    fork = World(nodes, variables={"x": 1}).start().fork(variables={"x": 2})
    assert fork.state.steps["p.1"].input["title"] == 2
    assert fork.state.variables == {"x": 2}
    assert fork.all("variables_changed")[0].changed == {"x": 2}


def test_waits_begin_again() -> None:
    world = World([node("w", "wait", input_={"for": "1h"}), call("a")]).start()
    world.wait(1800)
    fork = world.fork()
    assert fork.state.steps["w.1"].due_at == NOON_AT + (1800 + 3600) * 1_000_000


def test_tasks_of_people_reopen() -> None:
    fork = World([node("p", "human")]).start().fork()
    assert fork.asked == ["p.1"]
    fork.answer("p.1", "yes")
    assert fork.output == "yes"


def test_the_timeout_of_the_execution_begins_again() -> None:
    world = World([call("a")], timeout="1h").start()
    world.wait(1800)
    fork = world.fork()
    assert fork.state.timeout_at == world.now + 3_600_000_000
    fork.run_clock()
    assert fork.error["type"] == "timeout"


def test_signals_that_were_kept_come_along() -> None:
    world = World([call("a"), node("w", "wait", input_={"signal": "go"})], ["a -> w"]).start()
    world.signal("go", 5)
    fork = world.fork()
    fork.complete("a.1")
    assert fork.output == 5


def test_the_list_of_things_to_undo_is_not_inherited() -> None:
    nodes = [call("a", compensate="u"), call("u"), call("b")]
    world = World(nodes, ["a -> b"], outcomes={"a": 1}, on_failure="compensate").start()
    fork = world.fork()
    fork.fail("b.1")
    assert fork.status == "failed"
    assert "u.1" not in fork.started()


def test_the_other_execution_is_not_touched() -> None:
    world = chain()
    world.complete("a.1", 1)
    before = world.folded()
    fork = world.fork()
    fork.complete("b.1")
    assert world.folded() == before
    assert world.complete("b.1", 2) is None


class TestPlaces:
    def test_a_failed_one_goes_on_at_what_had_failed(self) -> None:
        world = World([call("a"), call("b"), *pure("j")], ["a -> j", "b -> j"]).start()
        world.complete("a.1")
        world.fail("b.1", refused("boom"))
        fork = world.fork()
        assert fork.status == "running"
        assert fork.active() == ["b.1"]
        fork.complete("b.1")
        assert fork.started() == ["j.1"]

    def test_a_completed_one_is_over_at_once(self) -> None:
        world = World([call("a")], outcomes={"a": 4}).start()
        fork = world.fork()
        assert (fork.status, fork.output) == ("completed", 4)

    def test_tokens_before_a_join_come_along(self) -> None:
        world = World([*pure("s"), call("a"), call("b"), *pure("j")], ["s -> a", "s -> b", "a -> j", "b -> j"]).start()
        world.complete("a.1")
        fork = world.fork()
        fork.complete("b.1")
        assert fork.started() == ["j.1"]

    def test_inside_of_a_group_with_its_variables(self) -> None:
        inner = [*pure("s", assign={"n": 8}), call("a"), *pure("z", output="${ vars.n }")]
        world = World([group("g", inner, ["s -> a", "a -> z"], variables={"n": 0})]).start()
        fork = world.fork()
        assert fork.active() == ["g.1", "g.1~a.1"]
        fork.complete("g.1~a.1")
        assert fork.output == 8

    def test_inside_of_a_foreach_with_the_results_so_far(self) -> None:
        world = World([call("f", foreach={"items": [1, 2, 3], "concurrency": 2})]).start()
        world.do(AddItems("f.1", [4]))
        world.complete("f.1:1", "b")
        fork = world.fork()
        assert set(fork.active()) == {"f.1", "f.1:0", "f.1:2"}
        for number, result in ((0, "a"), (2, "c"), (3, "d")):
            fork.complete(f"f.1:{number}", result)
        assert fork.output == ["a", "b", "c", "d"]

    def test_with_items_that_outlive_their_node(self) -> None:
        foreach = {"items": [1, 2, 3], "wait": False, "concurrency": 2}
        world = World([call("f", foreach=foreach), *pure("z")], ["f -> z"]).start()
        world.complete("f.1:0")
        fork = world.fork()
        assert set(fork.active()) == {"f.1", "f.1:1", "f.1:2"}
        fork.complete("f.1:1")
        fork.complete("f.1:2")
        assert fork.status == "completed"
        assert fork.started() == []

    def test_in_a_lock_and_its_queue(self) -> None:
        world = World([call("a", lock="l"), call("b", lock="l")]).start()
        fork = world.fork()
        assert list(fork.under_way) == ["a.1"]
        fork.complete("a.1")
        fork.complete("b.1")
        assert fork.status == "completed"

    def test_in_a_limit(self) -> None:
        world = World([call("a", limit={"key": "k", "concurrency": 1})]).start()
        world.grant("a.1")
        fork = world.fork()
        assert fork.slots == {"a.1": AskSlot("a.1", 1, 1, "k", 1)}
        fork.grant("a.1")
        assert fork.under_way == {"a.1": (1, 1)}

    def test_in_an_operator_s_pause_it_goes_on(self) -> None:
        world = chain()
        world.do(Pause())
        fork = world.fork()
        assert fork.status == "running"
        assert list(fork.under_way) == ["a.1"]

    def test_an_error_that_a_handler_has_taken_comes_along(self) -> None:
        handler = call("h") | {"with": {"name": "work", "arguments": {"e": "${ error.type }"}}}
        world = World([call("a"), handler], ["a ->! h"]).start()
        world.fail("a.1", refused("boom"))
        fork = world.fork()
        assert fork.state.steps["h.1"].input["arguments"] == {"e": "boom"}


class TestAnotherVersion:
    def test_it_goes_on_with_the_new_graph(self) -> None:
        world = chain()
        world.complete("a.1", 1)
        new = graph_of([call("a"), call("b"), call("d")], ["a -> b", "b -> d"])
        fork = world.fork(graph=new)
        assert fork.state.version == 2
        fork.complete("b.1")
        assert fork.active() == ["d.1"]

    def test_by_a_node_map(self) -> None:
        world = chain()
        world.complete("a.1", 1)
        new = graph_of([call("a"), call("x"), *pure("z", output="${ steps.a.output }")], ["a -> x", "x -> z"])
        fork = world.fork(graph=new, nodes={"b": "x", "c": "z"})
        assert fork.state.steps["b.1"].node == "x"
        fork.complete("b.1")
        assert fork.status == "completed"


class TestRefusals:
    @pytest.mark.parametrize("fill", [Cancel(), None])
    def test_from_where_nothing_can_go_on(self, fill: Cancel | None) -> None:
        world = World([call("a")])
        if fill is None:
            world.do(Start("flow", 1, delay_s=60))
        else:
            world.start().do(fill)
        fork = world.fork()
        assert fork.rejection is not None
        assert fork.rejection.code == ("origin_cancelled" if fill else "origin_pending")
        assert fork.facts == []

    def test_an_execution_that_exists(self) -> None:
        world = chain()
        assert world.do(Fork("flow", 1, "e0", 1, world.folded()))[0].code == "already_started"

    def test_a_timeout_that_can_not_be_evaluated(self) -> None:
        world = World([call("a")], timeout="${ vars.t }", variables={"t": "1h"}).start()
        world.do(SetVariables({"t": 5}))
        assert world.fork().rejection.code == "invalid_timeout"
