"""Tokens to the syntax tree: a Pratt parser whose messages say what was expected, where, and the way out."""

from __future__ import annotations

from typing import NoReturn

from workflow_engine.engine.expressions.errors import ExpressionInvalid, shorten
from workflow_engine.engine.expressions.syntax import (
    Call,
    Chain,
    Conditional,
    Index,
    ListLiteral,
    Literal,
    Logical,
    MapLiteral,
    Name,
    Node,
    Select,
    Unary,
)
from workflow_engine.engine.expressions.tokens import KEYWORDS, RESERVED, Token, read_tokens
from workflow_engine.engine.expressions.values import INT_MAX, INT_MIN, UINT_MAX, Uint

SOURCE_BYTES_MAX = 4096

# Brackets in brackets. The specification asks for 32 at least; each level costs the parser some six Python frames.
NESTING_MAX = 64
# Levels of the tree, which selectors and calls behind one another raise too; each costs the evaluator one frame.
HEIGHT_MAX = 150

_LEVELS = {
    **dict.fromkeys(("<", "<=", ">", ">=", "==", "!=", "in"), 1),
    **dict.fromkeys(("+", "-"), 2),
    **dict.fromkeys(("*", "/", "%"), 3),
}

_CLOSING = {")": "(", "]": "[", "}": "{"}
_WORD_HINTS = {
    "and": "the logical and is &&",
    "or": "the logical or is ||",
    "not": "the logical not is !",
    "is": "compare with ==",
    "if": "a choice is written: condition ? a : b",
    "else": "a choice is written: condition ? a : b",
    "then": "a choice is written: condition ? a : b",
    "for": "walk a list with list.map(x, ...) or list.filter(x, ...)",
    "contains": "write a.contains(b)",
    "matches": "write a.matches('pattern')",
}


def parse(source: str) -> Node:
    """The syntax tree of a whole source.

    Raises:
        ExpressionInvalid: it does not parse, is too long or too deeply nested.
    """
    if len(source) > SOURCE_BYTES_MAX or len(source.encode(errors="replace")) > SOURCE_BYTES_MAX:
        raise ExpressionInvalid(
            f"an expression has at most {SOURCE_BYTES_MAX} bytes", SOURCE_BYTES_MAX, "split it over several steps"
        )
    parser = _Parser(source)
    try:
        return parser.whole()
    except RecursionError:
        raise parser.too_deep() from None


class _Parser:
    def __init__(self, source: str) -> None:
        self.source = source
        self.tokens = read_tokens(source)
        self.token = next(self.tokens)
        self.end = 0
        self.nesting = 0

    def whole(self) -> Node:
        if self.token.kind == "end":
            raise ExpressionInvalid("the expression is empty", 0)
        node = self.expression()
        if self.token.kind != "end":
            self.refuse("an operator or the end")
        return node

    # Tokens

    def advance(self) -> Token:
        token = self.token
        self.end = token.end
        self.token = next(self.tokens)
        return token

    def accept(self, kind: str) -> bool:
        if self.token.kind != kind:
            return False
        self.advance()
        return True

    def expect(self, kind: str, opening: Token | None = None) -> Token:
        if self.token.kind != kind:
            self.refuse(f"{kind!r}", opening)
        return self.advance()

    def refuse(self, expected: str, opening: Token | None = None) -> NoReturn:
        token = self.token
        hint = None
        if token.kind == "end":
            found = "the expression ends"
            if opening is not None:
                hint = f"{opening.kind!r} at character {opening.start} is not closed"
        else:
            found = f"there is {shorten(self.source[token.start : token.end])!r}"
            hint = _WORD_HINTS.get(str(token.value)) if token.kind == "name" else None
            if token.kind in _CLOSING and opening is None:
                hint = f"no {_CLOSING[token.kind]!r} is open here"
        raise ExpressionInvalid(f"expected {expected}, but {found}", token.start, hint)

    def too_deep(self) -> ExpressionInvalid:
        return ExpressionInvalid(
            "the expression is nested too deeply", self.token.start, "name parts of it with cel.bind(name, value, ...)"
        )

    def enter(self) -> None:
        self.nesting += 1
        if self.nesting > NESTING_MAX:
            raise self.too_deep()

    def height(self, *children: Node) -> int:
        height = 1 + max((child.height for child in children), default=0)
        if height > HEIGHT_MAX:
            raise self.too_deep()
        return height

    # Expressions, from the loosest binding to the tightest

    def expression(self) -> Node:
        self.enter()
        test = self.logical("||")
        if self.accept("?"):
            then = self.logical("||")
            self.expect(":")
            otherwise = self.expression()
            test = Conditional(test.start, self.end, self.height(test, then, otherwise), test, then, otherwise)
        self.nesting -= 1
        return test

    def logical(self, operator: str) -> Node:
        first = self.logical("&&") if operator == "||" else self.binary(1)
        if self.token.kind != operator:
            return first
        operands = [first]
        while self.accept(operator):
            operands.append(self.logical("&&") if operator == "||" else self.binary(1))
        return Logical(first.start, self.end, self.height(*operands), operator, tuple(operands))

    def binary(self, level: int) -> Node:
        first = self.unary() if level == 3 else self.binary(level + 1)
        if self.level() != level:
            return first
        rest: list[tuple[str, Node]] = []
        while self.level() == level:
            operator = str(self.advance().value)
            rest.append((operator, self.unary() if level == 3 else self.binary(level + 1)))
        height = self.height(first, *(node for _, node in rest))
        return Chain(first.start, self.end, height, first, tuple(rest))

    def level(self) -> int | None:
        kind = self.token.kind
        return _LEVELS.get(str(self.token.value) if kind == "name" else kind)

    def unary(self) -> Node:
        operators: list[Token] = []
        while self.token.kind in ("!", "-"):
            operators.append(self.advance())
            if len(operators) > HEIGHT_MAX:
                raise self.too_deep()
        if operators and operators[-1].kind == "-" and self.token.kind in ("int", "double"):
            minus = operators.pop()
            node = self.postfix(self.number(self.advance(), minus.start))
        else:
            node = self.postfix(self.primary())
        for token in reversed(operators):
            node = Unary(token.start, self.end, self.height(node), token.kind, node)
        return node

    def postfix(self, node: Node) -> Node:
        while True:
            if self.accept("."):
                node = self.member(node)
            elif self.token.kind == "[":
                opening = self.advance()
                optional = self.accept("?")
                key = self.expression()
                self.expect("]", opening)
                node = Index(node.start, self.end, self.height(node, key), node, key, optional)
            else:
                return node

    def member(self, operand: Node) -> Node:
        optional = self.accept("?")
        token = self.token
        if token.kind not in ("name", "quoted") or token.value in KEYWORDS:
            hint = f"write [{token.value!r}]" if token.kind in ("name", "int") else None
            raise ExpressionInvalid("expected a field name behind the dot", token.start, hint)
        self.advance()
        name = str(token.value)
        if self.token.kind == "(" and not optional and token.kind == "name":
            arguments = self.arguments()
            height = self.height(operand, *arguments)
            return Call(operand.start, self.end, height, name, operand, arguments)
        return Select(operand.start, self.end, self.height(operand), operand, name, optional)

    def arguments(self) -> tuple[Node, ...]:
        opening = self.expect("(")
        arguments: list[Node] = []
        while self.token.kind != ")":
            arguments.append(self.expression())
            if not self.accept(","):
                break
            if self.token.kind == ")":
                self.refuse("an argument", opening)
        self.expect(")", opening)
        return tuple(arguments)

    # Primaries

    def primary(self) -> Node:
        token = self.token
        match token.kind:
            case "int" | "uint" | "double":
                return self.number(self.advance(), None)
            case "string" | "bytes":
                self.advance()
                return Literal(token.start, token.end, 1, token.value)
            case "name":
                return self.name()
            case ".":
                self.advance()
                return self.name(token.start)
            case "(":
                opening = self.advance()
                node = self.expression()
                self.expect(")", opening)
                return node
            case "[":
                return self.list_literal()
            case "{":
                return self.map_literal()
        return self.refuse("a value")

    def name(self, dot: int | None = None) -> Node:
        token = self.token
        name = str(token.value)
        if token.kind != "name":
            self.refuse("a name")
        constants = {"true": True, "false": False, "null": None}
        if dot is None and name in constants:
            self.advance()
            return Literal(token.start, token.end, 1, constants[name])
        if name in KEYWORDS or name in RESERVED:
            hint = _WORD_HINTS.get(name, 'a field of that name is read with a dot before it, or as ["' + name + '"]')
            raise ExpressionInvalid(f"{name!r} is a reserved word", token.start, hint)
        self.advance()
        start = token.start if dot is None else dot
        if self.token.kind == "(":
            arguments = self.arguments()
            return Call(start, self.end, self.height(*arguments), name, None, arguments)
        if self.token.kind == "{":
            raise ExpressionInvalid(
                "messages cannot be built here", self.token.start, 'a map is written {"key": value}, without a name'
            )
        return Name(start, token.end, 1, name, dot is not None)

    def number(self, token: Token, minus: int | None) -> Node:
        start = token.start if minus is None else minus
        text = str(token.value)
        if token.kind == "double":
            value: float = float(text)
            if value in (float("inf"),):
                raise ExpressionInvalid(f"{shorten(text)} is too large for a double", token.start)
            return Literal(start, token.end, 1, value if minus is None else -value)
        number = int(text, 16) if text[:2] in ("0x", "0X") else int(text)
        if minus is not None:
            number = -number
        if token.kind == "uint":
            if number > UINT_MAX:
                raise ExpressionInvalid(f"{shorten(text)}u does not fit into 64 bits", token.start)
            return Literal(start, token.end, 1, Uint(number))
        if not INT_MIN <= number <= INT_MAX:
            hint = (
                "write a u behind it, or .0 for a double"
                if 0 <= number <= UINT_MAX
                else "write .0 behind it for a double"
            )
            raise ExpressionInvalid(f"{shorten(text)} does not fit into an int of 64 bits", token.start, hint)
        return Literal(start, token.end, 1, number)

    def list_literal(self) -> Node:
        opening = self.expect("[")
        items: list[tuple[Node, bool]] = []
        while self.token.kind != "]":
            optional = self.accept("?")
            items.append((self.expression(), optional))
            if not self.accept(","):
                break
        self.expect("]", opening)
        height = self.height(*(item for item, _ in items))
        return ListLiteral(opening.start, self.end, height, tuple(items))

    def map_literal(self) -> Node:
        opening = self.expect("{")
        entries: list[tuple[Node, Node, bool]] = []
        while self.token.kind != "}":
            optional = self.accept("?")
            key = self.expression()
            if self.token.kind in (",", "}") and isinstance(key, Name):
                self.refuse("':' and a value")
            self.expect(":")
            entries.append((key, self.expression(), optional))
            if not self.accept(","):
                break
        self.expect("}", opening)
        height = self.height(*(node for key, value, _ in entries for node in (key, value)))
        return MapLiteral(opening.start, self.end, height, tuple(entries))
