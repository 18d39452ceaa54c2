"""Spans of the virtual clock as text, exactly and in the definition language's own form."""

from typing import Final

_UNITS: Final = (
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
)


def duration_text(span_us: int) -> str:
    """A span of microseconds as a duration that gives the same span when it is read.

    >>> [duration_text(span) for span in (0, 1_500, 90_000_000, 2 * 86_400_000_000)]
    ['0s', '1ms500us', '1m30s', '2d']
    """
    parts = []
    for unit, unit_us in _UNITS:
        count, span_us = divmod(span_us, unit_us)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
