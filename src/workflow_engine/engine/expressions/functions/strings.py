"""The strings extension. Positions count characters (code points) from 0."""

from __future__ import annotations

from typing import Any, NoReturn

from workflow_engine.engine.expressions.errors import fail
from workflow_engine.engine.expressions.functions.registry import expect_int, expect_list, expect_text, function
from workflow_engine.engine.expressions.functions.searching import search_units
from workflow_engine.engine.expressions.meter import Meter, text_units

# The code points with Unicode's property White_Space; str.strip() alone would take more.
_SPACES = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
# The backslash first, for the others bring more of them.
_ESCAPES = {
    "\\": "\\\\",
    '"': '\\"',
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
}


def _out_of_range(name: str, position: int, text: str) -> NoReturn:
    fail(f"{name}: position {position} lies outside of a text of {len(text)} characters")


@function("charAt", 2, style="method")
def char_at(meter: Meter, text: Any, position: Any) -> str:
    """The character at a position, empty at the very end."""
    whole, at = expect_text("charAt", text, "target"), expect_int("charAt", position)
    if not 0 <= at <= len(whole):
        _out_of_range("charAt", at, whole)
    return whole[at : at + 1]


@function("indexOf", (2, 3), style="method")
def index_of(meter: Meter, text: Any, part: Any, start: Any = 0) -> int:
    """The first position of a part, from `start` on; -1 where there is none."""
    whole, wanted = expect_text("indexOf", text, "target"), expect_text("indexOf", part)
    at = expect_int("indexOf", start, "second argument")
    if at < 0:
        _out_of_range("indexOf", at, whole)
    meter.charge(search_units(whole, wanted))
    return whole.find(wanted, at) if wanted else at


@function("lastIndexOf", (2, 3), style="method")
def last_index_of(meter: Meter, text: Any, part: Any, start: Any = None) -> int:
    """The last position of a part, at `start` at the latest; -1 where there is none."""
    whole, wanted = expect_text("lastIndexOf", text, "target"), expect_text("lastIndexOf", part)
    at = len(whole) if start is None else expect_int("lastIndexOf", start, "second argument")
    if not 0 <= at <= len(whole) or (start is not None and wanted and at == len(whole)):
        _out_of_range("lastIndexOf", at, whole)
    meter.charge(search_units(whole, wanted) + 2 * text_units(len(whole) + len(wanted)))
    if not wanted:
        return at
    # Backwards: CPython's rfind is quadratic at the worst, find is not.
    end = min(at + len(wanted), len(whole))
    found = whole[:end][::-1].find(wanted[::-1])
    return -1 if found < 0 else end - found - len(wanted)


@function("lowerAscii", 1, style="method")
def lower_ascii(meter: Meter, text: Any) -> str:
    """A to Z become a to z."""
    whole = expect_text("lowerAscii", text, "target")
    meter.charge(2 * text_units(len(whole)))
    return whole.encode(errors="surrogatepass").lower().decode(errors="surrogatepass")


@function("upperAscii", 1, style="method")
def upper_ascii(meter: Meter, text: Any) -> str:
    """a to z become A to Z."""
    whole = expect_text("upperAscii", text, "target")
    meter.charge(2 * text_units(len(whole)))
    return whole.encode(errors="surrogatepass").upper().decode(errors="surrogatepass")


@function("trim", 1, style="method")
def trim(meter: Meter, text: Any) -> str:
    """The text without white space at its ends."""
    whole = expect_text("trim", text, "target")
    meter.charge(2 * text_units(len(whole)))
    return whole.strip(_SPACES)


@function("reverse", 1, style="method")
def reverse(meter: Meter, value: Any) -> Any:
    """The characters of a string, or the elements of a list, from the last to the first."""
    if type(value) is str:
        meter.charge(text_units(len(value)))
    else:
        meter.charge(len(expect_list("reverse", value, "target")))
    return value[::-1]


@function("strings.quote", 1)
def quote(meter: Meter, text: Any) -> str:
    """The text as a literal of CEL."""
    whole = expect_text("strings.quote", text)
    meter.charge(8 * text_units(len(whole)))
    for character, escape in _ESCAPES.items():
        whole = whole.replace(character, escape)
    return f'"{whole.encode("utf-16", "surrogatepass").decode("utf-16", "replace")}"'


@function("substring", (2, 3), style="method")
def substring(meter: Meter, text: Any, start: Any, end: Any = None) -> str:
    """The characters from `start` up to, without, `end`."""
    whole = expect_text("substring", text, "target")
    first = expect_int("substring", start)
    last = len(whole) if end is None else expect_int("substring", end, "second argument")
    for position in (first, last):
        if not 0 <= position <= len(whole):
            _out_of_range("substring", position, whole)
    if first > last:
        fail(f"substring: the start {first} lies behind the end {last}")
    meter.charge(text_units(last - first))
    return whole[first:last]


@function("replace", (3, 4), style="method", units=16)
def replace(meter: Meter, text: Any, old: Any, new: Any, count: Any = -1) -> str:
    """The text with `new` for every `old`, or for the first `count`."""
    whole, wanted = expect_text("replace", text, "target"), expect_text("replace", old)
    other = expect_text("replace", new, "second argument")
    limit = expect_int("replace", count, "third argument")
    meter.charge(2 * search_units(whole, wanted))
    found = whole.count(wanted)
    if limit >= 0:
        found = min(found, limit)
    meter.charge(2 * found + text_units(len(whole) + found * (len(other) - len(wanted))))
    return whole.replace(wanted, other, found)


@function("split", (2, 3), style="method", units=16)
def split(meter: Meter, text: Any, separator: Any, count: Any = -1) -> list[str]:
    """The pieces between separators, at most `count` of them; an empty separator splits into characters."""
    whole, between = expect_text("split", text, "target"), expect_text("split", separator)
    limit = expect_int("split", count, "second argument")
    if limit == 0:
        return []
    meter.charge(2 * search_units(whole, between) + text_units(len(whole)))
    pieces = whole.count(between) + 1 if between else len(whole)
    if 0 < limit < pieces:
        pieces = limit
    meter.charge(4 * pieces)
    if between:
        return whole.split(between, pieces - 1)
    if pieces == len(whole):
        return list(whole)
    return [*whole[: pieces - 1], whole[pieces - 1 :]]


@function("join", (1, 2), style="method")
def join(meter: Meter, parts: Any, separator: Any = "") -> str:
    """The strings of a list behind one another, a separator between them."""
    expect_list("join", parts, "target")
    between = expect_text("join", separator)
    meter.charge(2 * len(parts))
    length = len(between) * max(0, len(parts) - 1)
    for part in parts:
        length += len(part if type(part) is str else expect_text("join", part, "element; write list.map(x, string(x))"))
    meter.charge(text_units(length))
    return between.join(parts)
