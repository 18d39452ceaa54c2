"""What a step's code returns becomes pure JSON, or an error that names the place."""

import collections
import dataclasses
import enum
import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pydantic
import pytest

from workflow_engine.models.step import Completed, Failed
from workflow_engine.steps.output import DEPTH_MAX, details_of, outcome_of, plain_text


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Text(str):
    pass


class Model(pydantic.BaseModel):
    at: date


class Shape(msgspec.Struct):
    side: int


@dataclasses.dataclass
class Money:
    amount: int
    tags: tuple[str, ...]


Point = collections.namedtuple("Point", "x y")
ZONED = datetime(2024, 1, 2, 3, 4, 5, 600000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [1, 2.5, True, None, "t"]}, {"a": [1, 2.5, True, None, "t"]}),
        ((1, (2,)), [1, [2]]),
        (Point(1, 2), [1, 2]),
        (Colour.RED, "red"),
        ({Colour.RED: Level.HIGH}, {"red": 3}),
        (Text("t"), "t"),
        ({Text("k"): 1}, {"k": 1}),
        (Money(3, ("a",)), {"amount": 3, "tags": ["a"]}),
        (Model(at=date(2024, 1, 2)), {"at": "2024-01-02"}),
        (Shape(2), {"side": 2}),
        (ZONED, "2024-01-02T03:04:05.600000+00:00"),
        (timedelta(seconds=1.5), "1.5s"),
        (timedelta(days=30, microseconds=1), "2592000.000001s"),
        (b"\x00\x01", "AAE="),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (collections.OrderedDict(a=1), {"a": 1}),
        (2**64 - 1, 2**64 - 1),
    ],
)
def test_a_value_with_a_json_form_is_rendered(value: Any, expected: Any) -> None:
    outcome = outcome_of(value, bytes_max=1_000)
    assert outcome == Completed(expected)
    assert isinstance(outcome, Completed)
    assert type(outcome.output) is type(expected)


def test_no_subclass_of_a_json_type_leaks() -> None:
    outcome = outcome_of([Text("t"), Level.HIGH, {Text("k"): Text("v")}], bytes_max=1_000)
    assert isinstance(outcome, Completed)
    [text, level, inner] = outcome.output
    assert [type(one) for one in (text, level, *inner.keys(), *inner.values())] == [str, int, str, str]


@pytest.mark.parametrize(
    ("value", "place", "named"),
    [
        ({"a": [0, {1, 2}]}, "/a/1", "set"),
        ({"a": object()}, "/a", "object"),
        ([float("nan")], "/0", "nan"),
        ({"a": float("inf")}, "/a", "inf"),
        ({"a": {1: 2}}, "/a/1", "int"),
        ({"a/b": [datetime(2024, 1, 1)]}, "/a~1b/0", "time zone"),  # noqa: DTZ001 - a naive one is the point
        ([2**64], "/0", "64 bits"),
        (["\ud800"], "/0", "surrogate"),
        (["\0"], "/0", "NUL"),
        (Money, "the value", "type"),
        (len, "the value", "builtin_function_or_method"),
    ],
)
def test_a_value_without_a_json_form_is_invalid_output_and_names_place_and_type(
    value: Any, place: str, named: str
) -> None:
    outcome = outcome_of(value, bytes_max=1_000)
    assert isinstance(outcome, Failed)
    assert outcome.error.type == "invalid_output"
    assert place in outcome.error.message
    assert named in outcome.error.message


def test_a_cycle_ends_at_the_depth_limit() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    outcome = outcome_of(cycle, bytes_max=10**6)
    assert isinstance(outcome, Failed)
    assert str(DEPTH_MAX) in outcome.error.message


@pytest.mark.parametrize("value", ["x" * 1_001, ["x"] * 1_000, {str(n): n for n in range(1_000)}, ['"' * 600]])
def test_a_value_over_the_limit_is_payload_too_large(value: Any) -> None:
    outcome = outcome_of(value, bytes_max=1_000)
    assert isinstance(outcome, Failed)
    assert outcome.error.type == "payload_too_large"


def test_the_output_shares_nothing_with_what_was_returned() -> None:
    returned: dict[str, Any] = {"a": [1]}
    outcome = outcome_of(returned, bytes_max=1_000)
    returned["a"].append(2)
    assert outcome == Completed({"a": [1]})


def test_details_that_cant_be_stored_say_so_instead() -> None:
    assert details_of({"a": (1,)}) == {"a": [1]}
    assert details_of(None) is None
    assert "left out" in details_of({1, 2})
    assert "left out" in details_of("x" * 100_000)


def test_plain_text_can_be_stored_anywhere() -> None:
    assert plain_text("a\0\ud800b") == "a\ufffd?b"
    assert len(plain_text("x" * 10_000)) == 2_000
