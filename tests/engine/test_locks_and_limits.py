"""lock: one active step per name, in order of arrival; limit: a slot that the store grants."""

from typing import Any

import pytest
from world import World, call, group, node, pure, refused

from workflow_engine.engine.working import Working
from workflow_engine.models.command import Cancel, GrantSlot, Pause, Recover, Resume, Retry, Terminate
from workflow_engine.models.effect import AskSlot, Dispatch, FreeSlot

LIMIT: dict[str, Any] = {"key": "api", "concurrency": 2}


def statuses(world: World) -> dict[str, str]:
    return {step.step_id: step.status for step in world.state.steps.values()}


def reborn(world: World) -> None:
    """Another process takes over, with nothing but the log."""
    world.working = Working(world.graph, world.folded(), world.limits)
    world.state = world.working.state


class TestLocks:
    def test_the_second_waits_pending_and_starts_when_the_first_has_ended(self) -> None:
        world = World([call("a", lock="l"), call("b", lock="l")]).start()
        assert statuses(world) == {"a.1": "processing", "b.1": "pending"}
        assert world.calls == ["a.1"]
        world.complete("a.1")
        assert world.names()[1:] == ["step_started:a.1", "step_completed:a.1", "step_started:b.1"]
        assert world.calls == ["a.1", "b.1"]

    def test_who_came_first_is_served_first(self) -> None:
        names = "cabd"
        world = World([*(call(name, lock="l") for name in names)]).start()
        for name in names:
            assert list(world.under_way) == [f"{name}.1"]
            world.complete(f"{name}.1")
        assert world.started() == ["c.1", "a.1", "b.1", "d.1"]

    def test_other_names_do_not_wait(self) -> None:
        world = World([call("f", lock="${ 'key-' + string(item % 2) }", foreach={"items": [0, 1, 2, 3]})]).start()
        assert sorted(world.under_way) == ["f.1:0", "f.1:1"]
        world.complete("f.1:1")
        assert sorted(world.under_way) == ["f.1:0", "f.1:3"]
        world.complete("f.1:3")
        world.complete("f.1:0")
        world.complete("f.1:2")
        assert world.status == "completed"

    def test_it_is_held_over_all_attempts(self) -> None:
        world = World([call("a", lock="l", retry={"max_attempts": 2}), call("b", lock="l")]).start()
        world.fail("a.1")
        assert world.active() == ["a.1", "b.1"]
        assert statuses(world)["b.1"] == "pending"
        assert world.under_way == {}
        world.run_clock()
        assert list(world.under_way) == ["a.1"]
        world.complete("a.1")
        assert list(world.under_way) == ["b.1"]

    def test_it_is_given_up_by_a_failure_that_is_caught(self) -> None:
        world = World([call("a", lock="l"), call("b", lock="l"), *pure("h")], ["a ->! h"]).start()
        world.fail("a.1")
        assert list(world.under_way) == ["b.1"]

    def test_it_is_given_up_by_a_withdrawal(self) -> None:
        world = World([call("a", lock="l"), call("b", lock="l"), call("c", cancel=["a"])]).start()
        world.complete("c.1")
        assert list(world.under_way) == ["b.1"]

    def test_who_is_withdrawn_while_it_waits_is_passed_over(self) -> None:
        nodes = [call("a", lock="l"), call("b", lock="l"), call("c", lock="l"), call("x", cancel=["b"])]
        world = World(nodes).start()
        world.complete("x.1")
        world.complete("a.1")
        assert list(world.under_way) == ["c.1"]
        assert world.state.locks == {"l": ["c.1"]}

    def test_waits_and_people_and_groups_take_them_too(self) -> None:
        nodes = [
            node("w", "wait", input_={"signal": "go"}, lock="l"),
            group("g", [call("a")], lock="l"),
            node("p", "human", lock="l"),
        ]
        world = World(nodes).start()
        assert statuses(world) == {"w.1": "waiting", "g.1": "pending", "p.1": "pending"}
        assert world.status == "paused/input"
        world.signal("go")
        assert statuses(world) == {"p.1": "pending", "g.1": "processing", "g.1~a.1": "processing"}
        assert world.asked == []
        world.complete("g.1~a.1")
        assert world.asked == ["p.1"]

    def test_a_wait_s_clock_begins_when_it_has_the_lock(self) -> None:
        world = World([call("a", lock="l"), node("w", "wait", input_={"for": "1h"}, lock="l")]).start()
        world.wait(7200)
        world.complete("a.1")
        assert world.status == "paused/timer"
        world.wait(3600)
        assert world.status == "completed"

    def test_an_auto_join_waits_for_a_step_that_waits_for_its_lock(self) -> None:
        nodes = [*pure("s"), call("other", lock="l"), call("a"), call("b", lock="l"), *pure("j")]
        world = World(nodes, ["s -> a", "s -> b", "a -> j", "b -> j"]).start()
        world.complete("a.1")
        assert "j.1" not in world.started()
        world.complete("other.1")
        world.complete("b.1")
        assert world.started()[-1] == "j.1"

    def test_a_lock_that_is_no_text_is_an_error_of_the_step_which_has_started(self) -> None:
        world = World([call("a", lock="${ input }"), *pure("h")], ["a ->! h"]).start({"a": 1})
        assert world.names()[1:3] == ["step_started:a.1", "step_failed:a.1"]
        assert world.view("a")["error"]["type"] == "expression_error"

    def test_an_operator_s_pause_lets_nobody_have_it(self) -> None:
        world = World([call("a", lock="l"), call("b", lock="l")]).start()
        world.do(Pause())
        world.complete("a.1")
        assert statuses(world) == {"b.1": "pending"}
        world.do(Resume())
        assert list(world.under_way) == ["b.1"]

    def test_it_outlives_the_process(self) -> None:
        world = World([call("a", lock="l"), call("b", lock="l")]).start()
        reborn(world)
        assert world.decide(Recover()).effects == [Dispatch("a.1", is_repeat=True)]
        world.complete("a.1")
        assert list(world.under_way) == ["b.1"]

    def test_retry_takes_it_again_in_order(self) -> None:
        world = World([call("a", lock="l"), call("b", lock="l")]).start()
        world.fail("a.1")
        assert world.status == "failed"
        assert world.state.locks == {}
        world.do(Retry())
        assert list(world.under_way) == ["a.1"]
        world.complete("a.1")
        world.complete("b.1")
        assert world.status == "completed"


class TestLockDeadlocks:
    def test_a_group_s_lock_taken_again_inside_is_a_deadlock(self) -> None:
        nodes = [group("g", [call("a", lock="l"), *pure("h", output="${ error }")], ["a ->! h"], lock="l")]
        world = World(nodes).start()
        assert world.output["type"] == "deadlock"
        assert world.output["details"] == {"lock": "l", "holder": "g.1"}
        assert "g.1~a.1 waits for the lock l" in world.output["message"]

    def test_two_groups_that_want_each_other_s_lock(self) -> None:
        nodes = [
            group("g", [call("s"), call("a", lock="y")], ["s -> a"], lock="x"),
            group("h", [call("t"), call("b", lock="x")], ["t -> b"], lock="y"),
            *pure("caught", output="${ error.step_id }"),
        ]
        world = World(nodes, ["h ->! caught"]).start()
        world.complete("g.1~s.1")
        assert world.status == "running"
        world.complete("h.1~t.1")
        assert set(world.started()[-2:]) == {"caught.1", "g.1~a.1"}
        world.complete("g.1~a.1")
        assert world.status == "completed"
        assert world.view("caught")["status"] == "completed"

    def test_items_of_one_group_are_no_deadlock(self) -> None:
        inner = [call("a", lock="inner")]
        world = World([group("g", inner, lock="outer", foreach={"items": [1, 2]})], outcomes={"a": 1}).start()
        assert world.output == [1, 1]

    def test_a_chain_of_three(self) -> None:
        nodes = [
            group(f"g{n}", [call(f"s{n}"), call(f"a{n}", lock=f"l{(n + 1) % 3}")], [f"s{n} -> a{n}"], lock=f"l{n}")
            for n in range(3)
        ]
        world = World(nodes).start()
        for n in range(3):
            assert world.status == "running"
            world.complete(f"g{n}.1~s{n}.1")
        assert world.status == "failed"
        assert world.error["type"] == "deadlock"


class TestLimits:
    def test_a_step_asks_for_a_slot_and_starts_when_it_is_granted(self) -> None:
        world = World([call("a", limit=LIMIT)]).start()
        assert world.last.effects == [AskSlot("a.1", 1, 0, "api", 2)]
        assert statuses(world) == {"a.1": "pending"}
        assert world.names() == ["execution_started"]
        assert world.grant("a.1") is None
        assert world.names()[1:] == ["step_started:a.1"]
        assert list(world.under_way) == ["a.1"]

    @pytest.mark.parametrize("is_good", [True, False])
    def test_the_slot_is_freed_with_the_end(self, is_good: bool) -> None:
        world = World([call("a", limit=LIMIT), call("z")], ["a -> z", "a ->! z"]).start()
        world.grant("a.1")
        (world.complete if is_good else world.fail)("a.1")
        assert FreeSlot("a.1", "api") in world.last.effects
        assert world.freed == ["a.1"]

    def test_it_is_freed_in_a_back_off_and_asked_for_again_after_it(self) -> None:
        world = World([call("a", limit=LIMIT, retry={"max_attempts": 2})]).start()
        world.grant("a.1")
        world.fail("a.1")
        assert world.freed == ["a.1"]
        assert world.slots == {}
        world.run_clock()
        assert world.slots == {"a.1": AskSlot("a.1", 2, 0, "api", 2)}
        assert world.under_way == {}
        world.grant("a.1")
        assert world.under_way == {"a.1": (2, 0)}
        world.complete("a.1")
        assert world.status == "completed"
        assert world.freed == ["a.1", "a.1"]

    def test_key_and_concurrency_may_be_expressions_per_item(self) -> None:
        limit = {"key": "${ 'tenant-' + string(item) }", "concurrency": "${ vars.n }"}
        world = World([call("f", limit=limit, foreach={"items": [7, 8]})], variables={"n": 3}).start()
        assert [(slot.key, slot.concurrency) for slot in world.slots.values()] == [("tenant-7", 3), ("tenant-8", 3)]

    def test_a_step_that_waits_for_its_slot_can_be_withdrawn(self) -> None:
        for command in (Cancel(), Terminate()):
            world = World([call("a", limit=LIMIT)]).start()
            world.do(command)
            assert world.status == "cancelled"
            assert world.freed == ["a.1"]
            assert world.calls == []

    def test_a_grant_that_comes_too_late_is_stale(self) -> None:
        world = World([call("a", limit=LIMIT), call("x", cancel=["a"])]).start()
        world.complete("x.1")
        assert world.do(GrantSlot("a.1", 1, 0))[0].code in ("stale", "ended")
        world = World([call("a", limit=LIMIT), call("b")]).start()
        assert world.do(GrantSlot("a.1", 2, 0))[0].code == "stale"
        assert world.do(GrantSlot("b.1", 1, 0))[0].code == "stale"
        world.grant("a.1")
        assert world.do(GrantSlot("a.1", 1, 0)) == [None]
        assert world.started().count("a.1") == 1

    def test_a_lock_comes_before_the_slot(self) -> None:
        world = World([call("a", lock="l", limit=LIMIT), call("b", lock="l", limit=LIMIT)]).start()
        assert list(world.slots) == ["a.1"]
        world.grant("a.1")
        world.complete("a.1")
        assert list(world.slots) == ["b.1"]

    def test_an_operator_s_pause_keeps_the_slot_and_starts_nothing(self) -> None:
        world = World([call("a", limit=LIMIT)]).start()
        world.do(Pause())
        world.grant("a.1")
        assert world.calls == []
        world.do(Resume())
        assert world.calls == ["a.1"]

    def test_a_restart_asks_again(self) -> None:
        world = World([call("a", limit=LIMIT)]).start()
        reborn(world)
        assert world.decide(Recover()).effects == [AskSlot("a.1", 1, 0, "api", 2)]

    def test_waiting_for_a_slot_counts_as_running(self) -> None:
        world = World([call("a", limit=LIMIT), node("w", "wait", input_={"signal": "go"})]).start()
        assert world.status == "running"

    def test_retry_asks_for_a_slot_of_the_new_generation(self) -> None:
        world = World([call("a", limit=LIMIT)]).start()
        world.grant("a.1")
        world.fail("a.1", refused("boom"))
        world.do(Retry())
        assert world.slots == {"a.1": AskSlot("a.1", 1, 1, "api", 2)}
        world.grant("a.1")
        world.complete("a.1", 3)
        assert world.output == 3

    def test_a_limit_that_makes_no_sense_is_an_error_of_the_step(self) -> None:
        for limit in ({"key": "${ input }", "concurrency": 1}, {"key": "k", "concurrency": "${ input }"}):
            world = World([call("a", limit=limit)]).start({})
            assert world.error["type"] == "expression_error"
            assert world.slots == {}

    def test_a_group_holds_one_slot_for_all_inside(self) -> None:
        world = World([group("g", [call("a"), call("b")], ["a -> b"], limit=LIMIT)]).start()
        assert world.active() == ["g.1"]
        world.grant("g.1")
        world.complete("g.1~a.1")
        assert world.freed == []
        world.complete("g.1~b.1")
        assert world.freed == ["g.1"]
