"""Which variables an expression reads, as far as its text tells."""

from __future__ import annotations

from workflow_engine.engine.expressions.functions import GLOBALS, METHODS, NAMESPACES
from workflow_engine.engine.expressions.macros import find_macro
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
from workflow_engine.engine.expressions.values import TYPES

Path = tuple[str, ...]


def find_references(node: Node) -> frozenset[Path]:
    """The longest static paths of the free variables: names, fields and constant string keys behind them."""
    found: set[Path] = set()
    _visit(node, frozenset(), found)
    return frozenset(found)


def _visit(node: Node, bound: frozenset[str], found: set[Path]) -> None:
    path = _path(node)
    if path is not None:
        root, fields = path
        name = root.name
        if (name not in bound or root.absolute) and ".".join((name, *fields)) not in TYPES:
            found.add((name, *fields))
        return
    if isinstance(node, Call):
        _visit_call(node, bound, found)
        return
    for child in _children(node):
        _visit(child, bound, found)


def _path(node: Node) -> tuple[Name, Path] | None:
    """Root and fields of a chain that is nothing but selects and constant string keys."""
    fields: list[str] = []
    while True:
        if isinstance(node, Select):
            fields.append(node.field)
            node = node.operand
        elif isinstance(node, Index) and isinstance(node.key, Literal) and type(node.key.value) is str:
            fields.append(node.key.value)
            node = node.operand
        else:
            return (node, tuple(fields[::-1])) if isinstance(node, Name) else None


def _visit_call(node: Call, bound: frozenset[str], found: set[Path]) -> None:
    macro = find_macro(node, bound)
    is_namespace = (
        isinstance(node.target, Name)
        and node.target.name in NAMESPACES
        and node.target.name not in bound
        and (node.name not in METHODS or f"{node.target.name}.{node.name}" in GLOBALS)
    )
    if node.target is not None and not is_namespace:
        _visit(node.target, bound, found)
    if macro is None:
        for argument in node.arguments:
            _visit(argument, bound, found)
        return
    names = {argument.name for argument in node.arguments[: macro.variables] if isinstance(argument, Name)}
    first = macro.variables + macro.outer
    for argument in node.arguments[macro.variables : first]:
        _visit(argument, bound, found)
    for argument in node.arguments[first:]:
        _visit(argument, bound | names, found)


def _children(node: Node) -> list[Node]:
    match node:
        case Select():
            return [node.operand]
        case Index():
            return [node.operand, node.key]
        case ListLiteral():
            return [item for item, _ in node.items]
        case MapLiteral():
            return [part for key, value, _ in node.entries for part in (key, value)]
        case Unary():
            return [node.operand]
        case Chain():
            return [node.first, *(operand for _, operand in node.rest)]
        case Logical():
            return list(node.operands)
        case Conditional():
            return [node.test, node.then, node.otherwise]
    return []
