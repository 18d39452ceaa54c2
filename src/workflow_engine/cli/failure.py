"""Why a command could not do what it was asked, and the exit codes that say so."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from workflow_engine.models.problem import Problem

EXIT_COMPLETED: Final = 0
EXIT_FAILED: Final = 1
"""The execution failed or was cancelled, or the server can't be reached."""
EXIT_REFUSED: Final = 2
"""The definition, the input, an option, a setting or the database can't be used; nothing was started."""
EXIT_WAITING: Final = 3
"""The execution waits for people or signals."""
EXIT_BUG: Final = 70
"""The engine itself went wrong (`EX_SOFTWARE` of sysexits.h), so that scripts don't take it for a failed execution."""


class CommandFailed(Exception):
    """The command can't be carried out; the message names the place, `hint` the way out."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "invalid_arguments",
        hint: str | None = None,
        problems: Sequence[Problem] = (),
        data: Mapping[str, Any] | None = None,
        exit_code: int = EXIT_REFUSED,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint
        self.problems = list(problems)
        self.data = dict(data or {})
        """What a `--json` answer tells beside the error, such as the execution's id."""
        self.exit_code = exit_code

    def to_dict(self) -> dict[str, Any]:
        """The one document that `--json` prints in the place of a result."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.hint is not None:
            error["hint"] = self.hint
        if self.problems:
            error["problems"] = [problem.to_dict() for problem in self.problems]
        return {"error": error, **self.data}
