"""JSON values: the one shape in which user data travels through the product."""

import re
from collections.abc import Iterator
from typing import Any, Never, TypeAlias

import msgspec

from workflow_engine.models.problem import pointer

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"

DEPTH_MAX = 200

# What 64 bits hold, signed or unsigned: beyond it databases, other languages and CEL disagree about the value.
INT_MIN, INT_MAX = -(2**63), 2**64 - 1

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

# Digits become 0 and all else a blank, so that one search in C finds a number that may need more than 64 bits.
_DIGITS = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))
_LONG_NUMBER = b"0" * 19

# A string, also one that is never closed, so that hostile input is read once and not once per quotation mark.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_STEPS = {0x5B: 1, 0x7B: 1, 0x5D: -1, 0x7D: -1}


class JsonInvalid(ValueError):
    """The value can't be stored and passed on as JSON without changing; `path` is the JSON pointer to the cause."""

    def __init__(self, code: str, path: str, reason: str) -> None:
        self.code = code
        self.path = path
        self.reason = reason
        super().__init__(f"{path or 'the value'}: {reason}")


def encode_json(value: JsonValue) -> bytes:
    """The value as compact JSON. It is trusted: values from outside go through `check_json`."""
    return _encode(value)


def decode_json(data: bytes | str) -> JsonValue:
    """The value of JSON that this package has written. Documents from outside go through `document.parse_json`.

    Raises:
        JsonInvalid: not JSON.
    """
    try:
        value: JsonValue = _decode(data)
    except (ValueError, RecursionError) as error:
        raise JsonInvalid("invalid_json", "", str(error)) from None
    return value


def check_json(value: object, *, bytes_max: int, depth_max: int = DEPTH_MAX) -> bytes:
    """The value as compact JSON, once it is certain that decoding gives the same value again, here and elsewhere.

    Raises:
        JsonInvalid: larger than `bytes_max`, nested deeper than `depth_max`, or holding NaN, an infinity, an integer
            outside 64 bits, a key that is no string, NUL, a lone surrogate, or a type that JSON does not know.
    """
    if value is None or value is True or value is False or (type(value) is int and INT_MIN <= value <= INT_MAX):
        return _encode(value)
    try:
        encoded = _encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        _refuse(value, depth_max)
    if len(encoded) > bytes_max:
        raise JsonInvalid("too_large", "", f"is {len(encoded):,} bytes of JSON, more than {bytes_max:,}")
    if is_deeper(encoded, depth_max):
        _refuse(value, depth_max)
    # The round trip runs in C and is the cheapest way to see NaN (encoded as null), tuples, keys that are no strings.
    if has_suspects(encoded) or _decode(encoded) != value:
        _refuse_if_faulty(value, depth_max)
    return encoded


def has_suspects(encoded: bytes) -> bool:
    """Whether a text of `encode_json` may hold NUL or an integer outside 64 bits; False is certain, True is not."""
    return b"\\u0000" in encoded or _LONG_NUMBER in encoded.translate(_DIGITS)


def is_deeper(data: bytes, depth_max: int) -> bool:
    """Whether arrays and objects nest deeper in a JSON text, which may be malformed; linear and without recursion.

    >>> is_deeper(b'{"a": [[], "]["]}', 2), is_deeper(b'{"a": [[], "]["]}', 3)
    (True, False)
    """
    if data.count(b"[") + data.count(b"{") <= depth_max:
        return False
    depth = 0
    for bracket in _STRING.sub(b"", data).translate(None, _NO_BRACKETS):
        depth += _STEPS[bracket]
        if depth > depth_max:
            return True
    return False


def _refuse_if_faulty(value: object, depth_max: int) -> None:
    for path, code, reason in _faults(value, depth_max):
        raise JsonInvalid(code, path, reason)


def _refuse(value: object, depth_max: int) -> Never:
    _refuse_if_faulty(value, depth_max)
    raise JsonInvalid("invalid_value", "", "can't be written as JSON")


def _faults(value: object, depth_max: int) -> Iterator[tuple[str, str, str]]:
    """What makes the value unfit as (pointer, code, reason); depth first, so that cycles end at `depth_max`."""
    stack: list[tuple[object, tuple[str | int, ...]]] = [(value, ())]
    while stack:
        current, parts = stack.pop()
        if isinstance(current, dict | list):
            if len(parts) >= depth_max:
                yield pointer(*parts[:8]) + "/…", "too_deep", f"is nested deeper than {depth_max} levels"
                return
            for key, item in _members(current):
                fault = None if isinstance(current, list) else _key_fault(key)
                if fault is not None:
                    yield (pointer(*parts), *fault)
                else:
                    stack.append((item, (*parts, key)))
        else:
            fault = _scalar_fault(current)
            if fault is not None:
                yield (pointer(*parts), *fault)


def _members(container: dict[Any, Any] | list[Any]) -> list[tuple[Any, Any]]:
    pairs = enumerate(container) if isinstance(container, list) else container.items()
    return list(pairs)[::-1]


def _key_fault(key: object) -> tuple[str, str] | None:
    if not isinstance(key, str):
        return "invalid_key", f"has the key {key!r}, which is no string"
    return _text_fault(key)


def _scalar_fault(value: object) -> tuple[str, str] | None:
    match value:
        case None | bool():
            return None
        case str():
            return _text_fault(value)
        case int():
            inside = INT_MIN <= value <= INT_MAX
            return None if inside else ("number_out_of_range", "is an integer that does not fit into 64 bits")
        case float():
            return None if value - value == 0 else ("not_finite", "is NaN or an infinity, which JSON does not know")
        case _:
            return "invalid_type", f"is a {type(value).__name__}, which JSON does not know"


def _text_fault(text: str) -> tuple[str, str] | None:
    if "\0" in text:
        return "nul_character", "holds a NUL character, which databases can't store"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "lone_surrogate", "holds half of a surrogate pair, which is no character"
    return None
