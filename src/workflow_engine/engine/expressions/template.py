"""JSON values with expressions in their strings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from workflow_engine.engine.expressions.convert import to_json, to_text
from workflow_engine.engine.expressions.errors import ExpressionFailed, ExpressionInvalid, TemplateInvalid
from workflow_engine.engine.expressions.expression import Expression, compile_expression
from workflow_engine.engine.expressions.meter import BYTES_UNLIMITED, DEPTH_MAX, Meter, text_units
from workflow_engine.engine.expressions.parser import SOURCE_BYTES_MAX
from workflow_engine.engine.expressions.size import json_size
from workflow_engine.engine.expressions.tokens import read_tokens

# Far beyond any real template; keeps the time of publishing a definition within bounds.
EXPRESSIONS_MAX = 1000

Part = str | Expression
Plan = Callable[[Mapping[str, Any], Meter], Any]


class Template:
    """A compiled template, immutable and safe to share between threads.

    Attributes:
        references: static paths of the free variables of all its expressions.
        functions: names of the functions they call that do not exist.
        is_constant: whether it holds no expression at all.
        constant_bytes: about the JSON of all but what its expressions give, which `Meter.bytes` counts.
    """

    __slots__ = ("_constant", "_plan", "constant_bytes", "functions", "is_constant", "references")

    def __init__(self, value: Any) -> None:
        builder = _Builder()
        self._constant, plan = builder.build(value, "", 0)
        if builder.errors:
            raise TemplateInvalid(builder.errors)
        self._plan = plan
        self.is_constant = plan is None
        self.constant_bytes = builder.constant_bytes if plan is not None else json_size(self._constant, BYTES_UNLIMITED)
        self.references = frozenset().union(*(expression.references for expression in builder.expressions))
        self.functions = frozenset().union(*(expression.functions for expression in builder.expressions))

    def evaluate(self, context: Mapping[str, Any], meter: Meter) -> Any:
        """The JSON value with every expression replaced by its value; constant parts are not copied.

        Raises:
            ExpressionFailed: an expression fails; the message begins with the JSON pointer of its string.
        """
        return self._constant if self._plan is None else self._plan(context, meter)


def compile_template(value: Any) -> Template:
    """The compiled template of a JSON value, whose strings (not keys) may hold `${ CEL }`; `$${` stands for `${`.

    Raises:
        TemplateInvalid: with every string that does not compile.
    """
    return Template(value)


def split_template(text: str) -> list[Part]:
    """The pieces of a string: plain text and compiled expressions, in their order, without empty texts.

    Raises:
        ExpressionInvalid: an expression does not compile; its position counts from the start of `text`.
    """
    parts: list[Part] = []
    plain: list[str] = []
    position = 0
    while len(parts) <= 2 * EXPRESSIONS_MAX:
        dollar = text.find("$", position)
        if dollar < 0:
            plain.append(text[position:])
            _flush(plain, parts)
            return parts
        plain.append(text[position:dollar])
        if text.startswith("$${", dollar):
            plain.append("${")
            position = dollar + 3
        elif text.startswith("${", dollar):
            end = _find_end(text, dollar)
            _flush(plain, parts)
            parts.append(_compile_part(text, dollar + 2, end))
            position = end + 1
        else:
            plain.append("$")
            position = dollar + 1
    raise _too_many()


def _flush(plain: list[str], parts: list[Part]) -> None:
    joined = "".join(plain)
    plain.clear()
    if joined:
        parts.append(joined)


def _find_end(text: str, dollar: int) -> int:
    """The offset of the brace that closes the `${` at `dollar`, past strings and braces of the expression."""
    depth = 0
    # No expression is longer, so nothing behind needs to be read, however long the text is.
    window = text[dollar : dollar + SOURCE_BYTES_MAX + 16]
    try:
        for token in read_tokens(window, 2):
            if token.kind == "{":
                depth += 1
            elif token.kind == "}":
                if depth == 0:
                    return dollar + token.start
                depth -= 1
    except ExpressionInvalid as error:
        raise ExpressionInvalid(error.message, dollar + error.position, error.hint) from None
    raise ExpressionInvalid("'${' is not closed", dollar, "close it with }, or write $${ for the characters themselves")


def _compile_part(text: str, start: int, end: int) -> Expression:
    source = text[start:end]
    stripped = source.strip()
    try:
        return compile_expression(stripped)
    except ExpressionInvalid as error:
        offset = start + len(source) - len(source.lstrip()) if stripped else start
        raise ExpressionInvalid(error.message, offset + error.position, error.hint) from None


def _too_many() -> ExpressionInvalid:
    return ExpressionInvalid(
        f"a template holds at most {EXPRESSIONS_MAX} expressions", 0, "split it over several steps"
    )


class _Builder:
    """Walks a JSON value once; collects the expressions and every error."""

    def __init__(self) -> None:
        self.errors: list[tuple[str, ExpressionInvalid]] = []
        self.expressions: list[Expression] = []
        self.is_full = False
        self.constant_bytes = 0

    def build(self, value: Any, pointer: str, depth: int) -> tuple[Any, Plan | None]:
        """A constant and no plan, or a plan that gives the value."""
        if depth > DEPTH_MAX:
            self.errors.append((pointer, ExpressionInvalid(f"nested deeper than {DEPTH_MAX} levels", 0)))
            return value, None
        if type(value) is str:
            return self._text(value, pointer) if "${" in value and not self.is_full else (value, None)
        if type(value) is list:
            return self._list(value, pointer, depth)
        if type(value) is dict:
            return self._dict(value, pointer, depth)
        return value, None

    def _text(self, text: str, pointer: str) -> tuple[Any, Plan | None]:
        try:
            parts = split_template(text)
        except ExpressionInvalid as error:
            self.errors.append((pointer, error))
            return text, None
        expressions = [part for part in parts if not isinstance(part, str)]
        self.expressions.extend(expressions)
        if len(self.expressions) > EXPRESSIONS_MAX:
            self._refuse_more(pointer)
            return text, None
        if not expressions:
            return "".join(part for part in parts if isinstance(part, str)), None
        if len(parts) == 1:
            return None, _single(expressions[0], pointer)
        return None, _interpolated(parts, pointer)

    def _refuse_more(self, pointer: str) -> None:
        self.is_full = True
        self.errors.append((pointer, _too_many()))

    def _list(self, items: list[Any], pointer: str, depth: int) -> tuple[Any, Plan | None]:
        built = [self.build(item, f"{pointer}/{position}", depth + 1) for position, item in enumerate(items)]
        plans = [(position, plan) for position, (_, plan) in enumerate(built) if plan is not None]
        constants = [constant for constant, _ in built]
        if not plans:
            same = all(one is two for one, two in zip(constants, items, strict=True))
            return (items if same else constants), None

        self.constant_bytes += json_size(constants, BYTES_UNLIMITED)

        def run(context: Mapping[str, Any], meter: Meter) -> list[Any]:
            meter.charge(1 + len(constants))
            result = constants.copy()
            for position, plan in plans:
                result[position] = plan(context, meter)
            return result

        return None, run

    def _dict(self, entries: dict[str, Any], pointer: str, depth: int) -> tuple[Any, Plan | None]:
        built = {key: self.build(item, f"{pointer}/{_escape(key)}", depth + 1) for key, item in entries.items()}
        plans = [(key, plan) for key, (_, plan) in built.items() if plan is not None]
        constants = {key: constant for key, (constant, _) in built.items()}
        if not plans:
            same = all(constants[key] is item for key, item in entries.items())
            return (entries if same else constants), None

        self.constant_bytes += json_size(constants, BYTES_UNLIMITED)

        def run(context: Mapping[str, Any], meter: Meter) -> dict[str, Any]:
            meter.charge(1 + 2 * len(constants))
            result = constants.copy()
            for key, plan in plans:
                result[key] = plan(context, meter)
            return result

        return None, run


def _escape(key: str) -> str:
    """A key as a token of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def _single(expression: Expression, pointer: str) -> Plan:
    def run(context: Mapping[str, Any], meter: Meter) -> Any:
        try:
            value = to_json(expression.evaluate(context, meter), meter)
            meter.measure(value)
        except ExpressionFailed as failed:
            raise _placed(failed, pointer) from failed
        return value

    return run


def _interpolated(parts: list[Part], pointer: str) -> Plan:
    def run(context: Mapping[str, Any], meter: Meter) -> str:
        texts = []
        try:
            for part in parts:
                texts.append(part if isinstance(part, str) else to_text(part.evaluate(context, meter), meter))
            meter.charge(text_units(sum(map(len, texts))))
            text = "".join(texts)
            meter.measure(text)
        except ExpressionFailed as failed:
            raise _placed(failed, pointer) from failed
        return text

    return run


def _placed(failed: ExpressionFailed, pointer: str) -> ExpressionFailed:
    return type(failed)(f"{pointer}: {failed.message}") if pointer else failed
