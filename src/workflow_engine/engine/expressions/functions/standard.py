"""The functions of the specification: sizes, conversions between types, tests of strings."""

from __future__ import annotations

import re
from typing import Any

from workflow_engine.engine.expressions.convert import describe_double
from workflow_engine.engine.expressions.errors import fail, shorten
from workflow_engine.engine.expressions.functions.registry import expect_text, function, refuse
from workflow_engine.engine.expressions.functions.searching import search_units
from workflow_engine.engine.expressions.meter import Meter, text_units
from workflow_engine.engine.expressions.operators import to_double
from workflow_engine.engine.expressions.values import (
    INT_MAX,
    INT_MIN,
    NANOSECONDS,
    TYPES,
    UINT_MAX,
    Duration,
    Timestamp,
    Type,
    Uint,
    is_map,
    type_name,
)

_INTEGER = re.compile(r"[+-]?[0-9]{1,40}")
_DOUBLE = re.compile(r"[+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|(?i:inf|infinity|nan))")
_BOOLS = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}
_NUMBER_TEXT_MAX = 400


@function("size", 1, style="both")
def size(meter: Meter, value: Any) -> int:
    """Characters of a string, bytes of bytes, elements of a list, entries of a map."""
    if type(value) in (str, bytes, list, tuple) or is_map(value):
        return len(value)
    return refuse("size", "argument", "a string, bytes, a list or a map", value)


@function("dyn", 1)
def dyn(meter: Meter, value: Any) -> Any:
    """The value itself: all types are dynamic here."""
    return value


@function("type", 1)
def type_of(meter: Meter, value: Any) -> Type:
    """The type of a value."""
    name = type_name(value)
    return TYPES.get(name) or Type(name)


@function("int", 1, units=16)
def to_int(meter: Meter, value: Any) -> int:
    """An int: doubles are cut towards zero, timestamps give seconds since 1970."""
    kind = type(value)
    if kind is int or kind is Uint:
        number = int(value)
    elif kind is float:
        if not -(2.0**63) < value < 2.0**63:
            fail(f"{_show(value)} does not fit into an int of 64 bits")
        number = int(value)
    elif kind is str:
        number = _parse_integer(value, "an int")
    elif kind is Timestamp:
        number = value.nanoseconds // NANOSECONDS
    else:
        return refuse("int", "argument", "a number, a string or a timestamp", value)
    if not INT_MIN <= number <= INT_MAX:
        fail(f"{_show(number)} does not fit into an int of 64 bits")
    return number


@function("uint", 1, units=16)
def to_uint(meter: Meter, value: Any) -> Uint:
    """A uint: doubles are cut towards zero."""
    kind = type(value)
    if kind is int or kind is Uint:
        number = int(value)
    elif kind is float:
        if not 0 <= value < 2.0**64:
            fail(f"{_show(value)} does not fit into a uint of 64 bits")
        number = int(value)
    elif kind is str:
        number = _parse_integer(value, "a uint")
    else:
        return refuse("uint", "argument", "a number or a string", value)
    if not 0 <= number <= UINT_MAX:
        fail(f"{_show(number)} does not fit into a uint of 64 bits")
    return Uint(number)


def _parse_integer(text: str, wanted: str) -> int:
    if len(text) > 40 or not _INTEGER.fullmatch(text):
        fail(f"{shorten(repr(text[:80]))} is not {wanted}; write decimal digits, or convert with double(x)")
    return int(text)


def _show(number: float) -> str:
    if type(number) is float:
        return write_double(number)
    return str(int(number)) if int(number).bit_length() <= 256 else "the number"


@function("double", 1, units=16)
def to_double_value(meter: Meter, value: Any) -> float:
    """A double: the nearest one to an integer, or the one that a text names."""
    kind = type(value)
    if type(value) is float:
        return value
    if kind is int or kind is Uint:
        return to_double(value)
    if kind is str:
        if len(value) > _NUMBER_TEXT_MAX or not _DOUBLE.fullmatch(value):
            fail(f"{shorten(repr(value[:80]))} is not a double")
        meter.charge(len(value))
        return float(value)
    return refuse("double", "argument", "a number or a string", value)


@function("bool", 1)
def to_bool(meter: Meter, value: Any) -> bool:
    """A bool: of the texts 1, t, T, true, TRUE, True and their opposites."""
    if type(value) is bool:
        return value
    if type(value) is str:
        if value in _BOOLS:
            return _BOOLS[value]
        fail(f"{shorten(repr(value[:80]))} is not a bool; it is 'true' or 'false'")
    return refuse("bool", "argument", "a bool or a string", value)


def write_double(value: float) -> str:
    """The shortest decimal that reads back to the same double, without a fraction where it has none."""
    if value != value or value in (float("inf"), float("-inf")):
        return describe_double(value)
    if value.is_integer() and abs(value) < 1e21:
        return "-0" if value == 0 and str(value)[0] == "-" else str(int(value))
    return repr(value)


@function("string", 1, units=20)
def to_string(meter: Meter, value: Any) -> str:
    """The text of a scalar."""
    kind = type(value)
    if type(value) is str:
        return value
    if kind is bool:
        return "true" if value else "false"
    if kind is int or kind is Uint:
        if value.bit_length() > 64:
            fail("an integer beyond 64 bits has no text here; json(x) writes it")
        return str(int(value))
    if kind is float:
        return write_double(value)
    if kind is bytes:
        meter.charge(text_units(len(value)))
        return _decode(value)
    if kind is Timestamp or kind is Duration:
        meter.charge(90)
        return str(value)
    if type(value) is Type:
        return value.name
    if value is None:
        return "null"
    if kind is list or is_map(value):
        return fail(f"string() is for single values, got {type_name(value)}; json(x) writes lists and maps")
    return refuse("string", "argument", "a single value", value)


def _decode(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return fail("the bytes are no UTF-8 text; base64.encode(x) writes any bytes")


@function("bytes", 1, units=8)
def to_bytes(meter: Meter, value: Any) -> bytes:
    """The bytes of a string in UTF-8."""
    if type(value) is bytes:
        return value
    if type(value) is not str:
        return refuse("bytes", "argument", "a string or bytes", value)
    meter.charge(text_units(len(value) * 2))
    try:
        return value.encode()
    except UnicodeEncodeError:
        return fail("bytes needs a text without halves of surrogate pairs")


@function("startsWith", 2, style="method")
def starts_with(meter: Meter, text: Any, prefix: Any) -> bool:
    """Whether the text begins with another one."""
    expect_text("startsWith", prefix)
    meter.charge(len(prefix) >> 6)
    return expect_text("startsWith", text, "target").startswith(prefix)


@function("endsWith", 2, style="method")
def ends_with(meter: Meter, text: Any, suffix: Any) -> bool:
    """Whether the text ends with another one."""
    expect_text("endsWith", suffix)
    meter.charge(len(suffix) >> 6)
    return expect_text("endsWith", text, "target").endswith(suffix)


@function("contains", 2, style="method")
def contains(meter: Meter, text: Any, part: Any) -> bool:
    """Whether the text holds another one."""
    whole, wanted = expect_text("contains", text, "target"), expect_text("contains", part)
    meter.charge(search_units(whole, wanted))
    return wanted in whole
