"""Reading fields, keys and elements, with messages that name what is there and the way out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from workflow_engine.engine.expressions.errors import fail, shorten
from workflow_engine.engine.expressions.operators import is_key
from workflow_engine.engine.expressions.values import NONE, Optional, Uint, describe, is_map

_NAMES_SHOWN = 10


def list_names(names: Iterable[Any], count: int) -> str:
    """The first names of many, as a message shows them."""
    shown = ", ".join(shorten(name if type(name) is str else repr(name)) for name in islice(names, _NAMES_SHOWN))
    if not count:
        return "none"
    return shown if count <= _NAMES_SHOWN else f"{shown}, ... ({count} in all)"


def select(value: Any, field: str, text: str) -> Any:
    """`value.field`; `text` is the source of `value`, for the message. An optional gives an optional."""
    if is_map(value):
        try:
            return value[field]
        except KeyError:
            return fail(
                f"there is no key {field!r} in {shorten(text)}; its keys are: {list_names(value, len(value))}; "
                f"where it may be absent read it with .?{field} and .orValue(default)"
            )
    if type(value) is Optional:
        return optional_select(value.value, field, text) if value.present else NONE
    if value is None:
        return fail(
            f"cannot read {field!r} of {shorten(text)}, which is null; "
            f"where it may be null read it with .?{field} and .orValue(default)"
        )
    return fail(f"cannot read {field!r} of {shorten(text)}, which is no map but {describe(value)}")


def optional_select(value: Any, field: Any, text: str) -> Optional:
    """`value.?field`: none where the key is absent or `value` is null."""
    if type(value) is Optional:
        return optional_select(value.value, field, text) if value.present else NONE
    if value is None:
        return NONE
    if is_map(value):
        return Optional(True, value[field]) if field in value else NONE
    return fail(f"cannot read {field!r} of {shorten(text)}, which is no map but {describe(value)}")


def has_field(value: Any, field: str, text: str) -> bool:
    """`has(value.field)`: false where `value` is null or an empty optional."""
    if is_map(value):
        return field in value
    if type(value) is Optional:
        return value.present and has_field(value.value, field, text)
    if value is None:
        return False
    return fail(f"has() looks into maps; {shorten(text)} is {describe(value)}")


def index(value: Any, key: Any, text: str) -> Any:
    """`value[key]`; an optional gives an optional."""
    if type(value) is list or type(value) is tuple:
        position = to_position(key)
        if 0 <= position < len(value):
            return value[position]
        return fail(
            f"there is no element {position} in {shorten(text)}, which has {len(value)}; "
            f"where it may be absent read it with [?{position}] and .orValue(default)"
        )
    if type(value) is Optional:
        return optional_index(value.value, key, text) if value.present else NONE
    if value is None:
        return fail(f"cannot read an element of {shorten(text)}, which is null; where it may be null write [?key]")
    if not is_map(value):
        return fail(f"cannot read an element of {shorten(text)}, which is {describe(value)}")
    _check_key(key)
    if key in value:
        return value[key]
    shown = shorten(repr(key)) if type(key) is str else repr(key)
    return fail(
        f"there is no key {shown} in {shorten(text)}; its keys are: {list_names(value, len(value))}; "
        f"where it may be absent read it with [?{shown}] and .orValue(default)"
    )


def optional_index(value: Any, key: Any, text: str) -> Optional:
    """`value[?key]`: none where there is no such element or `value` is null."""
    if type(value) is list or type(value) is tuple:
        position = to_position(key)
        return Optional(True, value[position]) if 0 <= position < len(value) else NONE
    if type(value) is Optional:
        return optional_index(value.value, key, text) if value.present else NONE
    if value is None:
        return NONE
    if is_map(value):
        _check_key(key)
        return Optional(True, value[key]) if key in value else NONE
    return fail(f"cannot read an element of {shorten(text)}, which is {describe(value)}")


def _check_key(key: Any) -> None:
    if not is_key(key):
        fail(f"a key is a string, an integer or a bool, not {describe(key)}")


def to_position(key: Any) -> int:
    """A position in a list: an integer, or a double without a fraction."""
    if type(key) is int or type(key) is Uint:
        return key
    if type(key) is float and key.is_integer():
        return int(key)
    return fail(f"a position in a list is an integer, not {key if type(key) is float else describe(key)}")


def missing_variable(name: str, context: Mapping[str, Any], local: Iterable[str]) -> None:
    """Fail: there is no variable `name`; the message lists those in scope."""
    names = [*local, *context]
    fail(f"there is no variable {name!r} here; in scope are: {list_names(names, len(names))}")
