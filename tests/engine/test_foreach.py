"""foreach: a node once per item of a list."""

from typing import Any

import pytest
from world import World, call, connection, node, pure, refused

from workflow_engine.models.command import CompleteStep
from workflow_engine.models.execution import encode_state
from workflow_engine.models.limits import Limits


def each(items: Any = "${ input }", **fields: Any) -> dict[str, Any]:
    """A call per item."""
    foreach = {
        "items": items,
        **{name: fields.pop(name) for name in ("concurrency", "on_error", "as") if name in fields},
    }
    arguments = {"item": f"${{ {foreach.get('as', 'item')} }}", "index": "${ index }"}
    return call("each", foreach=foreach, **fields) | {"with": {"name": "work", "arguments": arguments}}


def doubled(step: Any) -> Any:
    """What the fake call makes of an item."""
    return step.input["arguments"]["item"] * 2


def test_results_are_in_item_order_whatever_order_they_come_in() -> None:
    world = World([each()]).start([1, 2, 3])
    for number in (2, 0, 1):
        world.complete(f"each.1:{number}", number * 10)
    assert world.output == [0, 10, 20]
    assert world.status == "completed"


def test_each_item_sees_itself_and_its_index() -> None:
    world = World([each(["a", "b"])]).start()
    inputs = [world.state.steps[step].input["arguments"] for step in ("each.1:0", "each.1:1")]
    assert inputs == [{"item": "a", "index": 0}, {"item": "b", "index": 1}]


def test_item_and_index_may_have_other_names() -> None:
    foreach = {"items": ["a", "b"], "as": "letter", "index_as": "place"}
    world = World(pure("s", foreach=foreach, output="${ letter + string(place) }")).start()
    assert world.output == ["a0", "b1"]


def test_no_more_items_are_active_than_the_concurrency_allows() -> None:
    world = World([each(concurrency=2)]).start([1, 2, 3, 4])
    assert world.active() == ["each.1", "each.1:0", "each.1:1"]
    world.complete("each.1:1")
    assert world.active() == ["each.1", "each.1:0", "each.1:2"]
    world.complete("each.1:0")
    world.complete("each.1:2")
    assert world.active() == ["each.1", "each.1:3"]


def test_the_concurrency_is_16_by_default_and_may_be_an_expression() -> None:
    assert len(World([each()]).start(list(range(40))).active()) == 17
    assert len(World([each(concurrency="${ size(input) - 1 }")]).start([1, 2, 3]).active()) == 3


@pytest.mark.parametrize("concurrency", [0, 10_001, 1.5, "4"])
def test_a_concurrency_out_of_range_is_an_error_of_the_node(concurrency: Any) -> None:
    world = World([each([1], concurrency="${ input }")]).start(concurrency)
    assert world.error["type"] == "expression_error"
    assert "concurrency" in world.error["message"]


def test_the_concurrency_is_fixed_when_the_foreach_begins() -> None:
    nodes = [each(concurrency="${ vars.n }", assign={"n": 0})]
    world = World(nodes, variables={"n": 1}, outcomes={"each": doubled}).start([1, 2, 3])
    assert world.status == "completed"


def test_zero_items_complete_the_node_with_an_empty_list() -> None:
    nodes = [*pure("s"), each(), *pure("z")]
    world = World(nodes, ["s -> each", "each -> z"], output="${ steps.each.output }").start([])
    assert world.output == []
    assert world.started() == ["s.1", "each.1", "z.1"]


@pytest.mark.parametrize(("items", "shown"), [(5, "an integer"), ("abc", "text"), ({}, "a map"), (None, "null")])
def test_items_that_are_no_list_are_an_error_of_the_node(items: Any, shown: str) -> None:
    world = World([each(), *pure("h", output="${ error.type }")], ["each ->! h"]).start(items)
    assert world.output == "expression_error"
    assert shown in world.view("each")["error"]["message"]


def test_output_and_assign_apply_per_item() -> None:
    nodes = pure("s", foreach={"items": [1, 2, 3]}, output="${ item * 2 }", assign={"sum": "${ vars.sum + output }"})
    world = World(nodes, variables={"sum": 0}).start()
    assert world.output == [2, 4, 6]
    assert world.state.variables == {"sum": 12}


def test_the_conditions_of_its_connections_are_looked_at_once_and_see_the_list() -> None:
    nodes = [each(), *pure("a", "b")]
    world = World(nodes, ["each -> a if steps.each.output == [2, 4]", "each -> b else"], outcomes={"each": doubled})
    world.start([1, 2])
    assert world.started()[-1] == "a.1"
    assert len(world.all("decision_made")) == 1


def test_a_foreach_gives_its_tokens_once() -> None:
    world = World(
        [each(), *pure("z")], [{**connection("each -> z"), "tokens": "${ size(input) }"}], outcomes={"each": 0}
    )
    world.start([1, 2])
    assert world.started()[-2:] == ["z.1", "z.2"]


def test_items_are_kept_for_the_default_output_where_a_path_may_end_by_no_tokens() -> None:
    world = World([each(), *pure("z")], [{**connection("each -> z"), "tokens": "${ 0 }"}], outcomes={"each": doubled})
    assert world.start([1, 2]).output == [2, 4]


def test_a_failed_item_fails_the_node_and_withdraws_the_others() -> None:
    world = World([each()]).start([1, 2, 3])
    world.complete("each.1:2")
    world.fail("each.1:1", refused("odd"))
    assert world.status == "failed"
    assert world.error["step_id"] == "each.1:1"
    assert world.withdrawn == ["each.1:0"]
    assert world.names()[-4:] == [
        "step_failed:each.1:1",
        "step_cancelled:each.1:0",
        "step_failed:each.1",
        "execution_failed",
    ]


def test_the_error_of_an_item_goes_along_the_nodes_error_connection() -> None:
    world = World([each(), *pure("h", output="${ error.step_id + ' ' + error.type }")], ["each ->! h"]).start([1, 2])
    world.fail("each.1:1", refused("odd"))
    assert world.output == "each.1:1 odd"
    assert world.view("each")["error"]["type"] == "odd"


def test_on_error_continue_leaves_null_where_an_item_failed() -> None:
    outcomes = {"each": lambda step: refused("odd") if step.index == 1 else doubled(step)}
    world = World([each(on_error="continue")], outcomes=outcomes).start([1, 2, 3])
    assert world.output == [2, None, 6]
    assert world.status == "completed"


def test_every_item_may_fail_under_on_error_continue() -> None:
    world = World([each(on_error="continue", concurrency=1)], outcomes={"each": refused("odd")}).start([1, 2])
    assert world.output == [None, None]


def test_items_whose_input_fails_are_failed_items() -> None:
    nodes = [each(on_error="continue") | {"with": {"name": "work", "arguments": {"x": "${ item.a }"}}}]
    world = World(nodes, outcomes={"each": lambda step: step.input["arguments"]["x"]}).start([{"a": 1}, {}, {"a": 3}])
    assert world.output == [1, None, 3]


def test_an_item_that_can_not_begin_ends_the_foreach_before_the_next_one_starts() -> None:
    nodes = [each() | {"with": {"name": "work", "arguments": {"x": "${ item.a }"}}}, *pure("h")]
    world = World(nodes, ["each ->! h"]).start([{"a": 1}, {}, {"a": 3}])
    assert world.started() == ["each.1", "each.1:0", "each.1:1", "h.1"]
    assert world.withdrawn == ["each.1:0"]


def test_two_foreach_at_once_share_nothing() -> None:
    nodes = [each(concurrency=1), *[item | {"id": "other"} for item in [each(concurrency=2)]]]
    world = World(nodes, outcomes={"each": doubled, "other": 0}).start([1, 2, 3])
    assert world.output == {"each": [2, 4, 6], "other": [0, 0, 0]}


def test_several_foreach_that_have_room_at_once_go_on_in_the_order_in_which_they_began() -> None:
    nodes = [each(concurrency=1), *[item | {"id": "other"} for item in [each(concurrency=1)]]]
    world = World(nodes).start([1, 2])
    world.do(CompleteStep("other.1:0", 1, 0, 0), CompleteStep("each.1:0", 1, 0, 0))
    assert world.started()[-2:] == ["each.1:1", "other.1:1"]


def test_an_item_is_tried_again_on_its_own() -> None:
    outcomes = {"each": lambda step: refused() if step.index == 1 and step.attempt == 1 else doubled(step)}
    world = World([each(retry={"max_attempts": 2})], outcomes=outcomes).start([1, 2])
    world.run_clock()
    assert world.output == [2, 4]
    assert world.calls == ["each.1:0", "each.1:1", "each.1:1"]


def test_an_error_that_reaches_a_foreach_is_seen_by_its_items() -> None:
    nodes = [call("a"), *pure("h", foreach={"items": "${ [error.type] }"}, output="${ item + '/' + error.message }")]
    world = World(nodes, ["a ->! h"]).start()
    world.fail("a.1", refused("odd", "why"))
    assert world.output == ["odd/why"]


def test_a_condition_that_fails_after_the_items_fails_the_foreach() -> None:
    world = World([each(), *pure("z", "h")], ["each -> z if vars.no == 1", "each ->! h"], outcomes={"each": 0})
    world.start([1])
    assert world.started()[-1] == "h.1"


def test_a_decision_per_item_decides_once_for_all() -> None:
    nodes = [node("d", "decision", foreach={"items": [1, 2]}), *pure("a", "b")]
    world = World(nodes, ["d -> a if false", "d -> b else"]).start()
    assert world.started() == ["d.1", "d.1:0", "d.1:1", "b.1"]


@pytest.mark.parametrize("kind", ["wait", "signal", "human"])
def test_items_may_wait(kind: str) -> None:
    kinds = {
        "wait": node("w", "wait", input_={"for": "${ string(item) + 's' }"}, foreach={"items": [2, 1]}),
        "signal": node(
            "w", "wait", input_={"signal": "go", "when": "signal.payload == item"}, foreach={"items": [2, 1]}
        ),
        "human": node("w", "human", input_={"title": "${ item }"}, foreach={"items": [2, 1]}),
    }
    world = World([kinds[kind]]).start()
    assert world.state.status == "paused"
    if kind == "wait":
        world.run_clock()
        assert world.output == [{"kind": "for"}, {"kind": "for"}]
    elif kind == "signal":
        world.signal("go", 1)
        world.signal("go", 2)
        assert world.output == [2, 1]
    else:
        world.answer("w.1:1", "yes")
        world.answer("w.1:0", "no")
        assert world.output == ["no", "yes"]
    assert world.asked == []


def test_ten_thousand_items_go_through_in_bounded_transitions() -> None:
    world = World(pure("s", foreach={"items": "${ input }"}, output="${ item + 1 }"), limits=Limits(), is_folded=False)
    world.start(list(range(10_000)))
    assert world.output == list(range(1, 10_001))
    assert encode_state(world.folded()) == encode_state(world.state)
    sizes = [len(encoded) for _, encoded in world.log]
    assert len(sizes) >= 10
    assert max(sizes[1:]) < 400_000


def test_an_item_of_an_end_node_may_end_the_execution() -> None:
    nodes = [node("e", "end", input_={"terminate": "${ item == 2 }", "status": "failed"}, foreach={"items": [1, 2, 3]})]
    world = World(nodes).start()
    assert world.status == "failed"
    assert world.started() == ["e.1", "e.1:0", "e.1:1"]
    assert world.error["node"] == "e"
