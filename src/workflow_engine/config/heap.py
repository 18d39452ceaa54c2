"""The garbage collector of a process that does nothing but serve."""

import gc
from typing import Final

YOUNG_OBJECTS: Final = 10_000
"""New containers after which the collector looks at them: some 2 ms of work, in some 1,000 steps."""

ROUNDS: Final = 20
"""Such looks after which it looks at what survived them too."""


def freeze_heap() -> None:
    """Leave everything that is loaded by now out of every later collection, and collect less often.

    Nearly all garbage is freed by counting references; the collector finds cycles. Its default walks all modules and
    compiled definitions again and again: 100,000 objects in up to 100 ms, in which nothing else runs, and a fifth of
    the time of short steps. It is a setting of the whole process, so the library leaves it to the program around it.
    """
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, ROUNDS, ROUNDS)
