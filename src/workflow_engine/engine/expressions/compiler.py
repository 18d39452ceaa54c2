"""The syntax tree to closures.

A closure takes the frame of an evaluation, a list: the context, the meter, the records of a trace (or None), whether
the stack has room (see `room`), then one slot for each variable of a macro. What straight-line code costs is summed up
while compiling and charged once: for an expression when it starts, for the body of a macro at each element.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from workflow_engine.engine.expressions import operators
from workflow_engine.engine.expressions.convert import to_json
from workflow_engine.engine.expressions.errors import (
    EvaluationFailed,
    ExpressionFailed,
    ExpressionInvalid,
    fail,
    shorten,
)
from workflow_engine.engine.expressions.functions import GLOBALS, METHODS, NAMESPACES, Function
from workflow_engine.engine.expressions.functions.patterns import constant_pattern, pattern_units
from workflow_engine.engine.expressions.meter import ERROR_UNITS
from workflow_engine.engine.expressions.selection import (
    index,
    missing_variable,
    optional_index,
    optional_select,
    select,
)
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
from workflow_engine.engine.expressions.values import INT_MAX, INT_MIN, TYPES, KeyedMap, Optional, Uint, describe

Frame = list[Any]
Closure = Callable[[Frame], Any]
Scope = Mapping[str, int]


class Macro(Protocol):
    """What the compiler asks of a macro."""

    @property
    def compile(self) -> Callable[[Compiler, Call, Scope], Closure]:
        """Gives the closure of a call."""


FindMacro = Callable[[Call, Scope], Macro | None]

CONTEXT: Final = 0
METER: Final = 1
TRACE: Final = 2
ROOM: Final = 3
FIRST_SLOT: Final = 4

_TRACE_MAX = 500
# Constant patterns of one expression take some 15 ms to compile at the most.
_PATTERN_UNITS_MAX = 300_000
# Operators of one precedence that are compiled into one another, which is fastest; longer chains are a loop, for each
# level of closures costs a frame of the interpreter.
_NESTED_MAX = 3

_ARITHMETIC: dict[str, tuple[Callable[[Any, Any], Any], Callable[..., Any]]] = {
    "+": (operator.add, operators.add),
    "-": (operator.sub, operators.subtract),
    "*": (operator.mul, operators.multiply),
}
_ORDER: dict[str, tuple[Callable[[Any, Any], Any], Callable[..., Any]]] = {
    "<": (operator.lt, operators.less),
    "<=": (operator.le, operators.less_equal),
    ">": (operator.gt, operators.greater),
    ">=": (operator.ge, operators.greater_equal),
}


def _not_equal(left: Any, right: Any, meter: Any) -> bool:
    return not operators.equal(left, right, meter)


_BINARY: dict[str, Callable[..., Any]] = {
    **{symbol: slow for symbol, (_, slow) in (_ARITHMETIC | _ORDER).items()},
    "/": operators.divide,
    "%": operators.remainder,
    "==": operators.equal,
    "!=": _not_equal,
    "in": operators.contains,
}


class Compiler:
    """Compiles one expression.

    Attributes:
        source: the text of the expression.
        units: cost of the straight-line code compiled so far in the current region.
        slots: slots of variables in the frame.
        pattern_units: cost of the constant patterns compiled so far.
        unknown: names of functions that do not exist.
        loops: macros that walk elements, so far.
        tracing: whether closures record what they give.
    """

    def __init__(self, source: str, find_macro: FindMacro, tracing: bool) -> None:
        self.source = source
        self._find_macro = find_macro
        self.units = 0
        self.slots = 0
        self.unknown: set[str] = set()
        self.pattern_units = 0
        self.loops = 0
        self.tracing = tracing
        self._handlers: dict[type[Node], Callable[[Any, Scope], Closure]] = {
            Literal: self._literal,
            Name: self._name,
            Select: self._select,
            Index: self._index,
            Call: self._call,
            ListLiteral: self._list,
            MapLiteral: self._map,
            Unary: self._unary,
            Chain: self._chain,
            Logical: self._logical,
            Conditional: self._conditional,
        }

    def compile(self, node: Node, scope: Scope) -> Closure:
        """The closure of a node; `scope` holds the slots of macro variables by name."""
        closure = self._handlers[type(node)](node, scope)
        if self.tracing and type(node) is not Literal:
            return _traced(closure, self.text(node))
        return closure

    def compile_body(self, nodes: list[Node], scope: Scope) -> tuple[list[Closure], int]:
        """Closures that run once per element, and what one round costs."""
        outer, self.units = self.units, 4
        closures = [self.compile(node, scope) for node in nodes]
        units, self.units = self.units, outer
        return closures, units

    def new_slot(self) -> int:
        """A slot for a variable."""
        self.slots += 1
        return FIRST_SLOT + self.slots - 1

    def text(self, node: Node) -> str:
        """The source of a node."""
        return self.source[node.start : node.end]

    # Values and names

    def _literal(self, node: Literal, scope: Scope) -> Closure:
        self.units += 1
        value = node.value
        return lambda frame: value

    def _name(self, node: Name, scope: Scope) -> Closure:
        return self._path(node, [], scope)

    def _select(self, node: Select, scope: Scope) -> Closure:
        root, fields = _fields_of(node)
        if isinstance(root, Name):
            name = ".".join((root.name, *fields))
            if name in TYPES and root.name not in scope:
                return self._literal(Literal(node.start, node.end, 1, TYPES[name]), scope)
            return self._path(root, fields, scope)
        self.units += 6
        operand, field, text = self.compile(node.operand, scope), node.field, self.text(node.operand)
        if node.optional:
            return lambda frame: optional_select(operand(frame), field, text)

        def run(frame: Frame) -> Any:
            value = operand(frame)
            if type(value) is dict and field in value:
                return value[field]
            return select(value, field, text)

        return run

    def _path(self, root: Name, fields: list[str], scope: Scope) -> Closure:
        """One closure for a variable and the fields behind it."""
        self.units += 1 + len(fields)
        slot = None if root.absolute else scope.get(root.name)
        if slot is not None:
            return _local_path(slot, root.name, fields)
        if root.name in TYPES and not fields and not root.absolute:
            value = TYPES[root.name]
            return lambda frame: value
        return _free_path(root.name, fields, tuple(scope))

    def _index(self, node: Index, scope: Scope) -> Closure:
        self.units += 6
        operand, key = self.compile(node.operand, scope), self.compile(node.key, scope)
        text = self.text(node.operand)
        if node.optional:
            return lambda frame: optional_index(operand(frame), key(frame), text)

        def run(frame: Frame) -> Any:
            value = operand(frame)
            position = key(frame)
            if type(value) is list and type(position) is int and 0 <= position < len(value):
                return value[position]
            return index(value, position, text)

        return run

    # Literals of lists and maps

    def _list(self, node: ListLiteral, scope: Scope) -> Closure:
        self.units += 3 + 3 * len(node.items)
        items = [(self.compile(item, scope), optional) for item, optional in node.items]
        if any(optional for _, optional in items):
            return lambda frame: _build_list(items, frame)
        closures = tuple(closure for closure, _ in items)

        def run(frame: Frame) -> list[Any]:
            values = []
            for closure in closures:
                values.append(closure(frame))
            return values

        return run

    def _map(self, node: MapLiteral, scope: Scope) -> Closure:
        self.units += 8 + 10 * len(node.entries)
        entries = [
            (self.compile(key, scope), self.compile(value, scope), optional) for key, value, optional in node.entries
        ]
        return lambda frame: _build_map(entries, frame)

    # Operators

    def _unary(self, node: Unary, scope: Scope) -> Closure:
        self.units += 2
        operand = self.compile(node.operand, scope)
        if node.operator == "-":
            return lambda frame: operators.negate(operand(frame))

        def run(frame: Frame) -> bool:
            value = operand(frame)
            if value is True:
                return False
            if value is False:
                return True
            return fail(f"! needs a bool, got {describe(value)}")

        return run

    def _chain(self, node: Chain, scope: Scope) -> Closure:
        self.units += 6 * len(node.rest)
        first = self.compile(node.first, scope)
        rest = [(symbol, self.compile(operand, scope)) for symbol, operand in node.rest]
        if len(rest) > _NESTED_MAX:
            return _chained(first, tuple((_BINARY[symbol], operand) for symbol, operand in rest))
        for (symbol, second), (_, operand) in zip(rest, node.rest, strict=True):
            if isinstance(operand, Literal) and symbol not in ("/", "%", "in"):
                first = _with_constant(symbol, first, operand.value)
            else:
                first = _binary(symbol, first, second)
        return first

    def _logical(self, node: Logical, scope: Scope) -> Closure:
        self.units += 3 * len(node.operands)
        operands = tuple(self.compile(operand, scope) for operand in node.operands)
        return _logical(operands, node.operator == "||", node.operator)

    def _conditional(self, node: Conditional, scope: Scope) -> Closure:
        self.units += 2
        test, then, otherwise = (self.compile(part, scope) for part in (node.test, node.then, node.otherwise))

        def run(frame: Frame) -> Any:
            value = test(frame)
            if value is True:
                return then(frame)
            if value is False:
                return otherwise(frame)
            return fail(f"the condition before ? needs a bool, got {describe(value)}")

        return run

    # Calls

    def _call(self, node: Call, scope: Scope) -> Closure:
        macro = self._find_macro(node, scope)
        if macro is not None:
            return macro.compile(self, node, scope)
        entry, arguments = self._resolve(node, scope)
        if entry is None:
            return self._unknown_function(node, arguments, scope)
        if not entry.least <= len(arguments) <= entry.most:
            raise _wrong_count(node, entry, len(arguments) - len(node.arguments))
        self.units += entry.units
        return self._invoke(entry, arguments, scope)

    def _resolve(self, node: Call, scope: Scope) -> tuple[Function | None, tuple[Node, ...]]:
        if node.target is None:
            return GLOBALS.get(node.name), node.arguments
        if isinstance(node.target, Name) and node.target.name in NAMESPACES and node.target.name not in scope:
            entry = GLOBALS.get(f"{node.target.name}.{node.name}")
            if entry is not None or node.name not in METHODS:
                return entry, node.arguments
        return METHODS.get(node.name), (node.target, *node.arguments)

    def _invoke(self, entry: Function, arguments: tuple[Node, ...], scope: Scope) -> Closure:
        call = entry.call
        closures = [self.compile(argument, scope) for argument in arguments]
        pattern = arguments[-1] if arguments else None
        if entry.name == "matches" and isinstance(pattern, Literal) and type(pattern.value) is str:
            self.pattern_units += pattern_units(pattern.value)
            if self.pattern_units > _PATTERN_UNITS_MAX:
                raise ExpressionInvalid(
                    "the patterns are too large", pattern.start, "repeat fewer classes of characters"
                )
            call, closures = constant_pattern(pattern.value, pattern.start), closures[:1]
        if len(closures) == 1:
            (one,) = closures
            return lambda frame: call(frame[METER], one(frame))
        if len(closures) == 2:
            one, two = closures
            return lambda frame: call(frame[METER], one(frame), two(frame))

        def run(frame: Frame) -> Any:
            values = []
            for closure in closures:
                values.append(closure(frame))
            return call(frame[METER], *values)

        return run

    def _unknown_function(self, node: Call, arguments: tuple[Node, ...], scope: Scope) -> Closure:
        name, hint = node.name, ""
        if node.target is not None and arguments == node.arguments:
            name = f"{self.text(node.target)}.{node.name}"
        elif node.target is None and node.name in METHODS:
            hint = f"; it is called on its first argument: x.{name}(...)"
        elif node.target is not None and node.name in GLOBALS:
            hint = f"; it is called as {name}(x)"
        self.unknown.add(name)
        for argument in arguments:
            self.compile(argument, scope)
        return lambda frame: fail(f"there is no function {name!r}{hint}")


def _wrong_count(node: Call, entry: Function, targets: int) -> ExpressionInvalid:
    least, most = entry.least - targets, entry.most - targets
    wanted = str(least) if least == most else f"{least} or more" if most > 99 else f"{least} to {most}"
    noun = "argument" if wanted == "1" else "arguments"
    return ExpressionInvalid(f"{entry.name} takes {wanted} {noun}, not {len(node.arguments)}", node.start)


def _fields_of(node: Node) -> tuple[Node, list[str]]:
    """The root of a chain of plain selects, and the fields behind it."""
    fields: list[str] = []
    while isinstance(node, Select) and not node.optional:
        fields.append(node.field)
        node = node.operand
    return node, fields[::-1]


def _walk(value: Any, root: str, fields: list[str]) -> Any:
    """The slow way along a path, which knows optionals and words the errors."""
    for position, field in enumerate(fields):
        value = select(value, field, ".".join((root, *fields[:position])))
    return value


def _free_path(name: str, fields: list[str], local: tuple[str, ...]) -> Closure:
    def slow(frame: Frame) -> Any:
        try:
            value = frame[CONTEXT][name]
        except KeyError:
            return missing_variable(name, frame[CONTEXT], local)
        return _walk(value, name, fields)

    if not fields:

        def run(frame: Frame) -> Any:
            try:
                return frame[0][name]
            except KeyError:
                return slow(frame)

    elif len(fields) == 1:
        (one,) = fields

        def run(frame: Frame) -> Any:
            try:
                return frame[0][name][one]
            except (KeyError, TypeError):
                return slow(frame)

    elif len(fields) == 2:
        one, two = fields

        def run(frame: Frame) -> Any:
            try:
                return frame[0][name][one][two]
            except (KeyError, TypeError):
                return slow(frame)

    elif len(fields) == 3:
        one, two, three = fields

        def run(frame: Frame) -> Any:
            try:
                return frame[0][name][one][two][three]
            except (KeyError, TypeError):
                return slow(frame)

    else:

        def run(frame: Frame) -> Any:
            try:
                value = frame[0][name]
                for field in fields:
                    value = value[field]
                return value
            except (KeyError, TypeError):
                return slow(frame)

    return run


def _local_path(slot: int, name: str, fields: list[str]) -> Closure:
    if not fields:
        return lambda frame: frame[slot]
    if len(fields) == 1:
        (one,) = fields

        def run(frame: Frame) -> Any:
            try:
                return frame[slot][one]
            except (KeyError, TypeError):
                return select(frame[slot], one, name)

        return run

    def walk(frame: Frame) -> Any:
        value = frame[slot]
        try:
            for field in fields:
                value = value[field]
            return value
        except (KeyError, TypeError):
            return _walk(frame[slot], name, fields)

    return walk


def _build_list(items: list[tuple[Closure, bool]], frame: Frame) -> list[Any]:
    values = []
    for closure, optional in items:
        value = closure(frame)
        if not optional:
            values.append(value)
        elif type(value) is not Optional:
            fail(f"an optional item [?x] needs an optional, got {describe(value)}")
        elif value.present:
            values.append(value.value)
    return values


def _build_map(entries: list[tuple[Closure, Closure, bool]], frame: Frame) -> Any:
    result: dict[Any, Any] = {}
    for key_of, value_of, optional in entries:
        key, value = key_of(frame), value_of(frame)
        if optional:
            if type(value) is not Optional:
                fail(f"an optional entry {{?k: x}} needs an optional, got {describe(value)}")
            if not value.present:
                continue
            value = value.value
        result = add_entry(result, key, value)
    return result


def add_entry(result: Any, key: Any, value: Any) -> Any:
    """The map with one entry more; it changes its kind when the first key comes that is no string."""
    if type(key) is not str and type(result) is dict:
        if type(key) not in (int, Uint, bool):
            fail(f"a key is a string, an integer or a bool, not {describe(key)}")
        keyed = KeyedMap()
        for present, entry in result.items():
            keyed.add(present, entry)
        result = keyed
    if key in result:
        fail(f"the key {shorten(repr(key))} stands twice in a map")
    if type(result) is dict:
        result[key] = value
    elif type(key) in (str, int, Uint, bool):
        result.add(key, value)
    else:
        fail(f"a key is a string, an integer or a bool, not {describe(key)}")
    return result


def _chained(first: Closure, steps: tuple[tuple[Callable[..., Any], Closure], ...]) -> Closure:
    def run(frame: Frame) -> Any:
        value = first(frame)
        meter = frame[METER]
        for apply, operand in steps:
            value = apply(value, operand(frame), meter)
        return value

    return run


def _binary(symbol: str, left: Closure, right: Closure) -> Closure:
    if symbol in _ARITHMETIC:
        fast, slow = _ARITHMETIC[symbol]

        def run(frame: Frame) -> Any:
            one = left(frame)
            two = right(frame)
            if type(one) is int and type(two) is int:
                result = fast(one, two)
                if INT_MIN <= result <= INT_MAX:
                    return result
            return slow(one, two, frame[METER])

    elif symbol in _ORDER:
        fast, slow = _ORDER[symbol]

        def run(frame: Frame) -> Any:
            one = left(frame)
            two = right(frame)
            kind = type(one)
            if kind is type(two) and (kind is int or kind is float):
                return fast(one, two)
            return slow(one, two, frame[METER])

    else:
        apply = _BINARY[symbol]

        def run(frame: Frame) -> Any:
            return apply(left(frame), right(frame), frame[METER])

    return run


def _with_constant(symbol: str, left: Closure, constant: Any) -> Closure:
    """An operator whose right side is a literal."""
    kind = type(constant)
    if symbol in ("==", "!="):
        return _equal_to_constant(left, constant, symbol == "==")
    fast, slow = (_ARITHMETIC | _ORDER)[symbol]
    if symbol in _ORDER and kind in (int, float):

        def run(frame: Frame) -> Any:
            value = left(frame)
            if type(value) is kind:
                return fast(value, constant)
            return slow(value, constant, frame[METER])

        return run
    return _binary(symbol, left, lambda frame: constant)


def _equal_to_constant(left: Closure, constant: Any, wanted: bool) -> Closure:
    kind = type(constant)
    if constant is None or kind is bool:

        def run(frame: Frame) -> bool:
            return wanted if left(frame) is constant else not wanted

        return run
    if kind is str or kind is int:

        def run_same(frame: Frame) -> bool:
            value = left(frame)
            if type(value) is kind:
                return wanted if value == constant else not wanted
            return operators.equal(value, constant, frame[METER]) is wanted

        return run_same
    return lambda frame: operators.equal(left(frame), constant, frame[METER]) is wanted


def _logical(operands: tuple[Closure, ...], decisive: bool, symbol: str) -> Closure:
    """`||` (decided by true) or `&&` (by false): an operand that fails counts only when none decides."""
    opposite = not decisive

    def rest(frame: Frame, start: int, error: EvaluationFailed | None) -> bool:
        for operand in operands[start:]:
            try:
                value = operand(frame)
                if value is decisive:
                    return not opposite
                if value is not opposite:
                    fail(f"{symbol} needs bools, got {describe(value)}")
            except EvaluationFailed as failed:
                frame[METER].charge(ERROR_UNITS)
                error = failed if error is None else error
        if error is not None:
            raise error
        return opposite

    if len(operands) > 2:
        return lambda frame: rest(frame, 0, None)
    left, right = operands

    def run(frame: Frame) -> bool:
        try:
            value = left(frame)
        except EvaluationFailed as failed:
            frame[METER].charge(ERROR_UNITS)
            return rest(frame, 1, failed)
        if value is decisive:
            return not opposite
        if value is not opposite:
            frame[METER].charge(ERROR_UNITS)
            return rest(frame, 1, EvaluationFailed(f"{symbol} needs bools, got {describe(value)}"))
        value = right(frame)
        if value is True or value is False:
            return value
        return fail(f"{symbol} needs bools, got {describe(value)}")

    return run


def _traced(closure: Closure, text: str) -> Closure:
    def run(frame: Frame) -> Any:
        records = frame[TRACE]
        position = len(records)
        if position >= _TRACE_MAX:
            return closure(frame)
        records.append((text, None))
        try:
            value = closure(frame)
        except ExpressionFailed as failed:
            records[position] = (text, f"{failed.type}: {failed.message}")
            raise
        try:
            shown = value.value if type(value) is Optional and value.present else value
            records[position] = (text, to_json(shown, frame[METER]))
        except EvaluationFailed as failed:
            records[position] = (text, failed.message)
        return value

    return run
