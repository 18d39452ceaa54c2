"""The math extension."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from workflow_engine.engine.expressions.errors import fail
from workflow_engine.engine.expressions.functions.registry import expect_int, expect_number, function, refuse
from workflow_engine.engine.expressions.meter import Meter
from workflow_engine.engine.expressions.operators import fit, to_double
from workflow_engine.engine.expressions.values import UINT_MAX, Uint, describe

_ARGUMENTS_MAX = 1000


def _extreme(name: str, meter: Meter, values: tuple[Any, ...], better: Callable[[float, float], bool]) -> Any:
    items = values[0] if len(values) == 1 and type(values[0]) in (list, tuple) else values
    if not items:
        fail(f"{name} needs at least one number, the list is empty")
    meter.charge(4 * len(items))
    best = expect_number(name, items[0])
    for item in items:
        if better(expect_number(name, item), best):
            best = item
    return best


@function("math.greatest", (1, _ARGUMENTS_MAX))
def greatest(meter: Meter, *values: Any) -> Any:
    """The greatest of its arguments, or of a list."""
    return _extreme("math.greatest", meter, values, lambda one, two: one > two)


@function("math.least", (1, _ARGUMENTS_MAX))
def least(meter: Meter, *values: Any) -> Any:
    """The least of its arguments, or of a list."""
    return _extreme("math.least", meter, values, lambda one, two: one < two)


def _rounding(name: str, apply: Callable[[float], float]) -> None:
    @function(f"math.{name}", 1, units=8)
    def rounding(meter: Meter, value: Any) -> float:
        number = expect_number(f"math.{name}", value)
        return apply(number) if type(number) is float and math.isfinite(number) else to_double(number)


def _signed(result: float, number: float) -> float:
    return math.copysign(result, number)


def _round_half_away(number: float) -> float:
    whole = math.trunc(number)
    return float(whole + (1 if number > 0 else -1)) if abs(number - whole) >= 0.5 else float(whole)


_rounding("ceil", lambda number: _signed(float(math.ceil(number)), number))
_rounding("floor", lambda number: _signed(float(math.floor(number)), number))
_rounding("trunc", lambda number: _signed(float(math.trunc(number)), number))
_rounding("round", lambda number: _signed(_round_half_away(number), number))


@function("math.abs", 1)
def absolute(meter: Meter, value: Any) -> Any:
    """The number without its sign."""
    number = expect_number("math.abs", value)
    if type(number) is float or type(number) is Uint:
        return abs(number) if type(number) is float else number
    return fit(abs(int(number)), False)


@function("math.sign", 1)
def sign(meter: Meter, value: Any) -> Any:
    """-1, 0 or 1, of the number's own type."""
    number = expect_number("math.sign", value)
    if number != number:
        return number
    return type(number)((number > 0) - (number < 0))


@function("math.sqrt", 1)
def square_root(meter: Meter, value: Any) -> float:
    """The square root, NaN of negative numbers."""
    number = to_double(expect_number("math.sqrt", value))
    return math.nan if number < 0 else math.sqrt(number)


@function("math.isNaN", 1)
def is_nan(meter: Meter, value: Any) -> bool:
    """Whether the number is NaN."""
    return math.isnan(to_double(expect_number("math.isNaN", value)))


@function("math.isInf", 1)
def is_infinite(meter: Meter, value: Any) -> bool:
    """Whether the number is infinite."""
    return math.isinf(to_double(expect_number("math.isInf", value)))


@function("math.isFinite", 1)
def is_finite(meter: Meter, value: Any) -> bool:
    """Whether the number is neither NaN nor infinite."""
    return math.isfinite(to_double(expect_number("math.isFinite", value)))


def _bits(name: str, value: Any) -> int:
    if type(value) is int or type(value) is Uint:
        return fit(int(value), type(value) is Uint, "a number")
    return refuse(name, "argument", "an int or a uint", value)


def _bitwise(name: str, apply: Callable[[int, int], int]) -> None:
    @function(f"math.{name}", 2)
    def bitwise(meter: Meter, one: Any, two: Any) -> int:
        left, right = _bits(f"math.{name}", one), _bits(f"math.{name}", two)
        if type(left) is not type(right):
            fail(f"math.{name} needs two ints or two uints, got {describe(one)} and {describe(two)}")
        return fit(apply(int(left), int(right)), type(left) is Uint)


_bitwise("bitAnd", lambda one, two: one & two)
_bitwise("bitOr", lambda one, two: one | two)
_bitwise("bitXor", lambda one, two: one ^ two)


@function("math.bitNot", 1)
def bit_not(meter: Meter, value: Any) -> int:
    """Every bit turned."""
    bits = _bits("math.bitNot", value)
    return Uint(bits ^ UINT_MAX) if type(bits) is Uint else ~bits


def _shift(name: str, value: Any, count: Any) -> tuple[int, int]:
    bits, places = _bits(name, value), expect_int(name, count, "second argument")
    if places < 0:
        fail(f"{name} needs 0 or more places, got {places}")
    return bits, min(places, 64)


def _as_int(bits: int, unsigned: bool) -> int:
    """64 bits as a uint, or as an int in two's complement."""
    if unsigned:
        return Uint(bits)
    return bits - 2**64 if bits >> 63 else bits


@function("math.bitShiftLeft", 2)
def bit_shift_left(meter: Meter, value: Any, count: Any) -> int:
    """The bits moved up, the upper ones lost."""
    bits, places = _shift("math.bitShiftLeft", value, count)
    return _as_int((int(bits) << places) & UINT_MAX, type(bits) is Uint)


@function("math.bitShiftRight", 2)
def bit_shift_right(meter: Meter, value: Any, count: Any) -> int:
    """The bits moved down, zeros from above, the sign's bit too."""
    bits, places = _shift("math.bitShiftRight", value, count)
    return _as_int((int(bits) & UINT_MAX) >> places, type(bits) is Uint)
