"""The document against the typed model: pydantic's findings told in the language's own words."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError

from workflow_engine.engine.validation.outline import Outline
from workflow_engine.engine.validation.report import Report
from workflow_engine.models.field import TAG_MARK, DefinitionPart
from workflow_engine.models.node import NODE_CLASSES, NODE_TYPES, NodeBase
from workflow_engine.models.problem import pointer
from workflow_engine.models.workflow import Definition

_TYPE_WORDS = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "dict_type": "an object",
    "model_type": "an object",
    "list_type": "a list",
    "number_type": "a number",
    "scalar_type": "text, a number, true, false or null",
}
_DURATIONS = {"timeout", "initial", "max", "delay", "heartbeat", "for", "time", "due"}
_PATTERN_WORDS = {
    r"^[a-z0-9][a-z0-9_-]{0,127}$": "1 to 128 lower-case letters, digits, `_` or `-`, the first a letter or digit",
    r"^[A-Za-z_][A-Za-z0-9_]{0,63}$": "1 to 64 letters, digits or `_`, the first no digit",
    r"^(user|role|group):.+|\$\{": "user:<id>, role:<name> or group:<name>",
}

Location = tuple[str | int, ...]


class _UntypedNode(NodeBase):
    """Checks the common attributes of a node whose type is unknown, so that they are told in the same round."""

    type: Any = None
    with_: Any = Field(default=None, alias="with")


def check_schema(document: dict[str, Any], outline: Outline, report: Report) -> Definition | None:
    """The typed definition, or None with everything told that does not fit the model."""
    try:
        return Definition.model_validate(document)
    except ValidationError as error:
        for finding in error.errors(include_url=False):
            _tell(finding, (), Definition, report)
    for node in outline.nodes:
        if node.type not in NODE_CLASSES:
            _check_untyped(node.raw, node.path, report)
    return None


def _check_untyped(raw: dict[str, Any], path: str, report: Report) -> None:
    known = _words_of(_UntypedNode) | _GROUP_ONLY
    try:
        _UntypedNode.model_validate({name: value for name, value in raw.items() if name in known - _GROUP_ONLY})
    except ValidationError as error:
        for finding in error.errors(include_url=False):
            _tell(finding, path, _UntypedNode, report)
    for name in [name for name in raw if name not in known]:
        hint = report.suggestion(name, known)
        report.error("unknown_field", path + pointer(name), f"`{name}` is no attribute of a node", hint)


_GROUP_ONLY = {"nodes", "connections", "start", "variables", "finish"}


def _tell(finding: Any, prefix: str | Location, model: type[DefinitionPart], report: Report) -> None:
    location: Location = finding["loc"]
    parts = tuple(part for part in location if not _is_tag(part))
    root = prefix if isinstance(prefix, str) else ""
    match finding["type"]:
        case "extra_forbidden":
            known = _words_at(model, location[:-1])
            name = str(parts[-1])
            hint = report.suggestion(name, known) or _known_words(known)
            report.error("unknown_field", root + pointer(*parts), f"`{name}` is not known here", hint)
        case "missing":
            report.error("missing_field", root + pointer(*parts[:-1]), f"`{parts[-1]}` is missing", "add it")
        case "node_type":
            _tell_node_type(finding["input"], root + pointer(*parts), report)
        case _:
            code, message, hint = _explain(finding, parts, location, report)
            report.error(code, root + pointer(*_without_key_mark(parts)), message, hint)


def _tell_node_type(node: object, path: str, report: Report) -> None:
    if not isinstance(node, dict):
        report.error("wrong_type", path, f"a node must be an object, not {_kind_of(node)}")
    elif "type" not in node:
        report.error("missing_field", path, "`type` is missing", f"one of {', '.join(NODE_TYPES)}")
    else:
        shown = _shown(node["type"])
        close = report.suggestion(node["type"], NODE_TYPES) if isinstance(node["type"], str) else None
        hint = close or f"one of {', '.join(NODE_TYPES)}"
        report.error("unknown_node_type", path + "/type", f"{shown} is no node type", hint)


def _explain(finding: Any, parts: Location, location: Location, report: Report) -> tuple[str, str, str | None]:
    kind, value, context = finding["type"], finding["input"], finding.get("ctx", {})
    name = next((f"`{part}`" for part in reversed(parts) if isinstance(part, str)), "the definition")
    if isinstance(parts[-1] if parts else None, int):
        name = f"an entry of {name}"
    if kind in _TYPE_WORDS:
        wanted = _TYPE_WORDS[kind]
        return "wrong_type", f"{name} must be {wanted}, not {_kind_of(value)}", _type_hint(kind, value, parts, location)
    if kind == "literal_error":
        hint = report.suggestion(str(value), _literals(context["expected"]))
        return "wrong_value", f"{name} must be {context['expected']}, not {_shown(value)}", hint
    if kind == "string_pattern_mismatch":
        wanted = _PATTERN_WORDS.get(context["pattern"], f"text like {context['pattern']}")
        return "wrong_format", f"{name} must be {wanted}, not {_shown(value)}", None
    if kind in {"greater_than_equal", "less_than_equal", "number_range", "too_short"} or kind.startswith("string_too"):
        return "out_of_range", f"{name}: {_range_words(finding)}", None
    if kind in {"invalid_duration", "invalid_timestamp", "invalid_status", "wait_choice", "http_auth", "http_body"}:
        return kind, f"{name}: {finding['msg']}", context.get("hint")
    return "schema", f"{name}: {finding['msg']}", None


def _range_words(finding: Any) -> str:
    context, kind = finding.get("ctx", {}), finding["type"]
    shown = _shown(finding["input"])
    match kind:
        case "greater_than_equal":
            return f"{shown} is less than {context['ge']}"
        case "less_than_equal":
            return f"{shown} is more than {context['le']}"
        case "string_too_short":
            return "the text is empty"
        case "string_too_long":
            return f"the text has more than {context['max_length']} characters"
        case "too_short":
            return "the list is empty"
        case _:
            return f"{shown} is out of range: {finding['msg'].removeprefix('Input ')}"


def _type_hint(kind: str, value: object, parts: Location, location: Location) -> str | None:
    scalar = isinstance(value, str | int | float | bool)
    if kind == "string_type" and parts and parts[-1] in _DURATIONS and scalar and not isinstance(value, bool | str):
        return f"write a duration with its unit, as in {value}s"
    if kind == "string_type" and scalar:
        return f"put it in quotes: {json.dumps(str(value).lower() if isinstance(value, bool) else str(value))}"
    if value is None:
        return "leave the field out"
    if location and location[-1] == f"{TAG_MARK}literal":
        return 'or give a template: "${ ... }"'
    return None


def _is_tag(part: str | int) -> bool:
    return isinstance(part, str) and part.startswith(TAG_MARK)


def _without_key_mark(parts: Location) -> Location:
    return parts[:-1] if parts and parts[-1] == "[key]" else parts


def _literals(expected: str) -> list[str]:
    return [word.strip("'") for word in expected.replace(" or ", ", ").split(", ")]


def _kind_of(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case str() | int() | float():
            return _shown(value)
        case list():
            return "a list"
        case _:
            return "an object"


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str | int | float) else _kind_of(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _known_words(known: frozenset[str]) -> str | None:
    return f"known here: {', '.join(sorted(known))}" if 0 < len(known) <= 40 else None


def _words_at(model: type[DefinitionPart], location: Location) -> frozenset[str]:
    """The field names that are allowed at a location: the models are followed along it."""
    current: type[DefinitionPart] | None = model
    candidates: list[type[DefinitionPart]] = []
    for part in location:
        if _is_tag(part):
            tagged = NODE_CLASSES.get(str(part).removeprefix(TAG_MARK))
            current = tagged or current
        elif isinstance(part, str) and current is not None:
            candidates = list(_models_in(_annotation_of(current, part)))
            current = candidates[0] if candidates else None
    return _words_of(current) if current is not None else frozenset()


def _annotation_of(model: type[DefinitionPart], word: str) -> Any:
    for name, info in model.model_fields.items():
        if (info.alias or name) == word:
            return info.annotation
    return None


def _models_in(annotation: Any) -> Iterator[type[DefinitionPart]]:
    if isinstance(annotation, type) and issubclass(annotation, DefinitionPart):
        yield annotation
    for argument in get_args(annotation) if annotation is not Literal else ():
        yield from _models_in(argument)


@cache
def _words_of(model: type[DefinitionPart]) -> frozenset[str]:
    return frozenset(info.alias or name for name, info in model.model_fields.items())
