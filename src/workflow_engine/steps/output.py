"""From what a step's code returned to what may go on: pure JSON of bounded size, or an error that names the place."""

import base64
import dataclasses
import math
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec
import pydantic

from workflow_engine.models.json_value import JsonInvalid, check_json
from workflow_engine.models.problem import pointer
from workflow_engine.models.step import Completed, Failed, Outcome, StepError

DEPTH_MAX = 200
MESSAGE_CHARS_MAX = 2_000
DETAILS_BYTES_MAX = 64 * 1024


class NotJson(Exception):
    """A value has no JSON form; `place` is the way to it from the outside in, filled while the error travels up."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.place: list[str | int] = []

    def __str__(self) -> str:
        """Name place and problem, as JsonInvalid does: `/items/3: ...`."""
        return f"{pointer(*reversed(self.place)) or 'the value'}: {self.problem}"


class TooLarge(Exception):
    """A value is certainly longer than its limit, found before all of it was copied."""


def outcome_of(value: Any, *, bytes_max: int) -> Outcome:
    """Complete with the value as pure JSON, or fail with `invalid_output` or `payload_too_large`."""
    if value is None or type(value) in (bool, int, str):  # needs no copy
        return checked(value, bytes_max=bytes_max)
    try:
        plain = copy_json(value, bytes_max=bytes_max)
    except NotJson as problem:
        return Failed(StepError("invalid_output", _misplaced(problem)))
    except TooLarge:
        return Failed(too_large(bytes_max))
    return checked(plain, bytes_max=bytes_max)


def checked(plain: Any, *, bytes_max: int) -> Outcome:
    """Complete with a value that consists of plain JSON types already, if it keeps the limits."""
    try:
        check_json(plain, bytes_max=bytes_max)
    except JsonInvalid as problem:
        if problem.code == "too_large":
            return Failed(too_large(bytes_max))
        return Failed(StepError("invalid_output", _misplaced(problem)))
    return Completed(plain)


def _misplaced(problem: NotJson | JsonInvalid) -> str:
    return plain_text(f"the output is not JSON that can be stored: {problem}")


def too_large(bytes_max: int) -> StepError:
    """The error of an output over the payload limit."""
    return StepError(
        "payload_too_large",
        f"the output is larger than {bytes_max} bytes; let the step store it elsewhere and return a reference,"
        " or raise PAYLOAD_MAX_BYTES",
    )


def plain_text(text: str, chars_max: int = MESSAGE_CHARS_MAX) -> str:
    """Text that can be stored and shown anywhere: no NUL, no lone surrogates, bounded length."""
    if len(text) > chars_max:
        text = text[: chars_max - 1] + "…"
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def details_of(value: Any) -> Any:
    """Error details as pure bounded JSON; what is not JSON or too long is replaced by a text that says so."""
    if value is None:
        return None
    match outcome_of(value, bytes_max=DETAILS_BYTES_MAX):
        case Completed(output):
            return output
        case Failed(error):
            return f"(details left out: {error.message})"


def copy_json(value: Any, *, bytes_max: int) -> Any:
    """A copy in plain JSON types that shares nothing changeable with the original.

    Taken over as they are: None, bool, int, float, str, dict with string keys, list. Rendered: tuples as lists, enums
    by their value, dataclasses, msgspec structs and pydantic models as objects, UUIDs as text, and as expressions
    render them (DESIGN.md 3.4): aware datetimes and dates as RFC 3339, timedeltas as seconds ("1.5s"), bytes as base64.

    Raises:
        NotJson: anything else (sets, Decimal, NaN, ...), and nesting beyond DEPTH_MAX, cycles included.
        TooLarge: the copy would surely be over `bytes_max` bytes. A guard against work, not the exact limit.
    """
    return _Copier(bytes_max).copy(value, 0)


class _Copier:
    """One copy under way, with what is left of its size."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_left = bytes_max

    def copy(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind is str:
            self._spend(len(value))
            return value
        if value is None or kind is bool or kind is int:
            return value
        if kind is float:
            return _finite(value)
        if depth > DEPTH_MAX:
            raise NotJson(f"nested deeper than {DEPTH_MAX} levels, or a cycle")
        if kind is dict:
            return self._object(value, depth)
        if kind is list or kind is tuple:
            return self._array(value, depth)
        return self.copy(_rendered(value), depth + 1)

    def _object(self, value: dict[Any, Any], depth: int) -> dict[str, Any]:
        self._spend(4 * len(value))
        result: dict[str, Any] = {}
        key: Any = None
        try:
            for key, item in value.items():
                name = key if type(key) is str else _key(key)
                self._spend(len(name))
                result[name] = self.copy(item, depth + 1)
        except NotJson as problem:
            problem.place.append(key if isinstance(key, str) else repr(key))
            raise
        return result

    def _array(self, value: list[Any] | tuple[Any, ...], depth: int) -> list[Any]:
        self._spend(2 * len(value))
        result: list[Any] = []
        try:
            for item in value:
                result.append(self.copy(item, depth + 1))
        except NotJson as problem:
            problem.place.append(len(result))
            raise
        return result

    def _spend(self, size_bytes: int) -> None:
        self._bytes_left -= size_bytes
        if self._bytes_left < 0:
            raise TooLarge


def _finite(value: float) -> float:
    if math.isfinite(value):
        return value
    raise NotJson(f"{value} has no JSON form; return null or a text instead")


def _key(key: Any) -> str:
    if isinstance(key, Enum):
        key = key.value
    if isinstance(key, str):
        return str.__str__(key)
    raise NotJson(f"a key of type {_type_name(key)}; JSON keys are strings")


def _rendered(value: Any) -> Any:
    """One level of a value that is no plain JSON type, as something nearer to JSON."""
    match value:
        case Enum():
            return value.value
        case str():
            return str.__str__(value)
        case int():
            return int.__int__(value)
        case float():
            return float.__float__(value)
        case dict():
            return dict(value)
        case list() | tuple():
            return list(value)
        case pydantic.BaseModel():
            return value.model_dump()
        case msgspec.Struct():
            return msgspec.structs.asdict(value)
        case datetime() if value.tzinfo is None:
            raise NotJson("a datetime without a time zone; give it one, such as datetime.UTC")
        case datetime() | date():
            return value.isoformat()
        case timedelta():
            return f"{value.total_seconds():.6f}".rstrip("0").rstrip(".") + "s"
        case bytes():
            return base64.b64encode(value).decode()
        case UUID():
            return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise NotJson(f"a value of type {_type_name(value)} has no JSON form{_hint(value)}")


def _hint(value: Any) -> str:
    if isinstance(value, set | frozenset):
        return "; return a list, sorted if the order matters"
    return "; return plain data: null, booleans, numbers, strings, lists, objects with string keys"


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
