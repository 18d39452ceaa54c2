"""migrate: a running execution goes on with another version of its definition."""

from typing import Any

import pytest
from world import World, call, graph_of, group, node, pure

from workflow_engine.engine.migration import plan_migration
from workflow_engine.engine.working import Working
from workflow_engine.models.command import Cancel, Migrate, Pause, Resume, Retry, Start


def test_it_goes_on_with_the_new_version() -> None:
    world = World([call("a"), *pure("b", output="old")], ["a -> b"]).start()
    new = graph_of([call("a"), *pure("b", output="new")], ["a -> b"])
    assert world.migrate(new) is None
    assert world.names()[-1] == "execution_migrated"
    (fact,) = world.all("execution_migrated")
    assert (fact.from_version, fact.version, fact.nodes, fact.dropped) == (1, 2, {}, [])
    world.complete("a.1")
    assert (world.state.version, world.output) == (2, "new")


def test_an_active_step_keeps_its_id_and_its_call() -> None:
    world = World([call("a"), *pure("b")], ["a -> b"]).start()
    new = graph_of([call("x"), *pure("b", output="${ steps.x.output }")], ["x -> b"])
    assert world.migrate(new, {"a": "x"}) is None
    assert world.state.steps["a.1"].node == "x"
    assert world.withdrawn == []
    world.complete("a.1", 7)
    assert world.output == 7


def test_a_renamed_node_counts_on() -> None:
    nodes = [call("a"), *pure("z")]
    world = World(nodes, ["a -> a if steps.a.count < 3", "a -> z else"], start=["a"]).start()
    world.complete("a.1")
    new = graph_of([call("x"), *pure("z")], ["x -> x if steps.x.count < 3", "x -> z else"], start=["x"])
    assert world.migrate(new, {"a": "x"}) is None
    world.complete("a.2")
    assert world.active() == ["x.3"]
    assert world.state.scopes[""].views["x"]["count"] == 2


def test_tokens_move_to_where_the_connection_stands_now() -> None:
    ways = ["s -> a", "s -> b", "a -> j", "b -> j"]
    world = World([*pure("s"), call("a"), call("b"), *pure("j")], ways).start()
    world.complete("a.1")
    new = graph_of([*pure("s"), call("b"), call("a"), *pure("join")], ["b -> join", "s -> b", "a -> join", "s -> a"])
    assert world.migrate(new, {"j": "join"}) is None
    assert world.state.scopes[""].tokens == {2: 1}
    world.complete("b.1")
    assert world.started()[-1] == "join.1"
    assert world.status == "completed"


def test_a_new_arm_is_waited_for_only_when_it_is_taken() -> None:
    world = World([*pure("s"), call("a"), call("b"), *pure("j")], ["s -> a", "s -> b", "a -> j", "b -> j"]).start()
    nodes = [*pure("s"), call("a"), call("b"), call("c"), *pure("j")]
    new = graph_of(nodes, ["s -> a", "s -> b", "s -> c", "a -> j", "b -> j", "c -> j"])
    assert world.migrate(new) is None
    world.complete("a.1")
    world.complete("b.1")
    assert world.started()[-1] == "j.1"


def test_the_owner_after_a_restart_goes_on_alike() -> None:
    world = World([call("a"), *pure("b")], ["a -> b"]).start()
    new = graph_of([call("a"), call("c")], ["a -> c"])
    world.migrate(new)
    world.working = Working(world.graph, world.folded(), world.limits)
    world.state = world.working.state
    world.complete("a.1")
    assert world.active() == ["c.1"]


def test_what_a_node_that_is_gone_has_given_can_not_be_read_any_more() -> None:
    world = World([*pure("a", output=1), call("b")], ["a -> b"], output="${ steps.a.output }").start()
    new = graph_of([call("b")], output="${ steps.b.output }")
    assert world.migrate(new) is None
    assert world.all("execution_migrated")[0].dropped == ["a"]
    world.complete("b.1", 2)
    assert world.output == 2


class TestEverywhere:
    def test_steps_of_groups_items_and_iterations(self) -> None:
        def shape(suffix: str) -> tuple[list[dict[str, Any]], list[str]]:
            inner = [call(f"a{suffix}"), *pure(f"b{suffix}", output="${ item }")]
            nodes = [
                group(f"g{suffix}", inner, [f"a{suffix} -> b{suffix}"], foreach={"items": [1, 2]}),
                call(f"r{suffix}", repeat={"max": 2}),
            ]
            return nodes, []

        world = World(*shape("")).start()
        names = {"g": "g2", "a": "a2", "b": "b2", "r": "r2"}
        assert world.migrate(graph_of(*shape("2")), names) is None
        assert {scope.path for scope in world.state.scopes.values()} == {"", "g2"}
        world.complete("g.1:0~a.1")
        world.complete("g.1:1~a.1")
        world.complete("r.1:0")
        world.complete("r.1:1", 5)
        assert world.output == {"g2": [1, 2], "r2": 5}

    def test_a_failed_execution_is_over(self) -> None:
        world = World([call("a")]).start()
        world.fail("a.1")
        assert world.migrate(graph_of([call("a")])).code == "ended"
        world.do(Retry())
        assert world.migrate(graph_of([call("a")])) is None

    def test_waits_and_people(self) -> None:
        nodes = [node("w", "wait", input_={"signal": "go"}), node("p", "human")]
        world = World(nodes).start()
        assert world.migrate(graph_of(nodes)) is None
        world.signal("go", 1)
        world.answer("p.1", 2)
        assert world.output == {"w": 1, "p": 2}

    def test_what_is_to_be_undone(self) -> None:
        nodes = [call("a", compensate="u"), call("u"), call("b")]
        world = World(nodes, ["a -> b"], outcomes={"a": 1}, on_failure="compensate").start()
        new = [call("x", compensate="v"), call("v"), call("b")]
        assert world.migrate(graph_of(new, ["x -> b"], on_failure="compensate"), {"a": "x"}) is None
        world.fail("b.1")
        assert world.active() == ["v.1"]

    def test_in_an_operator_s_pause(self) -> None:
        world = World([call("a"), call("b")], ["a -> b"]).start()
        world.do(Pause())
        world.complete("a.1")
        assert world.migrate(graph_of([call("a"), call("c")], ["a -> c"]), {"b": "c"}) is None
        assert world.status == "paused/operator"
        world.do(Resume())
        assert world.active() == ["c.1"]


class TestRefusals:
    def refused(self, world: World, *new: Any, names: dict[str, str] | None = None, **fields: Any) -> str:
        """The refusal's text; nothing has changed."""
        before, graph = world.folded(), world.graph
        rejection = world.migrate(graph_of(*new, **fields), names)
        assert rejection is not None
        assert rejection.code == "cannot_migrate"
        assert world.folded() == before
        assert world.graph is graph
        return rejection.message

    def test_a_step_whose_node_is_gone(self) -> None:
        message = self.refused(World([call("a")]).start(), [call("b")])
        assert "the step a.1 stands on a" in message
        assert "map it" in message

    def test_a_token_whose_connection_is_gone(self) -> None:
        ways = ["s -> a", "s -> b", "a -> j", "b -> j"]
        world = World([*pure("s"), call("a"), call("b"), *pure("j")], ways).start()
        world.complete("a.1")
        message = self.refused(world, [*pure("s"), call("b"), *pure("j")], ["s -> b", "b -> j"])
        assert "a token stands on the connection a -> j" in message

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (call("a"), node("a", "human")),
            (call("a"), call("a", foreach={"items": [1]})),
            (call("a", foreach={"items": [1]}), call("a")),
            (call("a"), call("a", repeat={"max": 2})),
            (
                node("a", "wait", input_={"signal": "go"}),
                node("a", "wait", input_={"any": [{"signal": "go"}, {"for": "1h"}]}),
            ),
        ],
    )
    def test_a_step_that_could_not_go_on_there(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        assert "can't go on as a" in self.refused(World([old]).start(), [new])

    def test_a_group_that_is_gone(self) -> None:
        message = self.refused(World([group("g", [call("a")])]).start(), [call("a")])
        assert "g.1" in message

    def test_names_that_neither_version_has(self) -> None:
        message = self.refused(World([call("a")]).start(), [call("a")], names={"b": "a", "a": "x"})
        assert "no node b" in message
        assert "no node x" in message

    def test_what_is_to_be_undone_and_can_not_be_any_more(self) -> None:
        nodes = [call("a", compensate="u"), call("u"), call("b")]
        world = World(nodes, ["a -> b"], outcomes={"a": 1}, on_failure="compensate").start()
        assert "nothing that undoes a.1" in self.refused(world, [call("a"), call("b")], ["a -> b"])

    def test_all_problems_are_told_at_once(self) -> None:
        message = self.refused(World([call("a"), call("b")]).start(), [call("c")])
        assert "a.1" in message
        assert "b.1" in message

    def test_one_that_has_not_begun_or_has_ended_or_is_undoing(self) -> None:
        graph = graph_of([call("a")])
        world = World([call("a")])
        world.do(Start("flow", 1, delay_s=60))
        assert world.migrate(graph).code == "pending"
        world = World([call("a")]).start()
        world.do(Cancel())
        assert world.migrate(graph).code == "ended"
        assert World([call("a")]).do(Migrate(2, graph))[0].code == "not_started"
        nodes = [call("a", compensate="u"), call("u"), call("b")]
        world = World(nodes, ["a -> b"], outcomes={"a": 1}, on_failure="compensate").start()
        world.fail("b.1")
        assert world.migrate(world.graph).code == "compensating"


def test_a_dry_run_tells_the_same_and_changes_nothing() -> None:
    world = World([call("a"), call("b")], ["a -> b"]).start()
    before = world.folded()
    plan = plan_migration(world.state, world.graph, graph_of([call("x")]), 2, {})
    assert len(plan.problems) == 1
    assert plan_migration(world.state, world.graph, graph_of([call("x")]), 2, {"a": "x"}).problems == []
    assert world.folded() == before == world.state
