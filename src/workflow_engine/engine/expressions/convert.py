"""Values leaving an expression: to JSON, and to text."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from typing import Any

from workflow_engine.engine.expressions.errors import fail
from workflow_engine.engine.expressions.meter import Meter, check_depth, text_units
from workflow_engine.engine.expressions.room import call_with_room
from workflow_engine.engine.expressions.values import Duration, Optional, Timestamp, Type, Uint, describe

_NODE_UNITS = 4


def to_json(value: Any, meter: Meter | None = None) -> Any:
    """The JSON value of a CEL value; what is JSON already comes back as it is, not as a copy.

    Args:
        meter: pays for every node visited; without one the default budget holds.

    Raises:
        ExpressionFailed: it has no JSON value (NaN, infinities, types, optionals, keys that are no strings), is nested
            too deeply or too large.
    """
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if meter is None:
        meter = Meter()
    if kind is list or kind is dict:
        return value if _is_json(value, meter) else call_with_room(meter, _convert, value, meter, 0)
    return _convert(value, meter, 0)


def _is_json(value: list[Any] | dict[Any, Any], meter: Meter) -> bool:
    """Whether a list or map is JSON through and through. Level by level: real data are, and this way needs no calls."""
    level: list[list[Any] | dict[Any, Any]] = [value]
    depth = 0
    while level:
        depth += 1
        check_depth(depth)
        below: list[list[Any] | dict[Any, Any]] = []
        for container in level:
            meter.charge(_NODE_UNITS * len(container) + 4)
            if type(container) is dict:
                for key in container:
                    if type(key) is not str:
                        return False
            for item in container if type(container) is list else container.values():  # type: ignore[union-attr]
                kind = type(item)
                if kind is str or kind is int or kind is bool or item is None:
                    continue
                if kind is list or kind is dict:
                    below.append(item)
                elif kind is not float or not math.isfinite(item):
                    return False
        level = below
    return True


def _convert(value: Any, meter: Meter, depth: int) -> Any:
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if kind is float:
        if not math.isfinite(value):
            fail(f"{describe_double(value)} has no JSON value")
        return value
    if kind is dict:
        return _convert_dict(value, meter, depth + 1)
    if kind is list or kind is tuple:
        return _convert_list(value, meter, depth + 1)
    if kind is Uint:
        return int(value)
    if kind is Timestamp or kind is Duration:
        meter.charge(90)
        return str(value)
    if kind is bytes:
        meter.charge(text_units(len(value) * 2))
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return _convert_dict({key: value[key] for key in _keys(value, meter)}, meter, depth + 1)
    if kind is Optional:
        fail("an optional has no JSON value; take it out with .orValue(default)")
    if kind is Type:
        fail(f"the type {value.name} has no JSON value; string(...) of a value does")
    return fail(f"a value of type {describe(value)} has no JSON value")


def _keys(mapping: Mapping[Any, Any], meter: Meter) -> list[Any]:
    meter.charge(10 * len(mapping))
    return list(mapping)


def _convert_list(items: list[Any], meter: Meter, depth: int) -> list[Any]:
    check_depth(depth)
    meter.charge(_NODE_UNITS * len(items) + 6)
    copy: list[Any] | None = None
    for position, item in enumerate(items):
        kind = type(item)
        if kind is str or kind is int:
            continue
        converted = _convert(item, meter, depth)
        if converted is not item:
            if copy is None:
                copy = list(items)
            copy[position] = converted
    if copy is None:
        return items if type(items) is list else list(items)
    return copy


def _convert_dict(entries: dict[Any, Any], meter: Meter, depth: int) -> dict[str, Any]:
    check_depth(depth)
    meter.charge(_NODE_UNITS * len(entries) + 6)
    copy: dict[str, Any] | None = None
    for key, item in entries.items():
        if type(key) is not str:
            fail(f"a map with a key of type {describe(key)} has no JSON value; make the key a string with string(key)")
        kind = type(item)
        if kind is str or kind is int:
            continue
        converted = _convert(item, meter, depth)
        if converted is not item:
            if copy is None:
                copy = dict(entries)
            copy[key] = converted
    return entries if copy is None else copy


def describe_double(value: float) -> str:
    """NaN, Infinity or -Infinity, as CEL writes them."""
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def write_json(value: Any, meter: Meter) -> str:
    """Compact JSON text of a CEL value."""
    converted = to_json(value, meter)
    meter.charge(_json_units(converted, meter))
    try:
        return json.dumps(converted, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (ValueError, RecursionError) as error:
        return fail(f"a value has no JSON text: {error}")


def _json_units(value: Any, meter: Meter) -> int:
    """What the text of a JSON value costs; `to_json` has bounded the number of its nodes."""
    total = 4
    pending = [value]
    while pending:
        item = pending.pop()
        kind = type(item)
        if kind is str:
            total += text_units(len(item) * 2)
        elif kind is list:
            total += 6 * len(item)
            pending.extend(item)
        elif kind is dict:
            for key in item:
                total += 6 + text_units(len(key) * 2)
            pending.extend(item.values())
        elif kind is float:
            total += 8
        elif kind is int and item.bit_length() > 64:
            total += item.bit_length()
        if total > meter.limit:
            return total
    return total


def to_text(value: Any, meter: Meter) -> str:
    """What a value becomes inside a text: strings as they are, everything else as compact JSON."""
    if type(value) is str:
        return value
    converted = to_json(value, meter)
    return converted if type(converted) is str else write_json(converted, meter)
