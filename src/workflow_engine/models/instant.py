"""Instants: inside, integers of microseconds since 1970 UTC; outside, RFC 3339 text."""

from datetime import UTC, datetime
from typing import Final

MICROSECONDS: Final = 1_000_000
"""In one second."""


def rfc3339(at: int) -> str:
    """An instant as text, in UTC.

    >>> rfc3339(1_500_000)
    '1970-01-01T00:00:01.500000Z'
    """
    moment = datetime.fromtimestamp(at // MICROSECONDS, UTC).replace(microsecond=at % MICROSECONDS)
    return moment.isoformat().replace("+00:00", "Z")
