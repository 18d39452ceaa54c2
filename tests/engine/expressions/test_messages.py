"""Messages name the place and the way out."""

from typing import Any

import pytest

from workflow_engine.engine.expressions import (
    ExpressionFailed,
    ExpressionInvalid,
    Meter,
    compile_expression,
    evaluate_condition,
)


@pytest.mark.parametrize(
    ("source", "position", "message", "hint"),
    [
        ("a = 1", 2, "unexpected character '='", "=="),
        ("a & b", 2, "unexpected character '&'", "&&"),
        ("a | b", 2, "unexpected character '|'", "||"),
        ("${ a }", 0, "unexpected character '$'", "without ${ }"),
        ("a and b", 2, "expected an operator or the end, but there is 'and'", "&&"),
        ("not a", 4, "expected an operator or the end, but there is 'a'", None),
        ("if a", 0, "'if' is a reserved word", "condition ? a : b"),
        ("(a", 2, "expected ')', but the expression ends", "'(' at character 0 is not closed"),
        ("a)", 1, "expected an operator or the end, but there is ')'", "no '(' is open"),
        ("'abc", 0, "closing '", None),
        ("'a\nb'", 0, "closing '", "three quotes"),
        ("a.", 2, "expected a field name", None),
        ("a.in", 2, "expected a field name", "['in']"),
        ("a ? b", 5, "expected ':'", None),
        ("", 0, "the expression is empty", None),
        ("1a", 0, "'1a' is no number", "digit"),
        ("'\\q'", 1, "is no escape", "raw string"),
        ("9223372036854775808", 0, "does not fit into an int", "u behind it"),
        ("size()", 0, "size takes 1 argument, not 0", None),
        ("'a'.substring()", 0, "substring takes 1 to 2 arguments, not 0", None),
        ("a.map(1, 2)", 6, "name of a variable", "list.map(x, value)"),
        ("a.all(x)", 0, "all takes 2 or 3 arguments, not 1", "list.all(x, condition)"),
        ("has(a)", 4, "has needs a field", '"key" in map'),
        ("Message{a: 1}", 7, "messages cannot be built", '{"key": value}'),
        ("a.matches('(?=x)')", 10, "bad pattern", "RE2"),
        ("a.matches('(?:a{1000}){1000}')", 10, "bad pattern", "RE2"),
        ("a.matches('(.)\\\\1')", 10, "bad pattern", "RE2"),
        ("x.transformList(i, i, 1)", 0, "different names", None),
        ("coalesce()", 0, "coalesce needs a value", "first not null"),
    ],
)
def test_source_that_does_not_compile(source: str, position: int, message: str, hint: str | None) -> None:
    with pytest.raises(ExpressionInvalid) as invalid:
        compile_expression(source)
    error = invalid.value
    assert error.position == position
    assert message in error.message
    assert f"(at character {position})" in str(error)
    if hint is not None:
        assert error.hint is not None
        assert hint in error.hint


CONTEXT: dict[str, Any] = {
    "input": {"kind": "x", "n": 1, "list": [1]},
    "steps": {"pay": {"output": None}},
    "vars": {f"name_{number}": number for number in range(30)},
}


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("input.knd", ["no key 'knd' in input", "kind, n, list", ".?knd"]),
        ("vars.x", ["name_0", "... (30 in all)"]),
        ("steps.pay.output.total", ["'total' of steps.pay.output, which is null", ".?total"]),
        ("input.n.x", ["'x' of input.n", "no map but int"]),
        ("inptu.x", ["no variable 'inptu'", "input, steps, vars"]),
        ("input.list.map(item, itm)", ["no variable 'itm'", "item"]),
        ("input.list[3]", ["no element 3 in input.list, which has 1", "[?3]"]),
        ("input['a' + 'b']", ["no key 'ab'", "[?'ab']"]),
        ("'a' + 1", ["no operator + between string and int", "string(x)"]),
        ("input.n + null", ["between int and null", "coalesce"]),
        ("input.?n + 1", ["optional", ".orValue"]),
        ("input.kind < 1", ["no operator < between string and int"]),
        ("input.n && true", ["&& needs bools, got int"]),
        ("!input.n", ["! needs a bool, got int"]),
        ("input.n ? 1 : 2", ["needs a bool, got int"]),
        ("nope(1)", ["no function 'nope'"]),
        ("math.nope(1)", ["no function 'math.nope'"]),
        ("startsWith('a', 'b')", ["no function 'startsWith'", "x.startsWith(...)"]),
        ("lowerAscii(1)", ["x.lowerAscii(...)"]),
        ("1.startsWith('a')", ["startsWith needs a string as its target, got int"]),
        ("[1].join()", ["join needs a string", "string(x)"]),
        ("int('x')", ["'x' is not an int"]),
        ("timestamp('yesterday')", ["'yesterday' is no RFC 3339 timestamp"]),
        ("input.list.filter(x, x)", ["condition of filter", "got int"]),
        ("input.list.exists(x, x.y)", ["'y' of x"]),
    ],
)
def test_evaluation_that_fails(source: str, parts: list[str]) -> None:
    with pytest.raises(ExpressionFailed) as failed:
        compile_expression(source).evaluate(CONTEXT, Meter())
    assert failed.value.type == "expression_error"
    for part in parts:
        assert part in failed.value.message


def test_condition_that_is_no_bool_names_the_type() -> None:
    with pytest.raises(ExpressionFailed, match=r"input\.kind gave string"):
        evaluate_condition(compile_expression("input.kind"), CONTEXT, Meter())
    assert evaluate_condition(compile_expression("input.kind == 'x'"), CONTEXT, Meter()) is True


def test_message_stays_short_whatever_the_data() -> None:
    context = {"m": {"k" * 10_000 + str(number): 1 for number in range(1000)}, "t": "x" * 1_000_000}
    for source in ("m.x", "m[t]", "int(t)", "timestamp(t)", "bool(t)", "m.x.y.z", "timestamp(0).getHours(t)"):
        with pytest.raises(ExpressionFailed) as failed:
            compile_expression(source).evaluate(context, Meter())
        assert len(failed.value.message) < 1500, source
