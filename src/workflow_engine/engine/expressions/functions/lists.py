"""The lists extension."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from workflow_engine.engine.expressions.errors import fail
from workflow_engine.engine.expressions.functions.registry import expect_int, expect_list, function
from workflow_engine.engine.expressions.meter import Meter, check_depth
from workflow_engine.engine.expressions.room import call_with_room, needs_room
from workflow_engine.engine.expressions.values import (
    NONE,
    Duration,
    Optional,
    Timestamp,
    Uint,
    describe,
    is_map,
)

_NUMBERS = (int, Uint, float)
_SORTABLE = (str, bytes, bool, Timestamp, Duration)


@function("lists.range", 1)
def make_range(meter: Meter, count: Any) -> list[int]:
    """The integers from 0 up to, without, `count`."""
    number = expect_int("lists.range", count)
    meter.charge(2 * max(0, number))
    return list(range(number))


@function("distinct", 1, style="method")
def distinct(meter: Meter, items: Any) -> list[Any]:
    """The list without repetitions; of equal elements the first stays."""
    whole = expect_list("distinct", items, "target")
    if needs_room(whole, len(whole)):
        return list(call_with_room(meter, _distinct, meter, whole))
    return _distinct(meter, whole)


def _distinct(meter: Meter, items: Sequence[Any]) -> list[Any]:
    result, seen = [], set()
    for item in items:
        key = identity(item, meter, 0)
        if key not in seen:
            seen.add(key)
            result.append(item)
    return result


def identity(value: Any, meter: Meter, depth: int) -> Any:
    """A hashable that is the same for two values exactly when CEL takes them for equal."""
    kind = type(value)
    meter.charge(16)
    if kind is str or kind is bytes:
        meter.charge(len(value) >> 4)
        return value
    if kind is bool:
        return ("bool", value)
    if kind in _NUMBERS:
        return object() if value != value else value
    check_depth(depth)
    if kind is list or kind is tuple:
        return ("list", *[identity(item, meter, depth + 1) for item in value])
    if is_map(value):
        return ("map", _identity_of_entries(value, meter, depth + 1))
    if kind is Optional:
        return ("optional", value.present, identity(value.value, meter, depth + 1))
    return value


def _identity_of_entries(value: Mapping[Any, Any], meter: Meter, depth: int) -> frozenset[Any]:
    entries = []
    for key in value:
        entries.append((identity(key, meter, depth), identity(value[key], meter, depth)))
    return frozenset(entries)


@function("flatten", (1, 2), style="method")
def flatten(meter: Meter, items: Any, depth: Any = 1) -> list[Any]:
    """The list with the elements of its lists in their place, `depth` levels deep."""
    levels = expect_int("flatten", depth)
    if levels < 0:
        fail("flatten: the depth is 0 or more")
    result: list[Any] = []
    whole = expect_list("flatten", items, "target")
    if needs_room(whole, len(whole)):
        call_with_room(meter, _flatten, meter, whole, levels, result, 0)
    else:
        _flatten(meter, whole, levels, result, 0)
    return result


def _flatten(meter: Meter, items: Sequence[Any], levels: int, result: list[Any], depth: int) -> None:
    check_depth(depth)
    meter.charge(8 + 2 * len(items))
    for item in items:
        if levels and (type(item) is list or type(item) is tuple):
            _flatten(meter, item, levels - 1, result, depth + 1)
        else:
            result.append(item)


@function("slice", 3, style="method")
def take_slice(meter: Meter, items: Any, start: Any, end: Any) -> list[Any]:
    """The elements from `start` up to, without, `end`."""
    expect_list("slice", items, "target")
    first, last = expect_int("slice", start), expect_int("slice", end, "second argument")
    if not 0 <= first <= last <= len(items):
        fail(f"slice: {first} to {last} is no part of a list of {len(items)}")
    meter.charge(last - first)
    return list(items[first:last])


@function("first", 1, style="method")
def first(meter: Meter, items: Any) -> Optional:
    """The first element, as an optional."""
    expect_list("first", items, "target")
    return Optional(True, items[0]) if items else NONE


@function("last", 1, style="method")
def last(meter: Meter, items: Any) -> Optional:
    """The last element, as an optional."""
    expect_list("last", items, "target")
    return Optional(True, items[-1]) if items else NONE


@function("sort", 1, style="method")
def sort(meter: Meter, items: Any) -> list[Any]:
    """The list in ascending order."""
    return sort_by_keys(meter, "sort", expect_list("sort", items, "target"), items)


def sort_by_keys(meter: Meter, name: str, items: Sequence[Any], keys: Sequence[Any]) -> list[Any]:
    """`items` in the ascending order of `keys`, which are all numbers or all of one other type that has an order."""
    if not keys:
        return []
    kind = type(keys[0])
    kinds: tuple[type, ...] = _NUMBERS if kind in _NUMBERS else (kind,)
    if kind not in _NUMBERS and kind not in _SORTABLE:
        fail(f"{name} needs numbers, strings or other values with an order, got {describe(keys[0])}")
    size = 0
    for key in keys:
        if type(key) not in kinds:
            fail(f"{name} needs values of one type, got {describe(keys[0])} and {describe(key)}")
        if key != key:
            fail(f"{name} cannot place NaN")
        if kind is str or kind is bytes:
            size += len(key)
    per_round = (2 if kind not in (Timestamp, Duration) else 16) * len(keys) + (size >> 5)
    meter.charge(10 * len(keys) + per_round * (1 + int(math.log2(len(keys)))))
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return [items[position] for position in order]
