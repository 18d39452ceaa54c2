"""The two ways an expression goes wrong: it does not compile, or it fails while it is evaluated."""

from __future__ import annotations

from typing import Literal, NoReturn

ErrorType = Literal["expression_error", "expression_limit", "payload_too_large"]


class ExpressionInvalid(ValueError):
    """The source does not compile.

    Attributes:
        message: what is wrong, one sentence without a full stop.
        position: offset into the source in characters, from 0.
        hint: the way out, where there is one to name.
    """

    def __init__(self, message: str, position: int, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.position = position
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.message} (at character {self.position})"
        return f"{text}: {self.hint}" if self.hint else text


class TemplateInvalid(ValueError):
    """Strings of a template hold expressions that do not compile.

    Attributes:
        errors: JSON pointer of the string and what is wrong in it; positions count from the start of the string.
    """

    def __init__(self, errors: list[tuple[str, ExpressionInvalid]]) -> None:
        super().__init__("; ".join(f"{pointer}: {error}" if pointer else str(error) for pointer, error in errors))
        self.errors = errors


class ExpressionFailed(Exception):
    """Evaluation ended without a value.

    Attributes:
        type: `expression_error` (the expression or its data are wrong), `expression_limit` (the budget is spent or
            a size limit is met; nothing absorbs it, neither `||` nor a macro) or `payload_too_large` (what a template
            gives is).
        message: one sentence for the author of the expression.
    """

    type: ErrorType = "expression_error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class EvaluationFailed(ExpressionFailed):
    """An error of CEL, which `||`, `&&` and the macros may absorb."""

    type = "expression_error"


class LimitExceeded(ExpressionFailed):
    """The budget is spent or a size limit is met."""

    type = "expression_limit"


class TooLarge(ExpressionFailed):
    """The value of a template is larger than values may be."""

    type = "payload_too_large"


TEXT_SHOWN = 60


def shorten(text: str) -> str:
    """A text cut to what a message can hold."""
    return text if len(text) <= TEXT_SHOWN else text[: TEXT_SHOWN - 3] + "..."


def fail(message: str) -> NoReturn:
    """Raise the error of CEL that `||`, `&&` and the macros may absorb."""
    raise EvaluationFailed(message)
