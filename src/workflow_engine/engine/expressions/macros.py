"""Macros: calls whose arguments are not all evaluated once, before the call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from workflow_engine.engine.expressions.compiler import METER, ROOM, Closure, Compiler, Frame, Scope, add_entry
from workflow_engine.engine.expressions.errors import EvaluationFailed, ExpressionInvalid, LimitExceeded, fail
from workflow_engine.engine.expressions.functions.lists import sort_by_keys
from workflow_engine.engine.expressions.functions.registry import refuse
from workflow_engine.engine.expressions.meter import ERROR_UNITS, Meter
from workflow_engine.engine.expressions.room import SIZE_MIN, call_with_room
from workflow_engine.engine.expressions.selection import has_field
from workflow_engine.engine.expressions.syntax import Call, Name, Node, Select
from workflow_engine.engine.expressions.values import NONE, Optional, describe, is_map

_MACRO_UNITS = 10

Build = Callable[[Compiler, Call, Scope], Closure]


@dataclass(frozen=True, slots=True)
class Macro:
    """A macro.

    Attributes:
        variables: how many of its first arguments name variables of the other arguments.
        counts: numbers of arguments it may have.
        compile: gives the closure of a call.
        outer: how many arguments behind the variables are evaluated outside of their scope.
    """

    name: str
    variables: int
    counts: tuple[int, ...]
    compile: Build
    outer: int = 0


def find_macro(node: Call, scope: Scope | frozenset[str]) -> Macro | None:
    """The macro that a call is, None where it is a function.

    Raises:
        ExpressionInvalid: the name is a macro's, the number of arguments or a variable's place is not.
    """
    candidates = _candidates(node, scope)
    if not candidates:
        return None
    for macro in candidates:
        if len(node.arguments) in macro.counts or not macro.counts:
            for argument in node.arguments[: macro.variables]:
                _variable(argument, node.name)
            return macro
    counts = sorted({count for macro in candidates for count in macro.counts})
    raise ExpressionInvalid(
        f"{node.name} takes {' or '.join(map(str, counts))} arguments, not {len(node.arguments)}",
        node.start,
        _USAGE.get(node.name),
    )


def _candidates(node: Call, scope: Scope | frozenset[str]) -> list[Macro]:
    target = node.target
    if target is None:
        return _GLOBAL.get(node.name, [])
    if isinstance(target, Name) and target.name == "cel" and "cel" not in scope:
        return [_BIND] if node.name == "bind" else []
    return _METHOD.get(node.name, [])


def _variable(node: Node, macro: str) -> str:
    if not isinstance(node, Name) or node.absolute:
        raise ExpressionInvalid(
            f"{macro} needs the name of a variable as its first argument", node.start, _USAGE.get(macro)
        )
    return node.name


def elements(value: Any, name: str, meter: Meter) -> Sequence[Any]:
    """What a macro with one variable walks: the elements of a list, the keys of a map."""
    if is_map(value):
        meter.charge(2 * len(value))
        return list(value)
    return _iterable(value, name)


def pairs(value: Any, name: str, meter: Meter) -> Sequence[tuple[Any, Any]]:
    """What a macro with two variables walks: positions and elements of a list, keys and values of a map."""
    if is_map(value):
        meter.charge(4 * len(value))
        return list(value.items())
    items = _iterable(value, name)
    meter.charge(2 * len(items))
    return list(enumerate(items))


def _iterable(value: Any, name: str) -> Sequence[Any]:
    return value if type(value) is list or type(value) is tuple else refuse(name, "target", "a list or a map", value)


def _check_bool(value: Any, name: str) -> None:
    if value is not True and value is not False:
        fail(f"the condition of {name} needs to give a bool, got {describe(value)}")


class _Loop:
    """What all comprehensions share: the target, the slots of the variables, the closures of the body and its cost."""

    def __init__(self, compiler: Compiler, node: Call, scope: Scope, variables: int) -> None:
        assert node.target is not None
        compiler.units += _MACRO_UNITS
        self.name = node.name
        self.target = compiler.compile(node.target, scope)
        names = [_variable(argument, node.name) for argument in node.arguments[:variables]]
        if len(set(names)) < len(names):
            raise ExpressionInvalid(f"the variables of {node.name} need different names", node.start)
        self.slots = [compiler.new_slot() for _ in names]
        inner = {**scope, **dict(zip(names, self.slots, strict=True))}
        before = compiler.loops
        self.body, self.units = compiler.compile_body(list(node.arguments[variables:]), inner)
        self._room_from = SIZE_MIN if compiler.loops == before else 2
        compiler.loops += 1

    def over(self, iterate: Callable[[Frame, Sequence[Any]], Any]) -> Closure:
        """The closure that hands the elements, with two variables the pairs, to `iterate`."""
        walk = elements if len(self.slots) == 1 else pairs
        target, name, room_from = self.target, self.name, self._room_from

        def run(frame: Frame) -> Any:
            meter = frame[METER]
            items = walk(target(frame), name, meter)
            if len(items) < room_from or frame[ROOM]:
                return iterate(frame, items)
            frame[ROOM] = True
            try:
                return call_with_room(meter, iterate, frame, items)
            finally:
                frame[ROOM] = False

        return run

    def setter(self) -> Callable[[Frame, Any], None] | None:
        """How to set the variables to a pair; None where there is one variable, which is set in place."""
        if len(self.slots) == 1:
            return None
        first, second = self.slots

        def assign(frame: Frame, pair: Any) -> None:
            frame[first], frame[second] = pair

        return assign


def _quantifier(variables: int, decisive: bool) -> Build:
    """`exists` (decided by true) and `all` (by false): an element that fails counts only when none decides."""
    opposite = not decisive

    def build(compiler: Compiler, node: Call, scope: Scope) -> Closure:
        loop = _Loop(compiler, node, scope, variables)
        (predicate,), units, slot, assign = loop.body, loop.units, loop.slots[0], loop.setter()

        def iterate(frame: Frame, items: Sequence[Any]) -> bool:
            meter, error = frame[METER], None
            for item in items:
                meter.spent += units
                if meter.spent > meter.limit:
                    raise LimitExceeded(meter.explain())
                if assign is None:
                    frame[slot] = item
                else:
                    assign(frame, item)
                try:
                    value = predicate(frame)
                    if value is decisive:
                        return not opposite
                    if value is not opposite:
                        _check_bool(value, loop.name)
                except EvaluationFailed as failed:
                    meter.charge(ERROR_UNITS)
                    error = failed
            if error is not None:
                raise error
            return opposite

        return loop.over(iterate)

    return build


def _exists_one(variables: int) -> Build:
    def build(compiler: Compiler, node: Call, scope: Scope) -> Closure:
        loop = _Loop(compiler, node, scope, variables)
        (predicate,), assign, slot = loop.body, loop.setter(), loop.slots[0]

        def iterate(frame: Frame, items: Sequence[Any]) -> bool:
            frame[METER].charge(loop.units * len(items))
            found = 0
            for item in items:
                if assign is None:
                    frame[slot] = item
                else:
                    assign(frame, item)
                value = predicate(frame)
                if value is True:
                    found += 1
                elif value is not False:
                    _check_bool(value, loop.name)
            return found == 1

        return loop.over(iterate)

    return build


def _collect(variables: int, filtering: bool, transforming: bool) -> Build:
    """`map`, `filter` and `transformList`: the list of what the elements (that pass the filter) become."""

    def build(compiler: Compiler, node: Call, scope: Scope) -> Closure:
        loop = _Loop(compiler, node, scope, variables)
        keep = loop.body[0] if filtering else None
        transform = loop.body[-1] if transforming else None
        assign, slot = loop.setter(), loop.slots[0]

        def iterate(frame: Frame, items: Sequence[Any]) -> list[Any]:
            frame[METER].charge(loop.units * len(items))
            result = []
            for item in items:
                if assign is None:
                    frame[slot] = item
                else:
                    assign(frame, item)
                if keep is not None:
                    kept = keep(frame)
                    if kept is False:
                        continue
                    if kept is not True:
                        _check_bool(kept, loop.name)
                result.append(item if transform is None else transform(frame))
            return result

        return loop.over(iterate)

    return build


def _transform_map(filtering: bool, entry: bool) -> Build:
    """`transformMap` (keys stay) and `transformMapEntry` (each element gives a map, and these are put together)."""

    def build(compiler: Compiler, node: Call, scope: Scope) -> Closure:
        loop = _Loop(compiler, node, scope, 2)
        keep = loop.body[0] if filtering else None
        transform = loop.body[-1]
        first, second = loop.slots

        def iterate(frame: Frame, items: Sequence[Any]) -> Any:
            frame[METER].charge((loop.units + 12) * len(items))
            result: Any = {}
            for key, value in items:
                frame[first], frame[second] = key, value
                if keep is not None:
                    kept = keep(frame)
                    if kept is False:
                        continue
                    _check_bool(kept, loop.name)
                made = transform(frame)
                result = _merge(result, made, loop.name, frame[METER]) if entry else add_entry(result, key, made)
            return result

        return loop.over(iterate)

    return build


def _merge(result: Any, made: Any, name: str, meter: Meter) -> Any:
    if not is_map(made):
        refuse(name, "last argument", "a map", made)
    meter.charge(12 * len(made))
    for key in made:
        result = add_entry(result, key, made[key])
    return result


def _sort_by(compiler: Compiler, node: Call, scope: Scope) -> Closure:
    loop = _Loop(compiler, node, scope, 1)
    (key_of,), slot = loop.body, loop.slots[0]

    def iterate(frame: Frame, items: Sequence[Any]) -> list[Any]:
        frame[METER].charge(loop.units * len(items))
        keys = []
        for item in items:
            frame[slot] = item
            keys.append(key_of(frame))
        return sort_by_keys(frame[METER], "sortBy", items, keys)

    return loop.over(iterate)


def _has(compiler: Compiler, node: Call, scope: Scope) -> Closure:
    (argument,) = node.arguments
    if not isinstance(argument, Select):
        raise ExpressionInvalid("has needs a field: has(a.b)", argument.start, 'for other keys write "key" in map')
    compiler.units += 8
    operand, field, text = compiler.compile(argument.operand, scope), argument.field, compiler.text(argument.operand)
    return lambda frame: has_field(operand(frame), field, text)


def _bind(compiler: Compiler, node: Call, scope: Scope) -> Closure:
    name = _variable(node.arguments[0], "cel.bind")
    compiler.units += 3
    value = compiler.compile(node.arguments[1], scope)
    slot = compiler.new_slot()
    body = compiler.compile(node.arguments[2], {**scope, name: slot})

    def run(frame: Frame) -> Any:
        frame[slot] = value(frame)
        return body(frame)

    return run


def _coalesce(compiler: Compiler, node: Call, scope: Scope) -> Closure:
    if not node.arguments:
        raise ExpressionInvalid("coalesce needs a value", node.start, "coalesce(a, b, ...) gives the first not null")
    compiler.units += 3 + len(node.arguments)
    closures = [compiler.compile(argument, scope) for argument in node.arguments]

    def run(frame: Frame) -> Any:
        for closure in closures:
            value = closure(frame)
            if type(value) is Optional:
                value = value.value
            if value is not None:
                return value
        return None

    return run


def _or(compiler: Compiler, node: Call, scope: Scope) -> Closure:
    """`a.or(b)`, `a.orValue(b)`: the second is evaluated only when the first is empty."""
    assert node.target is not None
    compiler.units += 8
    target, other = compiler.compile(node.target, scope), compiler.compile(node.arguments[0], scope)
    name = node.name

    def run(frame: Frame) -> Any:
        value = target(frame)
        if type(value) is not Optional:
            refuse(name, "target", "an optional", value)
        if value.present:
            return value if name == "or" else value.value
        fallback = other(frame)
        if name == "or" and type(fallback) is not Optional:
            refuse(name, "argument", "an optional", fallback)
        return fallback

    return run


def _optional_map(compiler: Compiler, node: Call, scope: Scope) -> Closure:
    """`a.optMap(x, f)` and `a.optFlatMap(x, f)`: f of the value, where there is one."""
    assert node.target is not None
    compiler.units += 8
    name = _variable(node.arguments[0], node.name)
    target, slot = compiler.compile(node.target, scope), compiler.new_slot()
    body = compiler.compile(node.arguments[1], {**scope, name: slot})
    flat = node.name == "optFlatMap"

    def run(frame: Frame) -> Optional:
        value = target(frame)
        if type(value) is not Optional:
            refuse(node.name, "target", "an optional", value)
        if not value.present:
            return NONE
        frame[slot] = value.value
        made = body(frame)
        if not flat:
            return Optional(True, made)
        return made if type(made) is Optional else refuse(node.name, "last argument", "an optional", made)

    return run


_USAGE = {
    "all": "list.all(x, condition)",
    "exists": "list.exists(x, condition)",
    "exists_one": "list.exists_one(x, condition)",
    "existsOne": "list.existsOne(x, condition)",
    "map": "list.map(x, value) or list.map(x, condition, value)",
    "filter": "list.filter(x, condition)",
    "transformList": "list.transformList(i, x, value) or list.transformList(i, x, condition, value)",
    "transformMap": "map.transformMap(k, v, value) or map.transformMap(k, v, condition, value)",
    "transformMapEntry": "map.transformMapEntry(k, v, {key: value})",
    "sortBy": "list.sortBy(x, key)",
    "optMap": "optional.optMap(x, value)",
    "optFlatMap": "optional.optFlatMap(x, optional)",
    "bind": "cel.bind(name, value, expression)",
    "cel.bind": "cel.bind(name, value, expression)",
    "has": "has(a.b)",
    "or": "optional.or(optional)",
    "orValue": "optional.orValue(default)",
}

_BIND = Macro("bind", 1, (3,), _bind, outer=1)

_GLOBAL: dict[str, list[Macro]] = {
    "has": [Macro("has", 0, (1,), _has)],
    "coalesce": [Macro("coalesce", 0, (), _coalesce)],
}

_METHOD: dict[str, list[Macro]] = {
    "all": [Macro("all", 1, (2,), _quantifier(1, False)), Macro("all", 2, (3,), _quantifier(2, False))],
    "exists": [Macro("exists", 1, (2,), _quantifier(1, True)), Macro("exists", 2, (3,), _quantifier(2, True))],
    "exists_one": [Macro("exists_one", 1, (2,), _exists_one(1)), Macro("exists_one", 2, (3,), _exists_one(2))],
    "existsOne": [Macro("existsOne", 1, (2,), _exists_one(1)), Macro("existsOne", 2, (3,), _exists_one(2))],
    "map": [Macro("map", 1, (2,), _collect(1, False, True)), Macro("map", 1, (3,), _collect(1, True, True))],
    "filter": [Macro("filter", 1, (2,), _collect(1, True, False))],
    "transformList": [
        Macro("transformList", 2, (3,), _collect(2, False, True)),
        Macro("transformList", 2, (4,), _collect(2, True, True)),
    ],
    "transformMap": [
        Macro("transformMap", 2, (3,), _transform_map(False, False)),
        Macro("transformMap", 2, (4,), _transform_map(True, False)),
    ],
    "transformMapEntry": [
        Macro("transformMapEntry", 2, (3,), _transform_map(False, True)),
        Macro("transformMapEntry", 2, (4,), _transform_map(True, True)),
    ],
    "sortBy": [Macro("sortBy", 1, (2,), _sort_by)],
    "optMap": [Macro("optMap", 1, (2,), _optional_map)],
    "optFlatMap": [Macro("optFlatMap", 1, (2,), _optional_map)],
    "or": [Macro("or", 0, (1,), _or)],
    "orValue": [Macro("orValue", 0, (1,), _or)],
}
