"""Room on the interpreter's stack, so that speed does not depend on how deep the caller stands.

CPython keeps the frames of Python functions in chunks of 16 KB and gives a chunk back to the system as soon as its
first frame returns. A loop whose calls happen to cross the edge of a chunk asks for memory and returns it at each call,
which made the same expression up to twenty times slower at some depths of the caller's stack than at others. A frame
that claims a large stack of its own gets a chunk of its own, and what it calls finds the rest of that chunk free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from workflow_engine.engine.expressions.meter import Meter

# In words of 8 bytes. With it the chunk has 256 KB, of which some 100 KB (about 400 frames) are left for what is
# called; only pages that are touched take memory.
_CLAIMED_WORDS = 20_000
# Room costs some 10 microseconds, so that short work does without.
SIZE_MIN = 32
_UNITS = 250


def call_with_room(meter: Meter, function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)` with a stack of its own."""
    meter.charge(_UNITS)
    return function(*arguments)


call_with_room.__code__ = call_with_room.__code__.replace(co_stacksize=_CLAIMED_WORDS)


def needs_room(items: Iterable[Any], size: int) -> bool:
    """Whether a list or map is so large, or so nested, that walking it wants room."""
    if size >= SIZE_MIN:
        return True
    return any(type(item) is list or type(item) is dict for item in items)
