"""Every example runs as its comments say, through the command that its comments name."""

import json
from pathlib import Path
from typing import Any

import pytest
from example_runs import EXAMPLES, Command, Execute, run_command
from flaky_server import flaky_server

from workflow_engine import Engine
from workflow_engine.engine.validation import validate
from workflow_engine.library.published import read_document
from workflow_engine.models.errors import InputInvalid

DEFINITIONS = sorted(EXAMPLES.rglob("*.yaml"))


@pytest.mark.parametrize("path", DEFINITIONS, ids=lambda path: path.stem)
def test_every_example_is_valid_and_without_warnings(path: Path) -> None:
    assert validate(read_document(path)).problems == []


def test_the_command_finds_every_example_valid(tmp_path: Path) -> None:
    ended = run_command(["validate", *map(str, DEFINITIONS)], tmp_path, {})
    assert ended.code == 0


async def test_a_small_expense_is_paid_without_asking_anybody(execute: Execute) -> None:
    ended = await execute("expense_approval", {"amount": 74, "employee": "ada"})
    assert ended["output"] == {"paid": 74, "receipt": "ada/74"}


def test_a_large_expense_waits_for_a_person_and_is_paid_after_the_answer(run: Command, resume: Command) -> None:
    waiting = run("expense_approval", {"amount": 740, "employee": "ada"})
    assert (waiting.code, waiting.document["status"], waiting.document["reason"]) == (3, "paused", "input")
    assert waiting.document["active_nodes"] == ["approve"]
    ended = resume(waiting.document["execution_id"], "--answer", 'approve={"approved": true}')
    assert (ended.code, ended.document["output"]) == (0, {"paid": 740, "receipt": "ada/740"})


async def test_a_refused_expense_fails_with_the_comment_of_who_refused(execute: Execute) -> None:
    refusal = {"approved": False, "comment": "no receipt"}
    ended = await execute("expense_approval", {"amount": 740, "employee": "ada"}, answer=("approve", refusal))
    assert (ended["status"], ended["error"]["message"]) == ("failed", "no receipt")


async def test_an_answer_that_does_not_fit_the_form_is_refused(execute: Execute) -> None:
    with pytest.raises(InputInvalid, match="approved"):
        await execute("expense_approval", {"amount": 740, "employee": "ada"}, answer=("approve", {}))


async def test_an_expense_that_nobody_answers_fails_in_the_end(tmp_path: Path) -> None:
    """The same definition with less patience."""
    impatient = (EXAMPLES / "expense_approval.yaml").read_text().replace("timeout: 48h", "timeout: 50ms")
    async with Engine(f"sqlite:///{tmp_path}/expenses.db") as engine:
        await engine.publish(impatient)
        ended = await (await engine.start("expense-approval", {"amount": 740, "employee": "ada"})).wait()
    assert ended["error"]["message"] == "nobody answered within 48 hours"


def test_an_order_is_shipped_when_all_three_checks_are_fine(run: Command) -> None:
    ended = run("order_fulfilment", {"items": {"lamp": 2}, "total": 80, "country": "PT"})
    assert (ended.code, ended.document["output"]) == (0, {"shipped": True, "parcels": 2, "country": "PT"})


async def test_an_order_is_refused_with_the_checks_that_failed(execute: Execute) -> None:
    ended = await execute("order_fulfilment", {"items": {"chair": 1}, "total": 80, "country": "US"})
    assert ended["output"] == {"shipped": False, "because": ["stock", "address"]}


async def test_an_order_that_does_not_fit_the_schema_is_not_started(execute: Execute) -> None:
    with pytest.raises(InputInvalid, match="/items/lamp"):
        await execute("order_fulfilment", {"items": {"lamp": 0}, "total": 80, "country": "PT"})


def test_a_flaky_service_is_asked_again_with_the_same_idempotency_key(run: Command) -> None:
    with flaky_server(503, 429) as server:
        ended = run("flaky_service", {"url": server.url}, WORKFLOW_ENGINE_HTTP_ALLOW="127.0.0.0/8")
    assert ended.document["output"] == {"price": 12.5, "attempts": 3}
    assert [attempt for attempt, _ in server.seen] == ["1", "2", "3"]
    assert len({key for _, key in server.seen}) == 1


async def test_a_404_is_an_answer_and_not_asked_again(execute: Execute) -> None:
    with flaky_server(404) as server:
        ended = await execute("flaky_service", {"url": server.url})
    assert ended["output"]["price"] is None
    assert len(server.seen) == 1


async def test_a_loop_goes_round_until_the_job_is_done(execute: Execute) -> None:
    ended = await execute("polling_loop", {"job": "print"})
    assert ended["output"] == {"asked": 4, "result": "print: 12 pages"}


def test_a_loop_gives_up_when_its_counter_says_so(run: Command) -> None:
    ended = run("polling_loop", {"job": "print", "patience": 2})
    assert (ended.code, ended.document["error"]["type"]) == (1, "impatient")
    assert ended.document["error"]["message"] == "print was not done after 2 looks"


async def test_the_first_of_three_answers_wins_and_the_others_are_withdrawn(execute: Execute) -> None:
    ended = await execute("first_of_three", {"file": "map.tiles"})
    assert ended["output"] == {"mirror": "west", "file": "map.tiles"}


async def test_a_bad_row_does_not_stop_the_others(execute: Execute) -> None:
    rows = [{"email": f"{number}@example.org"} if number % 3 else {"email": "none"} for number in range(30)]
    output = (await execute("bulk_import", {"rows": rows}))["output"]
    assert output["refused"] == 10
    assert output["refused_rows"] == list(range(0, 30, 3))
    assert output["imported"] == [f"customer-{number}" for number in range(30) if number % 3]


def test_an_order_is_delivered_when_the_signal_comes(run: Command, resume: Command) -> None:
    waiting = run("payment_confirmation", {"order": 17, "amount": 40})
    assert waiting.code == 3
    ended = resume(waiting.document["execution_id"], "--signal", 'paid={"amount": 41}')
    assert (ended.code, ended.document["output"]) == (0, {"order": 17, "state": "delivered", "paid": 41})


async def test_a_signal_that_does_not_fit_is_passed_over(execute: Execute) -> None:
    signals = [("paid", {"amount": 39}), ("paid", {"amount": 40})]
    ended = await execute("payment_confirmation", {"order": 17, "amount": 40}, signals=signals)
    assert ended["output"] == {"order": 17, "state": "delivered", "paid": 40}


async def test_an_order_is_withdrawn_when_no_signal_comes_in_time(execute: Execute) -> None:
    ended = await execute("payment_confirmation", {"order": 17, "amount": 40, "patience": "50ms"})
    assert (ended["output"]["state"], ended["output"]["order"]) == ("withdrawn", 17)


@pytest.mark.parametrize(
    ("card", "output"),
    [
        ("good", {"state": "paid", "attempts": 1}),
        ("hiccup", {"state": "paid", "attempts": 2}),
        ("declined", {"state": "another card please", "reason": "over its limit"}),
        ("offline", {"state": "on account", "after_attempts": 3}),
    ],
)
async def test_an_error_goes_the_way_of_its_type(execute: Execute, card: str, output: Any) -> None:
    assert (await execute("error_routes", {"card": card}))["output"] == output


async def test_an_error_that_no_connection_takes_ends_the_execution(execute: Execute) -> None:
    error = (await execute("error_routes", {"card": "stolen"}))["error"]
    assert (error["type"], error["node"]) == ("fraud", "charge")


async def test_timers_are_waited_for_and_past_instants_fire_at_once(execute: Execute) -> None:
    past = "2020-01-01T00:00:00Z"
    ended = await execute("reminders", {"after": "100ms", "at": past})
    assert ended["output"] == [f"at {past}", "after 100ms"]


async def test_a_research_loop_follows_leads_until_none_is_left(execute: Execute) -> None:
    output = (await execute("research", {"question": "Why do bees dance?"}))["output"]
    assert (output["rounds"], output["sources"]) == (3, ["dance", "hive", "direction", "distance", "measure"])
    assert output["answer"].startswith("Why do bees dance? The waggle dance")


async def test_a_research_loop_ends_when_its_rounds_are_used_up(execute: Execute) -> None:
    output = (await execute("research", {"question": "Why do bees dance?", "rounds": 1}))["output"]
    assert (output["rounds"], output["sources"]) == (1, ["dance", "hive"])


async def test_custom_events_come_in_order_on_the_stream(tmp_path: Path) -> None:
    async with Engine(f"sqlite:///{tmp_path}/events.db") as engine:
        await engine.publish(EXAMPLES / "deployment_events.yaml")
        execution = await engine.start("deployment-events", {"version": "2.4", "regions": ["eu", "us"]})
        events = [event async for event in execution.events()]
    custom = [(event["event"], event["data"]["data"]) for event in events if event["event"].startswith("custom:")]
    assert custom == [
        ("custom:deployment_begun", {"version": "2.4", "regions": 2}),
        ("custom:region_deployed", {"region": "eu", "share": 0.5}),
        ("custom:region_deployed", {"region": "us", "share": 1.0}),
        ("custom:deployment_done", {"version": "2.4"}),
    ]
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))


def test_expressions_give_what_their_comments_promise(run: Command) -> None:
    ended = run("expressions", "@examples/expressions.json")
    assert ended.document["output"] == {
        "totals": {"net": 139.0, "articles": "lamp, chair", "dearest": 60, "all_in_stock": True},
        "rebate": 0.1,
        "letter": {
            "greeting": "Dear customer Ada Lovelace,",
            "raw": 'you bought ["lamp","chair"] and write ${ } for an expression',
            "gross": 148.87,
            "due": "2026-03-02T08:00:00Z",
            "initials": "AL",
        },
    }


async def test_the_audit_adds_up_what_it_measured(execute: Execute) -> None:
    output = (await execute("demo/audit", {"package": "json"}))["output"]
    assert output["totals"]["modules"] == len(output["modules"]) == len(list(Path(json.__file__).parent.rglob("*.py")))
    assert output["totals"]["lines"] == sum(module["lines"] for module in output["modules"])
