"""Labels and metadata of an execution, and its id: what lists are filtered by, and so the keys of indexes."""

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

EXECUTION_ID: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}"
_EXECUTION_ID = re.compile(EXECUTION_ID)


def check_attributes(labels: dict[str, Any], metadata: dict[str, Any], execution_id: str | None) -> None:
    """Raises InputInvalid with every problem of an execution's labels (with those of its workflow), metadata and id."""
    problems = [*_problems("labels", labels), *_problems("metadata", metadata)]
    if execution_id is not None and _EXECUTION_ID.fullmatch(execution_id) is None:
        problems.append(
            _problem("/execution_id", "must be 1 to 128 of A-Z a-z 0-9 _ . - and begin with a letter or digit")
        )
    if problems:
        raise InputInvalid(problems)


def _problems(name: str, attributes: dict[str, Any]) -> Iterator[Problem]:
    if len(attributes) > ATTRIBUTES_MAX:
        yield _problem(pointer(name), f"has {len(attributes)} entries; {ATTRIBUTES_MAX} are allowed")
        return
    for key, value in attributes.items():
        path = pointer(name, key[:NAME_CHARS_MAX])
        if not 1 <= len(key) <= NAME_CHARS_MAX:
            yield _problem(path, f"a key must have 1 to {NAME_CHARS_MAX} characters")
        if value is not None and not isinstance(value, str | int | float):
            yield _problem(path, "must be text, a number, true, false or null")
        elif isinstance(value, str) and len(value) > TEXT_CHARS_MAX:
            yield _problem(path, f"has {len(value)} characters; {TEXT_CHARS_MAX} are allowed")


def _problem(path: str, message: str) -> Problem:
    return Problem(severity="error", code="invalid_field", path=path, message=message)
