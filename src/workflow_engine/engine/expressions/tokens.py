"""Source text to tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from workflow_engine.engine.expressions.errors import ExpressionInvalid, shorten

RESERVED = frozenset(
    (
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "namespace",
        "package",
        "return",
        "var",
        "void",
        "while",
    )
)
KEYWORDS = frozenset(("true", "false", "null", "in"))


class Token(NamedTuple):
    """One token.

    Attributes:
        kind: `name`, `quoted` (a name in back-quotes), `int`, `uint`, `double`, `string`, `bytes`, `end`, or, for
            operators and brackets, the text itself.
        value: the name, the text of a number, the content of a string or bytes.
        start: offset of the first character.
        end: offset behind the last one.
    """

    kind: str
    value: str | bytes
    start: int
    end: int


_TOKEN = re.compile(
    r"""
    (?P<space>(?:[ \t\n\f\r]++|//[^\n]*+)++)
  | (?P<string>[bB]?[rR]?(?:\"\"\"|'''|"|'))
  | (?P<double>[0-9]*\.[0-9]++(?:[eE][+-]?[0-9]++)?|[0-9]++[eE][+-]?[0-9]++)
  | (?P<int>0[xX][0-9a-fA-F]++[uU]?|[0-9]++[uU]?)
  | (?P<name>[_a-zA-Z][_a-zA-Z0-9]*+)
  | (?P<quoted>`[a-zA-Z0-9_./\- ]++`)
  | (?P<operator>&&|\|\||==|!=|<=|>=|[-+*/%<>!?:.,()\[\]{}])
    """,
    re.VERBOSE,
)

# The rest of a string behind its opening quotes, by (raw, quotes).
_BODIES = {
    (False, '"'): re.compile(r'((?:[^\\"\n\r]|\\[^\n\r])*+)"'),
    (False, "'"): re.compile(r"((?:[^\\'\n\r]|\\[^\n\r])*+)'"),
    (True, '"'): re.compile(r'([^"\n\r]*+)"'),
    (True, "'"): re.compile(r"([^'\n\r]*+)'"),
    (False, '"""'): re.compile(r'((?:[^\\]|\\.)*?)"""', re.DOTALL),
    (False, "'''"): re.compile(r"((?:[^\\]|\\.)*?)'''", re.DOTALL),
    (True, '"""'): re.compile(r'(.*?)"""', re.DOTALL),
    (True, "'''"): re.compile(r"(.*?)'''", re.DOTALL),
}

_ESCAPE = re.compile(
    r"\\(?:(?P<simple>[abfnrtv\\?\"'`])|[xX](?P<hex>[0-9a-fA-F]{2})|(?P<octal>[0-3][0-7]{2})"
    r"|(?:u(?P<short>[0-9a-fA-F]{4})|U(?P<long>[0-9a-fA-F]{8}))|(?P<bad>.))",
    re.DOTALL,
)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}

_HINTS = {
    "=": "compare with ==",
    "&": "the logical and is &&",
    "|": "the logical or is ||",
    "$": "an expression stands here bare, without ${ }",
    ";": "an expression is one value; bind names with cel.bind(name, value, expression)",
    "`": "back-quotes hold a field name behind a dot: a.`content-type`",
    "#": "comments begin with //",
    "\\": "escapes stand inside quotes",
    "'": "",
}


def read_tokens(source: str, start: int = 0) -> Iterator[Token]:
    """The tokens of `source` from `start` on, last an `end` token.

    Raises:
        ExpressionInvalid: at the first character that begins no token.
    """
    position = start
    while position < len(source):
        match = _TOKEN.match(source, position)
        if match is None:
            raise _unexpected(source, position)
        position = match.end()
        match match.lastgroup:
            case "space":
                continue
            case "string":
                token = _read_string(source, match)
                position = token.end
            case "int" | "double":
                token = _read_number(source, match)
            case "name":
                token = Token("name", match.group(), match.start(), position)
            case "quoted":
                token = Token("quoted", match.group()[1:-1], match.start(), position)
            case _:
                token = Token(match.group(), match.group(), match.start(), position)
        yield token
    yield Token("end", "", len(source), len(source))


def _unexpected(source: str, position: int) -> ExpressionInvalid:
    character = source[position]
    return ExpressionInvalid(f"unexpected character {character!r}", position, _HINTS.get(character))


def _read_number(source: str, match: re.Match[str]) -> Token:
    text, end = match.group(), match.end()
    if end < len(source) and (source[end].isalnum() or source[end] == "_"):
        raise ExpressionInvalid(
            f"{shorten(text + source[end])!r} is no number", match.start(), "a name cannot begin with a digit"
        )
    if match.lastgroup == "double":
        return Token("double", text, match.start(), end)
    if text[-1] in "uU":
        return Token("uint", text[:-1], match.start(), end)
    return Token("int", text, match.start(), end)


def _read_string(source: str, opening: re.Match[str]) -> Token:
    text = opening.group()
    quotes = text.lstrip("bBrR")
    prefix = text[: len(text) - len(quotes)].lower()
    body = _BODIES["r" in prefix, quotes].match(source, opening.end())
    if body is None:
        raise ExpressionInvalid(
            f"a string begins here and its closing {quotes} is missing",
            opening.start(),
            "a string with line breaks stands in three quotes" if "\n" in source[opening.end() :] else None,
        )
    content, raw, binary = body.group(1), "r" in prefix, "b" in prefix
    value: str | bytes
    if binary:
        value = _encode(content, opening.start()) if raw else _unescape_bytes(content, opening.end())
    else:
        value = content if raw else _unescape(content, opening.end())
    return Token("bytes" if binary else "string", value, opening.start(), body.end())


def _encode(content: str, position: int) -> bytes:
    try:
        return content.encode()
    except UnicodeEncodeError:
        raise ExpressionInvalid("half of a surrogate pair is no character", position) from None


def _code_point(match: re.Match[str], offset: int) -> int:
    """The code point that an escape stands for."""
    kind = match.lastgroup
    if kind == "simple":
        return ord(_SIMPLE.get(match["simple"], match["simple"]))
    if kind == "bad" or kind is None:
        raise ExpressionInvalid(
            f"{match.group()!r} is no escape",
            offset + match.start(),
            r"write \\ for a backslash, or a raw string: r'...'",
        )
    code = int(match[kind], 8 if kind == "octal" else 16)
    if 0xD800 <= code <= 0xDFFF or code > 0x10FFFF:
        raise ExpressionInvalid(f"{match.group()} is no Unicode character", offset + match.start())
    return code


def _unescape(content: str, offset: int) -> str:
    if "\\" not in content:
        return content
    return _ESCAPE.sub(lambda match: chr(_code_point(match, offset)), content)


def _unescape_bytes(content: str, offset: int) -> bytes:
    parts: list[bytes] = []
    position = 0
    for match in _ESCAPE.finditer(content):
        parts.append(_encode(content[position : match.start()], offset))
        if match.lastgroup in ("short", "long"):
            raise ExpressionInvalid(
                f"{match.group()} stands for a character, not for a byte",
                offset + match.start(),
                r"write bytes as \xff",
            )
        parts.append(bytes((_code_point(match, offset),)))
        position = match.end()
    parts.append(_encode(content[position:], offset))
    return b"".join(parts)
