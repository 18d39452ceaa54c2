"""Values that come on the command line: JSON, files of JSON, and pairs of name and value."""

import re
import sys
from pathlib import Path
from typing import Any

from workflow_engine.cli.failure import CommandFailed
from workflow_engine.models.document import BYTES_MAX, DocumentInvalid, parse_json

EXECUTION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
"""Safe in a URL and as part of a file's name."""


def json_value(text: str, option: str, *, bytes_max: int = BYTES_MAX) -> Any:
    """The value of `JSON`, `@FILE` or `@-` (standard input), as `--input` and its like take it."""
    data = read_bytes(text[1:], option, bytes_max) if text.startswith("@") else text.encode(errors="surrogateescape")
    try:
        return parse_json(data, bytes_max=bytes_max)
    except DocumentInvalid as error:
        place = f" (at {error.problem.path})" if error.problem.path else ""
        source = f"{text[1:]} " if text.startswith("@") else ""
        raise CommandFailed(
            f"{option}: {source}can't be used as JSON: {error}{place}",
            code=error.problem.code,
            hint=_hint(text, error.problem.hint),
        ) from None


def read_bytes(name: str, option: str, bytes_max: int) -> bytes:
    """The content of a file, or with `-` of standard input; at most a byte more than `bytes_max`."""
    try:
        if name == "-":
            return sys.stdin.buffer.read(bytes_max + 1)
        with Path(name).open("rb") as file:
            return file.read(bytes_max + 1)
    except OSError as error:
        raise CommandFailed(f"{option}: {name} can't be read: {error.strerror}", code="unreadable") from None


def _hint(text: str, hint: str | None) -> str | None:
    if hint is not None or text.startswith("@"):
        return hint
    if len(text) < 1000 and "\0" not in text and Path(text).is_file():
        return f"this is a file; write @{text}"
    return "text is quoted twice, for the shell and for JSON: '\"text\"'; a file is written @FILE"


def assignment(text: str, option: str, *, bytes_max: int = BYTES_MAX) -> tuple[str, Any]:
    """Name and value of `NAME=JSON` or `NAME=@FILE`; null for a bare `NAME`."""
    name, equals, value = text.partition("=")
    if not name.strip():
        raise CommandFailed(f"{option} {text}: a name is missing", hint=f"write {option} NAME=JSON")
    return name, json_value(value, f"{option} {name}", bytes_max=bytes_max) if equals else None


def assignments(texts: list[str], option: str, *, bytes_max: int = BYTES_MAX) -> dict[str, Any]:
    """Several of them by name; the last one of a name counts."""
    return dict(assignment(text, option, bytes_max=bytes_max) for text in texts)


def pair(text: str, option: str) -> tuple[str, str]:
    """Key and value of `key=value`, both text."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise CommandFailed(f"{option} {text}: write {option} key=value")
    return key, value


def execution_id(text: str) -> str:
    """The id, if it can be one."""
    if not EXECUTION_ID.fullmatch(text):
        raise CommandFailed(
            f"{text[:200]!r} can't be the id of an execution",
            hint="an id has 1 to 128 letters, digits, _ . and -, and begins with a letter or digit",
        )
    return text
