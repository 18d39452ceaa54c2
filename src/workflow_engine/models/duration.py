"""Durations and timestamps as a definition writes them: text in, seconds or microseconds out."""

import re
from datetime import UTC, datetime, timedelta, timezone

# A century is longer than any process waits and keeps instants far inside 64 bits of microseconds.
DURATION_MAX_S = 100 * 365.25 * 86_400

# Longer texts are no durations; the bound keeps the regular expressions and messages small.
TEXT_LENGTH_MAX = 64

_UNITS_S = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 0.000_001}
_NUMBER = r"(?:[0-9]+(?:\.[0-9]+)?)"
_SHORT = re.compile("".join(rf"(?:(?P<{unit}>{_NUMBER}){unit})?" for unit in _UNITS_S))
_ISO = re.compile(
    rf"P(?:(?P<w>{_NUMBER})W)?(?:(?P<d>{_NUMBER})D)?(?:T(?=[0-9])(?:(?P<h>{_NUMBER})H)?(?:(?P<m>{_NUMBER})M)?(?:(?P<s>{_NUMBER})S)?)?"
)
_ISO_UNITS_S = {**_UNITS_S, "w": 604_800.0}
_ISO_CALENDAR = re.compile(rf"P{_NUMBER}[YM]")
_TIMESTAMP = re.compile(
    r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ](?P<clock>[0-9]{2}:[0-9]{2}:[0-9]{2})"
    r"(?:\.(?P<fraction>[0-9]{1,9}))?(?P<zone>[Zz]|(?P<sign>[+-])(?P<hours>[0-9]{2}):(?P<minutes>[0-9]{2}))"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class DurationInvalid(ValueError):
    """The text is no duration; the message says what is wrong and shows the right form."""


class TimestampInvalid(ValueError):
    """The text is no RFC 3339 timestamp with a zone; the message says what is wrong."""


def parse_duration(text: str, *, positive: bool = False) -> float:
    """Seconds of a duration such as `250ms`, `30s`, `1h30m`, `7d`, `PT1H30M` or `P7D`.

    Units of the short form go from large to small, each at most once (`d h m s ms us`); fractions are allowed (`1.5s`).
    ISO 8601 knows weeks, days, hours, minutes and seconds; years and months have no fixed length and are refused.

    Args:
        text: at most 64 characters.
        positive: refuse zero, for places where waiting no time makes no sense.

    Raises:
        DurationInvalid: negative, zero where refused, over 100 years, or not a duration at all.

    >>> parse_duration("1h30m"), parse_duration("PT1H30M"), parse_duration("250ms")
    (5400.0, 5400.0, 0.25)
    """
    parts = _duration_parts(text)
    seconds = sum(float(number) * unit_s for number, unit_s in parts)
    if seconds > DURATION_MAX_S:
        raise DurationInvalid(f"{_shown(text)} is longer than 100 years")
    if positive and seconds == 0:
        raise DurationInvalid(f"{_shown(text)} is zero, but some time is needed here")
    return seconds


def parse_timestamp(text: str) -> int:
    """Microseconds since 1970-01-01 UTC of an RFC 3339 timestamp such as `2026-01-31T08:00:00Z`.

    A zone is required: a wall clock without one names no instant. Digits below a microsecond are cut.

    Raises:
        TimestampInvalid: not that form, no zone, no such date, or outside of the years 1 to 9999 in UTC.

    >>> parse_timestamp("1970-01-01T01:00:00.5+01:00")
    500000
    """
    match = _TIMESTAMP.fullmatch(text) if len(text) <= TEXT_LENGTH_MAX else None
    if match is None:
        raise TimestampInvalid(
            f"{_shown(text)} is no timestamp with a zone; write it as 2026-01-31T08:00:00Z or 2026-01-31T09:00:00+01:00"
        )
    try:
        moment = datetime.fromisoformat(f"{match['day']}T{match['clock']}").replace(tzinfo=_zone_of(match))
        whole = (moment.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError) as error:
        raise TimestampInvalid(f"{_shown(text)} names no instant: {error}") from error
    return whole + int((match["fraction"] or "0").ljust(6, "0")[:6])


def _duration_parts(text: str) -> list[tuple[str, float]]:
    if 0 < len(text) <= TEXT_LENGTH_MAX:
        for pattern, units_s in ((_SHORT, _UNITS_S), (_ISO, _ISO_UNITS_S)):
            match = pattern.fullmatch(text)
            if match is not None:
                found = [(number, units_s[unit]) for unit, number in match.groupdict().items() if number is not None]
                if found:
                    return found
    raise DurationInvalid(_refusal(text))


def _refusal(text: str) -> str:
    if text.startswith(("-", "P-", "PT-")):
        return f"{_shown(text)} is negative; a duration is zero or more"
    if _ISO_CALENDAR.match(text):
        return f"{_shown(text)} counts years or months, whose length varies; write days, as in 30d or P30D"
    if re.fullmatch(_NUMBER, text) and len(text) < TEXT_LENGTH_MAX:
        return f"{_shown(text)} has no unit; write {text}s for seconds or {text}ms for milliseconds"
    return f"{_shown(text)} is no duration; write it as 250ms, 30s, 5m, 2h, 7d, 1h30m or PT1H30M"


def _zone_of(match: re.Match[str]) -> timezone:
    if match["sign"] is None:
        return UTC
    hours, minutes = int(match["hours"]), int(match["minutes"])
    if hours > 23 or minutes > 59:
        raise ValueError("the zone is out of range")
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if match["sign"] == "-" else offset)


def _shown(text: str) -> str:
    return repr(text if len(text) <= TEXT_LENGTH_MAX else text[: TEXT_LENGTH_MAX - 1] + "…")
