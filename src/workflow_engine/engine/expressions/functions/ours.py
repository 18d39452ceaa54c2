"""The functions that CEL does not have: JSON texts and sums. `coalesce` is a macro."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NoReturn

from workflow_engine.engine.expressions.convert import to_json, write_json
from workflow_engine.engine.expressions.errors import fail, shorten
from workflow_engine.engine.expressions.functions.registry import expect_list, expect_text, function, refuse
from workflow_engine.engine.expressions.meter import Meter
from workflow_engine.engine.expressions.operators import add
from workflow_engine.engine.expressions.room import SIZE_MIN, call_with_room
from workflow_engine.engine.expressions.values import INT_MIN, UINT_MAX, Duration, Uint

# The parser is one call into C for texts without objects; this bounds how long it runs.
_JSON_TEXT_MAX = 1_000_000


@function("json", 1, units=100)
def write(meter: Meter, value: Any) -> str:
    """Compact JSON text of a value."""
    return write_json(value, meter)


def _refuse_constant(name: str) -> NoReturn:
    fail(f"parse_json: {name} is no JSON")


def _object(entries: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(entries)
    if len(result) < len(entries):
        seen: set[str] = set()
        for key, _ in entries:
            if key in seen:
                fail(f"parse_json: the key {shorten(key)!r} stands twice in an object")
            seen.add(key)
    return result


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant)


@function("parse_json", 1, units=60)
def parse(meter: Meter, value: Any) -> Any:
    """The value of a JSON text, read strictly."""
    text = expect_text("parse_json", value)
    if len(text) > _JSON_TEXT_MAX:
        fail(f"parse_json reads at most {_JSON_TEXT_MAX:,} characters")
    meter.charge(len(text) + 12 * text.count("{") + 8 * text.count("["))
    try:
        result = _decoder.decode(text)
    except json.JSONDecodeError as error:
        return fail(f"parse_json: no JSON at character {error.pos}: {error.msg}")
    except (RecursionError, ValueError):
        return fail("parse_json: the JSON is nested too deeply, or a number in it too long")
    _check_numbers(to_json(result, meter), meter)
    if "\\" in text:
        _check_text(text, result)
    return result


def _check_numbers(value: Any, meter: Meter) -> None:
    pending = [value]
    while pending:
        item = pending.pop()
        kind = type(item)
        if kind is int and not INT_MIN <= item <= UINT_MAX:
            fail("parse_json: an integer does not fit into 64 bits; as a text in quotes it can be of any length")
        if kind is list:
            pending.extend(item)
        elif kind is dict:
            pending.extend(item.values())


def _check_text(text: str, value: Any) -> None:
    """Refuse halves of surrogate pairs, which escapes can smuggle in and no UTF-8 can carry out."""
    if "\\ud" not in text and "\\uD" not in text:
        return
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        fail("parse_json: half of a surrogate pair is no character")


@function("sum", 1, style="both")
def total(meter: Meter, items: Any) -> Any:
    """The sum of the numbers, or of the durations, of a list; 0 of an empty one."""
    expect_list("sum", items)
    meter.charge(12 * len(items))
    return call_with_room(meter, _total, meter, items) if len(items) >= SIZE_MIN else _total(meter, items)


def _total(meter: Meter, items: Sequence[Any]) -> Any:
    result: Any = 0
    for position, item in enumerate(items):
        if type(item) not in (int, float, Uint, Duration):
            refuse("sum", f"element {position}", "a number or a duration", item)
        result = item if position == 0 else add(result, item, meter)
    return result
