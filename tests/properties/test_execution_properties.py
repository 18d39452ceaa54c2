"""Properties of every execution: random definitions, driven by random commands in random order."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from driver import INPUT, Driver, JoinChecks
from graphs import compiled, documents
from hypothesis import HealthCheck, assume, given, note, settings
from hypothesis import strategies as st

from workflow_engine.engine import settling
from workflow_engine.models.command import Start
from workflow_engine.models.limits import Limits

IS_LONG = os.environ.get("PROPERTIES") == "long"

RUN = settings(
    max_examples=20_000 if IS_LONG else 500,
    deadline=None,
    database=None,
    derandomize=not IS_LONG,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)


@pytest.fixture(scope="module", autouse=True)
def joins_are_checked() -> Iterator[JoinChecks]:
    """Every answer of the join rules is compared with the oracle's, at the moment it is given."""
    checks = JoinChecks()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settling, "firing", checks.firing)
        yield checks
    assert checks.count > 0


@pytest.mark.timeout(3600)
@RUN
@given(
    document=documents(),
    numbers=st.lists(st.integers(0, 479), min_size=4, max_size=40),
    transition_steps_max=st.sampled_from((3, 20, 1000)),
    is_delayed=st.booleans(),
)
def test_whatever_comes_in_whatever_order_every_decision_keeps_the_promises(
    joins_are_checked: JoinChecks,
    document: dict[str, Any],
    numbers: list[int],
    transition_steps_max: int,
    is_delayed: bool,
) -> None:
    graph = compiled(document)
    assume(graph is not None)
    note(f"{document=}\n{numbers=} {transition_steps_max=} {is_delayed=}")
    limits = Limits(max_steps=60, transition_steps_max=transition_steps_max, signals_unread_max=5)
    driver = joins_are_checked.driver = Driver(graph, limits, joins_are_checked)
    driver.decide(Start("random", 1, INPUT, delay_s=5.0 if is_delayed else 0.0))
    for number in numbers:
        driver.act(number)
    driver.finish()
    driver.check_snapshots()
    driver.check_fork(numbers[0])
