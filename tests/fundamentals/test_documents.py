"""Documents from outside: what is JSON comes through unchanged, everything else is refused with its place."""

import json
import math
from typing import Any

import pytest
from affordable import affordable
from hypothesis import given
from hypothesis import strategies as st

from workflow_engine.models.document import DocumentInvalid, parse_document, parse_json
from workflow_engine.models.json_value import JsonInvalid, check_json, decode_json, encode_json

SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
TEXTS = st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
VALUES = st.recursive(SCALARS | TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=20)


def refusal(data: bytes, kind: Any = "json", **limits: int) -> DocumentInvalid:
    with pytest.raises(DocumentInvalid) as caught:
        parse_document(data, kind=kind, **limits)
    assert caught.value.problem.message
    return caught.value


@given(VALUES)
def test_json_comes_through_unchanged(value: Any) -> None:
    encoded = encode_json(value)
    for read in (parse_json(encoded), decode_json(encoded), parse_json(json.dumps(value).encode())):
        assert read == value
        assert encode_json(read) == encoded
    assert check_json(value, bytes_max=len(encoded)) == encoded


# Where YAML is no superset of JSON: DEL unescaped, one character as two escaped surrogates, keys over 1,024 characters.
YAML_CHARACTERS = st.characters(max_codepoint=0xFFFF, exclude_characters="\0\x7f", exclude_categories=["Cs"])
YAML_TEXTS = st.text(alphabet=YAML_CHARACTERS, max_size=80)


@given(st.recursive(SCALARS | YAML_TEXTS, lambda inner: st.lists(inner) | st.dictionaries(YAML_TEXTS, inner)))
def test_json_is_yaml(value: Any) -> None:
    assert parse_document(json.dumps({"v": value}).encode(), kind="yaml") == {"v": value}


BOMBS = {
    "arrays": b"[" * 100_000,
    "objects": b'{"a":' * 100_000,
    "arrays that close": b"[" * 500_000 + b"]" * 500_000,
    "behind a string": b'["' + b"\\\\" * 200_000 + b'",' + b"[" * 100_000,
}


@pytest.mark.parametrize("data", BOMBS.values(), ids=BOMBS.keys())
def test_deep_nesting_is_refused_at_little_cost(data: bytes) -> None:
    for _ in affordable(cpu_s=0.5):  # meant to cost some milliseconds
        assert refusal(data).problem.code == "too_deep"


@pytest.mark.parametrize("data", [b"[" * 100_000, b"- " * 100_000, b"{a: " * 100_000])
def test_deep_nesting_of_yaml_is_refused_at_little_cost(data: bytes) -> None:
    for _ in affordable(cpu_s=0.5):
        assert refusal(data, "yaml").problem.code == "too_deep"


def test_the_deepest_document_allowed_comes_through() -> None:
    for kind in ("json", "yaml"):
        assert parse_document(b"[" * 200 + b"]" * 200, kind=kind)
        assert refusal(b"[" * 201 + b"]" * 201, kind).problem.code == "too_deep"


def test_brackets_in_strings_are_not_nesting() -> None:
    assert parse_json(b'["' + b"[" * 1000 + b'\\"' + b"{" * 1000 + b'"]')


def test_oversize_and_overfull_documents_are_refused() -> None:
    assert refusal(b'"' + b"x" * (1 << 20) + b'"').problem.code == "document_too_large"
    assert refusal(b"[1" + b",1" * 1_000_001 + b"]", bytes_max=1 << 24).problem.code == "too_many_values"
    assert refusal(b"[1" + b",1" * 1_000_001 + b"]", "yaml", bytes_max=1 << 24).problem.code == "too_many_values"


@pytest.mark.parametrize(
    ("data", "code", "path"),
    [
        (b'{"a": 1, "a": 2}', "duplicate_key", "/a"),
        (b'{"x": [{"a": 1, "\\u0061": 2}]}', "duplicate_key", "/x/0/a"),
        (b'{"a": {"b": 1, "b": {"c": 1}}}', "duplicate_key", "/a/b"),
        (b"[NaN]", "not_finite", ""),
        (b"-Infinity", "not_finite", ""),
        (b"[0, 1e400]", "not_finite", "/1"),
        (b'{"n": 18446744073709551616}', "number_out_of_range", "/n"),
        (b'{"n": -9223372036854775809}', "number_out_of_range", "/n"),
        (b"[" + b"1" * 5000 + b"]", "number_out_of_range", "/0"),
        (b'["\\ud800"]', "lone_surrogate", "/0"),
        (b'{"\\ud800": 1}', "lone_surrogate", ""),
        (b'{"a/b": "\\u0000"}', "nul_character", "/a~1b"),
        (b'["\x00"]', "invalid_json", ""),
        (b'"\xff"', "invalid_utf8", ""),
        (b'"\xc0\x80"', "invalid_utf8", ""),
        (b'"\xed\xa0\x80"', "invalid_utf8", ""),
        (b"", "document_empty", ""),
        (b" \n", "document_empty", ""),
        (b"[1,]", "invalid_json", ""),
        (b"[1] 2", "invalid_json", ""),
        (b"01", "invalid_json", ""),
        (b"'a'", "invalid_json", ""),
    ],
)
def test_what_is_no_json_is_refused_with_its_place(data: bytes, code: str, path: str) -> None:
    problem = refusal(data).problem
    assert (problem.code, problem.path, problem.severity) == (code, path, "error")


def test_a_syntax_error_names_line_and_column() -> None:
    for data, kind, place in (
        (b'{\n "a": x}', "json", (2, 7)),
        (b'["\n \xff"]', "json", (2, 2)),
        (b"a: 1\nb: }", "yaml", (2, 4)),
        (b"a: 1\n  b: &x 1", "yaml", (2, 4)),
        (b"a: 1\na: 2", "yaml", (2, 1)),
    ):
        error = refusal(data, kind)
        assert (error.line, error.column) == place
        assert error.problem.message.startswith(f"line {error.line}, column {error.column}: ")


@pytest.mark.parametrize(
    "data",
    [b"-0", b"9007199254740993", b"18446744073709551615", b"-9223372036854775808", b"1.5", b"1e3", b'"\\ud83d\\ude00"'],
)
def test_numbers_and_characters_of_the_range_are_exact(data: bytes) -> None:
    assert parse_json(data) == json.loads(data)


def test_a_byte_order_mark_is_passed_over() -> None:
    assert parse_json(b"\xef\xbb\xbf[1]") == [1]
    assert parse_document(b"\xef\xbb\xbfa: 1", kind="yaml") == {"a": 1}


def test_yaml_follows_the_core_schema_of_1_2() -> None:
    document = b"""
on: no
yes: y
dates: [2026-01-31, 2026-01-31T08:00:00Z, 1:30]
numbers: [0o17, 0x1F, 1e3, 007, +1, .5, -2.5e-3, 1_000, 0b1]
nulls: [null, Null, ~, ]
empty:
truths: [true, True, TRUE, false]
quoted: ["true", '1', "null", !!str 5]
tagged: [!!int "3", !!float 1, !!bool "true", !!null "~", !!seq [], !!map {}]
block: |
  two
  lines
"""
    assert parse_document(document, kind="yaml") == {
        "on": "no",
        "yes": "y",
        "dates": ["2026-01-31", "2026-01-31T08:00:00Z", "1:30"],
        "numbers": [15, 31, 1000.0, 7, 1, 0.5, -0.0025, "1_000", "0b1"],
        "nulls": [None, None, None],
        "empty": None,
        "truths": [True, True, True, False],
        "quoted": ["true", "1", "null", "5"],
        "tagged": [3, 1.0, True, None, [], {}],
        "block": "two\nlines\n",
    }


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"a: &x [1]\nb: *x", "yaml_alias"),
        (b"a: *x", "yaml_alias"),
        (b"a: &x 1", "yaml_alias"),
        (b"b: {<<: {a: 1}}", "yaml_merge"),
        (b"a: !!python/object/apply:os.system [ls]", "yaml_tag"),
        (b"a: !custom 1", "yaml_tag"),
        (b"a: !!set {b}", "yaml_tag"),
        (b"a: !!int x", "yaml_tag"),
        (b"a\n---\nb", "several_documents"),
        (b"a: 1\nb: 2\na: 3", "duplicate_key"),
        (b"1: a", "invalid_key"),
        (b"true: a", "invalid_key"),
        (b"{a: 1}: b", "invalid_key"),
        (b"? [a]\n: b", "invalid_key"),
        (b"a: .nan", "not_finite"),
        (b"a: -.INF", "not_finite"),
        (b"a: 1e400", "not_finite"),
        (b"a: 99999999999999999999", "number_out_of_range"),
        (b"a: 0xFFFFFFFFFFFFFFFFF", "number_out_of_range"),
        (b'a: "\\0"', "nul_character"),
        (b"a: \x01", "invalid_yaml"),
        (b"a: [1", "invalid_yaml"),
        (b"a: b: c", "invalid_yaml"),
        (b"\tb: 1", "invalid_yaml"),
        (b"a: \xff", "invalid_utf8"),
    ],
)
def test_yaml_that_is_more_than_json_is_refused(data: bytes, code: str) -> None:
    error = refusal(data, "yaml")
    assert error.problem.code == code


def test_an_alias_bomb_is_refused_before_it_unfolds() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    assert refusal("\n".join(lines).encode(), "yaml").problem.code == "yaml_alias"


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


CYCLE: list[Any] = [1]
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    ("value", "code", "path"),
    [
        (math.nan, "not_finite", ""),
        ({"a": [1, math.inf]}, "not_finite", "/a/1"),
        ({"a": {1: 2}}, "invalid_key", "/a"),
        ([None, (1, 2)], "invalid_type", "/1"),
        ({"a": {1, 2}}, "invalid_type", "/a"),
        ([b"x"], "invalid_type", "/0"),
        ([object()], "invalid_type", "/0"),
        ([2**64], "number_out_of_range", "/0"),
        ([-(2**63) - 1], "number_out_of_range", "/0"),
        ([10**5000], "number_out_of_range", "/0"),
        (["\ud800"], "lone_surrogate", "/0"),
        ({"a~\0": 1}, "nul_character", ""),
        ({"a": "\0"}, "nul_character", "/a"),
        (CYCLE, "too_deep", "/1/1/1/1/1/1/1/1/…"),
        (["x" * 2000], "too_large", ""),
    ],
    ids=lambda value: repr(value)[:30] if not isinstance(value, list) else None,
)
def test_a_value_that_json_can_not_carry_is_refused_with_its_place(value: Any, code: str, path: str) -> None:
    with pytest.raises(JsonInvalid) as caught:
        check_json(value, bytes_max=1000)
    assert (caught.value.code, caught.value.path) == (code, path)
    assert isinstance(caught.value, ValueError)


def test_nesting_is_bounded_and_not_by_the_interpreter() -> None:
    assert check_json(deep(200), bytes_max=1000) == b"[" * 200 + b"]" * 200
    for levels in (201, 900, 100_000):
        value = deep(levels)
        with pytest.raises(JsonInvalid, match="deeper than 200"):
            check_json(value, bytes_max=10_000_000)
        while value:
            value = value.pop()


def test_damaged_bytes_of_our_own_are_told_and_not_guessed_at() -> None:
    with pytest.raises(JsonInvalid):
        decode_json(b"{")
