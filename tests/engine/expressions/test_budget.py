"""Nothing runs longer or grows larger than the budget allows."""

import importlib.util
import inspect
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from affordable import affordable

from workflow_engine.engine.expressions import ExpressionFailed, ExpressionInvalid, Meter, compile_expression

BYTES_MAX = 40_000_000


def _load_hostile() -> Callable[[int], dict[str, tuple[str, dict[str, Any]]]]:
    path = Path(__file__).parents[3] / "bench" / "expressions.py"
    spec = importlib.util.spec_from_file_location("bench_expressions", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return cache(module.hostile)


hostile = _load_hostile()


def outcome_of(source: str, context: dict[str, Any], meter: Meter) -> str:
    """`done`, or the type of the failure."""
    expression = compile_expression(source)
    try:
        expression.evaluate(context, meter)
    except ExpressionFailed as failed:
        return failed.type
    return "done"


@pytest.fixture
def _traced_memory() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("_traced_memory")
@pytest.mark.parametrize("name", hostile(1))
def test_hostile_expression_ends_small(name: str) -> None:
    for rounds in (30, 20_000):
        source, context = hostile(rounds)[name]
        meter = Meter()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        outcome = outcome_of(source, context, meter)
        assert (outcome == "expression_limit") == (meter.spent > meter.limit)
        assert tracemalloc.get_traced_memory()[1] - before < BYTES_MAX


def test_hostile_expressions_end_soon() -> None:
    # One bound for all of them together: single ones would measure the machine's mood.
    for _ in affordable(cpu_s=0.1 * len(hostile(1))):
        for source, context in hostile(1000).values():
            outcome_of(source, context, Meter())


@pytest.mark.parametrize(
    "name",
    ["8 nested all", "doubled text", "doubled list", "shared lists as JSON", "shared lists compared", "range"],
)
def test_bomb_ends_at_the_limit(name: str) -> None:
    source, context = hostile(1000)[name]
    with pytest.raises(ExpressionFailed) as failed:
        compile_expression(source).evaluate(context, Meter())
    assert failed.value.type == "expression_limit"
    assert "1,000,000 units" in failed.value.message


@pytest.mark.parametrize(
    "source",
    [
        "lists.range(1000000000).size() > 0 || true",
        "true || lists.range(1000000000).size() > 0 ? lists.range(1000000000) : []",
        "[1].exists(x, lists.range(1000000000).size() > 0) || true",
        "[1, 2].all(x, x == 3 && lists.range(1000000000).size() > 0 || lists.range(1000000000) == [])",
    ],
)
def test_nothing_absorbs_a_spent_budget(source: str) -> None:
    with pytest.raises(ExpressionFailed) as failed:
        compile_expression(source).evaluate({}, Meter())
    assert failed.value.type == "expression_limit"


def test_one_meter_counts_over_several_evaluations() -> None:
    source, meter = "lists.range(100).map(x, x + 1)", Meter(4000)
    assert outcome_of(source, {}, meter) == "done"
    assert 1000 < meter.spent < 2000
    assert [outcome_of(source, {}, meter) for _ in range(2)] == ["done", "expression_limit"]
    assert outcome_of("1", {}, meter) == "expression_limit"


def test_units_are_the_same_every_time() -> None:
    for name, (source, context) in hostile(100).items():
        meters = Meter(100_000), Meter(100_000)
        for meter in meters:
            outcome_of(source, context, meter)
        assert meters[0].spent == meters[1].spent, name


def test_everyday_work_is_cheap() -> None:
    meter = Meter()
    items = [{"price": 1.5, "count": number, "name": f"item {number}"} for number in range(1000)]
    source = "items.filter(i, i.count > 10 && i.name.startsWith('item')).map(i, i.price * i.count).sum()"
    assert compile_expression(source).evaluate({"items": items}, meter) > 0
    assert meter.spent < 70_000


BOMBS = [
    "!!(!!!!((" * 5,
    "(" * 10_000,
    "(" * 4_000,
    "[" * 4_000,
    "!" * 4_095 + "a",
    "-" * 4_000 + "1",
    "a" + "[0]" * 1_300,
    "a" + ".b" * 2_000,
    "a" + ".f()" * 1_000,
    "f(" * 2_000,
    "{1:" * 1_300,
    "a ? b : " * 500 + "c",
    "a ? " * 1_000 + "b" + " : c" * 1_000,
    "x" + ".map(y, y)" * 400,
    "x.map(y, " * 400,
    "a" * 1_000_000,
    "é" * 4_000,
    '"' + "\\" * 4_000,
    "'''" + "a" * 4_000,
    "`" * 4_000,
    "'a'.matches('" + "\\\\pL" * 800 + "')",
    "||".join(["'a'.matches('\\\\pL{100}')"] * 150),
    "'a'.matches('" + "(" * 500 + "')",
]


@pytest.mark.parametrize("source", BOMBS)
def test_parser_bomb_is_refused_at_little_cost(source: str) -> None:
    for _ in affordable(cpu_s=0.25):
        with pytest.raises(ExpressionInvalid) as invalid:
            compile_expression(source)
    assert len(str(invalid.value)) < 500


@pytest.mark.parametrize(
    "source",
    [
        " + ".join(["1"] * 1000),
        " && ".join(["true"] * 500),
        "[" + "1," * 2000 + "1]",
        "(" * 63 + "1" + ")" * 63,
        "true ? true : " * 60 + "true",
        "a" + "['a']" * 140,
    ],
)
def test_what_is_only_long_compiles_and_runs(source: str) -> None:
    nested: dict[str, Any] = {}
    nested["a"] = nested
    compile_expression(source).evaluate({"a": nested}, Meter())


def test_expressions_evaluate_close_to_the_recursion_limit() -> None:
    expression = compile_expression("(" * 60 + "a" + "+1)" * 60)

    def sink(depth: int) -> Any:
        return expression.evaluate({"a": 0}, Meter()) if depth == 0 else sink(depth - 1)

    assert sink(300) == 60
    left = sys.getrecursionlimit() - len(inspect.stack(context=0))
    with pytest.raises(ExpressionFailed) as failed:
        sink(left - 40)
    assert failed.value.type == "expression_limit"


@pytest.mark.parametrize("name", ["8 nested all", "shared lists as JSON", "shared lists distinct", "mixed arithmetic"])
def test_speed_does_not_depend_on_the_depth_of_the_caller(name: str) -> None:
    source, context = hostile(10_000)[name]
    expression = compile_expression(source)

    def measure(depth: int) -> float:
        if depth:
            return measure(depth - 1)
        start = time.thread_time()
        with pytest.raises(ExpressionFailed):
            expression.evaluate(context, Meter(100_000))
        return time.thread_time() - start

    times = sorted(min(measure(depth), measure(depth)) for depth in range(0, 120, 2))
    assert times[-1] < 8 * times[len(times) // 2]
