"""What callers name and tell: labels and metadata of an execution and its id, the keys of indexes; names; reasons."""

import re
from collections.abc import Iterator
from typing import Any, Final

from workflow_engine.models.errors import InputInvalid
from workflow_engine.models.problem import Problem, pointer

ATTRIBUTES_MAX: Final = 32
"""Labels, and keys of metadata, of one execution."""

NAME_CHARS_MAX: Final = 128

TEXT_CHARS_MAX: Final = 256
"""They are index keys; payloads belong into the input."""

SIGNAL_NAME_CHARS_MAX: Final = 256
VARIABLE_NAME_CHARS_MAX: Final = 128
REASON_CHARS_MAX: Final = 1_000

EXECUTION_ID: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}"
_EXECUTION_ID = re.compile(EXECUTION_ID)


def check_attributes(labels: dict[str, Any], metadata: dict[str, Any], execution_id: str | None) -> None:
    """Raises InputInvalid with every problem of an execution's labels (with those of its workflow), metadata and id."""
    problems = [*_problems("labels", labels), *_problems("metadata", metadata)]
    if execution_id is not None and not (isinstance(execution_id, str) and _EXECUTION_ID.fullmatch(execution_id)):
        problems.append(
            _problem("/execution_id", "must be 1 to 128 of A-Z a-z 0-9 _ . - and begin with a letter or digit")
        )
    if problems:
        raise InputInvalid(problems)


def check_text(value: Any, path: str, *, chars_max: int) -> None:
    """Raises InputInvalid for what is no text of 1 to so many characters, none of them NUL.

    Args:
        path: JSON pointer to the place, for the message.
    """
    if not isinstance(value, str) or not 1 <= len(value) <= chars_max or "\0" in value:
        raise InputInvalid(
            [_problem(path, f"must be text of 1 to {chars_max:,} characters, none of them NUL")], "request"
        )


def _problems(name: str, attributes: dict[str, Any]) -> Iterator[Problem]:
    if len(attributes) > ATTRIBUTES_MAX:
        yield _problem(pointer(name), f"has {len(attributes)} entries; {ATTRIBUTES_MAX} are allowed")
        return
    for key, value in attributes.items():
        path = pointer(name, str(key)[:NAME_CHARS_MAX])
        if not isinstance(key, str) or not 1 <= len(key) <= NAME_CHARS_MAX:
            yield _problem(path, f"a key must have 1 to {NAME_CHARS_MAX} characters")
        if value is not None and not isinstance(value, str | int | float):
            yield _problem(path, "must be text, a number, true, false or null")
        elif isinstance(value, str) and len(value) > TEXT_CHARS_MAX:
            yield _problem(path, f"has {len(value)} characters; {TEXT_CHARS_MAX} are allowed")


def _problem(path: str, message: str) -> Problem:
    return Problem(severity="error", code="invalid_field", path=path, message=message)
