"""`format`: texts with places for values, as the strings extension specifies them."""

from __future__ import annotations

import math
import re
from typing import Any

from workflow_engine.engine.expressions.convert import describe_double
from workflow_engine.engine.expressions.errors import fail
from workflow_engine.engine.expressions.functions.registry import expect_list, expect_text, function
from workflow_engine.engine.expressions.functions.standard import to_string
from workflow_engine.engine.expressions.meter import Meter, check_depth, text_units
from workflow_engine.engine.expressions.operators import to_double
from workflow_engine.engine.expressions.room import call_with_room
from workflow_engine.engine.expressions.values import Uint, describe, is_map

_PLACE = re.compile(
    r"%(?:(?P<percent>%)|(?:\.(?P<precision>\d{1,4}))?(?P<clause>[a-zA-Z])|(?P<bad>.?))", re.DOTALL | re.ASCII
)
_PRECISION_MAX = 100
_PRECISION = 6


@function("format", 2, style="method", units=40)
def format_text(meter: Meter, text: Any, arguments: Any) -> str:
    """The text with the arguments in its places: %s, %d, %f, %e, %b, %o, %x, %X, and %% for a percent sign."""
    expect_text("format", text, "target")
    expect_list("format", arguments)
    meter.charge(2 * text_units(len(text)) + 24 * text.count("%"))
    parts: list[str] = []
    position = used = 0
    for place in _PLACE.finditer(text):
        parts.append(text[position : place.start()])
        position = place.end()
        if place["percent"]:
            parts.append("%")
            continue
        if place["clause"] is None:
            fail(f"format: {place.group()!r} is no place; write %s, or %% for a percent sign")
        if used >= len(arguments):
            fail(f"format: the text has more places than there are arguments ({len(arguments)})")
        parts.append(_fill(meter, place, arguments[used]))
        used += 1
    parts.append(text[position:])
    return "".join(parts)


def _fill(meter: Meter, place: re.Match[str], value: Any) -> str:
    clause = place["clause"]
    precision = _PRECISION if place["precision"] is None else int(place["precision"])
    if precision > _PRECISION_MAX:
        fail(f"format: a precision is at most {_PRECISION_MAX}")
    match clause:
        case "s":
            if type(value) is list or type(value) is dict:
                return str(call_with_room(meter, _write, meter, value, 0))
            return _write(meter, value, 0)
        case "d":
            return _decimal(value)
        case "f" | "e":
            meter.charge(20 + text_units(precision + 320))
            return _floating(value, clause, precision)
        case "b" | "o":
            return _digits(value, clause)
        case "x" | "X":
            return _hexadecimal(meter, value, clause)
    return fail(f"format: there is no place {place.group()!r}; there are %s %d %f %e %b %o %x %X")


def _wrong(clause: str, wanted: str, value: Any) -> str:
    return fail(f"format: %{clause} is for {wanted}, got {describe(value)}")


def _is_integer(value: Any) -> bool:
    return (type(value) is int or type(value) is Uint) and value.bit_length() <= 64


def _decimal(value: Any) -> str:
    if _is_integer(value):
        return str(int(value))
    if type(value) is float and not math.isfinite(value):
        return describe_double(value)
    if type(value) is float and value.is_integer():
        return str(int(value))
    return _wrong("d", "integers", value)


def _floating(value: Any, clause: str, precision: int) -> str:
    if not (_is_integer(value) or type(value) is float):
        return _wrong(clause, "numbers", value)
    number = to_double(value)
    return format(number, f".{precision}{clause}") if math.isfinite(number) else describe_double(number)


def _digits(value: Any, clause: str) -> str:
    if _is_integer(value) or (type(value) is bool and clause == "b"):
        return format(int(value), clause)
    return _wrong(clause, "integers and bools" if clause == "b" else "integers", value)


def _hexadecimal(meter: Meter, value: Any, clause: str) -> str:
    if _is_integer(value):
        return format(int(value), clause)
    if type(value) is str:
        value = value.encode(errors="replace")
    if type(value) is not bytes:
        return _wrong(clause, "integers, strings and bytes", value)
    meter.charge(2 * text_units(2 * len(value)))
    return str(value.hex() if clause == "x" else value.hex().upper())


def _write(meter: Meter, value: Any, depth: int) -> str:
    check_depth(depth)
    meter.charge(20)
    if type(value) is str:
        meter.charge(text_units(len(value)))
        return value
    if type(value) is list or type(value) is tuple:
        parts = []
        for item in value:
            parts.append(_write(meter, item, depth + 1))
        return _put_together(meter, "[", parts, "]")
    if is_map(value):
        entries = []
        for key in value:
            entries.append((_write(meter, key, depth + 1), _write(meter, value[key], depth + 1)))
        meter.charge(20 * len(entries))
        return _put_together(meter, "{", [f"{key}: {item}" for key, item in sorted(entries)], "}")
    return to_string(meter, value)


def _put_together(meter: Meter, opening: str, parts: list[str], closing: str) -> str:
    meter.charge(text_units(sum(map(len, parts)) + 2 * len(parts)))
    return opening + ", ".join(parts) + closing
