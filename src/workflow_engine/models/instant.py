"""Instants: inside, integers of microseconds since 1970 UTC; outside, RFC 3339 text."""

from datetime import UTC, datetime, timedelta
from typing import Final

MICROSECONDS: Final = 1_000_000
"""In one second."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_UTC: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - without a zone it is shown without one


def instant_of(moment: datetime) -> int:
    """The instant of an aware datetime; raises ValueError for one without a zone, which names none.

    >>> instant_of(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    1000000
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no zone; write datetime.now(UTC), or moment.astimezone()")
    return (moment - _EPOCH) // timedelta(microseconds=1)


def rfc3339(at: int) -> str:
    """An instant as text, in UTC.

    >>> rfc3339(1_500_000)
    '1970-01-01T00:00:01.500000Z'
    """
    return f"{(_EPOCH_UTC + timedelta(microseconds=at)).isoformat()}Z"
