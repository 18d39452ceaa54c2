"""Periods as operators write them: `30s`, `24h`, `30d`, `1h30m`, or plain seconds."""

import re
from typing import Final

_UNITS_S: Final = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_NUMBER = re.compile(r"\d{1,12}(?:\.\d{1,6})?")
_PERIOD = re.compile("".join(rf"(?:(\d{{1,9}}(?:\.\d{{1,6}})?){unit})?" for unit in _UNITS_S))

FOREVER: Final = "forever"


def parse_period(text: str) -> float:
    """Seconds of a period; raises ValueError that shows the form.

    >>> parse_period("1h30m"), parse_period("250ms"), parse_period("25")
    (5400.0, 0.25, 25.0)
    """
    stripped = text.strip()
    if _NUMBER.fullmatch(stripped):
        return float(stripped)
    match = _PERIOD.fullmatch(stripped)
    if match is None or not stripped:
        raise ValueError(f"write a period as 30s, 24h, 30d or 1h30m, not {text[:64]!r}")
    parts = zip(match.groups(), _UNITS_S.values(), strict=True)
    return sum(float(number) * unit_s for number, unit_s in parts if number is not None)


def parse_retention(text: str) -> float | None:
    """Seconds that something is kept; None for `forever`.

    >>> parse_retention("30d"), parse_retention("forever")
    (2592000.0, None)
    """
    if text.strip().lower() == FOREVER:
        return None
    period_s = parse_period(text)
    if period_s <= 0:
        raise ValueError(f"a retention must be longer than nothing; write {FOREVER} to keep everything")
    return period_s
