"""What the operators do with two values. Numbers mix freely; every cost is charged before the work."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from workflow_engine.engine.expressions.errors import fail
from workflow_engine.engine.expressions.meter import Meter, check_depth, text_units
from workflow_engine.engine.expressions.room import SIZE_MIN, call_with_room, needs_room
from workflow_engine.engine.expressions.values import (
    INT_MAX,
    INT_MIN,
    UINT_MAX,
    Duration,
    Optional,
    Timestamp,
    Type,
    Uint,
    describe,
    is_map,
)

_INTEGERS = (int, Uint)
_NUMBERS = (int, Uint, float)
_ORDERED = (str, bytes, bool, Timestamp, Duration)
_SYMBOLS_OF_LENGTH = 32


def no_operator(symbol: str, left: Any, right: Any) -> None:
    """Fail: there is no such operator between these types."""
    hint = ""
    kinds = {describe(left), describe(right)}
    if "null" in kinds:
        hint = "; give a default with coalesce(x, default)"
    elif "optional" in kinds:
        hint = "; take the value out of the optional with .orValue(default)"
    elif "string" in kinds and symbol == "+":
        hint = "; turn the other side into text with string(x)"
    elif "string" in kinds and len(kinds) > 1:
        hint = "; convert one side with string(x), int(x) or double(x)"
    fail(f"there is no operator {symbol} between {describe(left)} and {describe(right)}{hint}")


def fit(number: int, unsigned: bool, symbol: str = "the result") -> int:
    """`number` as an int or a uint of 64 bits, or the error of overflow."""
    if unsigned:
        if 0 <= number <= UINT_MAX:
            return Uint(number)
    elif INT_MIN <= number <= INT_MAX:
        return number
    return fail(f"{symbol} does not fit into 64 bits (overflow); use doubles where exactness is not needed")


def _fit_mixed(number: int, left: int, right: int) -> int:
    """The result of integer arithmetic: uint of two uints, int where a side is an int, as long as it fits."""
    left_unsigned = type(left) is Uint or left > INT_MAX
    right_unsigned = type(right) is Uint or right > INT_MAX
    if left_unsigned and right_unsigned:
        return fit(number, True)
    if left_unsigned != right_unsigned and number > INT_MAX:
        return fit(number, True)
    return fit(number, False)


def to_double(number: float) -> float:
    """A number as a double."""
    try:
        return float(number)
    except OverflowError:
        return fail("an integer is too large for a double")


def add(left: Any, right: Any, meter: Meter) -> Any:
    """`left + right`."""
    kind, other = type(left), type(right)
    if kind in _INTEGERS and other in _INTEGERS:
        return _fit_mixed(int(left) + int(right), left, right)
    if kind in _NUMBERS and other in _NUMBERS:
        return to_double(left) + to_double(right)
    if kind is other and kind in (str, bytes):
        meter.charge(text_units(len(left) + len(right)))
        return left + right
    if kind in (list, tuple) and other in (list, tuple):
        meter.charge(1 + len(left) + len(right))
        return [*left, *right]
    if kind is Timestamp and other is Duration:
        return Timestamp(left.nanoseconds + right.nanoseconds)
    if kind is Duration and other in (Timestamp, Duration):
        return other(left.nanoseconds + right.nanoseconds)
    return no_operator("+", left, right)


def subtract(left: Any, right: Any, meter: Meter) -> Any:
    """`left - right`."""
    kind, other = type(left), type(right)
    if kind in _INTEGERS and other in _INTEGERS:
        return _fit_mixed(int(left) - int(right), left, right)
    if kind in _NUMBERS and other in _NUMBERS:
        return to_double(left) - to_double(right)
    if kind is Timestamp and other in (Timestamp, Duration):
        result = Duration if other is Timestamp else Timestamp
        return result(left.nanoseconds - right.nanoseconds)
    if kind is Duration and other is Duration:
        return Duration(left.nanoseconds - right.nanoseconds)
    return no_operator("-", left, right)


def multiply(left: Any, right: Any, meter: Meter) -> Any:
    """`left * right`."""
    kind, other = type(left), type(right)
    if kind in _INTEGERS and other in _INTEGERS:
        return _fit_mixed(int(left) * int(right), left, right)
    if kind in _NUMBERS and other in _NUMBERS:
        return to_double(left) * to_double(right)
    return no_operator("*", left, right)


def divide(left: Any, right: Any, meter: Meter) -> Any:
    """`left / right`: between integers cut towards zero, else as IEEE 754 has it."""
    kind, other = type(left), type(right)
    if kind in _INTEGERS and other in _INTEGERS:
        if right == 0:
            fail("division by zero")
        quotient = abs(int(left)) // abs(int(right))
        return _fit_mixed(quotient if (left < 0) == (right < 0) else -quotient, left, right)
    if kind in _NUMBERS and other in _NUMBERS:
        return _divide_doubles(to_double(left), to_double(right))
    return no_operator("/", left, right)


def _divide_doubles(left: float, right: float) -> float:
    if right:
        return left / right
    if left == 0 or math.isnan(left):
        return math.nan
    return math.copysign(math.inf, math.copysign(1, left) * math.copysign(1, right))


def remainder(left: Any, right: Any, meter: Meter) -> Any:
    """`left % right`: of integers, with the sign of the left one."""
    if type(left) in _INTEGERS and type(right) in _INTEGERS:
        if right == 0:
            fail("remainder of a division by zero")
        rest = abs(int(left)) % abs(int(right))
        return _fit_mixed(-rest if left < 0 else rest, left, right)
    if type(left) in _NUMBERS and type(right) in _NUMBERS:
        fail("% is for integers; convert with int(x)")
    return no_operator("%", left, right)


def negate(value: Any) -> Any:
    """`-value`."""
    if type(value) is int:
        return fit(-value, False)
    if type(value) is float:
        return -value
    return fail(f"there is no - before {describe(value)}")


def compare(left: Any, right: Any, symbol: str, meter: Meter) -> int | None:
    """Negative, zero or positive as `left` is less than, equal to or greater than `right`; None where NaN is one."""
    kind, other = type(left), type(right)
    if kind in _NUMBERS and other in _NUMBERS:
        return _compare_numbers(left, right)
    if kind is not other or kind not in _ORDERED:
        no_operator(symbol, left, right)
    if kind in (str, bytes):
        meter.charge(1 + (min(len(left), len(right)) >> 6))
    if left == right:
        return 0
    return -1 if left < right else 1


def _compare_numbers(left: float, right: float) -> int | None:
    if left < right:
        order = -1
    elif left > right:
        order = 1
    else:
        return 0 if left == right else None
    return 0 if _is_rounded_limit(left, right) or _is_rounded_limit(right, left) else order


def _is_rounded_limit(integer: float, double: float) -> bool:
    """Whether `double` is what the largest int or uint becomes as a double: the suite takes the two for equal."""
    if type(double) is not float or type(integer) is float:
        return False
    return (integer == INT_MAX and double == 2.0**63) or (integer == UINT_MAX and double == 2.0**64)


def less(left: Any, right: Any, meter: Meter) -> bool:
    """`left < right`."""
    order = compare(left, right, "<", meter)
    return order is not None and order < 0


def less_equal(left: Any, right: Any, meter: Meter) -> bool:
    """`left <= right`."""
    order = compare(left, right, "<=", meter)
    return order is not None and order <= 0


def greater(left: Any, right: Any, meter: Meter) -> bool:
    """`left > right`."""
    order = compare(left, right, ">", meter)
    return order is not None and order > 0


def greater_equal(left: Any, right: Any, meter: Meter) -> bool:
    """`left >= right`."""
    order = compare(left, right, ">=", meter)
    return order is not None and order >= 0


def equal(left: Any, right: Any, meter: Meter, depth: int = 0) -> bool:
    """`left == right`, deep; values of different types are unequal, numbers compare by value."""
    kind, other = type(left), type(right)
    if kind in _NUMBERS and other in _NUMBERS:
        return bool(left == right) or (kind is not other and _compare_numbers(left, right) == 0)
    if kind is other:
        if kind is str or kind is bytes:
            if len(left) != len(right):
                return False
            if len(left) > _SYMBOLS_OF_LENGTH:
                meter.charge(len(left) >> 5)
            return bool(left == right)
        if kind is bool or left is None:
            return left is right
        if kind in (Timestamp, Duration, Type):
            return bool(left == right)
    check_depth(depth)
    if kind in (list, tuple) and other in (list, tuple):
        if depth == 0 and needs_room(left, len(left)):
            return bool(call_with_room(meter, _equal_lists, left, right, meter, 1))
        return _equal_lists(left, right, meter, depth + 1)
    if is_map(left) and is_map(right):
        if depth == 0 and needs_room(left.values(), len(left)):
            return bool(call_with_room(meter, _equal_maps, left, right, meter, 1))
        return _equal_maps(left, right, meter, depth + 1)
    if kind is Optional and other is Optional:
        if left.present and right.present:
            return equal(left.value, right.value, meter, depth + 1)
        return left.present is right.present
    return False


def _equal_lists(left: list[Any], right: list[Any], meter: Meter, depth: int) -> bool:
    meter.charge(20)
    if len(left) != len(right):
        return False
    for one, two in zip(left, right, strict=True):
        meter.charge(8)
        if not equal(one, two, meter, depth):
            return False
    return True


def _equal_maps(left: Mapping[Any, Any], right: Mapping[Any, Any], meter: Meter, depth: int) -> bool:
    if len(left) != len(right):
        return False
    for key, value in left.items():
        meter.charge(16)
        if key not in right or not equal(value, right[key], meter, depth):
            return False
    return True


def contains(element: Any, container: Any, meter: Meter) -> bool:
    """`element in container`: an element of a list or a key of a map."""
    if type(container) is list or type(container) is tuple:
        if type(element) is str:
            meter.charge(1 + (len(container) >> 1) * (1 + (len(element) >> 5)))
            return element in container
        if len(container) >= SIZE_MIN:
            return bool(call_with_room(meter, _contains, element, container, meter))
        return _contains(element, container, meter)
    if is_map(container):
        return is_key(element) and element in container
    if describe(container) == "optional":
        fail("'in' needs a list or a map, got optional; take the value out of it with .orValue([])")
    return fail(f"'in' needs a list or a map on its right, got {describe(container)}")


def _contains(element: Any, items: Sequence[Any], meter: Meter) -> bool:
    for item in items:
        meter.charge(10)
        if equal(element, item, meter, 1):
            return True
    return False


def is_key(value: Any) -> bool:
    """Whether a value can be looked up in a map."""
    return type(value) in (str, int, Uint, bool, float)
