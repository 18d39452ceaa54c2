"""The instant that everything is stamped with."""

import time
from collections.abc import Callable


class Clock:
    """The database's clock, sampled now and then and carried on by the local monotonic one. It never goes back.

    If the database's clock turns out to be behind, ours goes on at half its speed until the two meet: instants stay in
    order and timers fire late rather than never. If it is ahead, ours takes its reading at once.
    """

    def __init__(self, read_at: Callable[[], int], monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._read_at = read_at
        self._monotonic_ns = monotonic_ns
        self._base = (read_at(), monotonic_ns(), 1)

    def now(self) -> int:
        """Microseconds since 1970-01-01 UTC."""
        at, since_ns, slowness = self._base
        return at + (self._monotonic_ns() - since_ns) // (1000 * slowness)

    def sample(self) -> None:
        """Look at the database's clock again. Only one thread may call this; others may read meanwhile."""
        read_at = self._read_at()
        since_ns = self._monotonic_ns()
        at, before_ns, slowness = self._base
        carried_at = at + (since_ns - before_ns) // (1000 * slowness)
        self._base = (read_at, since_ns, 1) if read_at >= carried_at else (carried_at, since_ns, 2)
