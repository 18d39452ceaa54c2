"""`matches`: regular expressions through RE2, whose time grows with the text alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import re2

from workflow_engine.engine.expressions.errors import EvaluationFailed, ExpressionInvalid, fail, shorten
from workflow_engine.engine.expressions.functions.registry import expect_text, function
from workflow_engine.engine.expressions.meter import Meter

_PATTERN_MAX = 512
# Instructions of a compiled pattern; RE2's slow matcher takes some 9 ns for each and byte, which the charge covers.
_PROGRAM_MAX = 20_000
# Patterns and programs are kept per meter, this many at most.
_REMEMBERED_MAX = 32
_COMPILE_UNITS = 3000
# A Unicode class takes up to 0.4 ms to compile, each time that it is repeated.
_CLASS_UNITS = 10_000
_REPEAT = re.compile(r"\{(?:\d*,)?(\d{1,6})")

_options = re2.Options()
_options.max_mem = 1 << 19
_options.log_errors = False
_options.never_capture = True


def compile_pattern(pattern: str) -> Any:
    """The compiled pattern.

    Raises:
        EvaluationFailed: RE2 does not take it, or it is too large.
    """
    if len(pattern) > _PATTERN_MAX:
        fail(f"a pattern has at most {_PATTERN_MAX} characters")
    try:
        compiled = re2.compile(pattern, _options)
    except (re2.error, UnicodeEncodeError) as error:
        reason = error.args[0] if error.args else "it does not compile"
        fail(f"bad pattern: {shorten(reason.decode(errors='replace') if isinstance(reason, bytes) else str(reason))}")
    if compiled.programsize > _PROGRAM_MAX:
        fail("the pattern is too large: its repetitions unfold to too many steps")
    return compiled


def constant_pattern(pattern: str, position: int) -> Callable[[Meter, Any], bool]:
    """`matches` for one pattern, compiled once.

    Raises:
        ExpressionInvalid: the pattern, which stands at `position`, does not compile.
    """
    try:
        compiled = compile_pattern(pattern)
    except EvaluationFailed as failed:
        hint = "the syntax is RE2's: no look-around, no references"
        raise ExpressionInvalid(failed.message, position, hint) from None
    size = compiled.programsize
    return lambda meter, text: _search(meter, compiled, size, text)


def pattern_units(pattern: str) -> int:
    """What it costs to compile a pattern."""
    repeats = 1
    for number in _REPEAT.findall(pattern):
        repeats = min(1000, repeats * int(number or "1"))
    classes = pattern.count("\\p") + pattern.count("\\P")
    return _COMPILE_UNITS + 50 * len(pattern) + 25 * repeats + _CLASS_UNITS * classes * min(repeats, 50)


def _remember(meter: Meter, pattern: str) -> tuple[Any, int]:
    key = ("pattern", pattern)
    entry: tuple[Any, int] | None = meter.memo.get(key)
    if entry is None:
        meter.charge(pattern_units(pattern))
        compiled = compile_pattern(pattern)
        entry = (compiled, compiled.programsize)
        if len(meter.memo) < _REMEMBERED_MAX:
            meter.memo[key] = entry
    return entry


def _search(meter: Meter, compiled: Any, size: int, text: object) -> bool:
    content = expect_text("matches", text, "target")
    length = len(content) if content.isascii() else 4 * len(content)
    meter.charge(length // 2 + (length * size >> 3))
    try:
        return compiled.search(content.encode()) is not None
    except UnicodeEncodeError:
        fail("matches needs a text without halves of surrogate pairs")


@function("matches", 2, style="both", units=100)
def matches(meter: Meter, text: object, pattern: object) -> bool:
    """Whether the pattern fits somewhere into the text."""
    expect_text("matches", text, "target")
    return _search(meter, *_remember(meter, expect_text("matches", pattern)), text)
