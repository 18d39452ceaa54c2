"""The tables of functions, and what their implementations share: checks of arguments that name the function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, TypeVar

from workflow_engine.engine.expressions.errors import fail
from workflow_engine.engine.expressions.values import Optional, Uint, describe, is_map

Implementation = Callable[..., Any]
_F = TypeVar("_F", bound=Implementation)


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the language.

    Attributes:
        call: takes the meter and the values, a method its target first.
        least: arguments at least, the target of a method included.
        most: arguments at most.
        units: what a call costs before it looks at its arguments.
    """

    name: str
    call: Implementation
    least: int
    most: int
    units: int


GLOBALS: dict[str, Function] = {}
METHODS: dict[str, Function] = {}


def function(
    name: str, arguments: int | tuple[int, int], style: Literal["global", "method", "both"] = "global", units: int = 12
) -> Callable[[_F], _F]:
    """Enter the decorated implementation into the tables."""
    least, most = arguments if isinstance(arguments, tuple) else (arguments, arguments)

    def enter(call: _F) -> _F:
        entry = Function(name, call, least, most, units)
        for table, excluded in ((GLOBALS, "method"), (METHODS, "global")):
            if style != excluded:
                table[name] = entry
        return call

    return enter


def refuse(name: str, place: str, wanted: str, value: object) -> NoReturn:
    """Fail: an argument has the wrong type."""
    hint = ""
    if type(value) is Optional:
        hint = "; take the value out of the optional with .orValue(default)"
    elif value is None:
        hint = "; give a default with coalesce(x, default)"
    fail(f"{name} needs {wanted} as its {place}, got {describe(value)}{hint}")


def expect_text(name: str, value: object, place: str = "argument") -> str:
    """`value`, which has to be a string."""
    return value if type(value) is str else refuse(name, place, "a string", value)


def expect_list(name: str, value: Any, place: str = "argument") -> Sequence[Any]:
    """`value`, which has to be a list."""
    return value if type(value) is list or type(value) is tuple else refuse(name, place, "a list", value)


def expect_map(name: str, value: Any, place: str = "argument") -> Mapping[Any, Any]:
    """`value`, which has to be a map."""
    return value if is_map(value) else refuse(name, place, "a map", value)


def expect_int(name: str, value: object, place: str = "argument") -> int:
    """`value`, which has to be an int; a double without a fraction, which JSON may make of one, is one too."""
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer() and abs(value) < 2.0**63:
        return int(value)
    return refuse(name, place, "an int", value)


def expect_number(name: str, value: object, place: str = "argument") -> float:
    """`value`, which has to be an int, a uint or a double."""
    if type(value) is int or type(value) is float or type(value) is Uint:
        return value
    return refuse(name, place, "a number", value)
