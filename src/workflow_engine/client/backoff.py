"""How long to wait before the next attempt."""

from typing import Final

FIRST_S: Final = 0.2
FACTOR: Final = 2.0


def delay_s(attempt: int, chance: float, *, longest_s: float) -> float:
    """Seconds to wait after so many attempts failed (1: the first); `chance`, from 0 to 1, spreads many clients over
    the upper half.

    >>> [delay_s(attempt, 1.0, longest_s=1.0) for attempt in (1, 2, 3, 4, 99)]
    [0.2, 0.4, 0.8, 1.0, 1.0]
    >>> delay_s(1, 0.0, longest_s=1.0)
    0.1
    """
    whole_s = min(longest_s, FIRST_S * FACTOR ** min(attempt - 1, 30))
    return whole_s * (0.5 + chance / 2)
