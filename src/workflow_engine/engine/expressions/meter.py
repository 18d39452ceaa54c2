"""The budget of evaluation: deterministic units, the same on every machine and in every replay.

One unit is at most some 50 nanoseconds of work or 8 bytes of new text. The weights below hold every operation to that;
`bench/expressions.py` measures the worst of them.
"""

from __future__ import annotations

from typing import Any

from workflow_engine.engine.expressions.errors import LimitExceeded
from workflow_engine.engine.expressions.size import SCALAR_BYTES, SCALARS, json_size

UNITS_DEFAULT = 1_000_000
BYTES_UNLIMITED = 1 << 62

# What an absorbed error costs: raising, its message, unwinding (about 2 microseconds).
ERROR_UNITS = 100

# Values nested deeper than this are refused wherever a function walks them: far beyond real data, far below the
# interpreter's own limit of recursion.
DEPTH_MAX = 200


class Meter:
    """Counts units up to a limit; one meter may be shared by several evaluations.

    Attributes:
        limit: units in all.
        spent: units so far. Once above `limit` every further evaluation fails at once.
        bytes_max: of the JSON that one template may give.
        bytes: about what its expressions have put into it (see `size`).
    """

    __slots__ = ("bytes", "bytes_max", "limit", "memo", "spent")

    def __init__(self, limit: int = UNITS_DEFAULT, bytes_max: int = BYTES_UNLIMITED) -> None:
        self.limit = limit
        self.spent = 0
        self.bytes_max = bytes_max
        self.bytes = 0
        # Patterns and time zones met so far, so that each is paid for once per meter (see `remember`).
        self.memo: dict[tuple[str, str], Any] = {}

    def charge(self, units: int) -> None:
        """Spend `units`, before the work that they pay for.

        Raises:
            LimitExceeded: the budget does not hold that much.
        """
        self.spent += units
        if self.spent > self.limit:
            raise LimitExceeded(self.explain())

    def measure(self, value: Any) -> None:
        """Count the bytes of a value that goes into what a template gives.

        Raises:
            TooLarge: it is larger than `bytes_max`.
        """
        self.bytes += SCALAR_BYTES if type(value) in SCALARS else json_size(value, self.bytes_max)

    def explain(self) -> str:
        """The message of a spent budget."""
        return (
            f"the expression needs more than its budget of {self.limit:,} units; "
            "work on fewer elements or shorter texts, or split the work over several steps"
        )


def check_depth(depth: int) -> None:
    """Refuse a value that is nested deeper than `DEPTH_MAX`."""
    if depth > DEPTH_MAX:
        raise LimitExceeded(f"a value is nested deeper than {DEPTH_MAX} levels")


def text_units(length: int) -> int:
    """What it costs to create a text (or bytes) of `length`."""
    return 1 + (length >> 3)
