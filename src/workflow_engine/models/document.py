"""Documents from outside: JSON and YAML (1.2 core schema) read strictly, within limits, into JSON values."""

import json
import re
from collections.abc import Iterator
from typing import Any, Literal

import msgspec
import yaml

from workflow_engine.models.json_value import DEPTH_MAX, JsonInvalid, JsonValue, check_json, has_suspects, is_deeper
from workflow_engine.models.problem import Problem, pointer

BYTES_MAX = 1 << 20

# Keys and elements together; memory per value is some 50 times its shortest text.
VALUES_MAX = 1_000_000

_BOM = b"\xef\xbb\xbf"
_TOO_LONG_INTEGER = 2**64
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

_YAML_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG_PREFIX = "tag:yaml.org,2002:"
_FIRST_OF_NO_TEXT = frozenset("0123456789+-.~nNtTfF")
_NULL = re.compile(r"null|Null|NULL|~|")
_BOOL = re.compile(r"(true|True|TRUE)|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+")
_BASED_INT = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


class DocumentInvalid(ValueError):
    """The document is refused; `problem` says why and, when known, `line` and `column` (from 1) where."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        path: str = "",
        hint: str | None = None,
        line: int | None = None,
        column: int | None = None,
    ) -> None:
        self.line = line
        self.column = column
        place = "" if line is None else f"line {line}, column {column}: "
        self.problem = Problem(severity="error", code=code, path=path, message=place + message, hint=hint)
        super().__init__(self.problem.message)


def parse_document(
    data: bytes, *, kind: Literal["json", "yaml"], bytes_max: int = BYTES_MAX, depth_max: int = DEPTH_MAX
) -> JsonValue:
    """The JSON value of a document.

    YAML follows the 1.2 core schema (`on`, `no` and dates are strings). Anchors, aliases, merge keys, tags beyond the
    core schema, several documents and keys that are no strings are refused: none of them has a place in JSON.

    Raises:
        DocumentInvalid: too large, too deep, too many values, malformed, not UTF-8, duplicate keys, or values that
            JSON can't carry (NaN, infinities, integers outside 64 bits, NUL, lone surrogates).
    """
    if len(data) > bytes_max:
        raise DocumentInvalid("document_too_large", f"the document has {len(data):,} bytes, more than {bytes_max:,}")
    data = data.removeprefix(_BOM)
    if not data.strip():
        raise DocumentInvalid("document_empty", "the document is empty")
    return _parse_json(data, depth_max) if kind == "json" else _YamlReader(_text_of(data), depth_max).read()


def parse_json(data: bytes, *, bytes_max: int = BYTES_MAX, depth_max: int = DEPTH_MAX) -> JsonValue:
    """`parse_document` for JSON: inputs, bodies, results from outside."""
    return parse_document(data, kind="json", bytes_max=bytes_max, depth_max=depth_max)


def _parse_json(data: bytes, depth_max: int) -> JsonValue:
    if is_deeper(data, depth_max):
        raise _too_deep(depth_max)
    _refuse_too_many(data.count(b",") + data.count(b":"))
    try:
        value: JsonValue = _decode(data)
    except (ValueError, RecursionError):
        return _parse_json_slowly(data, depth_max)
    # A repeated key loses a colon on the way through a dict. An escaped character might be a colon itself.
    encoded = _encode(value)
    if b"\\u" in data or data.count(b":") != encoded.count(b":") or has_suspects(encoded):
        return _parse_json_slowly(data, depth_max)
    return value


class _Repeated:
    """Stands in the place of a member whose key came twice."""


def _parse_json_slowly(data: bytes, depth_max: int) -> JsonValue:
    """Reads what the fast way can't vouch for; slower, but knows the exact reason and place."""
    text = _text_of(data)
    decoder = json.JSONDecoder(
        object_pairs_hook=_unique_members, parse_int=_bounded_integer, parse_constant=_refuse_constant
    )
    try:
        value = decoder.decode(text)
    except json.JSONDecodeError as error:
        raise DocumentInvalid("invalid_json", error.msg, line=error.lineno, column=error.colno) from None
    for path in _repeated_in(value):
        raise DocumentInvalid(
            "duplicate_key", "this key stands more than once in its object", path=path, hint="keep one of them"
        )
    _check_values(value, len(data), depth_max)
    return value  # type: ignore[no-any-return]


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            members[key] = _Repeated()
        seen.add(key)
    return members


def _bounded_integer(digits: str) -> int:
    # Longer ones are out of range anyway, and reading thousands of digits costs quadratic time.
    return int(digits) if len(digits) <= 20 else _TOO_LONG_INTEGER


def _refuse_constant(name: str) -> None:
    raise DocumentInvalid("not_finite", f"{name} is no JSON", hint="use null, or text")


def _repeated_in(value: object) -> Iterator[str]:
    stack: list[tuple[object, tuple[str | int, ...]]] = [(value, ())]
    while stack:
        current, parts = stack.pop()
        if isinstance(current, _Repeated):
            yield pointer(*parts)
        elif isinstance(current, dict):
            stack.extend((item, (*parts, key)) for key, item in current.items())
        elif isinstance(current, list):
            stack.extend((item, (*parts, index)) for index, item in enumerate(current))


def _check_values(value: object, size: int, depth_max: int) -> None:
    try:
        check_json(value, bytes_max=8 * size + 64, depth_max=depth_max)
    except JsonInvalid as error:
        raise DocumentInvalid(error.code, f"the value {error.reason}", path=error.path) from None


def _text_of(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise DocumentInvalid(
            "invalid_utf8", "the text is not UTF-8", hint="save it as UTF-8", line=line, column=column
        ) from None


def _too_deep(depth_max: int, **place: int) -> DocumentInvalid:
    return DocumentInvalid("too_deep", f"the document is nested deeper than {depth_max} levels", **place)  # type: ignore[arg-type]


def _refuse_too_many(count: int) -> None:
    if count > VALUES_MAX:
        raise DocumentInvalid("too_many_values", f"the document has more than {VALUES_MAX:,} keys and elements")


class _YamlReader:
    """Builds the value from the parser's events, so that a bomb is refused before it is unfolded."""

    def __init__(self, text: str, depth_max: int) -> None:
        self._text = text
        self._depth_max = depth_max
        self._open: list[_Container] = []
        self._documents = 0
        self._values = 0
        self._result: Any = None

    def read(self) -> JsonValue:
        try:
            for event in yaml.parse(self._text, Loader=_YAML_LOADER):
                self._take(event)
        except yaml.MarkedYAMLError as error:
            reason = ", ".join(part for part in (error.context, error.problem) if part)
            raise DocumentInvalid("invalid_yaml", reason, **_place(error.problem_mark)) from None  # type: ignore[arg-type]
        except yaml.reader.ReaderError as error:
            raise DocumentInvalid("invalid_yaml", f"character #x{error.character:04x} is not allowed") from None
        _check_values(self._result, len(self._text), self._depth_max)
        return self._result  # type: ignore[no-any-return]

    def _take(self, event: yaml.Event) -> None:
        match event:
            case yaml.AliasEvent():
                raise _refused("yaml_alias", "aliases (*name) are not taken", event, "write the value out")
            case yaml.ScalarEvent():
                self._add(self._scalar(event), event)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._enter(event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._leave(event)
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise _refused("several_documents", "a second document starts here", event, "keep one per file")
            case _:
                pass

    def _enter(self, event: yaml.CollectionStartEvent) -> None:
        _refuse_anchor(event)
        if len(self._open) >= self._depth_max:
            raise _too_deep(self._depth_max, **_place(event.start_mark))
        kind = "map" if isinstance(event, yaml.MappingStartEvent) else "seq"
        if event.tag not in (None, "!", _TAG_PREFIX + kind):
            raise _refused("yaml_tag", f"the tag {event.tag} is not taken", event, "remove it")
        if self._open and self._open[-1].wants_key:
            raise _refused("invalid_key", "a key must be a string", event)
        self._open.append(_Container({} if kind == "map" else []))

    def _leave(self, event: yaml.CollectionEndEvent) -> None:
        self._add(self._open.pop().value, event)

    def _add(self, value: Any, event: yaml.Event) -> None:
        self._values += 1
        _refuse_too_many(self._values)
        if not self._open:
            self._result = value
        else:
            self._open[-1].add(value, event, self._open)

    def _scalar(self, event: yaml.ScalarEvent) -> Any:
        _refuse_anchor(event)
        if self._open and self._open[-1].wants_key and event.value == "<<" and not event.style:
            raise _refused("yaml_merge", "merge keys (<<) are not taken", event, "write the keys out")
        if event.tag in (None, "!", _TAG_PREFIX + "str"):
            is_plain = event.tag is None and event.implicit[0]
            return _core_value(event.value, event) if is_plain else event.value
        kind = event.tag.removeprefix(_TAG_PREFIX)
        value = _core_value(event.value, event)
        if kind == "float" and type(value) is int:
            return float(value)
        if kind not in _CORE_TYPES or type(value) is not _CORE_TYPES[kind]:
            raise _refused("yaml_tag", f"the tag {event.tag} is not taken here", event, "remove it")
        return value


_CORE_TYPES = {"null": type(None), "bool": bool, "int": int, "float": float}


class _Container:
    """An open mapping or sequence."""

    def __init__(self, value: dict[str, Any] | list[Any]) -> None:
        self.value = value
        self.key: str | int | None = None if isinstance(value, dict) else 0

    @property
    def wants_key(self) -> bool:
        return self.key is None

    def add(self, value: Any, event: yaml.Event, within: list["_Container"]) -> None:
        if isinstance(self.value, list):
            self.value.append(value)
            self.key = len(self.value)
        elif self.key is None:
            self.key = self._new_key(value, event, within)
        else:
            self.value[self.key] = value  # type: ignore[index]
            self.key = None

    def _new_key(self, key: Any, event: yaml.Event, within: list["_Container"]) -> str:
        if not isinstance(key, str):
            shown = json.dumps(key)
            raise _refused("invalid_key", f"the key {shown} is not a string", event, f'put it in quotes: "{shown}"')
        if key in self.value:
            place = pointer(*[outer.key for outer in within if outer.key is not None], key)
            raise _refused("duplicate_key", f"the key {key!r} stands more than once", event, "keep one", path=place)
        return key


def _core_value(text: str, event: yaml.Event) -> Any:
    """What a plain scalar means in the core schema (YAML 1.2.2, section 10.3.2)."""
    if text and text[0] not in _FIRST_OF_NO_TEXT:
        return text
    if _NULL.fullmatch(text):
        return None
    truth = _BOOL.fullmatch(text)
    if truth:
        return truth[1] is not None
    if _INT.fullmatch(text):
        return _bounded_integer(text)
    if _BASED_INT.fullmatch(text):
        return int(text, 0) if len(text) <= 24 else _TOO_LONG_INTEGER
    if _FLOAT.fullmatch(text):
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        raise _refused("not_finite", f"{text} is no JSON", event, "use null, or put it in quotes")
    return text


def _refuse_anchor(event: yaml.NodeEvent) -> None:
    if event.anchor is not None:
        raise _refused("yaml_alias", f"anchors (&{event.anchor}) are not taken", event, "write the value out")


def _refused(code: str, message: str, event: yaml.Event, hint: str | None = None, *, path: str = "") -> DocumentInvalid:
    return DocumentInvalid(code, message, hint=hint, path=path, **_place(event.start_mark))


def _place(mark: Any) -> dict[str, int]:
    return {} if mark is None else {"line": mark.line + 1, "column": mark.column + 1}
