"""JSON Schemas of tenants: the right answers, and no way to make the check slow."""

from typing import Any

import pytest
from affordable import affordable
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from referencing import Registry

from workflow_engine.models.errors import InputInvalid
from workflow_engine.services.input_schema import InputSchema, check_form, input_checker

CPU_S = 8.0
"""A million steps cost one to three seconds."""


def places(schema: Any, value: Any) -> list[str]:
    return [problem.path for problem in input_checker(schema)(value)]


SCHEMAS: list[tuple[Any, list[Any], list[Any]]] = [
    ({"type": "integer"}, [1, 1.0, -3], [1.5, "1", True, None]),
    ({"type": ["string", "null"]}, ["", None], [0, []]),
    ({"type": "number"}, [1, 1.5], [True, "1"]),
    ({"const": 1}, [1, 1.0], [True, "1", [1]]),
    ({"enum": [0, False, [1, {"a": 1.0}]]}, [0, False, [1.0, {"a": 1}]], [True, None, [1, {"a": True}]]),
    ({"multipleOf": 0.1}, [0.3, 1, 4.5], [0.35]),
    ({"multipleOf": 0.123456789}, [0], [1e308]),
    ({"minLength": 2, "maxLength": 3}, ["ab", "😀😀", 5], ["a", "abcd"]),
    ({"pattern": "^\\p{L}+\\d$"}, ["ä1", 3], ["1", "ab"]),
    ({"pattern": "\\u00e4"}, ["xäx"], ["x"]),
    ({"uniqueItems": True}, [[1, True, "1"], [[1], [True]]], [[1, 1.0], [{"a": 1, "b": 2}, {"b": 2.0, "a": 1}]]),
    ({"minItems": 1, "maxItems": 2}, [[1], [1, 2], {}], [[], [1, 2, 3]]),
    ({"required": ["a"], "dependentRequired": {"a": ["b"]}}, [{"a": 1, "b": 2}, 3], [{}, {"a": 1}]),
    ({"properties": {"a": {"type": "null"}}, "additionalProperties": False}, [{"a": None}, {}], [{"a": 1}, {"b": 1}]),
    (
        {"patternProperties": {"^x-": {"type": "integer"}}, "additionalProperties": {"type": "string"}},
        [{"x-a": 1, "b": "c"}],
        [{"x-a": "1"}, {"b": 1}],
    ),
    ({"propertyNames": {"maxLength": 2}}, [{"ab": 1}], [{"abc": 1}]),
    ({"prefixItems": [{"type": "string"}], "items": {"type": "integer"}}, [["a", 1], []], [[1], ["a", "b"]]),
    ({"contains": {"const": 1}, "minContains": 2, "maxContains": 3}, [[1, 1, 2]], [[1], [1, 1, 1, 1], []]),
    ({"contains": {"const": 1}, "minContains": 0}, [[]], []),
    ({"allOf": [{"minimum": 1}, {"maximum": 2}]}, [1, "x"], [0, 3]),
    ({"anyOf": [{"minimum": 5}, {"type": "string"}]}, [5, "x"], [4]),
    ({"oneOf": [{"minimum": 5}, {"multipleOf": 2}]}, [5, 4], [6, 3]),
    ({"not": {"type": "null"}}, [1], [None]),
    ({"if": {"minimum": 5}, "then": {"maximum": 6}, "else": {"multipleOf": 2}}, [5, 4], [7, 3]),
    ({"dependentSchemas": {"a": {"required": ["b"]}}}, [{"b": 1}, {"a": 1, "b": 1}], [{"a": 1}]),
    ({"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer"}}, "maximum": 3}, [3], ["x", 4]),
    (
        {"$defs": {"t": {"$anchor": "tree", "properties": {"kids": {"items": {"$ref": "#tree"}}}, "required": ["v"]}},
         "$ref": "#tree"},
        [{"v": 1, "kids": [{"v": 2}]}],
        [{"v": 1, "kids": [{"v": 2, "kids": [{}]}]}],
    ),
    (
        {"allOf": [{"properties": {"a": True}}], "properties": {"b": True}, "unevaluatedProperties": False},
        [{"a": 1, "b": 2}],
        [{"c": 1}],
    ),
    (
        {"anyOf": [{"properties": {"a": {"const": 1}}, "required": ["a"]}, {"properties": {"b": True}}],
         "unevaluatedProperties": False},
        [{"a": 1, "b": 1}, {"b": 3}],
        [{"a": 2}, {"c": 1}],
    ),
    ({"prefixItems": [True], "contains": {"const": 9}, "unevaluatedItems": False}, [[1, 9]], [[1, 2, 9]]),
    (
        {"if": {"properties": {"a": {"const": 1}}, "required": ["a"]}, "unevaluatedProperties": False},
        [{"a": 1}],
        [{"a": 2}],
    ),
    (False, [], [1, None]),
    (True, [1], []),
    ({"format": "email"}, ["no address"], []),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "good", "bad"), SCHEMAS, ids=lambda given: repr(given)[:40])
def test_a_keyword_takes_what_the_specification_says(schema: Any, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        assert places(schema, value) == [], value
    for value in bad:
        assert places(schema, value) != [], value


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([0.5, 1.0, 2.0])
    | st.sampled_from(["", "a", "ab"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3),
    max_leaves=8,
)
_types = st.sampled_from(["null", "boolean", "object", "array", "string", "number", "integer"])


def _with_schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    named = st.dictionaries(st.sampled_from(["a", "b", "^a", "c"]), inner, max_size=2)
    some = st.lists(inner, min_size=1, max_size=3)
    single = [
        "not", "if", "then", "else", "items", "contains", "additionalProperties", "unevaluatedProperties",
        "unevaluatedItems", "propertyNames",
    ]  # fmt: skip
    return st.fixed_dictionaries(
        {},
        optional={
            "type": _types,
            "const": _values,
            "enum": st.lists(_values, min_size=1, max_size=3),
            "minimum": st.integers(-2, 2),
            "exclusiveMaximum": st.integers(-2, 2),
            "multipleOf": st.sampled_from([1, 2, 0.5]),
            "minLength": st.integers(0, 2),
            "pattern": st.sampled_from(["a", "^b?$", "."]),
            "uniqueItems": st.booleans(),
            "maxItems": st.integers(0, 2),
            "minProperties": st.integers(0, 2),
            "minContains": st.integers(0, 2),
            "required": st.lists(st.sampled_from(["a", "b"]), unique=True, max_size=2),
            "properties": named,
            "patternProperties": named,
            "dependentSchemas": named,
            **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), some),
            **dict.fromkeys(single, inner),
        },
    )


_schemas = st.recursive(st.booleans() | st.just({}), _with_schemas, max_leaves=6).filter(lambda one: one is not True)


@settings(max_examples=400, deadline=None)
@given(schema=_schemas, value=_values)
def test_the_verdict_is_the_one_of_the_reference_validator(schema: Any, value: Any) -> None:
    expected = Draft202012Validator(schema, registry=Registry()).is_valid(value)
    assert (places(schema, value) == []) is expected


def test_problems_name_the_place_and_stay_short() -> None:
    schema = {"properties": {"a/b": {"items": {"type": "integer"}}}, "required": ["z"], "additionalProperties": False}
    value = {"a/b": [1, "x" * 10_000], "extra": {"y" * 10_000: 1}}
    problems = input_checker(schema)(value)
    assert [problem.path for problem in problems] == ["", "/a~1b/1", "/extra"]
    assert all(len(problem.message) < 200 for problem in problems)


def test_messages_show_what_is_wanted_and_what_came() -> None:
    schema = {"properties": {"size": {"enum": ["s", "m"]}, "n": {"maximum": 3}, "t": {"type": ["string", "null"]}}}
    problems = input_checker(schema)({"size": "xl", "n": 4, "t": 1})
    assert [problem.message for problem in problems] == [
        'must be one of "s", "m", not "xl"',
        "must be at most 3, not 4",
        "must be text or null, not 1",
    ]


def test_at_most_a_hundred_problems_are_told() -> None:
    assert len(places({"items": {"type": "string"}}, [0] * 5_000)) == 100


_fan_out = {
    "$ref": "#/$defs/l0",
    "$defs": {f"l{n}": {"anyOf": [{"$ref": f"#/$defs/l{n + 1}"}] * 10} for n in range(12)} | {"l12": False},
}
HOSTILE: list[tuple[str, Any, Any]] = [
    ("a backtracking pattern", {"pattern": "^(a+)+$"}, "a" * 50_000 + "b"),
    ("a large pattern on a large text", {"pattern": "(?:a?){500}b"}, "a" * 1_000_000),
    ("patterns for many names", {"patternProperties": {f"(a?){{50}}{n}": True for n in range(150)}},
     {f"{n:050}": n for n in range(5_000)}),
    ("references that fan out", _fan_out, 1),
    ("unique items", {"uniqueItems": True}, [[n, {"a": n}] for n in range(60_000)]),
    ("a long enum of large values", {"items": {"enum": [list(range(500))] * 50}}, [list(range(500))] * 400),
    ("many wrong items below anyOf", {"items": {"anyOf": [{"type": "string"}] * 500}}, list(range(20_000))),
    ("a large value in every message", {"allOf": [{"type": "string"}] * 2_000}, ["x" * 1_000] * 1_000),
    ("required names", {"items": {"required": [str(n) for n in range(5_000)]}}, [{}] * 5_000),
    ("recursion on the same value", {"$ref": "#"}, 1),
    ("deep recursion", {"items": {"allOf": [{"$ref": "#"}]}}, None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "schema", "value"), HOSTILE, ids=[name for name, _, _ in HOSTILE])
def test_a_hostile_schema_costs_no_more_than_its_steps(name: str, schema: Any, value: Any) -> None:
    if name == "deep recursion":
        value = []
        for _ in range(199):
            value = [value]
    for _ in affordable(CPU_S):
        input_checker(schema)(value)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "https://json-schema.org/draft/2020-12/schema"},
        {"$ref": "http://127.0.0.1:1/x"},
        {"$ref": "file:///etc/passwd"},
        {"$ref": "#/$defs/none"},
        {"pattern": "(?=a)"},
        {"pattern": "("},
        {"type": "strin"},
        {"properties": 3},
        {"minLength": "x"},
        {"required": 5},
        {"allOf": [3]},
    ],
    ids=repr,
)
def test_a_schema_that_can_not_be_used_says_so_and_fetches_nothing(schema: Any) -> None:
    (problem,) = input_checker(schema)({"a": "b"} if "pattern" not in schema and "minLength" not in schema else "x")
    assert problem.code == "schema_unusable"


async def test_a_costly_check_is_refused_without_holding_the_loop() -> None:
    with pytest.raises(InputInvalid) as refused:
        await InputSchema(_fan_out).check(1)
    assert refused.value.problems[0].code == "schema_too_costly"


async def test_a_form_is_checked_and_must_be_a_schema() -> None:
    await check_form(None, 1)
    await check_form({"type": "integer"}, 1)
    with pytest.raises(InputInvalid, match="whole number"):
        await check_form({"type": "integer"}, "x")
    with pytest.raises(InputInvalid, match="no schema"):
        await check_form({"type": "nothing"}, "x")
