"""About how many bytes a value's JSON has, without making that JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workflow_engine.engine.expressions.errors import TooLarge

SCALARS = frozenset({int, float, bool, type(None)})
SCALAR_BYTES = 4


def too_large(bytes_max: int) -> TooLarge:
    """The error of a value that has more than `bytes_max`."""
    return TooLarge(f"the value is larger than {bytes_max} bytes of JSON")


def json_size(value: Any, bytes_max: int) -> int:
    """About the bytes of a value's JSON.

    An expression can put one large value into a list a million times; the walk ends as soon as the bound is passed.

    Raises:
        TooLarge: when it would be more than `bytes_max`.
    """
    size = SCALAR_BYTES
    stack = [value]
    while stack:
        item = stack.pop()
        kind = type(item)
        if kind in SCALARS:
            continue  # its container has counted it
        if kind is str:
            size += len(item) if item.isascii() else len(item.encode())
        elif kind is list:
            size += 2 + SCALAR_BYTES * len(item)
            stack += item
        elif kind is dict or isinstance(item, Mapping):
            size += 2 + 2 * SCALAR_BYTES * len(item) + len("".join(item))
            stack += item.values()
        if size > bytes_max:
            raise too_large(bytes_max)
    return size
