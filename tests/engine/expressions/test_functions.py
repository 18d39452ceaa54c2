"""Functions and macros beyond what the conformance suite covers."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from workflow_engine.engine.expressions import ExpressionFailed, Meter, Timestamp, compile_expression, to_json


def value_of(source: str, **context: Any) -> Any:
    return compile_expression(source).evaluate(context, Meter())


class LazyView(Mapping[str, Any]):
    """A mapping that computes its values, as the engine's views of steps do."""

    def __init__(self, names: list[str]) -> None:
        self.names = names

    def __getitem__(self, key: str) -> Any:
        if key not in self.names:
            raise KeyError(key)
        return {"output": f"of {key}"}

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("coalesce(null, 2, 1 / 0)", 2),
        ("coalesce(null, null)", None),
        ("coalesce(m.?x, m.?a)", 1),
        ("coalesce(false, true)", False),
        ("sum([])", 0),
        ("sum([1, 2, 3])", 6),
        ("[0.5, 1].sum()", 1.5),
        ("string(sum([duration('1m'), duration('1s')]))", "61s"),
        ("json([1, 1.5, 'é\"', null, true, {'a': []}])", '[1,1.5,"é\\"",null,true,{"a":[]}]'),
        ("json(timestamp(0))", '"1970-01-01T00:00:00Z"'),
        ('parse_json(\'[1, 1.5, "a", null, {"b": [true]}]\')', [1, 1.5, "a", None, {"b": [True]}]),
        ("parse_json(json(m)) == m", True),
        ("[[1, [2]], 3].flatten(2)", [1, 2, 3]),
        ("[[1, [2]], 3].flatten(0)", [[1, [2]], 3]),
        (
            "[1, 1.0, true, 'a', 'a', [1], [1.0], {'a': 1}, {'a': 1u}, null, null].distinct()",
            [1, True, "a", [1], {"a": 1}, None],
        ),
        ("[b'a', b'a', 'a'].distinct()", [b"a", "a"]),
        ("[3, 1.5, 2u].sort()", [1.5, 2, 3]),
        ("['b', 'a'].sort()", ["a", "b"]),
        ("[true, false].sort()", [False, True]),
        ("[].sort()", []),
        ("[{'n': 2, 'x': 'a'}, {'n': 1, 'x': 'b'}, {'n': 2, 'x': 'c'}].sortBy(e, e.n).map(e, e.x)", ["b", "a", "c"]),
        ("[1, 2].first().value() + [1, 2].last().value()", 3),
        ("[].first().hasValue()", False),
        ("lists.range(0)", []),
        ("sets.contains([[1], {'a': 1.0}], [{'a': 1}])", True),
        ("sets.contains([], [])", True),
        ("sets.equivalent([1, 1.0], [1u])", True),
        ("sets.equivalent([true], [1])", False),
        ("sets.intersects([0.0 / 0.0], [0.0 / 0.0])", False),
        ("steps.a.output", "of a"),
        ("steps['b'].output", "of b"),
        ("has(steps.a) && !has(steps.c)", True),
        ("steps.?c.output.orValue('none')", "none"),
        ("'a' in steps && !('c' in steps)", True),
        ("steps.map(name, steps[name].output)", ["of a", "of b"]),
        ("size(steps)", 2),
        ("steps == {'a': {'output': 'of a'}, 'b': {'output': 'of b'}}", True),
        ("{true: 'yes', 1: 'one', 'true': 's'}[true]", "yes"),
        ("{true: 'yes', 1: 'one'}[1]", "one"),
        ("has(nil.x)", False),
        ("nil.?x.orValue(1)", 1),
        ("nil[?'x'].orValue(1)", 1),
        ("x.map(x, x + 1)", [2, 3]),
        ("x.map(y, .x[0] + y)", [2, 3]),
        ("cel.bind(x, 7, x + 1)", 8),
        ("'%s and %s'.format([[1, 'a'], {'b': 2.5}])", "[1, a] and {b: 2.5}"),
        ("'a b'.split(' ').map(w, w.upperAscii()).join('+')", "A+B"),
        ("'é' < 'z'", False),
        ("string(1.0) + string(1e21) + string(0.5)", "11e+210.5"),
        ("t.getFullYear('Europe/Berlin')", 2027),
        ("string(t + duration('1ns'))", "2026-12-31T23:30:00.000000001Z"),
        ("string(timestamp('2026-01-01T00:00:00+01:00'))", "2025-12-31T23:00:00Z"),
        ("[1, 2, 3].exists(v, v / 0 == 1 || v == 2)", True),
        ("nobody || true", True),
        ("nothing(1) || true", True),
        ("{'a': 1}.transformMapEntry(k, v, {v: k})[1]", "a"),
        ("'aba'.lastIndexOf('', 3)", 3),
        ("{'in': 1}['in']", 1),
        ("parse_json('\"\\\\ud83d\\\\ude00\"')", "😀"),
    ],
)
def test_function_gives(source: str, wanted: Any) -> None:
    context = {
        "m": {"a": 1},
        "nil": None,
        "x": [1, 2],
        "steps": LazyView(["a", "b"]),
        "t": Timestamp.parse("2026-12-31T23:30:00Z"),
    }
    got = value_of(source, **context)
    assert (got, type(got)) == (wanted, type(wanted))


@pytest.mark.parametrize(
    "source",
    [
        "coalesce(m.x, 1)",
        "sum(['a'])",
        "sum(1)",
        "sum([9223372036854775807, 1])",
        "json(0.0 / 0.0)",
        "json({1: 2})",
        "json(int)",
        'parse_json(\'{"a": 1, "a": 2}\')',
        "parse_json('NaN')",
        "parse_json('-Infinity')",
        "parse_json('1e999')",
        "parse_json('18446744073709551616')",
        "parse_json('[1,]')",
        "parse_json('{')",
        "parse_json('\"\\\\ud800\"')",
        "parse_json(1)",
        "[1, 'a'].sort()",
        "[0.0 / 0.0, 1].sort()",
        "[[1]].sort()",
        "[1].flatten(-1)",
        "[1].slice(1, 0)",
        "'a'.getHours()",
        "timestamp('2026-02-30T00:00:00Z')",
        "timestamp(0).getHours('Nowhere/Land')",
        "timestamp(0).getHours('../../etc/passwd')",
        "timestamp(0).getHours('+25:00')",
        "duration('1')",
        "duration('1x')",
        "'a'.matches(1)",
        "'a'.matches('(' + 'x')",
        "{'a': 1, 'a': 2}",
        "{null: 1}",
        "[1][1]",
        "[1][-1]",
        "'abc'[0]",
        "m[null]",
        "1 in 'abc'",
        "m.a.b",
        "[?1]",
        "{'a': 1}.transformMapEntry(k, v, 1)",
        "[1, 1].transformMapEntry(i, v, {v: i})",
        "optional.none().value()",
        "1.orValue(2)",
        "m.a()",
        "__class__",
        "m.__class__",
        "''.__class__.__mro__",
    ],
)
def test_misuse_is_an_expression_error(source: str) -> None:
    with pytest.raises(ExpressionFailed) as failed:
        value_of(source, m={"a": 1})
    assert failed.value.type == "expression_error"


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (Timestamp.from_microseconds(1_500_000), "1970-01-01T00:00:01.5Z"),
        (Timestamp.parse("2026-01-31T12:00:00.123456789+02:00"), "2026-01-31T10:00:00.123456789Z"),
        ([1, {"a": b"hi"}], [1, {"a": "aGk="}]),
        ((1, 2), [1, 2]),
        (LazyView(["a"]), {"a": {"output": "of a"}}),
        (2**70, 2**70),
    ],
)
def test_value_leaves_as_json(value: Any, wanted: Any) -> None:
    assert to_json(value) == wanted


def test_json_leaves_without_a_copy() -> None:
    value = {"a": [1, {"b": None}], "c": 1.5}
    assert to_json(value) is value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1: 2}, object()])
def test_value_without_json_is_refused(value: Any) -> None:
    with pytest.raises(ExpressionFailed):
        to_json(value)


def test_deep_value_is_refused_without_recursion_error() -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    for source in ("json(d)", "d == e", "[d].distinct()", "d.flatten(10000)", "'%s'.format([d])", "d in [e]"):
        with pytest.raises(ExpressionFailed) as failed:
            value_of(source, d=deep, e=[[deep]][0])
        assert failed.value.type == "expression_limit", source
    with pytest.raises(ExpressionFailed):
        to_json(deep)
    with pytest.raises(ExpressionFailed):
        value_of("parse_json(t)", t="[" * 100_000 + "]" * 100_000)
