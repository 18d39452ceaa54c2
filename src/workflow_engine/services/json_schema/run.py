"""One check of one value: its steps, its errors, and what of the value was looked at."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

ERRORS_MAX: Final = 100
"""Errors that are told; evaluation ends with the last of them."""

SHOWN_CHARS_MAX: Final = 60

_canonical = msgspec.json.Encoder(order="sorted").encode


class SchemaUnusable(ValueError):
    """The schema can't be evaluated; the message says what and where."""


class StepsExceeded(Exception):
    """The check would take more steps than it may."""


class Enough(Exception):
    """As many errors are found as are told."""


Path = tuple[Any, Any] | None
"""Where a value stands: the way to its container, and its key there."""

Error = tuple[tuple[str | int, ...], str]
"""The keys on the way to a value, and what is wrong with it."""


class Run:
    """One check of one value: the steps that are left, and what was found."""

    __slots__ = ("errors", "steps_left")

    def __init__(self, steps_max: int) -> None:
        self.steps_left = steps_max
        self.errors: list[Error] = []

    def spend(self, steps: int) -> None:
        self.steps_left -= steps
        if self.steps_left < 0:
            raise StepsExceeded

    def fail(self, path: Path, is_told: bool, message: str) -> bool:
        """Note an error, unless it is only asked whether there is one; always False."""
        if is_told:
            self.errors.append((_keys(path), message))
            if len(self.errors) >= ERRORS_MAX:
                raise Enough
        return False


class Notes:
    """What the subschemas have looked at: what `unevaluatedProperties` and `unevaluatedItems` leave alone."""

    __slots__ = ("items", "names", "positions")

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.items = 0
        self.positions: set[int] = set()

    def add(self, other: "Notes") -> None:
        self.names |= other.names
        self.items = max(self.items, other.items)
        self.positions |= other.positions


Keyword = Callable[[Any, Path, Run, bool, Notes | None], bool]
"""Checks a value: the value, where it stands, the run, whether errors are told, and what to note."""


def _keys(path: Path) -> tuple[str | int, ...]:
    keys = []
    while path is not None:
        path, key = path
        keys.append(key)
    return tuple(reversed(keys))


def shown(value: Any) -> str:
    """A value in a message, never long."""
    match value:
        case dict():
            return "an object"
        case list():
            return "a list"
        case str():
            short = value if len(value) <= SHOWN_CHARS_MAX else value[: SHOWN_CHARS_MAX - 1] + "…"
            return msgspec.json.encode(short).decode()
        case _:
            text = msgspec.json.encode(value).decode()
            return text if len(text) <= SHOWN_CHARS_MAX else text[: SHOWN_CHARS_MAX - 1] + "…"


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


IS_TYPE: Final[dict[str, Callable[[Any], bool]]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "number": is_number,
    "integer": lambda value: is_number(value) and (isinstance(value, int) or value.is_integer()),
}


def identity(value: Any, run: Run) -> Any:
    """What two values share exactly when JSON Schema calls them equal: 1 is 1.0, and is not true."""
    run.spend(1)
    match value:
        case bool() | None:
            return (value,)
        case int() | float() | str():
            return value
        case _:
            return _canonical(_levelled(value, run))


def _levelled(value: Any, run: Run) -> Any:
    run.spend(1)
    match value:
        case dict():
            return {key: _levelled(item, run) for key, item in value.items()}
        case list():
            return [_levelled(item, run) for item in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value
