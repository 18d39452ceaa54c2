"""The examples of groups, compensation, sub-workflows, locks and limits do what their comments say."""

import json
from pathlib import Path
from typing import Any

from example_runs import EXAMPLES, Command, Execute, load_functions

from workflow_engine import Engine

PAYROLL = json.loads((EXAMPLES / "payroll.json").read_text())
PARCELS = ["A", "B", "C", "D", "E"]


async def test_a_group_begins_anew_with_both_when_one_is_sold_out(execute: Execute) -> None:
    output = (await execute("seat_and_room", {"city": "Lisbon"}))["output"]
    assert output == {"booked": True, "seat": "Lisbon seat 2", "room": "Lisbon room 2", "reservations": 2}


async def test_the_error_of_a_group_without_attempts_goes_on_outside(execute: Execute) -> None:
    output = (await execute("seat_and_room", {"city": "Atlantis"}))["output"]
    assert output == {"booked": False, "because": "the room is sold_out"}


def test_a_saga_that_goes_well_undoes_nothing(run: Command) -> None:
    ended = run("travel_saga", {"travellers": ["ada", "ben"], "car": "small"})
    booked = ["seat for ada", "seat for ben", "hotel", "small car"]
    assert (ended.code, ended.document["output"]) == (0, {"booked": [f"booking of a {what}" for what in booked]})


async def test_a_saga_gives_back_what_it_has_booked_the_latest_first(tmp_path: Path) -> None:
    load_functions(EXAMPLES / "travel_saga.py")
    async with Engine(f"sqlite:///{tmp_path}/saga.db") as engine:
        await engine.publish(EXAMPLES / "travel_saga.yaml")
        execution = await engine.start("travel-saga", {"travellers": ["ada", "ben"], "car": "flying"})
        events = [event async for event in execution.events()]
        ended = await execution.wait()
    assert (ended["status"], ended["error"]["type"], ended["error"].get("compensation")) == ("failed", "no_car", None)
    (announced,) = [event["data"]["steps"] for event in events if event["event"] == "workflow_compensating"]
    completed = [event["data"] for event in events if event["event"] == "workflow_step_completed"]
    given_back = [data["output"] for data in completed if data["node_id"] in ("return_seat", "leave_hotel")]
    seats = [data["step_id"] for data in completed if data["step_id"] in ("seat.1:0", "seat.1:1")]
    assert announced == ["hotel.1", *reversed(seats)]
    names = {"seat.1:0": "ada", "seat.1:1": "ben"}
    assert given_back == [
        "booking of a hotel given back",
        *(f"booking of a seat for {names[seat]} given back from {names[seat]}" for seat in reversed(seats)),
    ]


async def test_a_payroll_calls_a_payslip_for_each_employee(tmp_path: Path) -> None:
    async with Engine(f"sqlite:///{tmp_path}/payroll.db") as engine:
        await engine.publish(EXAMPLES / "payslip.yaml")
        await engine.publish(EXAMPLES / "payroll.yaml")
        result: Any = await (await engine.start("payroll", PAYROLL)).result()
    assert result == {"paid": 8400.0, "failed": ["ben"]}


def test_a_payroll_finds_the_payslip_that_was_run_on_its_database(run: Command) -> None:
    alone = run("payslip", {"name": "ada", "hours": 160, "wage": 50})
    assert alone.document["output"] == {"name": "ada", "net": 6000.0}
    ended = run("payroll", "@examples/payroll.json")
    assert (ended.code, ended.document["output"]) == (0, {"paid": 8400.0, "failed": ["ben"]})


async def test_numbers_are_drawn_one_by_one_and_two_labels_printed_at_once(execute: Execute) -> None:
    output = (await execute("parcel_labels", {"parcels": PARCELS, "printer": "hall"}))["output"]
    numbers = sorted(int(label.partition("-")[2]) for label in output["labels"])
    assert numbers == [101, 102, 103, 104, 105]
    assert [label.partition("-")[0] for label in output["labels"]] == PARCELS
    assert output["most_at_once"] == 2


async def test_a_limit_holds_over_executions(tmp_path: Path) -> None:
    load_functions(EXAMPLES / "parcel_labels.py")
    async with Engine(f"sqlite:///{tmp_path}/labels.db") as engine:
        await engine.publish(EXAMPLES / "parcel_labels.yaml")
        started = [await engine.start("parcel-labels", {"parcels": PARCELS, "printer": "hall"}) for _ in range(4)]
        outputs: list[Any] = [await execution.result() for execution in started]
    assert max(output["most_at_once"] for output in outputs) == 2
    assert all(output["labels"] == [f"{parcel}-{101 + at}" for at, parcel in enumerate(PARCELS)] for output in outputs)
