"""A compiled expression: what it refers to, and how to evaluate it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workflow_engine.engine.expressions.compiler import Closure, Compiler
from workflow_engine.engine.expressions.errors import ExpressionFailed, ExpressionInvalid, LimitExceeded, fail, shorten
from workflow_engine.engine.expressions.macros import find_macro
from workflow_engine.engine.expressions.meter import Meter
from workflow_engine.engine.expressions.parser import parse
from workflow_engine.engine.expressions.references import find_references
from workflow_engine.engine.expressions.syntax import Node
from workflow_engine.engine.expressions.values import describe

# What an evaluation costs besides its nodes.
_BASE_UNITS = 4


class Expression:
    """A compiled expression, immutable and safe to share between threads.

    Attributes:
        source: its text.
        references: static paths of its free variables, as far as names, fields and constant string keys go.
        functions: names of the functions it calls that do not exist; evaluation fails only when it reaches one.
    """

    __slots__ = ("_run", "_slots", "_units", "functions", "references", "source")

    def __init__(self, source: str) -> None:
        tree = parse(source)
        try:
            compiler, self._run = _compile(source, tree, tracing=False)
            self.references = find_references(tree)
        except RecursionError:
            raise ExpressionInvalid("the expression is nested too deeply", 0) from None
        self.source = source
        self.functions = frozenset(compiler.unknown)
        self._units = compiler.units + _BASE_UNITS
        self._slots = (None,) * compiler.slots

    def evaluate(self, context: Mapping[str, Any], meter: Meter) -> Any:
        """The value of CEL that the expression has in `context`.

        Args:
            context: values by name: JSON values, `Timestamp`s, or any `Mapping` of such.
            meter: pays for it.

        Raises:
            ExpressionFailed: it has none, or the budget is spent.
        """
        meter.spent += self._units
        if meter.spent > meter.limit:
            raise LimitExceeded(meter.explain())
        try:
            return self._run([context, meter, None, False, *self._slots])
        except RecursionError:
            raise LimitExceeded("the expression or its data are nested too deeply") from None

    def trace(self, context: Mapping[str, Any], meter: Meter) -> list[tuple[str, Any]]:
        """What each evaluated sub-expression gave: its source, and its JSON value or the text of its error.

        Outermost first; literals are left out, a path like `a.b.c` is one entry, and at most 500 entries are kept.
        Never raises ExpressionFailed: that the whole failed is its first entry.
        """
        compiler, run = _compile(self.source, parse(self.source), tracing=True)
        records: list[tuple[str, Any]] = []
        try:
            meter.charge(2 * compiler.units + _BASE_UNITS)
            run([context, meter, records, False, *self._slots])
        except ExpressionFailed as failed:
            text = f"{failed.type}: {failed.message}"
            if not records:
                records.append((self.source, text))
        except RecursionError:
            records[:1] = [(self.source, "expression_limit: the expression or its data are nested too deeply")]
        return records

    def __repr__(self) -> str:
        return f"compile_expression({self.source!r})"


def _compile(source: str, tree: Node, tracing: bool) -> tuple[Compiler, Closure]:
    compiler = Compiler(source, find_macro, tracing)
    return compiler, compiler.compile(tree, {})


def compile_expression(source: str) -> Expression:
    """The compiled expression of a source.

    Raises:
        ExpressionInvalid: it does not compile, has more than 4,096 bytes or is nested too deeply.
    """
    return Expression(source)


def evaluate_condition(expression: Expression, context: Mapping[str, Any], meter: Meter) -> bool:
    """Whether a condition holds.

    Raises:
        ExpressionFailed: it fails, or its value is no bool.
    """
    value = expression.evaluate(context, meter)
    if value is True or value is False:
        return value
    return fail(
        f"a condition needs a bool, but {shorten(expression.source)} gave {describe(value)}; compare it with something"
    )
