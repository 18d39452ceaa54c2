"""The values of CEL that Python has no type for, names of types, and maps whose keys are not all strings.

null, bool, int, double, string, bytes and list are Python's own; so is a map that has only string keys (a dict).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import total_ordering
from typing import Any, Final, TypeGuard

from workflow_engine.engine.expressions.errors import fail

INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1
UINT_MAX: Final = 2**64 - 1
NANOSECONDS: Final = 1_000_000_000

_SECONDS_MIN = -62_135_596_800  # 0001-01-01T00:00:00Z
_SECONDS_MAX = 253_402_300_799  # 9999-12-31T23:59:59Z
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Uint(int):
    """An unsigned integer of 64 bits; equal to the int of the same value."""

    __slots__ = ()


class Type:
    """A type as a value."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Type({self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Type) and other.name == self.name

    def __hash__(self) -> int:
        return hash(("type", self.name))


_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,30}))?(?:Z|([+-])([01]\d|2[0-3]):([0-5]\d))", re.ASCII
)


@total_ordering
class Timestamp:
    """An instant between the years 1 and 9999, exact to the nanosecond.

    Attributes:
        nanoseconds: since 1970-01-01 UTC.
    """

    __slots__ = ("nanoseconds",)

    def __init__(self, nanoseconds: int) -> None:
        if not _SECONDS_MIN <= nanoseconds // NANOSECONDS <= _SECONDS_MAX:
            fail("a timestamp lies between the years 1 and 9999")
        self.nanoseconds = nanoseconds

    @classmethod
    def from_microseconds(cls, microseconds: int) -> Timestamp:
        """The instant `microseconds` after 1970-01-01 UTC."""
        return cls(microseconds * 1000)

    @classmethod
    def parse(cls, text: str) -> Timestamp:
        """The instant that an RFC 3339 text names; digits behind the ninth are cut off."""
        match = _RFC3339.fullmatch(text) if len(text) <= 64 else None
        if match is None:
            fail(f"{_shorten(text)} is no RFC 3339 timestamp, as 2026-01-31T12:00:00Z is")
        try:
            instant = datetime(*(int(part) for part in match.groups()[:6]), tzinfo=UTC)  # type: ignore[misc, arg-type]
        except ValueError as error:
            fail(f"{_shorten(text)} is no timestamp: {error}")
        seconds = (instant - _EPOCH) // timedelta(seconds=1)
        if match[8]:
            offset = int(match[9]) * 3600 + int(match[10]) * 60
            seconds += -offset if match[8] == "+" else offset
        return cls(seconds * NANOSECONDS + int((match[7] or "0")[:9].ljust(9, "0")))

    def to_datetime(self) -> datetime:
        """The instant in UTC, cut to whole seconds."""
        return _EPOCH + timedelta(seconds=self.nanoseconds // NANOSECONDS)

    def __str__(self) -> str:
        instant = self.to_datetime()
        whole = (
            f"{instant.year:04}-{instant.month:02}-{instant.day:02}"
            f"T{instant.hour:02}:{instant.minute:02}:{instant.second:02}"
        )
        return f"{whole}{_fraction(self.nanoseconds % NANOSECONDS)}Z"

    def __repr__(self) -> str:
        return f"Timestamp.parse({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Timestamp) and other.nanoseconds == self.nanoseconds

    def __lt__(self, other: Timestamp) -> bool:
        return self.nanoseconds < other.nanoseconds

    def __hash__(self) -> int:
        return hash(("timestamp", self.nanoseconds))


_DURATION = re.compile(r"([+-]?)((?:(?:\d{1,20}(?:\.\d{0,20})?|\.\d{1,20})(?:ns|us|µs|μs|ms|s|m|h))+|0)", re.ASCII)
_DURATION_PART = re.compile(r"(\d*)(?:\.(\d*))?(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": NANOSECONDS,
    "m": 60 * NANOSECONDS,
    "h": 3600 * NANOSECONDS,
}


@total_ordering
class Duration:
    """A length of time of at most 292 years either way: nanoseconds in 64 bits, as the reference implementation has it.

    Attributes:
        nanoseconds: its length.
    """

    __slots__ = ("nanoseconds",)

    def __init__(self, nanoseconds: int) -> None:
        if not INT_MIN <= nanoseconds <= INT_MAX:
            fail("a duration is at most 292 years long (nanoseconds in 64 bits)")
        self.nanoseconds = nanoseconds

    @classmethod
    def parse(cls, text: str) -> Duration:
        """The duration that a text like `1h30m`, `1.5s` or `-250ms` names."""
        match = _DURATION.fullmatch(text) if len(text) <= 64 else None
        if match is None:
            fail(f"{_shorten(text)} is no duration; write a number and a unit (h, m, s, ms, us, ns), as in '1h30m'")
        total = 0
        for whole, fraction, unit in _DURATION_PART.findall(match[2]):
            scale = _UNITS[unit]
            total += int(whole or "0") * scale
            if fraction:
                total += int(fraction) * scale // 10 ** len(fraction)
        return cls(-total if match[1] == "-" else total)

    def __str__(self) -> str:
        seconds, rest = divmod(abs(self.nanoseconds), NANOSECONDS)
        return f"{'-' if self.nanoseconds < 0 else ''}{seconds}{_fraction(rest)}s"

    def __repr__(self) -> str:
        return f"Duration.parse({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Duration) and other.nanoseconds == self.nanoseconds

    def __lt__(self, other: Duration) -> bool:
        return self.nanoseconds < other.nanoseconds

    def __hash__(self) -> int:
        return hash(("duration", self.nanoseconds))


def _fraction(nanoseconds: int) -> str:
    return f".{nanoseconds:09}".rstrip("0") if nanoseconds else ""


def _shorten(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")


class Optional:
    """A value that may be absent."""

    __slots__ = ("present", "value")

    def __init__(self, present: bool, value: Any) -> None:
        self.present = present
        self.value = value

    def __repr__(self) -> str:
        return f"optional.of({self.value!r})" if self.present else "optional.none()"


NONE: Final = Optional(False, None)


class _BoolKey:
    """A bool as a key: Python takes True for 1, CEL does not."""

    __slots__ = ("value",)

    def __init__(self, value: bool) -> None:
        self.value = value


_TRUE, _FALSE = _BoolKey(True), _BoolKey(False)


class KeyedMap(Mapping[Any, Any]):
    """A map with keys of bool, int, uint or string; 1, 1u and 1.0 find the same entry, true another one."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: dict[Any, Any] = {}

    def add(self, key: Any, value: Any) -> None:
        """Set an entry while the map is being built."""
        self._entries[_inner(key)] = value

    def __getitem__(self, key: Any) -> Any:
        return self._entries[_inner(key)]

    def __contains__(self, key: object) -> bool:
        return _inner(key) in self._entries

    def __iter__(self) -> Iterator[Any]:
        for key in self._entries:
            yield key.value if type(key) is _BoolKey else key

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return repr(dict(self.items()))


def _inner(key: Any) -> Any:
    if key is True:
        return _TRUE
    return _FALSE if key is False else key


TYPE_NAMES: Final[dict[type, str]] = {
    type(None): "null_type",
    bool: "bool",
    int: "int",
    Uint: "uint",
    float: "double",
    str: "string",
    bytes: "bytes",
    list: "list",
    tuple: "list",
    dict: "map",
    KeyedMap: "map",
    Timestamp: "google.protobuf.Timestamp",
    Duration: "google.protobuf.Duration",
    Type: "type",
    Optional: "optional_type",
}

# What messages call them.
_PLAIN_NAMES = {
    "null_type": "null",
    "google.protobuf.Timestamp": "timestamp",
    "google.protobuf.Duration": "duration",
    "optional_type": "optional",
}

TYPES: Final[dict[str, Type]] = {name: Type(name) for name in TYPE_NAMES.values()}


def type_name(value: Any) -> str:
    """The name of a value's type in CEL."""
    kind = type(value)
    name = TYPE_NAMES.get(kind)
    if name is None:
        name = "map" if isinstance(value, Mapping) else kind.__name__
    if kind is int and value > INT_MAX:
        return "uint"
    return name


def describe(value: Any) -> str:
    """The name of a value's type as messages write it."""
    name = type_name(value)
    return _PLAIN_NAMES.get(name, name)


def is_map(value: Any) -> TypeGuard[Mapping[Any, Any]]:
    """Whether a value is a map."""
    return type(value) is dict or isinstance(value, Mapping)
