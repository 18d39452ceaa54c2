"""Timestamps and durations: conversions, and their parts in any time zone."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from workflow_engine.engine.expressions.errors import fail, shorten
from workflow_engine.engine.expressions.functions.registry import expect_text, function, refuse
from workflow_engine.engine.expressions.meter import Meter
from workflow_engine.engine.expressions.values import NANOSECONDS, Duration, Timestamp

_OFFSET = re.compile(r"([+-]?)(\d\d):(\d\d)", re.ASCII)
# A zone that is not in memory is read from disk.
_ZONE_UNITS = 2000
_REMEMBERED_MAX = 64


@function("timestamp", 1, units=120)
def to_timestamp(meter: Meter, value: object) -> Timestamp:
    """A timestamp of an RFC 3339 text or of seconds since 1970."""
    if type(value) is str:
        return Timestamp.parse(value)
    if type(value) is int:
        return Timestamp(value * NANOSECONDS)
    if type(value) is Timestamp:
        return value
    return refuse("timestamp", "argument", "an RFC 3339 text or an int of seconds since 1970", value)


@function("duration", 1, units=60)
def to_duration(meter: Meter, value: object) -> Duration:
    """A duration of a text as `1h30m`."""
    if type(value) is str:
        meter.charge(30 + 8 * len(value))
        return Duration.parse(value)
    if type(value) is Duration:
        return value
    return refuse("duration", "argument", "a text as '1h30m'", value)


def _zone(meter: Meter, value: object, name: str) -> tzinfo:
    text = expect_text(name, value)
    key = ("zone", text)
    zone: tzinfo | None = meter.memo.get(key)
    if zone is None:
        meter.charge(_ZONE_UNITS)
        zone = _find_zone(text)
        if len(meter.memo) < _REMEMBERED_MAX:
            meter.memo[key] = zone
    return zone


def _find_zone(text: str) -> tzinfo:
    offset = _OFFSET.fullmatch(text)
    if offset:
        hours, minutes = int(offset[2]), int(offset[3])
        if hours > 23 or minutes > 59:
            fail(f"{text!r} is no offset from UTC")
        length = timedelta(hours=hours, minutes=minutes)
        return timezone(-length if offset[1] == "-" else length)
    if text in ("UTC", "Z", ""):
        return UTC
    try:
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        return fail(
            f"there is no time zone {shorten(text)!r} (or this machine has no time zone database); "
            "write a name as 'Europe/Berlin' or an offset as '+02:00'"
        )


def _local(meter: Meter, value: Timestamp, zone: object, name: str) -> datetime:
    instant = value.to_datetime()
    if zone is None:
        return instant
    try:
        return instant.astimezone(_zone(meter, zone, name))
    except OverflowError:
        return fail("in that time zone the timestamp lies outside of the years 1 to 9999")


def _calendar(name: str, part: Callable[[datetime], int]) -> None:
    @function(name, (1, 2), style="method", units=80)
    def calendar(meter: Meter, value: object, zone: object = None) -> int:
        if type(value) is not Timestamp:
            return refuse(name, "target", "a timestamp, as timestamp(x) makes of a text,", value)
        return part(_local(meter, value, zone, name))


_calendar("getFullYear", lambda local: local.year)
_calendar("getMonth", lambda local: local.month - 1)
_calendar("getDate", lambda local: local.day)
_calendar("getDayOfMonth", lambda local: local.day - 1)
_calendar("getDayOfWeek", lambda local: local.isoweekday() % 7)
_calendar("getDayOfYear", lambda local: local.timetuple().tm_yday - 1)


def _clock(name: str, part: Callable[[datetime], int], length: int) -> None:
    """A part of the time of day of a timestamp, or the whole of a duration in units of `length` nanoseconds."""

    @function(name, (1, 2), style="method", units=80)
    def clock(meter: Meter, value: object, zone: object = None) -> int:
        if type(value) is Timestamp:
            return part(_local(meter, value, zone, name))
        if type(value) is not Duration or zone is not None:
            return refuse(name, "target", "a timestamp or a duration", value)
        whole = abs(value.nanoseconds) // length
        return whole if value.nanoseconds >= 0 else -whole


_clock("getHours", lambda local: local.hour, 3600 * NANOSECONDS)
_clock("getMinutes", lambda local: local.minute, 60 * NANOSECONDS)
_clock("getSeconds", lambda local: local.second, NANOSECONDS)


@function("getMilliseconds", (1, 2), style="method", units=80)
def get_milliseconds(meter: Meter, value: object, zone: object = None) -> int:
    """The milliseconds within the second."""
    if type(value) is Timestamp:
        _local(meter, value, zone, "getMilliseconds")
        return value.nanoseconds % NANOSECONDS // 1_000_000
    if type(value) is not Duration or zone is not None:
        return refuse("getMilliseconds", "target", "a timestamp or a duration", value)
    part = abs(value.nanoseconds) % NANOSECONDS // 1_000_000
    return part if value.nanoseconds >= 0 else -part
