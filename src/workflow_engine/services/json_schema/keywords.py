"""What each keyword of JSON Schema 2020-12 checks, as a function made of its place in the schema."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from workflow_engine.services.json_schema.run import (
    IS_TYPE,
    SHOWN_CHARS_MAX,
    Keyword,
    Notes,
    Path,
    Run,
    SchemaUnusable,
    identity,
    is_number,
    shown,
)

if TYPE_CHECKING:
    from workflow_engine.services.json_schema.schema import Schema

# --- keywords that compare


def _type(schema: Schema, part: dict[str, Any], run: Run) -> Keyword:
    wanted = part["type"]
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    checks = [IS_TYPE[name] for name in names]
    message = f"must be {_named(names)}"

    def check(value: Any, path: Path, run: Run, is_told: bool, notes: Notes | None) -> bool:
        for is_type in checks:
            if is_type(value):
                return True
        return run.fail(path, is_told, f"{message}, not {shown(value)}")

    return check


_ARTICLES: Final = {
    "object": "an object",
    "array": "a list",
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
}


def _named(names: list[str]) -> str:
    return " or ".join(_ARTICLES.get(name, name) for name in names)


def _enum(schema: Schema, part: dict[str, Any], run: Run) -> Keyword:
    return _one_of_values(part["enum"], run)


def _const(schema: Schema, part: dict[str, Any], run: Run) -> Keyword:
    return _one_of_values([part["const"]], run)


def _one_of_values(values: list[Any], run: Run) -> Keyword:
    identities = {identity(value, run) for value in values}
    listed = ", ".join(shown(value) for value in values[:10]) + (", …" if len(values) > 10 else "")
    message = f"must be {listed}" if len(values) == 1 else f"must be one of {listed}"

    def check(value: Any, path: Path, run: Run, is_told: bool, notes: Notes | None) -> bool:
        if identity(value, run) in identities:
            return True
        return run.fail(path, is_told, f"{message}, not {shown(value)}")

    return check


def _bound(word: str, holds: Callable[[Any, Any], bool], words: str) -> Compiler:
    """A keyword that compares numbers."""

    def compile_bound(schema: Schema, part: dict[str, Any], run: Run) -> Keyword:
        limit = part[word]
        if not is_number(limit):
            raise SchemaUnusable(f"`{word}` must be a number")

        def check(value: Any, path: Path, run: Run, is_told: bool, notes: Notes | None) -> bool:
            if not is_number(value) or holds(value, limit):
                return True
            return run.fail(path, is_told, f"must be {words} {shown(limit)}, not {shown(value)}")

        return check

    return compile_bound


def _is_multiple(value: Any, factor: Any) -> bool:
    # By the decimals as they are written: 0.3 is a multiple of 0.1.
    return Fraction(repr(value)) % Fraction(repr(factor)) == 0


def _size(word: str, kind: type, holds: Callable[[int, Any], bool], words: str) -> Compiler:
    """A keyword that compares the size of texts, lists or objects."""

    def compile_size(schema: Schema, part: dict[str, Any], run: Run) -> Keyword:
        limit = part[word]
        if not is_number(limit):
            raise SchemaUnusable(f"`{word}` must be a number")

        def check(value: Any, path: Path, run: Run, is_told: bool, notes: Notes | None) -> bool:
            if not isinstance(value, kind) or holds(len(value), limit):  # type: ignore[arg-type]
                return True
            return run.fail(path, is_told, f"must have {words.format(shown(limit))}, not {len(value)}")  # type: ignore[arg-type]

        return check

    return compile_size


def _pattern(schema: Schema, part: dict[str, Any], run: Run) -> Keyword:
    is_found = schema.pattern(part["pattern"], run)
    message = f"must fit the pattern {shown(part['pattern'])}"

    def check(value: Any, path: Path, run: Run, is_told: bool, notes: Notes | None) -> bool:
        if not isinstance(value, str) or is_found(value, run):
            return True
        return run.fail(path, is_told, message)

    return check


def _unique_items(schema: Schema, part: dict[str, Any], run: Run) -> Keyword:
    is_wanted = part["uniqueItems"] is True

    def check(value: Any, path: Path, run: Run, is_told: bool, notes: Notes | None) -> bool:
        if not is_wanted or not isinstance(value, list):
            return True
        seen: dict[Any, int] = {}
        for index, item in enumerate(value):
            first = seen.setdefault(identity(item, run), index)
            if first != index:
                return run.fail(path, is_told, f"the entries {first} and {index} are equal")
        return True

    return check


def _required(schema: Schema, part: dict[str, Any], run: Run) -> Keyword:
    return _names_required(None, part["required"])


def _names_required(given: str | None, names: list[str]) -> Keyword:
    because = "" if given is None else f", as `{given[:SHOWN_CHARS_MAX]}` is there"

    def check(value: Any, path: Path, run: Run, is_told: bool, notes: Notes | None) -> bool:
        if not isinstance(value, dict) or (given is not None and given not in value):
            return True
        run.spend(len(names) // 8)
        missing = [name for name in names if name not in value]
        for name in missing:
            run.fail(path, is_told, f"`{name[:SHOWN_CHARS_MAX]}` is missing{because}")
        return not missing

    return check


def _dependent_required(schema: Schema, part: dict[str, Any], run: Run) -> Keyword:
    return _all_of_keywords([_names_required(given, names) for given, names in part["dependentRequired"].items()])


# --- keywords that apply schemas to the same value


def _all_of_keywords(keywords: list[Keyword]) -> Keyword:
    def check(value: Any, path: Path, run: Run, is_told: bool, notes: Notes | None) -> bool:
        run.spend(len(keywords))
        fits = True
        for keyword in keywords:
            fits = keyword(value, path, run, is_told, notes) and fits
        return fits

    return check


def _reference(word: str) -> Compiler:
    def compile_reference(schema: Schema, part: dict[str, Any], run: Run) -> Keyword:
        return schema.target(part[word]).check

    return compile_reference


def _all_of(schema: Schema, part: dict[str, Any], run: Run) -> Keyword:
    return _all_of_keywords([schema.node(inner).check for inner in part["allOf"]])


def _any_of(schema: Schema, part: dict[str, Any], run: Run) -> Keyword:
    nodes = [schema.node(inner) for inner in part["anyOf"]]

    def check(value: Any, path: Path, run: Run, is_told: bool, notes: Notes | None) -> bool:
        fits = False
        for node in nodes:
            fits = node.fits(value, path, run, notes) or fits
            if fits and notes is None:
                return True
        return fits or run.fail(path, is_told, f"fits none of the {len(nodes)} schemas of `anyOf`")

    return check


def _one_of(schema: Schema, part: dict[str, Any], run: Run) -> Keyword:
    nodes = [schema.node(inner) for inner in part["oneOf"]]

    def check(value: Any, path: Path, run: Run, is_told: bool, notes: Notes | None) -> bool:
        fitting = [index for index, node in enumerate(nodes) if node.fits(value, path, run, notes)]
        if len(fitting) == 1:
            return True
        found = f"the schemas {fitting[:10]}" if fitting else "none"
        return run.fail(path, is_told, f"must fit exactly one of the {len(nodes)} schemas of `oneOf`, and fits {found}")

    return check


def _not(schema: Schema, part: dict[str, Any], run: Run) -> Keyword:
    node = schema.node(part["not"])

    def check(value: Any, path: Path, run: Run, is_told: bool, notes: Notes | None) -> bool:
        return not node.fits(value, path, run, None) or run.fail(path, is_told, "fits what `not` forbids")

    return check


def _if(schema: Schema, part: dict[str, Any], run: Run) -> Keyword:
    condition = schema.node(part["if"])
    then, other = (schema.node(part[word]) if word in part else None for word in ("then", "else"))

    def check(value: Any, path: Path, run: Run, is_told: bool, notes: Notes | None) -> bool:
        node = then if condition.fits(value, path, run, notes) else other
        return node is None or node.check(value, path, run, is_told, notes)

    return check


def _dependent_schemas(schema: Schema, part: dict[str, Any], run: Run) -> Keyword:
    nodes = {given: schema.node(inner) for given, inner in part["dependentSchemas"].items()}

    def check(value: Any, path: Path, run: Run, is_told: bool, notes: Notes | None) -> bool:
        fits = True
        if isinstance(value, dict):
            run.spend(len(nodes))
            for given, node in nodes.items():
                fits = (given not in value or node.check(value, path, run, is_told, notes)) and fits
        return fits

    return check


# --- keywords that apply schemas to what is inside


def _properties(schema: Schema, part: dict[str, Any], run: Run) -> Keyword:
    """`properties`, `patternProperties` and `additionalProperties`, which only make sense together."""
    named = {name: schema.node(inner) for name, inner in part.get("properties", {}).items()}
    patterns = [
        (schema.pattern(pattern, run), schema.node(inner))
        for pattern, inner in part.get("patternProperties", {}).items()
    ]
    others = schema.node(part["additionalProperties"]) if "additionalProperties" in part else None
    is_closed = part.get("additionalProperties") is False

    def check_one(name: str, value: Any, path: Path, run: Run, is_told: bool, notes: Notes | None) -> bool:
        node = named.get(name)
        is_known = node is not None
        fits = node is None or node.check(value, (path, name), run, is_told, None)
        for is_found, inner in patterns:
            if is_found(name, run):
                is_known = True
                fits = inner.check(value, (path, name), run, is_told, None) and fits
        if not is_known and others is not None:
            if is_closed:
                return run.fail((path, name), is_told, "is not known here")
            is_known = True
            fits = others.check(value, (path, name), run, is_told, None)
        if is_known and notes is not None:
            notes.names.add(name)
        return fits

    def check(value: Any, path: Path, run: Run, is_told: bool, notes: Notes | None) -> bool:
        if not isinstance(value, dict):
            return True
        run.spend(len(value))
        fits = True
        for name, item in value.items():
            if not check_one(name, item, path, run, is_told, notes):
                fits = False
                if not is_told:
                    return False
        return fits

    return check


def _property_names(schema: Schema, part: dict[str, Any], run: Run) -> Keyword:
    node = schema.node(part["propertyNames"])

    def check(value: Any, path: Path, run: Run, is_told: bool, notes: Notes | None) -> bool:
        fits = True
        for name in value if isinstance(value, dict) else ():
            if not node.fits(name, None, run, None):
                fits = run.fail((path, name), is_told, "has a name that `propertyNames` does not allow")
        return fits

    return check


def _items(schema: Schema, part: dict[str, Any], run: Run) -> Keyword:
    """`prefixItems` and `items`."""
    first = [schema.node(inner) for inner in part.get("prefixItems", [])]
    rest = schema.node(part["items"]) if "items" in part else None

    def check(value: Any, path: Path, run: Run, is_told: bool, notes: Notes | None) -> bool:
        if not isinstance(value, list):
            return True
        run.spend(len(value))
        fits = True
        for index, item in enumerate(value):
            node = first[index] if index < len(first) else rest
            if node is None:
                break
            if not node.check(item, (path, index), run, is_told, None):
                fits = False
                if not is_told:
                    return False
        if notes is not None:
            notes.items = max(notes.items, len(value) if rest is not None else min(len(first), len(value)))
        return fits

    return check


def _contains(schema: Schema, part: dict[str, Any], run: Run) -> Keyword:
    node = schema.node(part["contains"])
    low, high = part.get("minContains", 1), part.get("maxContains")

    def check(value: Any, path: Path, run: Run, is_told: bool, notes: Notes | None) -> bool:
        if not isinstance(value, list):
            return True
        found = [index for index, item in enumerate(value) if node.fits(item, None, run, None)]
        if notes is not None:
            notes.positions.update(found)
        if len(found) < low:
            return run.fail(path, is_told, f"must hold at least {shown(low)} entries that fit `contains`")
        if high is not None and len(found) > high:
            return run.fail(path, is_told, f"must hold at most {shown(high)} entries that fit `contains`")
        return True

    return check


def _unevaluated_properties(schema: Schema, part: dict[str, Any]) -> Keyword:
    node = schema.node(part["unevaluatedProperties"])

    def check(value: Any, path: Path, run: Run, is_told: bool, notes: Notes | None) -> bool:
        if not isinstance(value, dict) or notes is None:
            return True
        fits = True
        for name in [name for name in value if name not in notes.names]:
            fits = node.check(value[name], (path, name), run, is_told, None) and fits
            notes.names.add(name)
        return fits

    return check


def _unevaluated_items(schema: Schema, part: dict[str, Any]) -> Keyword:
    node = schema.node(part["unevaluatedItems"])

    def check(value: Any, path: Path, run: Run, is_told: bool, notes: Notes | None) -> bool:
        fits = True
        if isinstance(value, list) and notes is not None:
            for index in range(notes.items, len(value)):
                if index not in notes.positions:
                    fits = node.check(value[index], (path, index), run, is_told, None) and fits
            notes.items = len(value)
        return fits

    return check


Compiler = Callable[["Schema", dict[str, Any], Run], Keyword]

_PROPERTY_WORDS: Final = ("properties", "patternProperties", "additionalProperties")


def _once(words: Iterable[str], compiler: Compiler) -> dict[str, Compiler]:
    """Keywords that are one check: the first of them that is there stands for all."""
    words = tuple(words)

    def at(position: int) -> Compiler:
        def compile_once(schema: Schema, part: dict[str, Any], run: Run) -> Keyword:
            if any(word in part for word in words[:position]):
                return _nothing
            return compiler(schema, part, run)

        return compile_once

    return {word: at(position) for position, word in enumerate(words)}


def _nothing(value: Any, path: Path, run: Run, is_told: bool, notes: Notes | None) -> bool:
    return True


COMPILERS: Final[dict[str, Compiler]] = {
    "$ref": _reference("$ref"),
    "$dynamicRef": _reference("$dynamicRef"),
    "type": _type,
    "enum": _enum,
    "const": _const,
    "minimum": _bound("minimum", lambda value, limit: value >= limit, "at least"),
    "maximum": _bound("maximum", lambda value, limit: value <= limit, "at most"),
    "exclusiveMinimum": _bound("exclusiveMinimum", lambda value, limit: value > limit, "more than"),
    "exclusiveMaximum": _bound("exclusiveMaximum", lambda value, limit: value < limit, "less than"),
    "multipleOf": _bound("multipleOf", _is_multiple, "a multiple of"),
    "minLength": _size("minLength", str, lambda size, limit: size >= limit, "at least {} characters"),
    "maxLength": _size("maxLength", str, lambda size, limit: size <= limit, "at most {} characters"),
    "minItems": _size("minItems", list, lambda size, limit: size >= limit, "at least {} entries"),
    "maxItems": _size("maxItems", list, lambda size, limit: size <= limit, "at most {} entries"),
    "minProperties": _size("minProperties", dict, lambda size, limit: size >= limit, "at least {} members"),
    "maxProperties": _size("maxProperties", dict, lambda size, limit: size <= limit, "at most {} members"),
    "pattern": _pattern,
    "uniqueItems": _unique_items,
    "required": _required,
    "dependentRequired": _dependent_required,
    "propertyNames": _property_names,
    **_once(_PROPERTY_WORDS, _properties),
    **_once(("prefixItems", "items"), _items),
    "contains": _contains,
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "not": _not,
    "if": _if,
    "dependentSchemas": _dependent_schemas,
}
"""In the order in which errors are told: what the value is, then what is inside, then what combines schemas."""

UNEVALUATED: Final[dict[str, Callable[[Schema, dict[str, Any]], Keyword]]] = {
    "unevaluatedProperties": _unevaluated_properties,
    "unevaluatedItems": _unevaluated_items,
}
