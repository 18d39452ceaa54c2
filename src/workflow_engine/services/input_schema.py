"""Inputs and people's answers against the JSON Schemas that a tenant wrote, within bounds that no tenant can move."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Final

from workflow_engine.engine.validation.json_schema import schema_problems
from workflow_engine.models.errors import InputInvalid
from workflow_engine.models.problem import Problem, pointer
from workflow_engine.services.json_schema import Schema, SchemaUnusable, StepsExceeded

STEPS_INLINE: Final = 5_000
"""Keywords that are evaluated on the event loop: some 5 ms. What takes more goes to a thread of its own."""

STEPS_MAX: Final = 1_000_000
"""Keywords in all; about a second. An input of 1 MiB has at most half a million values."""


class InputSchema:
    """The schema of an input or a form; None lets everything pass."""

    def __init__(self, schema: dict[str, Any] | None) -> None:
        self._schema = Schema(schema) if schema is not None else None

    def problems(self, value: Any, *, steps_max: int = STEPS_MAX) -> list[Problem]:
        """What is wrong with a value; raises StepsExceeded."""
        if self._schema is None:
            return []
        try:
            errors = self._schema.errors(value, steps_max=steps_max)
        except SchemaUnusable as error:
            return [_problem("schema_unusable", "", f"the schema can't be used: {error}")]
        return [_problem("invalid_input", pointer(*keys), message) for keys, message in errors]

    async def check(self, value: Any, what: str = "input") -> None:
        """Raises InputInvalid with every problem of a value (the first hundred); `what` is what messages call it."""
        try:
            problems = self.problems(value, steps_max=STEPS_INLINE)
        except StepsExceeded:
            problems = await asyncio.get_running_loop().run_in_executor(_thread(), self.problems_or_limit, value)
        if problems:
            raise InputInvalid(problems, what)

    def problems_or_limit(self, value: Any) -> list[Problem]:
        """The problems of a value; that it takes too much to find them is one too."""
        try:
            return self.problems(value)
        except StepsExceeded:
            message = f"checking this value against its schema takes more than {STEPS_MAX:,} steps"
            return [_problem("schema_too_costly", "", message, "send less, or simplify the schema")]


@cache
def _thread() -> ThreadPoolExecutor:
    # One: the checks hold the interpreter's lock anyway, and a second would only slow down the event loop.
    return ThreadPoolExecutor(1, thread_name_prefix="workflow-engine-schema")


def _problem(code: str, path: str, message: str, hint: str | None = None) -> Problem:
    return Problem(severity="error", code=code, path=path, message=message, hint=hint)


def input_checker(schema: dict[str, Any] | None) -> Callable[[Any], list[Problem]]:
    """A function that lists what is wrong with an input by a JSON Schema; everything is right without one."""
    return InputSchema(schema).problems_or_limit


async def check_form(form: Any, answer: Any) -> None:
    """Raises InputInvalid where a person's answer does not fit the form, which may hold evaluated parts."""
    if not isinstance(form, dict):
        return
    wrong = await asyncio.get_running_loop().run_in_executor(_thread(), schema_problems, form)
    if wrong:
        path, message, hint = wrong[0]
        raise InputInvalid([_problem("schema_unusable", "", f"the form is no schema: {path}: {message}", hint)], "form")
    await InputSchema(form).check(answer, "answer")
