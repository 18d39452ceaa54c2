"""JSON Schemas that users write: well-formed 2020-12, complete in themselves, and of bounded cost in place.

The metaschema run through jsonschema says the same, but takes 0.3 ms per subschema: seconds for a large
definition, and nobody may stop the process for that long. A test holds the table below against the metaschema.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import re2

from workflow_engine.models.field import is_template
from workflow_engine.models.problem import pointer

DIALECT = "https://json-schema.org/draft/2020-12/schema"

# What the checker of values (services/json_schema) takes; a test holds the two together.
PATTERN_CHARS_MAX: Final = 1_024
PATTERN_PROGRAM_MAX: Final = 20_000
PATTERNS_MAX: Final = 200
_PATTERN_OPTIONS = re2.Options()
_PATTERN_OPTIONS.max_mem = 1 << 19
_PATTERN_OPTIONS.log_errors = False
_PATTERN_OPTIONS.never_capture = True
_UNICODE_ESCAPE = re.compile(r"((?:[^\\]|^)(?:\\\\)*)\\u([0-9a-fA-F]{4})")

# Subschemas that one value may meet at one place, through references, allOf and the like.
_COST_MAX = 2_000

_TYPES = frozenset({"null", "boolean", "object", "array", "number", "integer", "string"})
_SCHEMA = frozenset(
    {"not", "if", "then", "else", "items", "contains", "additionalProperties", "propertyNames", "unevaluatedItems"}
    | {"unevaluatedProperties", "contentSchema"}
)
_SCHEMA_LIST = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_SCHEMA_MAP = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})

# Keywords that apply another schema to the same value.
_IN_PLACE = frozenset({"not", "if", "then", "else", "allOf", "anyOf", "oneOf", "dependentSchemas"})

SchemaProblem = tuple[str, str, str | None]


def _is_integer(value: Any) -> bool:
    return (type(value) is int or (type(value) is float and value.is_integer())) and value >= 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_text_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value) and len(set(value)) == len(value)


def _is_type(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and _is_text_list(value) and _TYPES.issuperset(value)
    return isinstance(value, str) and value in _TYPES


def _is_schema_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value)


_Check = tuple[str, Callable[[Any], bool]]
_CHECKS: dict[str, _Check] = {
    **dict.fromkeys(_SCHEMA, ("a schema (an object, true or false)", lambda value: isinstance(value, dict | bool))),
    **dict.fromkeys(_SCHEMA_LIST, ("a list of schemas, at least one", _is_schema_list)),
    **dict.fromkeys(_SCHEMA_MAP, ("an object with schemas", lambda value: isinstance(value, dict))),
    **dict.fromkeys(
        [
            "maxLength",
            "minLength",
            "maxItems",
            "minItems",
            "maxContains",
            "minContains",
            "maxProperties",
            "minProperties",
        ],
        ("a whole number of at least 0", _is_integer),
    ),
    **dict.fromkeys(["maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum"], ("a number", _is_number)),
    "multipleOf": ("a number above 0", lambda value: _is_number(value) and value > 0),
    **dict.fromkeys(
        ["uniqueItems", "deprecated", "readOnly", "writeOnly"], ("true or false", lambda value: isinstance(value, bool))
    ),
    **dict.fromkeys(
        [
            "pattern",
            "format",
            "title",
            "description",
            "$ref",
            "$id",
            "$schema",
            "$anchor",
            "$dynamicRef",
            "$comment",
            "$dynamicAnchor",
            "contentEncoding",
            "contentMediaType",
        ],
        ("text", lambda value: isinstance(value, str)),
    ),
    "required": ("a list of different names", _is_text_list),
    "dependentRequired": (
        "an object with lists of names",
        lambda value: isinstance(value, dict) and all(map(_is_text_list, value.values())),
    ),
    "type": ("one of null, boolean, object, array, number, integer, string, or a list of them", _is_type),
    "enum": ("a list", lambda value: isinstance(value, list)),
    "examples": ("a list", lambda value: isinstance(value, list)),
}


def schema_problems(schema: dict[str, Any]) -> list[SchemaProblem]:
    """What is wrong with a schema, as (JSON pointer, message, hint).

    Strings that hold `${ }` are taken, as they may turn out right at run time.
    """
    parts = list(_subschemas(schema))
    too_many = list(_pattern_count_problems(parts))
    if too_many:
        return too_many
    anchors = {part.get(word) for _, part in parts if isinstance(part, dict) for word in ("$anchor", "$dynamicAnchor")}
    found = [problem for path, part in parts for problem in _part_problems(path, part, schema, anchors)]
    if not found:
        found.extend(_cost_problems(schema, [part for _, part in parts]))
    return found


def _subschemas(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    stack: list[tuple[str, Any]] = [("", schema)]
    while stack:
        path, part = stack.pop()
        yield path, part
        if isinstance(part, dict):
            stack.extend([(path + place, inner) for place, _, inner in _inner(part)][::-1])


def _inner(part: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """The schemas directly inside, as (pointer, keyword, schema)."""
    for keyword, value in part.items():
        if keyword in _SCHEMA:
            yield pointer(keyword), keyword, value
        elif keyword in _SCHEMA_LIST and isinstance(value, list):
            yield from ((pointer(keyword, index), keyword, item) for index, item in enumerate(value))
        elif keyword in _SCHEMA_MAP and isinstance(value, dict):
            yield from ((pointer(keyword, name), keyword, item) for name, item in value.items())


def _part_problems(path: str, part: Any, schema: dict[str, Any], anchors: set[Any]) -> Iterator[SchemaProblem]:
    if not isinstance(part, dict):
        if not isinstance(part, bool) and not is_template(part):
            yield path, "a schema must be an object, true or false", None
        return
    for keyword, value in part.items():
        place = path + pointer(keyword)
        wanted, is_right = _CHECKS.get(keyword, ("", None))
        if is_right is None or is_template(value):
            continue
        if not is_right(value):
            yield place, f"`{keyword}` must be {wanted}", None
        else:
            yield from _meaning_problems(keyword, value, place, schema, anchors)


def _meaning_problems(
    keyword: str, value: Any, path: str, schema: dict[str, Any], anchors: set[Any]
) -> Iterator[SchemaProblem]:
    match keyword:
        case "$ref" | "$dynamicRef":
            yield from _reference_problems(path, value, schema, anchors)
        case "$schema" if value.rstrip("#") != DIALECT:
            yield path, "only JSON Schema 2020-12 is spoken here", f'leave it out or write "{DIALECT}"'
        case "$id" if path != "/$id":
            yield path, "a schema inside can't have an `$id` of its own", "refer to it as #/$defs/..."
        case "pattern":
            yield from _pattern_problems(path, value)
        case "patternProperties":
            for pattern in value:
                yield from _pattern_problems(path + pointer(pattern), pattern)


def _reference_problems(
    path: str, reference: str, schema: dict[str, Any], anchors: set[Any]
) -> Iterator[SchemaProblem]:
    if not reference.startswith("#"):
        yield (
            path,
            f"{reference[:80]!r} refers to another document, and nothing is fetched",
            "put it under $defs and refer to it as #/$defs/...",
        )
    elif _target_of(reference, schema) is None and reference[1:] not in anchors:
        yield path, f"{reference[:80]!r} points to nothing in this schema", None


def _target_of(reference: str, schema: Any) -> Any:
    """The schema that a pointer reference names, None if there is none."""
    if reference == "#":
        return schema
    if not reference.startswith("#/"):
        return None
    current = schema
    for part in reference[2:].split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(current, dict) and key in current:
            current = current[key]
        elif isinstance(current, list) and key.isascii() and key.isdigit() and int(key[:9]) < len(current):
            current = current[int(key[:9])]
        else:
            return None
    return current if isinstance(current, dict | bool) else None


def _pattern_problems(path: str, pattern: str) -> Iterator[SchemaProblem]:
    if len(pattern) > PATTERN_CHARS_MAX:
        yield path, f"a pattern has at most {PATTERN_CHARS_MAX:,} characters", None
        return
    try:
        compiled = re2.compile(_UNICODE_ESCAPE.sub(r"\1\\x{\2}", pattern), _PATTERN_OPTIONS)
    except (re2.error, UnicodeEncodeError) as error:
        reason = error.args[0] if isinstance(error, re2.error) and error.args else "half of a surrogate pair"
        told = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        yield (
            path,
            f"the pattern is no regular expression: {told[:200]}",
            "the syntax is RE2's: no look-around, no references",
        )
        return
    if compiled.programsize > PATTERN_PROGRAM_MAX:
        yield path, "the pattern unfolds to too many steps", "let it repeat less"


def _pattern_count_problems(parts: list[tuple[str, Any]]) -> Iterator[SchemaProblem]:
    patterns: set[str] = set()
    for path, part in parts:
        if not isinstance(part, dict):
            continue
        by_name = part.get("patternProperties")
        found = [part.get("pattern"), *(by_name if isinstance(by_name, dict) else ())]
        patterns.update(text for text in found if isinstance(text, str))
        if len(patterns) > PATTERNS_MAX:
            yield path, f"the schema has more than {PATTERNS_MAX} different patterns", "use some of them more than once"
            return


def _cost_problems(schema: dict[str, Any], parts: list[Any]) -> Iterator[SchemaProblem]:
    """Tells a schema that applies itself to the same value without end, or fans out beyond all use."""
    anchored = {part["$anchor"]: part for part in parts if isinstance(part, dict) and "$anchor" in part}
    costs: dict[int, int | None] = {}
    for part in parts:
        if not _count_cost(part, schema, anchored, costs):
            yield "", "the schema applies itself to the same value without end", "refer to it from a property or item"
            return
    if any(cost is not None and cost > _COST_MAX for cost in costs.values()):
        yield "", f"one value would be checked against more than {_COST_MAX:,} subschemas", "simplify it"


def _count_cost(root: Any, schema: Any, anchored: dict[str, Any], costs: dict[int, int | None]) -> bool:
    """Fills in how many schemas one value meets, `root` and those applied in place; False: without end."""
    stack: list[tuple[Any, bool]] = [(root, False)]
    while stack:
        part, is_ready = stack.pop()
        if not isinstance(part, dict) or (not is_ready and costs.get(id(part)) is not None):
            continue
        following = _applied_in_place(part, schema, anchored)
        if is_ready:
            costs[id(part)] = min(1 + sum(costs.get(id(item)) or 1 for item in following), _COST_MAX + 1)
        elif id(part) in costs:
            return False
        else:
            costs[id(part)] = None
            stack.append((part, True))
            stack.extend((item, False) for item in following)
    return True


def _applied_in_place(part: dict[str, Any], schema: Any, anchored: dict[str, Any]) -> list[dict[str, Any]]:
    found = [inner for _, keyword, inner in _inner(part) if keyword in _IN_PLACE]
    for word in ("$ref", "$dynamicRef"):
        reference = part.get(word)
        if isinstance(reference, str):
            found.append(_target_of(reference, schema) or anchored.get(reference[1:]))
    return [item for item in found if isinstance(item, dict)]
