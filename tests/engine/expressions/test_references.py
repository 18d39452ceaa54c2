"""An expression knows what it refers to, and can show what each of its parts gave."""

import pytest

from workflow_engine.engine.expressions import Meter, compile_expression


@pytest.mark.parametrize(
    ("source", "references"),
    [
        ("vars.over", {("vars", "over")}),
        ("steps.pay.output.status == 'ok' && input.n > 1", {("steps", "pay", "output", "status"), ("input", "n")}),
        ("input", {("input",)}),
        ("steps[x].output", {("steps",), ("x",)}),
        ("steps['pay'].output", {("steps", "pay", "output")}),
        ("a.?b.c", {("a", "b", "c")}),
        ("a[?'b']", {("a", "b")}),
        ("has(a.b)", {("a", "b")}),
        ("a.b[0].c", {("a", "b")}),
        ("a.b.size() + size(c.d)", {("a", "b"), ("c", "d")}),
        ("rows.map(x, x.a + y.b)", {("rows",), ("y", "b")}),
        ("x.map(x, x)", {("x",)}),
        ("x.map(y, .y + z)", {("x",), ("y",), ("z",)}),
        ("cel.bind(v, a.b, v + w)", {("a", "b"), ("w",)}),
        ("cel.bind(v, v, v)", {("v",)}),
        ("m.transformMap(k, v, k == v.x && z)", {("m",), ("z",)}),
        ("m.exists(k, v, k == o) && k", {("m",), ("o",), ("k",)}),
        ("o.optMap(v, v + w)", {("o",), ("w",)}),
        ("coalesce(a.b, c)", {("a", "b"), ("c",)}),
        ("a ? b : [c, {d: e}, -f, !g]", {(name,) for name in "abcdefg"}),
        ("math.abs(a) + type(int) + google.protobuf.Timestamp", {("a",)}),
        ("'x'.matches('y')", set()),
        ("unknown(a.b)", {("a", "b")}),
        ("a.or(b).orValue(c)", {("a",), ("b",), ("c",)}),
        ("a in b", {("a",), ("b",)}),
    ],
)
def test_references_are_the_longest_static_paths(source: str, references: set[tuple[str, ...]]) -> None:
    assert compile_expression(source).references == references


@pytest.mark.parametrize(
    ("source", "functions"),
    [
        ("size(a) + a.size() + math.abs(1)", set()),
        ("nope(1) + a.nix() + math.zilch(2) + cel.zero()", {"nope", "nix", "math.zilch", "cel.zero"}),
        ("startsWith('a', 'b')", {"startsWith"}),
    ],
)
def test_unknown_functions_are_known(source: str, functions: set[str]) -> None:
    assert compile_expression(source).functions == functions


def test_trace_shows_every_part_outermost_first() -> None:
    expression = compile_expression("vars.n > 3 && input.kind == 'x'")
    assert expression.trace({"vars": {"n": 4}, "input": {"kind": "y"}}, Meter()) == [
        ("vars.n > 3 && input.kind == 'x'", False),
        ("vars.n > 3", True),
        ("vars.n", 4),
        ("input.kind == 'x'", False),
        ("input.kind", "y"),
    ]


def test_trace_leaves_out_what_was_not_evaluated_and_shows_errors() -> None:
    trace = compile_expression("a.b || c").trace({"a": {}, "c": False}, Meter())
    assert [source for source, _ in trace] == ["a.b || c", "a.b", "c"]
    assert "no key 'b'" in trace[0][1]
    assert trace[0][1] == trace[1][1]
    assert compile_expression("a || b").trace({"a": True}, Meter()) == [("a || b", True), ("a", True)]


def test_trace_is_bounded_and_never_raises() -> None:
    trace = compile_expression("lists.range(5000).map(x, x + 1)").trace({}, Meter())
    assert len(trace) == 500
    assert trace[0][1][:2] == [1, 2]
    limited = compile_expression("lists.range(5000).map(x, x + 1)").trace({}, Meter(100))
    assert limited[0][1].startswith("expression_limit")
    assert compile_expression("a + 1").trace({"a": 1}, Meter(0))[0][1].startswith("expression_limit")
    assert compile_expression("0.0 / a").trace({"a": 0}, Meter())[0] == ("0.0 / a", "NaN has no JSON value")
