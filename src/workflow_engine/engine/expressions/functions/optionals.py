"""The optionals extension; `or`, `orValue`, `optMap` and `optFlatMap` are macros."""

from __future__ import annotations

from typing import Any

from workflow_engine.engine.expressions.errors import fail
from workflow_engine.engine.expressions.functions.registry import expect_list, function, refuse
from workflow_engine.engine.expressions.meter import Meter
from workflow_engine.engine.expressions.values import NONE, Duration, Optional, Timestamp, is_map


@function("optional.of", 1)
def of(meter: Meter, value: Any) -> Optional:
    """An optional that holds the value."""
    return Optional(True, value)


@function("optional.none", 0)
def none(meter: Meter) -> Optional:
    """The optional that holds nothing."""
    return NONE


@function("optional.ofNonZeroValue", 1)
def of_non_zero_value(meter: Meter, value: Any) -> Optional:
    """An optional that holds the value, or nothing where it is null, false, 0 or empty."""
    if isinstance(value, Optional):
        return value if value.present else NONE
    if isinstance(value, (Timestamp, Duration)):
        empty = value.nanoseconds == 0
    else:
        empty = len(value) == 0 if is_map(value) else not value
    return NONE if empty else Optional(True, value)


@function("hasValue", 1, style="method")
def has_value(meter: Meter, value: Any) -> bool:
    """Whether the optional holds something."""
    return value.present if type(value) is Optional else refuse("hasValue", "target", "an optional", value)


@function("value", 1, style="method")
def value_of(meter: Meter, value: Any) -> Any:
    """What the optional holds; an error where it holds nothing."""
    if type(value) is not Optional:
        return refuse("value", "target", "an optional", value)
    if not value.present:
        fail("the optional holds nothing; give a default with .orValue(default)")
    return value.value


@function("optional.unwrap", 1)
def unwrap(meter: Meter, items: Any) -> list[Any]:
    """The values in a list of optionals, without the empty ones."""
    return _unwrap("optional.unwrap", meter, items)


@function("unwrapOpt", 1, style="method")
def unwrap_opt(meter: Meter, items: Any) -> list[Any]:
    """The values in a list of optionals, without the empty ones."""
    return _unwrap("unwrapOpt", meter, items)


def _unwrap(name: str, meter: Meter, items: Any) -> list[Any]:
    meter.charge(2 * len(expect_list(name, items)))
    result = []
    for item in items:
        if type(item) is not Optional:
            refuse(name, "elements", "optionals", item)
        if item.present:
            result.append(item.value)
    return result
