"""Templates: JSON values with expressions in their strings."""

from typing import Any

import pytest
from affordable import affordable

from workflow_engine.engine.expressions import (
    Expression,
    ExpressionFailed,
    Meter,
    TemplateInvalid,
    Timestamp,
    compile_template,
    split_template,
)

CONTEXT: dict[str, Any] = {
    "vars": {"n": 4, "name": "Ada", "list": [1, "a"], "nil": None, "half": 0.5},
    "now": Timestamp.parse("2026-01-31T12:00:00Z"),
}


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        ("${ vars.n }", 4),
        ("${vars.list}", [1, "a"]),
        ("${ vars.nil }", None),
        ("${ now }", "2026-01-31T12:00:00Z"),
        (" ${ vars.n }", " 4"),
        ("${ vars.n }${ vars.n }", "44"),
        ("Hello ${ vars.name }!", "Hello Ada!"),
        ("${ vars.list } and ${ vars.nil } and ${ vars.half }", '[1,"a"] and null and 0.5'),
        ("at ${ now }", "at 2026-01-31T12:00:00Z"),
        ("$${ vars.n }", "${ vars.n }"),
        ("$$${ vars.n }", "$${ vars.n }"),
        ("a $${ b ${ vars.n }", "a ${ b 4"),
        ("costs 5$", "costs 5$"),
        ("$ { }", "$ { }"),
        ("${ {'a': {'b': 1}} }", {"a": {"b": 1}}),
        ("${ '}' }", "}"),
        ("${ \"}\" + '}' }", "}}"),
        ("${ r'\\' }x", "\\x"),
        ("${ '''it's }''' }", "it's }"),
        ("${ {'a': '${'} }", {"a": "${"}),
        ({"a": ["${ vars.n }", 1, {"b": "x${ vars.n }"}], "c": None}, {"a": [4, 1, {"b": "x4"}], "c": None}),
        ({"${ vars.n }": 1}, {"${ vars.n }": 1}),
        ("{{ vars.n }}", "{{ vars.n }}"),
        ("__class__ ../../etc/passwd", "__class__ ../../etc/passwd"),
    ],
)
def test_template_gives(template: Any, wanted: Any) -> None:
    got = compile_template(template).evaluate(CONTEXT, Meter())
    assert (got, type(got)) == (wanted, type(wanted))


def test_constant_is_returned_as_it_is_and_costs_nothing() -> None:
    value = {"a": [1, "text", {"b": None}]}
    template, meter = compile_template(value), Meter()
    assert template.is_constant
    assert template.evaluate({}, meter) is value
    assert meter.spent == 0


def test_constant_part_is_not_copied() -> None:
    value = {"constant": {"deep": [1]}, "n": "${ vars.n }"}
    template = compile_template(value)
    assert not template.is_constant
    first, second = (template.evaluate(CONTEXT, Meter()) for _ in range(2))
    assert first["constant"] is second["constant"] is value["constant"]
    assert first is not second


def test_references_and_functions_of_all_expressions() -> None:
    template = compile_template({"a": "${ vars.n }", "b": ["x ${ steps.a.output + nope(1) }"]})
    assert template.references == {("vars", "n"), ("steps", "a", "output")}
    assert template.functions == {"nope"}


def test_every_error_is_reported_with_its_pointer_and_place() -> None:
    with pytest.raises(TemplateInvalid) as invalid:
        compile_template({"a/b": ["ok", "x ${ 1 + }"], "c~d": "${ a", "e": "${}", "f": "${ vars.n }"})
    errors = dict(invalid.value.errors)
    assert list(errors) == ["/a~1b/1", "/c~0d", "/e"]
    assert errors["/a~1b/1"].position == 8
    assert "not closed" in errors["/c~0d"].message
    assert errors["/e"].message == "the expression is empty"


def test_failure_names_the_pointer() -> None:
    template = compile_template({"body": {"total": "${ vars.totl }"}})
    with pytest.raises(ExpressionFailed, match=r"^/body/total: there is no key 'totl'"):
        template.evaluate(CONTEXT, Meter())


@pytest.mark.parametrize("template", ["${ 0.0 / 0.0 }", "${ int }", "${ {1: 2} }", "x ${ vars.?n }"])
def test_value_without_json_fails(template: str) -> None:
    with pytest.raises(ExpressionFailed) as failed:
        compile_template(template).evaluate(CONTEXT, Meter())
    assert failed.value.type == "expression_error"


def test_split_template_gives_the_parts() -> None:
    parts = split_template("Bearer ${ secrets.token } $${x}")
    assert [part.source if isinstance(part, Expression) else part for part in parts] == [
        "Bearer ",
        "secrets.token",
        " ${x}",
    ]


@pytest.mark.parametrize("template", ["${" * 50_000, "${ a }" * 50_000, '${ "' + "a" * 1_000_000, "${ a }" * 1001])
def test_template_bombs_are_refused_at_little_cost(template: str) -> None:
    for _ in affordable(cpu_s=2):
        with pytest.raises(TemplateInvalid):
            compile_template(template)


def test_deep_template_is_refused() -> None:
    value: Any = "${ a }"
    for _ in range(1000):
        value = [value]
    with pytest.raises(TemplateInvalid):
        compile_template(value)


def test_large_interpolation_is_bounded_by_the_budget() -> None:
    template = compile_template([f"${{ vars.text }} {number}" for number in range(500)])
    with pytest.raises(ExpressionFailed) as failed:
        template.evaluate({"vars": {"text": "x" * 1_000_000}}, Meter())
    assert failed.value.type == "expression_limit"
