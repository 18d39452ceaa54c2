"""Definition files: read, and found to be right or wrong."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow_engine.cli.failure import CommandFailed
from workflow_engine.engine.validation import validate
from workflow_engine.models.document import BYTES_MAX, DocumentInvalid, parse_document
from workflow_engine.models.problem import Problem
from workflow_engine.models.workflow import Definition

STANDARD_INPUT = "-"


@dataclass(frozen=True, slots=True)
class DefinitionFile:
    """A file that holds a definition, or should."""

    name: str
    document: Any
    definition: Definition | None
    """None where there is an error among the problems."""
    problems: list[Problem]

    @property
    def is_valid(self) -> bool:
        """Whether it can be published."""
        return self.definition is not None

    def drawable(self) -> Definition | None:
        """The definition, also if all that stands against it is that this release does not serve a part of it."""
        errors = {problem.code for problem in self.problems if problem.severity == "error"}
        return Definition.model_validate(self.document) if errors == {"not_supported_yet"} else self.definition

    def required(self) -> Definition:
        """The definition; raises CommandFailed with all problems if there is none."""
        if self.definition is None:
            errors = [problem for problem in self.problems if problem.severity == "error"]
            count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
            raise CommandFailed(
                f"{self.name} is no valid definition: {count}", code="definition_invalid", problems=self.problems
            )
        return self.definition


def read_definition(name: str) -> DefinitionFile:
    """Read and check a file (`-`: standard input); what is wrong with it is told in `problems`, not raised."""
    try:
        data = _read(name)
    except OSError as error:
        message = f"the file can't be read: {error.strerror}"
        return DefinitionFile(
            name, None, None, [Problem(severity="error", code="unreadable", path="", message=message)]
        )
    try:
        document = parse_document(data, kind="json" if _is_json(name, data) else "yaml")
    except DocumentInvalid as error:
        return DefinitionFile(name, None, None, [error.problem])
    validation = validate(document)
    return DefinitionFile(name, document, validation.definition, validation.problems)


def _read(name: str) -> bytes:
    if name == STANDARD_INPUT:
        return sys.stdin.buffer.read(BYTES_MAX + 1)
    with Path(name).open("rb") as file:
        return file.read(BYTES_MAX + 1)


def _is_json(name: str, data: bytes) -> bool:
    return name.endswith(".json") or (not name.endswith((".yaml", ".yml")) and data.lstrip()[:1] == b"{")


def problem_lines(name: str, problems: list[Problem]) -> list[str]:
    """The problems for people, each with its file and place."""
    lines: list[str] = []
    for problem in problems:
        lines.append(f"{name}:{problem.path or '/'}: {problem.severity} {problem.code}: {problem.message}")
        if problem.hint:
            lines.append(f"    {problem.hint}")
    return lines
