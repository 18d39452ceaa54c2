"""Numbers mix freely, stay exact, and never overflow in silence."""

from typing import Any

import pytest

from workflow_engine.engine.expressions import ExpressionFailed, Meter, Uint, compile_expression


def value_of(source: str, **context: Any) -> Any:
    return compile_expression(source).evaluate(context, Meter())


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("1 + 0.5", 1.5),
        ("0.5 + 1", 1.5),
        ("n * 2", 3.0),
        ("2 * n", 3.0),
        ("3 - 0.5", 2.5),
        ("7 / 2", 3),
        ("-7 / 2", -3),
        ("7 / -2", -3),
        ("7.0 / 2", 3.5),
        ("7 / 2.0", 3.5),
        ("-7 % 3", -1),
        ("7 % -3", 1),
        ("1u + 1u", Uint(2)),
        ("1u + 1", 2),
        ("1 - 2u", -1),
        ("1 + 2 - 3 + 4 * 2 - 1", 7),
        ("1 + 2 + 3 + 4 + 5 + 0.5", 15.5),
        ("-n", -1.5),
        ("9223372036854775807 + 0", 2**63 - 1),
        ("-9223372036854775808 + 0", -(2**63)),
        ("4611686018427387904 * 2u", Uint(2**63)),
    ],
)
def test_arithmetic_gives_value_and_type(source: str, wanted: Any) -> None:
    got = value_of(source, n=1.5)
    assert (got, type(got)) == (wanted, type(wanted))


@pytest.mark.parametrize(
    "source",
    [
        "9223372036854775807 + 1",
        "-9223372036854775808 - 1",
        "9223372036854775807 * 2",
        "-9223372036854775808 / -1",
        "-(-9223372036854775808)",
        "18446744073709551615u + 1u",
        "0u - 1u",
        "1 / 0",
        "1 % 0",
        "1u / 0u",
        "big + 1",
        "big * big",
        "-(2u)",
        "1.5 % 1",
        "true + 1",
        "null + 1",
        "'1' + 1",
    ],
)
def test_what_has_no_result_fails(source: str) -> None:
    with pytest.raises(ExpressionFailed) as failed:
        value_of(source, big=2**80)
    assert failed.value.type == "expression_error"


@pytest.mark.parametrize(
    "source",
    [
        "1 == 1.0",
        "1u == 1.0",
        "9007199254740993 != 9007199254740992.0",
        "9007199254740993 > 9007199254740992.0",
        "1 < 1.5 && 1.5 < 2",
        "2u > 1 && 1 < 2u",
        "true != 1",
        "!(false == 0)",
        "'1' != 1",
        "null != 0",
        "0.0 == -0.0",
        "0.0 / 0.0 != 0.0 / 0.0",
        "1.0 / 0 > 1e308",
        "big > 1 && big == 18446744073709551615u",
        "[1, 2.0] == [1.0, 2]",
        "{'a': 1} == {'a': 1.0}",
        "1 in [1.0]",
        "!(true in [1])",
        "!(1 in [true])",
        "{1: 'a'}[1.0] == 'a'",
        "[10, 20][1.0] == 20",
        "type(big) == uint",
        "big - 1u == 18446744073709551614u",
    ],
)
def test_comparison_holds(source: str) -> None:
    assert value_of(source, big=2**64 - 1) is True
