"""The join bugs that people have reported to workflow engines, rebuilt: here none hangs, none drops, none fires twice.

Each shape is run with its results coming in every order there is, as the whole definition and inside of a group, by an
owner that stays and by one that folds the log anew before each result.
"""

from dataclasses import dataclass, field
from typing import Any

import pytest
from world import World, call, group, node, pure, refused

from workflow_engine.engine.working import Working


@dataclass
class Shape:
    """A graph, what its calls give, and how often each node is completed in the end.

    `outcomes` are results by node and activation; a node that is not named gives null. `counts` names what ran, all
    else did not run.
    """

    nodes: list[dict[str, Any]]
    connections: list[str]
    counts: dict[str, int]
    outcomes: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)


SHAPES: dict[str, Shape] = {}


def shape(made: Any) -> Any:
    """Keeps a shape under its name."""
    SHAPES[made.__name__] = made()
    return made


@shape
def merge_after_a_branch_that_was_not_taken() -> Shape:
    """A condition chooses one of two ways, and both lead to the same node: it waits for ever, or never runs at all.

    https://github.com/n8n-io/n8n/issues/1351
    """
    nodes = [node("if", "decision"), call("yes"), call("no"), call("merge"), call("after")]
    ways = ["if -> yes if true", "if -> no else", "yes -> merge", "no -> merge", "merge -> after"]
    return Shape(nodes, ways, {"if": 1, "yes": 1, "merge": 1, "after": 1})


@shape
def merge_after_a_condition_with_one_arm_straight_to_it() -> Shape:
    """Only one way of the condition does work; the other leads straight to the merge.

    https://github.com/n8n-io/n8n/issues/1351
    """
    nodes = [node("if", "decision"), call("work"), call("merge")]
    ways = ["if -> work if false", "if -> merge else", "work -> merge"]
    return Shape(nodes, ways, {"if": 1, "merge": 1})


@shape
def a_split_whose_second_way_was_not_taken() -> Shape:
    """One of the ways into a join is skipped: the join is dropped with all that follows, and the run ends as if well.

    https://github.com/langchain-ai/langgraphjs/issues/2666
    """
    nodes = [call("start"), call("a"), call("b"), call("c"), call("join"), call("after")]
    ways = ["start -> a", "start -> b if false", "start -> c", "a -> join", "b -> join", "c -> join", "join -> after"]
    return Shape(nodes, ways, {"start": 1, "a": 1, "c": 1, "join": 1, "after": 1})


@shape
def uneven_branches() -> Shape:
    """A short and a long branch meet: the node where they meet runs twice, once for each.

    https://github.com/langchain-ai/langgraphjs/issues/1535
    """
    nodes = [call("s"), call("short"), call("long1"), call("long2"), call("long3"), call("meet")]
    ways = ["s -> short", "s -> long1", "long1 -> long2", "long2 -> long3", "short -> meet", "long3 -> meet"]
    return Shape(nodes, ways, {"s": 1, "short": 1, "long1": 1, "long2": 1, "long3": 1, "meet": 1})


@shape
def uneven_branches_and_one_with_no_node_at_all() -> Shape:
    """A split with a connection straight to the join: the join must not run before the long way is through.

    https://github.com/langchain-ai/langgraph/issues/4026
    """
    nodes = [call("s"), call("a"), call("b"), call("meet")]
    ways = ["s -> meet", "s -> a", "a -> b", "b -> meet"]
    return Shape(nodes, ways, {"s": 1, "a": 1, "b": 1, "meet": 1})


@shape
def a_decision_inside_one_arm_of_a_split() -> Shape:
    """One arm of a split decides between two nodes, which both lead to the join: it waits for the one not chosen.

    https://github.com/Netflix/conductor/issues/644
    """
    nodes = [*pure("fork"), call("plain"), call("ask"), node("if", "decision"), call("x"), call("y"), call("join")]
    ways = ["fork -> plain", "fork -> ask", "ask -> if", "if -> x if steps.ask.output", "if -> y else"]
    ways += ["plain -> join", "x -> join", "y -> join"]
    counts = {"fork": 1, "plain": 1, "ask": 1, "if": 1, "x": 1, "join": 1}
    return Shape(nodes, ways, counts, {"ask": True})


@shape
def the_default_of_a_decision_inside_one_arm_does_nothing() -> Shape:
    """The same, but the way that is chosen has no work to do and leads nowhere: the join never ends.

    https://github.com/Netflix/conductor/issues/2758
    """
    nodes = [*pure("fork"), call("plain"), call("ask"), node("if", "decision"), call("x"), node("none", "end")]
    ways = ["fork -> plain", "fork -> ask", "ask -> if", "if -> x if steps.ask.output", "if -> none else"]
    ways += ["plain -> join", "x -> join"]
    counts = {"fork": 1, "plain": 1, "ask": 1, "if": 1, "none": 1, "join": 1}
    return Shape([*nodes, call("join")], ways, counts, {"ask": False})


@shape
def a_merge_inside_of_one_arm_of_a_split() -> Shape:
    """The ways of a decision inside one arm meet again before the join of the split: nothing goes on after that merge.

    https://github.com/Netflix/conductor/issues/1240
    """
    nodes = [*pure("fork"), call("plain"), node("if", "decision"), call("x"), call("y"), *pure("merge"), call("join")]
    ways = ["fork -> plain", "fork -> if", "if -> x if false", "if -> y else", "x -> merge", "y -> merge"]
    ways += ["plain -> join", "merge -> join"]
    return Shape(nodes, ways, {"fork": 1, "plain": 1, "if": 1, "y": 1, "merge": 1, "join": 1})


@shape
def a_skipped_parent() -> Shape:
    """One of two branches ends early, and the node that both lead to is passed over, with all behind it.

    https://github.com/apache/airflow/issues/7885
    """
    nodes = [*pure("s"), call("a"), call("check"), call("b"), call("join"), call("after")]
    ways = ["s -> a", "s -> check", "check -> b if steps.check.output", "a -> join", "b -> join", "join -> after"]
    return Shape(nodes, ways, {"s": 1, "a": 1, "check": 1, "join": 1, "after": 1}, {"check": False})


@shape
def a_parent_that_is_skipped_in_a_row_of_joins() -> Shape:
    """Two joins in a row, of which the first has a parent that was skipped: the second gets stuck behind it.

    https://github.com/flowable/flowable-engine/issues/3603
    """
    nodes = [*pure("s"), call("a"), call("b"), call("c"), *pure("j1"), *pure("j2"), call("after")]
    ways = ["s -> a", "s -> b if false", "s -> c", "a -> j1", "b -> j1", "j1 -> j2", "c -> j2", "j2 -> after"]
    return Shape(nodes, ways, {"s": 1, "a": 1, "c": 1, "j1": 1, "j2": 1, "after": 1})


@shape
def two_splits_into_one_join() -> Shape:
    """Two decisions side by side, one of two each, and one join for all four: (a or b) and (c or d).

    https://github.com/Netflix/conductor/issues/881
    """
    nodes = [*pure("s"), call("p"), call("q"), call("a"), call("b"), call("c"), call("d"), call("join")]
    ways = ["s -> p", "s -> q", "p -> a if steps.p.output", "p -> b else", "q -> c if steps.q.output", "q -> d else"]
    ways += ["a -> join", "b -> join", "c -> join", "d -> join"]
    counts = {"s": 1, "p": 1, "q": 1, "a": 1, "d": 1, "join": 1}
    return Shape(nodes, ways, counts, {"p": True, "q": False})


@shape
def two_starts_that_split_into_one_join() -> Shape:
    """Two nodes to begin with, which both split, and a join that all four branches lead to.

    https://github.com/n8n-io/n8n/issues/3029
    """
    nodes = [call("p"), call("q"), call("a"), call("b"), call("join")]
    ways = ["p -> a", "p -> b", "q -> b", "q -> join", "a -> join", "b -> join"]
    return Shape(nodes, ways, {"p": 1, "q": 1, "a": 1, "b": 1, "join": 1})


@shape
def a_cycle_that_re_enters_a_join() -> Shape:
    """A join whose check may send the work back to before the split: each round joins once, and the last one ends.

    https://github.com/camunda/camunda/issues/19464
    """
    nodes = [*pure("s"), call("a"), call("b"), call("join"), call("after")]
    ways = ["s -> a", "s -> b", "a -> join", "b -> join", "join -> s if steps.join.count < 3", "join -> after else"]
    return Shape(nodes, ways, {"s": 3, "a": 3, "b": 3, "join": 3, "after": 1}, fields={"start": ["s"]})


@shape
def a_cycle_on_one_arm_that_re_enters_the_join() -> Shape:
    """One arm goes round before it comes to the join, and the other is there long before it: the join is used up.

    https://github.com/camunda/camunda/issues/19464
    """
    nodes = [*pure("s"), call("once"), call("again"), call("join"), call("after")]
    ways = ["s -> once", "s -> again", "again -> again if steps.again.count < 3", "again -> join else"]
    ways += ["once -> join", "join -> after"]
    return Shape(nodes, ways, {"s": 1, "once": 1, "again": 3, "join": 1, "after": 1})


@shape
def a_cycle_straight_back_into_the_join() -> Shape:
    """What follows the join leads back into it by a connection of its own, which at first holds nothing.

    https://github.com/flowable/flowable-engine/issues/3603
    """
    nodes = [*pure("s"), call("a"), call("b"), *pure("join"), call("check"), call("after")]
    ways = ["s -> a", "s -> b", "a -> join", "b -> join", "join -> check", "check -> join if steps.check.count < 3"]
    ways += ["check -> after else"]
    return Shape(nodes, ways, {"s": 1, "a": 1, "b": 1, "join": 3, "check": 3, "after": 1})


@shape
def an_arm_that_fails_into_a_handler_that_rejoins() -> Shape:
    """An arm fails, its handler leads to the join too: the join must wait for the handler, and run once.

    https://github.com/camunda/camunda/issues/19460
    """
    nodes = [*pure("s"), call("a"), call("b"), call("handler"), call("join"), call("after")]
    ways = ["s -> a", "s -> b", "a -> join", "b ->! handler", "b -> join", "handler -> join", "join -> after"]
    counts = {"s": 1, "a": 1, "handler": 1, "join": 1, "after": 1}
    return Shape(nodes, ways, counts, {"b": refused("boom")})


@shape
def an_arm_that_fails_into_a_handler_that_leads_elsewhere() -> Shape:
    """An arm fails and its handler does not come back: the join must find out that nothing can come any more.

    https://github.com/camunda/camunda/issues/19460
    """
    nodes = [*pure("s"), call("a"), call("b"), call("handler"), call("join"), call("after")]
    ways = ["s -> a", "s -> b", "a -> join", "b -> join", "b ->! handler", "join -> after"]
    counts = {"s": 1, "a": 1, "handler": 1, "join": 1, "after": 1}
    return Shape(nodes, ways, counts, {"b": refused("boom")})


@shape
def an_optional_arm_that_fails_does_not_end_the_wait_for_the_others() -> Shape:
    """A failure that is passed over makes the join run at once, before the other arms are there.

    https://github.com/Netflix/conductor/issues/3317
    """
    nodes = [*pure("s"), call("optional"), call("b"), call("c"), call("join")]
    ways = ["s -> optional", "s -> b", "s -> c", "optional -> join", "optional ->! join", "b -> join", "c -> join"]
    return Shape(nodes, ways, {"s": 1, "b": 1, "c": 1, "join": 1}, {"optional": refused("boom")})


def orders(made: Shape, choices: list[int], *, inside: bool, is_reborn: bool) -> tuple[World, list[int]]:
    """Run a shape; where several results could come, take the one that `choices` names (0 by default).

    Gives the world, and how many there were to choose from each time.
    """
    shown = group("g", made.nodes, made.connections, **made.fields)
    world = World([shown]) if inside else World(made.nodes, made.connections, **made.fields)
    world.start()
    widths = []
    while world.under_way:
        if is_reborn:
            world.working = Working(world.graph, world.folded(), world.limits)
            world.state = world.working.state
        waiting = sorted(world.under_way)
        chosen = choices[len(widths)] if len(widths) < len(choices) else 0
        widths.append(len(waiting))
        step = waiting[chosen]
        outcome = made.outcomes.get(world.state.steps[step].node)
        if outcome is not None and not isinstance(outcome, bool):
            world.fail(step, outcome)
        else:
            world.complete(step, outcome)
    return world, widths


def every_order(made: Shape, **how: bool) -> list[World]:
    """The shape run in every order in which its results can come."""
    worlds = []
    pending: list[list[int]] = [[]]
    while pending:
        choices = pending.pop()
        world, widths = orders(made, choices, **how)
        worlds.append(world)
        for at in range(len(choices), len(widths)):
            pending += [[*choices, *[0] * (at - len(choices)), other] for other in range(1, widths[at])]
    return worlds


def completed(world: World) -> dict[str, int]:
    """How often each node was completed, the group around them aside."""
    nodes = {fact.step: fact.node for fact in world.all("step_started")}
    counts: dict[str, int] = {}
    for fact in world.all("step_completed"):
        if nodes[fact.step] != "g":
            counts[nodes[fact.step]] = counts.get(nodes[fact.step], 0) + 1
    return counts


@pytest.mark.parametrize("is_reborn", [False, True], ids=["stays", "folds"])
@pytest.mark.parametrize("inside", [False, True], ids=["root", "group"])
@pytest.mark.parametrize("name", SHAPES)
def test_it_ends_as_a_person_would_expect_in_every_order(name: str, inside: bool, is_reborn: bool) -> None:
    made = SHAPES[name]
    for world in every_order(made, inside=inside, is_reborn=is_reborn):
        assert world.status == "completed", (world.started(), world.state.error)
        assert completed(world) == made.counts, world.started()
        assert not world.active()


def test_all_orders_are_tried() -> None:
    worlds = every_order(SHAPES["uneven_branches"], inside=False, is_reborn=False)
    assert len({tuple(world.names()) for world in worlds}) == len(worlds) == 4
