"""Explanations: why each node is where it is, who can move it on, and what the decisions saw."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from workflow_engine import Engine, Execution, StepFailed
from workflow_engine.models.errors import NotFound
from workflow_engine.steps.function_registry import FunctionRegistry

Event = dict[str, Any]


class Desk:
    """An engine, and what it says about its executions."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def start(self, document: str, input: Any = None, **fields: Any) -> Execution:  # noqa: A002
        """Publish a definition and start it."""
        published = await self.engine.publish(document)
        return await self.engine.start(published.workflow_id, input or {}, **fields)

    async def until(self, execution: Execution, event: str, node: str | None = None) -> None:
        """Wait for an event (of a node)."""
        async for found in execution.events():
            if found["event"] == event and node in (None, found["data"]["node_id"]):
                return
        raise AssertionError(f"{event} of {node} never came")

    async def explain(self, execution: Execution) -> dict[str, Any]:
        """The explanation."""
        return await self.engine.services.executions.explain("default", execution.id)


@pytest.fixture
def gate() -> asyncio.Event:
    return asyncio.Event()


@pytest.fixture
async def desk(tmp_path: Path, gate: asyncio.Event) -> AsyncIterator[Desk]:
    registry = FunctionRegistry()

    @registry.function
    async def hold() -> None:
        await gate.wait()

    @registry.function
    async def refuse(type: str = "refused", after: float | None = None) -> None:  # noqa: A002
        raise StepFailed(type, "no", retry_after_s=after)

    async with Engine(f"sqlite:///{tmp_path}/explained.db", functions=registry) as engine:
        yield Desk(engine)
        gate.set()


def nodes(explanation: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The entries by step id, or by node id where no step is active."""
    return {entry["step_id"] or entry["node_id"]: entry for entry in explanation["nodes"]}


def only(entry: dict[str, Any]) -> dict[str, Any]:
    """The only cause of an entry."""
    (cause,) = entry["causes"]
    return dict(cause)


def values(connection: dict[str, Any]) -> dict[str, Any]:
    """What the parts of a condition gave."""
    return {one["expression"]: one["value"] for one in connection["values"]}


HOLDER = """
id: holder
nodes: [{id: first, type: function, with: {name: hold}, limit: {key: bank-1, concurrency: 1}}]
"""


async def test_a_lock_a_signal_and_a_limit_are_named_with_their_holders(desk: Desk) -> None:
    holder = await desk.start(HOLDER)
    await desk.until(holder, "workflow_step_started", "first")
    execution = await desk.start(
        """
        id: three
        nodes:
          - {id: owner, type: wait, lock: "stock-${ input.n }", with: {signal: go/on, when: signal.payload > 2}}
          - {id: second, type: set, lock: "stock-${ input.n }"}
          - {id: third, type: set, lock: "stock-${ input.n }"}
          - {id: limited, type: function, with: {name: hold}, limit: {key: "bank-${ input.n }", concurrency: 1}}
          - {id: last, type: wait, with: {signal: paid}}
        """,
        {"n": 1},
    )
    await desk.until(execution, "workflow_step_started", "last")
    explanation = await desk.explain(execution)
    found = nodes(explanation)
    assert list(found) == ["owner.1", "second.1", "third.1", "limited.1", "last.1"]

    signal = only(found["owner.1"])
    assert (signal["kind"], signal["name"], signal["when"]) == ("signal", "go/on", "signal.payload > 2")
    assert signal["how"] == f"POST /api/v1/executions/{execution.id}/signals/go/on"

    for step_id, position in (("second.1", 1), ("third.1", 2)):
        lock = only(found[step_id])
        assert (lock["kind"], lock["name"], lock["position"]) == ("lock", "stock-1", position)
        assert lock["holder"] == {"step_id": "owner.1", "node_id": "owner"}
        assert lock["because"] == [signal]
        assert lock["sentence"] == f"{step_id} waits for the lock 'stock-1', which owner.1 holds."

    limit = only(found["limited.1"])
    assert (limit["kind"], limit["name"], limit["concurrency"], limit["position"]) == ("limit", "bank-1", 1, 1)
    assert limit["holders"] == [{"execution_id": holder.id, "step_id": "first.1"}]
    assert limit["how"] == f"GET /api/v1/executions/{holder.id}/explain"
    assert f"held by first.1 of {holder.id}" in limit["sentence"]

    for part in ("stock-1", "bank-1", "go/on"):
        assert part in explanation["summary"]
    assert explanation["total"] == 5


async def test_the_chain_behind_a_lock_leads_into_the_group_that_holds_it(desk: Desk) -> None:
    execution = await desk.start(
        """
        id: grouped
        nodes:
          - id: owner
            type: group
            lock: stock
            nodes:
              - {id: gone, type: set}
              - {id: ask, type: human, with: {title: May I?, assignees: ["user:ann"]}}
            connections: [{from: gone, to: ask}]
          - {id: other, type: set, lock: stock}
        """
    )
    await desk.until(execution, "workflow_paused")
    lock = only(nodes(await desk.explain(execution))["other.1"])
    (human,) = lock["because"]
    assert (human["kind"], human["step_id"], human["assignees"]) == ("human", "owner.1~ask.1", ["user:ann"])
    assert human["sentence"] == "owner.1~ask.1 waits for an answer of user:ann to 'May I?'."
    (task,), _ = await desk.engine.services.people_tasks.page("default")
    assert human["how"] == f"POST /api/v1/tasks/{task['task_id']}/complete"


# Waits


async def test_waits_name_their_clock_their_condition_and_whichever_comes_first(desk: Desk) -> None:
    execution = await desk.start(
        """
        id: waits
        variables: {n: 2}
        nodes:
          - {id: clock, type: wait, with: {until: "2999-01-01T00:00:00Z"}}
          - {id: rule, type: wait, with: {condition: "vars.n > 5 && input.x"}, timeout: 1d}
          - {id: race, type: wait, with: {any: [{signal: paid}, {for: 2d}]}}
        """,
        {"x": True},
    )
    await desk.until(execution, "workflow_paused")
    found = nodes(await desk.explain(execution))
    clock = only(found["clock.1"])
    assert (clock["kind"], clock["name"], clock["until"]) == ("timer", "until", "2999-01-01T00:00:00Z")
    rule = only(found["rule.1"])
    assert values(rule) == {"vars.n > 5 && input.x": False, "vars.n > 5": False, "vars.n": 2}
    assert rule["how"] == f"PATCH /api/v1/executions/{execution.id}/variables"
    assert found["rule.1"]["timeout_at"] == rule["until"]
    assert [cause["kind"] for cause in found["race.1"]["causes"]] == ["signal", "timer"]
    assert "race.1 waits for whichever comes first: the signal 'paid'; the clock, until " in found["race.1"]["sentence"]


async def test_a_back_off_names_its_next_instant_and_the_last_error(desk: Desk) -> None:
    execution = await desk.start(
        """
        id: retried
        nodes:
          - {id: pay, type: function, with: {name: refuse, arguments: {type: unavailable, after: 3600}}}
        """
    )
    await desk.until(execution, "workflow_step_retrying")
    retry = only(nodes(await desk.explain(execution))["pay.1"])
    assert (retry["kind"], retry["attempt"], retry["error"]["type"]) == ("retry", 1, "unavailable")
    assert retry["until"] in retry["sentence"]


async def test_a_call_that_is_under_way_says_since_when_and_for_how_long_at_most(desk: Desk) -> None:
    execution = await desk.start(
        "id: called\nnodes: [{id: held, type: function, with: {name: hold}, timeout: 20s, heartbeat: 10s}]"
    )
    await desk.until(execution, "workflow_step_started")
    lease = only(nodes(await desk.explain(execution))["held.1"])
    assert (lease["kind"], lease["timeout_s"], lease["heartbeat_s"], lease["attempt"]) == ("lease", 20.0, 10.0, 1)
    assert lease["how"] == f"POST /api/v1/executions/{execution.id}/steps/held.1/complete"


async def test_a_child_is_named_with_its_status(desk: Desk) -> None:
    await desk.engine.publish("id: child\nnodes: [{id: wait, type: wait, with: {signal: go}}]")
    parent = await desk.start("id: parent\nnodes: [{id: call, type: workflow, with: {workflow_id: child}}]")
    await desk.until(parent, "workflow_paused")
    child = only(nodes(await desk.explain(parent))["call.1"])
    assert (child["kind"], child["status"], child["reason"]) == ("child", "paused", "input")
    assert child["how"] == f"GET /api/v1/executions/{child['execution_id']}/explain"
    inner = await desk.explain(desk.engine.execution(child["execution_id"]))
    assert only(nodes(inner)["wait.1"])["kind"] == "signal"


async def test_an_operators_pause_is_the_cause_of_what_could_start(desk: Desk, gate: asyncio.Event) -> None:
    execution = await desk.start(
        """
        id: paused
        nodes: [{id: held, type: function, with: {name: hold}}, {id: after, type: set}]
        connections: [{from: held, to: after}]
        """
    )
    await desk.until(execution, "workflow_step_started")
    await execution.pause()
    gate.set()
    await desk.until(execution, "workflow_step_completed", "held")
    explanation = await desk.explain(execution)
    cause = only(nodes(explanation)["after"])
    assert (cause["kind"], cause["how"]) == ("operator", f"POST /api/v1/executions/{execution.id}/resume")
    assert explanation["summary"] == "An operator paused it; `resume` lets it go on."


# Joins


JOINS = """
id: joins
nodes:
  - {id: quick, type: set}
  - {id: slow, type: wait, with: {signal: go}}
  - {id: before, type: wait, with: {signal: go}}
  - {id: mid, type: set}
  - {id: fails, type: set}
  - {id: merge, type: join}
  - {id: every, type: join, join: all}
  - {id: two, type: join, join: {count: 2}}
connections:
  - {from: quick, to: merge}
  - {from: mid, to: merge}
  - {from: before, to: mid}
  - {from: fails, to: merge, on: error}
  - {from: quick, to: every}
  - {from: slow, to: every}
  - {from: quick, to: two}
  - {from: slow, to: two}
  - {from: before, to: two}
"""


async def test_joins_say_what_they_have_and_from_where_a_token_can_still_come(desk: Desk) -> None:
    execution = await desk.start(JOINS)
    await desk.until(execution, "workflow_paused")
    found = nodes(await desk.explain(execution))
    merge = only(found["merge"])
    assert (merge["kind"], merge["rule"]) == ("join", "auto")
    assert [(one["from"], one["tokens"]) for one in merge["filled"]] == [("quick", 1)]
    assert [(one["from"], one["can_still_come"], one["can_come_from"]) for one in merge["awaited"]] == [
        ("mid", True, [{"node_id": "before", "step_id": "before.1"}]),
        ("fails", False, []),
    ]
    assert [cause["sentence"] for cause in merge["because"]] == ["before.1 waits for the signal 'go'."]
    every = only(found["every"])
    assert (every["rule"], [one["from"] for one in every["awaited"]]) == ("all", ["slow"])
    two = only(found["two"])
    assert (two["rule"], [one["from"] for one in two["awaited"]]) == ({"count": 2}, ["slow", "before"])
    assert only(found["mid"])["sentence"] == "before -> mid: before.1 is not over yet."


async def test_a_count_join_that_waits_for_late_tokens_says_so(desk: Desk) -> None:
    execution = await desk.start(
        """
        id: owing
        nodes:
          - {id: a, type: set}
          - {id: late, type: wait, with: {signal: go}}
          - {id: first, type: join, join: {count: 1}}
          - {id: again, type: wait, with: {signal: again}}
        connections:
          - {from: a, to: first}
          - {from: late, to: first}
          - {from: first, to: again}
          - {from: again, to: first}
        """
    )
    await desk.until(execution, "workflow_paused")
    await execution.signal("again")
    await desk.until(execution, "workflow_step_completed", "again")
    join = only(nodes(await desk.explain(execution))["first"])
    assert "next round" in join["sentence"]
    assert [one["from"] for one in join["awaited"]] == ["late"]


# What did not run


ABSENT = """
id: absent
variables: {n: 1}
nodes:
  - {id: split, type: set, assign: {n: "${ vars.n + 1 }"}, compensate: undo}
  - {id: low, type: set}
  - {id: high, type: set}
  - {id: choice, type: decision}
  - {id: left, type: set}
  - {id: right, type: set}
  - {id: never, type: set}
  - {id: deep, type: set}
  - {id: sorry, type: set}
  - {id: undo, type: set}
  - id: box
    type: group
    nodes:
      - {id: inside, type: wait, with: {signal: go}}
      - {id: unreached, type: set}
    connections: [{from: inside, to: unreached}]
connections:
  - {from: split, to: low, when: vars.n < 10}
  - {from: split, to: high, when: vars.n >= 10}
  - {from: split, to: sorry, on: error}
  - {from: low, to: choice}
  - {from: choice, to: left, when: vars.n == 2}
  - {from: choice, to: right, when: vars.n == 3}
  - {from: choice, to: never, otherwise: true}
  - {from: high, to: deep}
"""


async def test_a_node_that_was_not_activated_says_what_became_of_each_connection(desk: Desk) -> None:
    execution = await desk.start(ABSENT)
    await desk.until(execution, "workflow_paused")
    found = nodes(await desk.explain(execution))
    high = only(found["high"])
    assert (high["kind"], high["from"], high["when"], high["result"]) == ("connection", "split", "vars.n >= 10", False)
    assert found["high"]["sentence"] == (
        "high was not activated so far: split -> high: its condition `vars.n >= 10` was false, and split went to low."
    )
    assert "before this connection was looked at" in only(found["right"])["sentence"]
    assert "choice went to left before" in only(found["never"])["sentence"]
    assert "high was not activated either" in only(found["deep"])["sentence"]
    assert "did not fail, and this connection is for its errors" in only(found["sorry"])["sentence"]
    assert "stands aside: it runs when split is undone" in only(found["undo"])["sentence"]
    unreached = found["unreached"]
    assert (unreached["scope"], unreached["status"]) == ("box.1~", "pending")
    assert only(unreached)["sentence"] == "inside -> unreached: box.1~inside.1 is not over yet."
    assert {entry["status"] for entry in found.values() if entry["step_id"] is None} == {"pending"}

    await execution.signal("go")
    await execution.wait()
    ended = await desk.explain(execution)
    found = nodes(ended)
    assert {entry["status"] for entry in found.values()} == {"skipped"}
    assert found.keys() == {"high", "right", "never", "deep", "sorry", "undo"}
    assert found["deep"]["sentence"].startswith("deep was not activated: ")
    assert ended["summary"] == "It is completed."


async def test_failed_withdrawn_and_unreached_nodes_are_told_apart(desk: Desk) -> None:
    execution = await desk.start(
        """
        id: failing
        nodes:
          - {id: other, type: wait, with: {signal: never}}
          - id: box
            type: group
            nodes: [{id: pay, type: function, with: {name: refuse}}]
          - {id: after, type: set}
          - {id: tried, type: fail, with: {type: odd, message: handled}}
          - {id: saved, type: set}
        connections: [{from: box, to: after}, {from: tried, to: saved, on: error}]
        """
    )
    await execution.wait()
    explanation = await desk.explain(execution)
    assert explanation["summary"] == "It failed at box.1~pay.1 with refused: no"
    found = {entry["node_id"]: entry for entry in explanation["nodes"]}
    error = only(found["box"])
    assert (error["kind"], error["step_id"], error["error"]["type"]) == ("error", "box.1~pay.1", "refused")
    assert error["how"] == f"POST /api/v1/executions/{execution.id}/retry"
    assert only(found["pay"])["step_id"] == "box.1~pay.1"
    withdrawn, reason = found["other"]["causes"]
    assert (withdrawn["kind"], withdrawn["reason"]) == ("withdrawn", "the execution failed")
    assert (reason["kind"], reason["error"]) == ("error", error["error"])
    assert "box failed, and this connection is for its success" in only(found["after"])["sentence"]
    handled = only(found["tried"])
    assert handled["handled_by"] == ["saved"]
    assert "saved took the error over" in handled["sentence"]
    assert [entry["status"] for entry in found.values()] == ["failed", "failed", "failed", "cancelled", "skipped"]


async def test_a_cancel_list_is_named_as_the_reason(desk: Desk) -> None:
    execution = await desk.start(
        """
        id: withdrawn
        nodes:
          - {id: ask, type: human, with: {title: ok}}
          - {id: stop, type: wait, with: {signal: stop}, cancel: [ask]}
          - {id: rest, type: wait, with: {signal: never}}
        """
    )
    await desk.until(execution, "workflow_paused")
    await execution.signal("stop")
    await desk.until(execution, "workflow_step_cancelled")
    assert only(nodes(await desk.explain(execution))["ask"])["reason"] == "cancelled by stop.1"


# Bounds


async def test_many_items_do_not_hide_the_other_nodes(desk: Desk) -> None:
    execution = await desk.start(
        """
        id: many
        nodes:
          - {id: each, type: wait, foreach: {items: "${ input.items }", concurrency: 150}, with: {signal: go}}
          - {id: after, type: set}
        connections: [{from: each, to: after}]
        """,
        {"items": list(range(300))},
    )
    await desk.until(execution, "workflow_paused")
    explanation = await desk.explain(execution)
    shown = [entry["node_id"] for entry in explanation["nodes"]]
    assert (shown.count("each"), shown.count("after"), explanation["total"]) == (20, 1, 152)
    parent = explanation["nodes"][0]
    limit = only(parent)
    assert (parent["step_id"], limit["kind"], limit["name"], limit["concurrency"]) == (
        "each.1",
        "limit",
        "foreach.concurrency",
        150,
    )
    assert "150 are open, 150 are yet to begin" in limit["sentence"]
    assert len(limit["holders"]) == 10


async def test_an_execution_that_has_not_begun_or_is_not_there(desk: Desk) -> None:
    execution = await desk.start("id: later\nnodes: [{id: a, type: set}]", delay="1h")
    explanation = await desk.explain(execution)
    assert explanation["summary"].startswith("It begins at ")
    assert (explanation["nodes"], explanation["decisions"]) == ([], [])
    with pytest.raises(NotFound):
        await desk.engine.services.executions.explain("other", execution.id)


# Decisions


def agree(explanation: dict[str, Any]) -> None:
    """What evaluating again gave is what the log has."""
    for decision in explanation["decisions"]:
        for connection in decision["connections"]:
            if connection["values"] is not None:
                assert connection["values"][0]["value"] is connection["result"], connection


async def test_each_decision_shows_the_values_of_its_moment_not_those_of_now(desk: Desk) -> None:
    execution = await desk.start(
        """
        id: loop
        variables: {n: 0, seen: []}
        start: [count]
        nodes:
          - {id: count, type: set, assign: {n: "${ vars.n + 1 }"}, output: "${ vars.n }"}
          - {id: check, type: decision, assign: {seen: "${ vars.seen + [vars.n] }"}}
          - {id: done, type: set, assign: {n: 100}}
          - {id: wait, type: wait, with: {signal: go}}
        connections:
          - {from: count, to: check, when: "steps.count.output == vars.n - 1"}
          - {from: check, to: count, when: vars.n < input.limit}
          - {from: check, to: done, otherwise: true}
          - {from: done, to: wait}
        """,
        {"limit": 3},
    )
    await desk.until(execution, "workflow_paused")
    explanation = await desk.explain(execution)
    agree(explanation)
    check, count = explanation["decisions"]
    assert (check["step_id"], check["taken"]) == ("check.3", ["done"])
    again, otherwise = check["connections"]
    assert values(again) == {"vars.n < input.limit": False, "vars.n": 3, "input.limit": 3}
    assert (otherwise["when"], otherwise["result"], otherwise["values"]) == ("otherwise", True, None)
    assert count["step_id"] == "count.3"
    shown = values(count["connections"][0])
    assert (shown["steps.count.output"], shown["vars.n"]) == (2, 3)
    events = [event async for event in execution.events(follow=False)]
    event = next(event for event in events if event["sequence"] == check["sequence"])
    assert (event["event"], event["data"]["step_id"]) == ("workflow_decision_point", "check.3")
    assert event["timestamp"] == check["at"]


async def test_decisions_in_items_groups_and_error_handlers_see_what_they_saw(desk: Desk) -> None:
    execution = await desk.start(
        """
        id: nested
        variables: {total: 0}
        nodes:
          - id: each
            type: group
            foreach: {items: "${ [1, 2, 3] }", concurrency: 1}
            variables: {own: 7}
            nodes:
              - {id: add, type: set, assign: {total: "${ vars.total + item }", own: "${ vars.own + index }"}}
              - {id: small, type: set}
              - {id: large, type: set}
            connections:
              - {from: add, to: small, when: "item < 3 && vars.own < 9"}
              - {from: add, to: large, otherwise: true}
          - {id: risky, type: function, with: {name: refuse, arguments: {type: declined}}}
          - {id: rescue, type: set}
          - {id: other, type: set}
          - {id: wait, type: wait, with: {signal: go}}
        connections:
          - {from: each, to: risky, when: vars.total == 6}
          - {from: risky, to: other, on: error, when: "error.type == 'timeout'"}
          - {from: risky, to: rescue, on: error, when: "error.type == 'declined' && steps.risky.status == 'failed'"}
          - {from: rescue, to: wait}
        """
    )
    await desk.until(execution, "workflow_paused")
    explanation = await desk.explain(execution)
    agree(explanation)
    decisions = {decision["node_id"]: decision for decision in explanation["decisions"]}
    assert decisions["add"]["step_id"] == "each.1:2~add.1"
    assert values(decisions["add"]["connections"][0])["item"] == 3
    assert values(decisions["each"]["connections"][0])["vars.total"] == 6
    assert values(decisions["risky"]["connections"][0])["error.type"] == "declined"
    assert values(decisions["risky"]["connections"][1])["steps.risky.status"] == "failed"
    assert decisions["risky"]["taken"] == ["rescue"]


async def test_variables_that_were_set_from_outside_are_seen_and_large_values_left_out(desk: Desk) -> None:
    execution = await desk.start(
        """
        id: patched
        variables: {n: 0, text: ""}
        nodes:
          - {id: rule, type: wait, with: {condition: vars.n > 0}}
          - {id: check, type: decision}
          - {id: yes, type: wait, with: {signal: go}}
        connections:
          - {from: rule, to: check}
          - {from: check, to: yes, when: "vars.n == 5 && size(vars.text) > 10"}
        """
    )
    await desk.until(execution, "workflow_paused")
    await execution.set_variables({"n": 5, "text": "x" * 5_000})
    await desk.until(execution, "workflow_step_started", "yes")
    (decision,) = (await desk.explain(execution))["decisions"]
    shown = values(decision["connections"][0])
    assert (shown["vars.n"], shown["vars.text"]) == (5, "(5,002 bytes of JSON, left out)")


async def test_a_decision_before_the_latest_snapshot_and_one_after_it_are_both_evaluated(desk: Desk) -> None:
    execution = await desk.start(
        """
        id: long
        variables: {n: 0, early: 1}
        nodes:
          - {id: first, type: decision}
          - {id: count, type: set, assign: {n: "${ vars.n + 1 }", early: 2}, output: "${ input.padding }"}
          - {id: pause, type: wait, with: {for: 0s}}
          - {id: check, type: decision}
          - {id: wait, type: wait, with: {signal: go}}
        connections:
          - {from: first, to: count, when: vars.early == 1}
          - {from: count, to: check}
          - {from: check, to: pause, when: vars.n < 1000}
          - {from: pause, to: count}
          - {from: check, to: wait, otherwise: true}
        """,
        {"padding": "x" * 500},
    )
    await desk.until(execution, "workflow_paused")
    _, snapshot, _ = await desk.engine.store.load("default", execution.id)
    assert snapshot is not None
    explanation = await desk.explain(execution)
    agree(explanation)
    check, first = explanation["decisions"]
    assert (check["step_id"], values(check["connections"][0])["vars.n"]) == ("check.1000", 1000)
    assert (first["step_id"], values(first["connections"][0])["vars.early"]) == ("first.1", 1)


async def test_the_latest_decisions_of_twenty_nodes_are_told(desk: Desk) -> None:
    names = [f"d{number}" for number in range(30)]
    chain = "\n".join(f"  - {{id: {name}, type: set}}" for name in [*names, "end"])
    steps = zip(names, [*names[1:], "end"], strict=True)
    connections = "\n".join(f"  - {{from: {one}, to: {other}, when: input.yes}}" for one, other in steps)
    execution = await desk.start(f"id: chain\nnodes:\n{chain}\nconnections:\n{connections}\n", {"yes": True})
    await execution.wait()
    decisions = (await desk.explain(execution))["decisions"]
    assert [decision["node_id"] for decision in decisions] == names[::-1][:20]


async def test_values_that_contradict_the_log_are_left_out(desk: Desk) -> None:
    execution = await desk.start(
        """
        id: burst
        variables: {n: 5}
        nodes:
          - {id: rule, type: wait, with: {condition: vars.n == 2}}
          - {id: check, type: decision}
          - {id: add, type: set, assign: {n: "${ vars.n + 1 }"}}
          - {id: wait, type: wait, with: {signal: go}}
        connections:
          - {from: rule, to: check}
          - {from: check, to: add, when: vars.n < 3}
          - {from: add, to: wait}
        """
    )
    await desk.until(execution, "workflow_paused")
    await execution.set_variables({"n": 2})
    await desk.until(execution, "workflow_step_started", "wait")
    (decision,) = (await desk.explain(execution))["decisions"]
    assert decision["connections"] == [{"to": "add", "when": "vars.n < 3", "result": True, "values": None}]


async def test_an_execution_that_was_migrated_is_explained_by_each_version_in_turn(desk: Desk) -> None:
    before = """
        id: moved
        variables: {n: 1}
        nodes:
          - {id: check, type: decision}
          - {id: old, type: wait, with: {signal: go}}
          - {id: last, type: decision}
          - {id: end, type: wait, with: {signal: end}}
        connections:
          - {from: check, to: old, when: vars.n == 1}
          - {from: old, to: last}
          - {from: last, to: end, when: vars.n == 1}
    """
    execution = await desk.start(before)
    await desk.until(execution, "workflow_paused")
    await desk.engine.publish(
        before.replace("id: last,", "id: final,").replace("to: last", "to: final").replace("from: last", "from: final")
    )
    await desk.engine.services.migrations.migrate("default", execution.id, version=2, nodes={"last": "final"})
    await execution.signal("go")
    await desk.until(execution, "workflow_step_started", "end")
    explanation = await desk.explain(execution)
    agree(explanation)
    assert [(one["node_id"], values(one["connections"][0])["vars.n"]) for one in explanation["decisions"]] == [
        ("final", 1),
        ("check", 1),
    ]
