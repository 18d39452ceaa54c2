"""What a test that a definition carries does: its clock, its stubs, its script, and how it judges."""

import time
from typing import Any

import pytest
from rehearsals import call, covered, messages, run, suite_of, wait

from workflow_engine.services.rehearsal import Bounds

PARALLEL = [{"id": "split", "type": "set"}, call("a"), call("b"), {"id": "end", "type": "join"}]
DIAMOND = [("split", "a"), ("split", "b"), ("a", "end"), ("b", "end")]
FORM = {"type": "object", "required": ["approved"], "properties": {"approved": {"type": "boolean"}}}
ASK = {"id": "ask", "type": "human", "timeout": "7d", "with": {"form": FORM}}


class TestClock:
    def test_a_week_of_waiting_takes_no_time(self) -> None:
        report = run([wait("week", for_="7d")], expect={"output": {"kind": "for"}})
        assert report.passed
        assert report.span_us == 7 * 86_400_000_000

    def test_the_clock_starts_where_the_test_says(self) -> None:
        node = {"id": "a", "type": "set", "output": "${ now }"}
        assert run([node], expect={"output": "2026-01-01T00:00:00Z"}).passed
        assert run([node], now="2020-02-29T12:00:00+01:00", expect={"output": "2020-02-29T11:00:00Z"}).passed

    def test_a_call_takes_as_long_as_its_stub_says(self) -> None:
        stubs = {"a": {"output": 1, "after": "5s"}, "b": {"output": 2, "after": "1s"}}
        report = run(PARALLEL, DIAMOND, stubs=stubs, expect={"path": ["split", "b", "a", "end"]})
        assert (report.passed, report.span_us) == (True, 5_000_000)

    def test_a_call_longer_than_its_timeout_times_out(self) -> None:
        stubs = {"a": {"output": 1, "after": "1h"}}
        report = run([call("a", timeout="3s")], stubs=stubs, expect={"status": "failed", "error": {"type": "timeout"}})
        assert (report.passed, report.span_us) == (True, 3_000_000)

    def test_a_call_without_a_timeout_of_its_own_has_that_of_its_type(self) -> None:
        node = {"id": "a", "type": "http", "with": {"url": "https://example.org"}, "retry": {"max_attempts": 1}}
        stubs = {"a": {"output": 1, "after": "1m"}}
        report = run([node], stubs=stubs, expect={"status": "failed", "error": {"type": "timeout"}})
        assert (report.passed, report.span_us) == (True, 30_000_000)


class TestStubs:
    def test_a_call_without_a_stub_fails_the_test_and_says_what_to_add(self) -> None:
        assert "add `stubs: {a: {output: ...}}`" in messages(run([call("a")]))["stubs"]

    def test_stubs_are_used_in_the_order_of_calls_and_the_last_one_repeats(self) -> None:
        node = call("each", foreach={"items": [1, 2, 3, 4], "concurrency": 1})
        stubs = {"each": [{"output": "a"}, {"output": "b"}]}
        assert run([node], stubs=stubs, expect={"output": ["a", "b", "b", "b"], "counts": {"each": 4}}).passed

    def test_a_failed_call_is_tried_again_as_its_node_says(self) -> None:
        node = call("a", retry={"max_attempts": 3, "initial": "10s", "jitter": 0})
        stubs = {"a": [{"error": {"type": "unavailable"}}, {"error": {"type": "unavailable"}}, {"output": 1}]}
        report = run([node], stubs=stubs, expect={"output": 1, "counts": {"a": 1}})
        assert (report.passed, report.span_us) == (True, 30_000_000)

    def test_the_wish_of_the_target_is_a_floor_for_the_back_off(self) -> None:
        node = call("a", retry={"max_attempts": 2, "initial": "1s", "jitter": 0})
        stubs = {"a": [{"error": {"type": "rate_limited", "retry_after": "2h"}}, {"output": 1}]}
        assert run([node], stubs=stubs).span_us == 7_200_000_000

    def test_a_post_is_tried_again_only_where_the_stub_says_that_it_had_no_effect(self) -> None:
        node = {"id": "a", "type": "http", "with": {"method": "POST", "url": "https://example.org"}}
        for no_effect, status in ((True, "completed"), (False, "failed")):
            stubs = {"a": [{"error": {"type": "unavailable", "no_effect": no_effect}}, {"output": 1}]}
            assert run([node], stubs=stubs, expect={"status": status}).passed

    def test_the_error_of_a_stub_meets_error_connections(self) -> None:
        connections = [{"from": "a", "to": "late", "on": "error", "when": "error.details.code == 7"}]
        stubs = {"a": {"error": {"type": "odd", "message": "no", "details": {"code": 7}}}}
        nodes = [call("a"), {"id": "late", "type": "set", "output": "${ error.message }"}]
        assert run(nodes, connections, stubs=stubs, expect={"output": "no", "path": ["late"]}).passed

    def test_a_withdrawn_call_reports_nothing(self) -> None:
        nodes = [call("slow"), wait("soon", for_="1s"), {"id": "stop", "type": "end", "with": {"terminate": True}}]
        stubs = {"slow": {"output": 1, "after": "1h"}}
        report = run(nodes, [("soon", "stop")], stubs=stubs, expect={"path": ["soon", "stop"]})
        assert (report.passed, report.span_us) == (True, 1_000_000)


class TestScript:
    def test_answers_come_when_they_fit(self) -> None:
        nodes = [wait("first", for_="2d"), ASK]
        script = [{"answer": "ask", "output": {"approved": True}}]
        report = run(nodes, [("first", "ask")], script=script, expect={"output": {"approved": True}})
        assert (report.passed, report.span_us) == (True, 2 * 86_400_000_000)

    def test_an_answer_is_checked_against_its_form(self) -> None:
        script = [{"answer": "ask", "output": {"approved": 1}}]
        assert "/approved: must be true or false" in messages(run([ASK], script=script))["script"]

    def test_of_a_node_that_asks_several_times_the_oldest_is_answered_unless_the_step_is_named(self) -> None:
        node = {"id": "ask", "type": "human", "foreach": {"items": [1, 2]}}
        by_node = [{"answer": "ask", "output": "x"}, {"answer": "ask", "output": "y"}]
        by_step = [{"answer": "ask.1:1", "output": "x"}, {"answer": "ask.1:0", "output": "y"}]
        assert run([node], script=by_node, expect={"output": ["x", "y"]}).passed
        assert run([node], script=by_step, expect={"output": ["y", "x"]}).passed

    def test_a_person_can_decline(self) -> None:
        script = [{"decline": "ask", "error": {"type": "refused", "message": "not mine"}}]
        expect = {"status": "failed", "error": {"type": "refused", "message": "not mine", "node": "ask"}}
        assert run([ASK], script=script, expect=expect).passed

    def test_nobody_answers_and_the_timeout_comes(self) -> None:
        assert run([ASK], expect={"status": "failed", "error": {"type": "timeout"}}).passed

    def test_entries_with_a_time_come_at_that_time(self) -> None:
        nodes = [wait("go", signal="go"), {"id": "at", "type": "set", "output": "${ now }"}]
        script = [{"signal": "go", "after": "36h"}]
        assert run(nodes, [("go", "at")], script=script, expect={"output": "2026-01-02T12:00:00Z"}).passed

    def test_signals_come_in_the_order_of_the_script_each_when_it_is_awaited(self) -> None:
        nodes = [wait("first", signal="go"), wait("pause", for_="1d"), wait("second", signal="go")]
        script = [{"signal": "go", "payload": 1}, {"signal": "go", "payload": 2}]
        report = run(nodes, [("first", "pause"), ("pause", "second")], script=script, expect={"output": 2})
        assert (report.passed, report.span_us) == (True, 86_400_000_000)

    def test_a_signal_that_nobody_waits_for_comes_when_nothing_else_can_happen(self) -> None:
        expect = {"status": "paused", "reason": "input"}
        report = run([{"id": "ask", "type": "human"}], script=[{"signal": "go"}], expect=expect)
        assert report.passed

    def test_an_operator_pauses_changes_variables_and_goes_on(self) -> None:
        nodes = [call("a"), {"id": "b", "type": "set", "output": "${ vars.x }"}]
        script: list[Any] = [{"pause": True}, {"variables": {"x": 2}}, {"resume": True, "after": "1h"}]
        stubs = {"a": {"output": 1, "after": "1m"}}
        expect = {"output": 2, "variables": {"x": 2}, "path": ["a", "b"]}
        report = run(nodes, [("a", "b")], stubs=stubs, script=script, expect=expect, definition={"variables": {"x": 1}})
        assert (report.passed, report.span_us) == (True, 3_600_000_000)

    @pytest.mark.parametrize("action", ["cancel", "terminate"])
    def test_an_operator_ends_it(self, action: str) -> None:
        report = run([ASK], script=[{action: True, "after": "1d"}], expect={"status": "cancelled", "path": []})
        assert (report.passed, report.span_us) == (True, 86_400_000_000)

    def test_a_failed_execution_goes_on_by_a_retry(self) -> None:
        stubs = {"a": [{"error": {"type": "odd"}}, {"output": 1}]}
        assert run([call("a")], stubs=stubs, script=[{"retry": True}], expect={"output": 1}).passed

    def test_an_entry_that_never_fits_fails_the_test_and_says_why(self) -> None:
        report = run([{"id": "a", "type": "set"}, ASK], [("a", "ask")], script=[{"resume": True}])
        assert "script/0 (resume) never came to pass" in messages(report)["script"]
        assert "no operator has paused" in messages(report)["script"]

    def test_an_entry_whose_time_comes_too_early_fails_the_test(self) -> None:
        nodes = [wait("first", for_="2d"), ASK]
        report = run(nodes, [("first", "ask")], script=[{"answer": "ask", "after": "1d"}])
        assert messages(report)["script"] == "script/0 (answer ask) at +1d: no person is asked by `ask`"

    def test_what_is_refused_fails_the_test(self) -> None:
        report = run([ASK], script=[{"pause": True, "after": "1s"}, {"pause": True, "after": "2s"}])
        assert (
            messages(report)["script"] == "script/1 (pause) was refused: the execution is paused by an operator already"
        )

    def test_what_would_come_after_the_end_does_not(self) -> None:
        assert run([{"id": "a", "type": "set"}], script=[{"signal": "go", "after": "1d"}]).passed


class TestJudging:
    def test_an_input_that_does_not_fit_its_schema_fails_the_test(self) -> None:
        schema = {"input": {"type": "object", "required": ["amount"]}}
        report = run([{"id": "a", "type": "set"}], input={}, definition=schema)
        assert "amount" in messages(report)["input"]

    def test_every_difference_is_told(self) -> None:
        expect = {
            "status": "failed",
            "output": 2,
            "error": {"type": "odd"},
            "variables": {"x": 2, "y": None},
            "path": ["b"],
            "visited": ["b"],
            "not_visited": ["a"],
            "counts": {"a": 2},
            "events": ["custom:seen"],
        }
        nodes = [{"id": "a", "type": "set", "output": 1, "assign": {"x": 1}}, {"id": "b", "type": "set"}]
        report = run(nodes, [{"from": "a", "to": "b", "when": "false"}], expect=expect)
        assert messages(report) == {
            "status": 'expected "failed", was "completed"',
            "output": "expected 2, was 1",
            "error.type": 'expected "odd", was null',
            "variables.x": "expected 2, was 1",
            "path": "expected b, was a",
            "visited": "b not completed; the path was a",
            "not_visited": "a activated",
            "counts.a": "expected 2, was 1",
            "events": 'expected ["custom:seen"], was []',
        }
        assert report.moments[-1] == "+0s the execution completed"

    def test_true_is_not_one(self) -> None:
        assert not run([{"id": "a", "type": "set", "output": True}], expect={"output": 1}).passed
        assert run([{"id": "a", "type": "set", "output": 1.0}], expect={"output": 1}).passed

    def test_parts_of_a_path_may_come_in_any_order(self) -> None:
        stubs = {"a": {"output": 1}, "b": {"output": 1}}
        for path, passes in (
            (["split", ["b", "a"], "end"], True),
            (["split", "b", "a", "end"], False),
            (["split", ["b", "a"]], False),
        ):
            assert run(PARALLEL, DIAMOND, stubs=stubs, expect={"path": path}).passed is passes

    def test_custom_events_are_compared_in_order(self) -> None:
        nodes = [
            {"id": "one", "type": "emit", "with": {"event": "seen"}},
            {"id": "two", "type": "emit", "with": {"event": "done"}},
        ]
        assert run(nodes, [("one", "two")], expect={"events": ["custom:seen", "custom:done"]}).passed

    def test_a_test_that_expects_a_pause_ends_there(self) -> None:
        nodes = [wait("day", for_="1d"), ASK]
        for expect, span_us in (
            ({"status": "paused", "reason": "timer"}, 0),
            ({"status": "paused"}, 0),
            ({"status": "paused", "reason": "input"}, 86_400_000_000),
        ):
            report = run(nodes, [("day", "ask")], expect=expect)
            assert (report.passed, report.span_us) == (True, span_us)

    def test_a_test_that_expects_a_running_execution_ends_while_a_call_is_under_way(self) -> None:
        report = run([call("a")], stubs={"a": {"output": 1, "after": "1h"}}, expect={"status": "running"})
        assert (report.passed, report.span_us) == (True, 0)


class TestBounds:
    def test_a_workflow_that_never_ends_fails_the_test(self) -> None:
        nodes = [{"id": "a", "type": "set"}, {"id": "b", "type": "set"}]
        report = run(nodes, [("a", "b"), ("b", "a")], bounds=Bounds(steps_max=5_000), definition={"start": ["a"]})
        assert 'was "failed"' in messages(report)["status"]
        assert any("limit_exceeded" in moment for moment in report.moments)

    def test_a_workflow_that_waits_for_ever_fails_the_test(self) -> None:
        nodes = [wait("a", for_="1d")]
        for bounds, message in (
            (Bounds(transitions_max=50), "more than 50 transitions"),
            (Bounds(span_s_max=86_400 * 50.0), "would go on for 51d"),
            (Bounds(ends_at_s=time.monotonic()), "took too long"),
        ):
            report = run(nodes, [("a", "a")], bounds=bounds, definition={"start": ["a"]})
            assert message in messages(report)["run"]


class TestSeeds:
    def test_what_is_simultaneous_comes_in_another_order_under_another_seed(self) -> None:
        stubs = {"a": {"output": 1}, "b": {"output": 1}}
        expect = {"path": ["split", ["a", "b"], "end"]}
        paths = {tuple(run(PARALLEL, DIAMOND, stubs=stubs, expect=expect, seeds=[seed]).path) for seed in range(20)}
        assert paths == {("split", "a", "b", "end"), ("split", "b", "a", "end")}

    def test_entries_of_a_script_at_the_same_instant_are_shuffled_too(self) -> None:
        nodes = [wait("go", signal="go")]
        script = [{"signal": "go", "payload": payload, "after": "1d"} for payload in (1, 2)]
        tested = [run(nodes, script=script, expect={"output": 1}, seeds=[seed]).passed for seed in range(20)]
        assert set(tested) == {True, False}

    def test_a_race_is_found_and_its_seed_fails_again(self) -> None:
        stubs = {"a": {"output": 1}, "b": {"output": 1}}
        test = {"stubs": stubs, "expect": {"path": ["split", "a", "b", "end"]}}
        report = run(PARALLEL, DIAMOND, **test, seeds=range(1, 101))
        assert not report.passed
        assert report.runs == report.seed
        again = run(PARALLEL, DIAMOND, **test, seeds=[report.seed])
        assert (again.passed, again.path) == (False, report.path)

    def test_things_at_different_instants_keep_their_order(self) -> None:
        stubs = {"a": {"output": 1, "after": "1us"}, "b": {"output": 1}}
        expect = {"path": ["split", "b", "a", "end"]}
        report = run(PARALLEL, DIAMOND, stubs=stubs, expect=expect, seeds=range(1, 101))
        assert (report.passed, report.runs) == (True, 100)


def test_coverage_is_that_of_all_tests_together() -> None:
    nodes = [{"id": "choose", "type": "decision"}, call("a"), call("b"), {"id": "c", "type": "set"}]
    connections = [
        {"from": "choose", "to": "a", "when": "input == 1"},
        {"from": "choose", "to": "b", "when": "input == 2"},
        {"from": "choose", "to": "c", "otherwise": True},
        {"from": "a", "to": "c", "on": "error"},
    ]
    stubs = {"a": {"error": {"type": "odd"}}, "b": {"output": 1}}
    tests = [{"name": "one", "input": 1, "stubs": stubs}, {"name": "three", "input": 3}]
    assert covered(suite_of(nodes, connections, tests)).to_dict() == {
        "nodes": {"covered": ["choose", "a", "c"], "missed": ["b"]},
        "connections": {
            "covered": ["choose -> a when input == 1", "choose -> c otherwise", "a -> c on error"],
            "missed": ["choose -> b when input == 2"],
        },
    }


class TestOperators:
    def test_steps_are_completed_and_skipped_by_hand(self) -> None:
        nodes = [wait("a", signal="never"), {"id": "b", "type": "human"}, {"id": "c", "type": "set"}]
        script = [{"complete": "a", "output": 5, "after": "1h"}, {"skip": "b.1", "after": "2h"}]
        expect = {"path": ["a", "c"], "visited": ["a"], "variables": {"got": 5}}
        nodes[0]["assign"] = {"got": "${ output }"}
        report = run(nodes, [("a", "b"), ("b", "c")], script=script, expect=expect)
        assert (messages(report), report.span_us) == ({}, 7_200_000_000)

    def test_a_failed_step_is_completed_by_hand_and_its_execution_goes_on(self) -> None:
        stubs = {"a": {"error": {"type": "odd"}}}
        nodes = [call("a"), {"id": "b", "type": "set"}]
        report = run(
            nodes, [("a", "b")], stubs=stubs, script=[{"complete": "a", "output": 1}], expect={"path": ["a", "b"]}
        )
        assert messages(report) == {}

    def test_a_foreach_gets_more_items(self) -> None:
        node = call("each", foreach={"items": [1]})
        stubs = {"each": {"output": 1, "after": "1m"}}
        script = [{"items": "each", "values": [2, 3], "after": "30s"}]
        report = run([node], stubs=stubs, script=script, expect={"output": [1, 1, 1], "counts": {"each": 3}})
        assert (messages(report), report.span_us) == ({}, 90_000_000)

    def test_completed_steps_are_undone(self) -> None:
        nodes = [call("book", compensate="undo"), call("undo"), {"id": "ask", "type": "human"}]
        stubs = {"book": {"output": 7}, "undo": {"output": None}}
        script = [{"cancel": {"compensate": True}}]
        expect = {"status": "cancelled", "path": ["book", "undo"], "counts": {"undo": 1}}
        report = run(nodes, [("book", "ask")], stubs=stubs, script=script, expect=expect)
        assert messages(report) == {}


class TestLimits:
    def test_slots_of_a_limit_are_given_oldest_first(self) -> None:
        node = call("each", foreach={"items": [1, 2, 3, 4, 5]}, limit={"key": "k", "concurrency": 2})
        report = run([node], stubs={"each": {"output": 1, "after": "1m"}}, expect={"counts": {"each": 5}})
        assert (messages(report), report.span_us) == ({}, 180_000_000)
        assert run([node], stubs={"each": {"output": 1, "after": "1m"}}, seeds=range(1, 21)).passed

    def test_a_slot_is_free_during_a_back_off(self) -> None:
        limit = {"key": "k", "concurrency": 1}
        nodes = [call("a", limit=limit, retry={"initial": "1h", "max": "1h", "jitter": 0}), call("b", limit=limit)]
        stubs = {"a": [{"error": {"type": "unavailable"}}, {"output": 1}], "b": {"output": 1, "after": "1m"}}
        report = run(nodes, stubs=stubs, expect={"path": ["b", "a"]})
        assert (messages(report), report.span_us) == ({}, 3_600_000_000)

    def test_a_lock_keeps_calls_apart(self) -> None:
        nodes = [call("a", lock="one"), call("b", lock="one")]
        stubs = {"a": {"output": 1, "after": "1m"}, "b": {"output": 1, "after": "1m"}}
        assert run(nodes, stubs=stubs, expect={"path": ["a", "b"]}).span_us == 120_000_000


class TestScopes:
    GROUP: dict[str, Any] = {
        "id": "g",
        "type": "group",
        "repeat": {"max": 2},
        "nodes": [{"id": "in", "type": "human"}, {"id": "late", "type": "set"}],
        "connections": [{"from": "in", "to": "late", "when": "steps['in'].output == 2"}],
    }

    def test_nodes_in_groups_are_answered_counted_and_covered(self) -> None:
        script = [{"answer": "in", "output": 1}, {"answer": "in", "output": 2}]
        expect = {"path": ["in", "g", "in", "late", "g"], "counts": {"in": 2, "g": 2}}
        test = {"name": "a", "script": script, "expect": expect}
        suite = suite_of([self.GROUP], tests=[test])
        assert suite.run(suite.tests[0]).findings == []
        assert suite.coverage.nodes == (["g", "in", "late"], [])
        assert suite.coverage.connections == (["in -> late when steps['in'].output == 2"], [])

    def test_another_workflow_is_a_stub_like_any_call(self) -> None:
        node = {"id": "child", "type": "workflow", "with": {"workflow_id": "other"}, "retry": {"max_attempts": 1}}
        assert run([node], stubs={"child": {"output": 3, "after": "2d"}}, expect={"output": 3}).passed
        expect = {"status": "failed", "error": {"type": "timeout"}}
        late = run([{**node, "timeout": "1d"}], stubs={"child": {"output": 3, "after": "2d"}}, expect=expect)
        assert (messages(late), late.span_us) == ({}, 86_400_000_000)

    def test_a_signal_that_nobody_waits_for_may_be_lost(self) -> None:
        nodes = [wait("first", for_="1d"), wait("go", signal="go", durable=False)]
        script = [{"signal": "go", "payload": 1, "after": "1h"}, {"signal": "go", "payload": 2}]
        report = run(nodes, [("first", "go")], script=script, expect={"output": 2})
        assert messages(report) == {}
