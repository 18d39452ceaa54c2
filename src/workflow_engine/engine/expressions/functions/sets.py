"""The sets extension: lists as sets, in time that grows with their size alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workflow_engine.engine.expressions.functions.lists import identity
from workflow_engine.engine.expressions.functions.registry import expect_list, function
from workflow_engine.engine.expressions.meter import Meter
from workflow_engine.engine.expressions.room import call_with_room, needs_room


def _identities(name: str, meter: Meter, items: Any, place: str) -> set[Any]:
    whole = expect_list(name, items, place)
    if needs_room(whole, len(whole)):
        return set(call_with_room(meter, _collect, meter, whole))
    return _collect(meter, whole)


def _collect(meter: Meter, items: Sequence[Any]) -> set[Any]:
    result = set()
    for item in items:
        result.add(identity(item, meter, 0))
    return result


def _both(name: str, meter: Meter, one: Any, two: Any) -> tuple[set[Any], set[Any]]:
    return _identities(name, meter, one, "first argument"), _identities(name, meter, two, "second argument")


@function("sets.contains", 2)
def contains(meter: Meter, one: Any, two: Any) -> bool:
    """Whether every element of the second list is in the first."""
    whole, part = _both("sets.contains", meter, one, two)
    return part <= whole


@function("sets.equivalent", 2)
def equivalent(meter: Meter, one: Any, two: Any) -> bool:
    """Whether both lists hold the same elements, whatever their order and number."""
    left, right = _both("sets.equivalent", meter, one, two)
    return left == right


@function("sets.intersects", 2)
def intersects(meter: Meter, one: Any, two: Any) -> bool:
    """Whether the lists have an element in common."""
    left, right = _both("sets.intersects", meter, one, two)
    return not left.isdisjoint(right)
