"""Text for terminals: what comes from outside can't move the cursor, colour the screen or flood it."""

import re
from collections.abc import Sequence

_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")


_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    r"""Text, of many lines perhaps, without characters that a terminal takes for commands.

    >>> printable("a\x1b[31m\nb")
    'a [31m\nb'
    """
    return _CONTROLS.sub(" ", text)


def visible(text: object, chars_max: int = 200) -> str:
    r"""One line of it without control characters, cut to `chars_max`.

    >>> visible("a\x1b[31mb\nc")
    'a [31mb c'
    >>> visible("abcdef", 4)
    'abc…'
    """
    line = _UNSEEN.sub(" ", str(text)[: 4 * chars_max]).strip()
    return line if len(line) <= chars_max else line[: chars_max - 1] + "…"


def duration(seconds: float) -> str:
    """A duration for people.

    >>> [duration(s) for s in (0.0004, 0.012, 1.26, 75, 7265)]
    ['0 ms', '12 ms', '1.3 s', '1 min 15 s', '2 h 1 min']
    """
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns, aligned, without trailing blanks; easy to grep and to cut.

    >>> print(table(["ID", "STATUS"], [["a", "ok"], ["bcd", "failed"]]))
    ID   STATUS
    a    ok
    bcd  failed
    """
    lines = [list(heads), *([visible(cell, 80) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
