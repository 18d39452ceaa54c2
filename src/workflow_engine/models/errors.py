"""The tree of errors. No HTTP in it: one table in the routes maps a class to a status.

A class says whose fault it is, its docstring is the default message, `code` is stable and may be matched by clients.
A step's failure is not here: it is a value (`models.step.StepError`), never an exception through the core.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from workflow_engine.models.problem import Problem


class WorkflowEngineError(Exception):
    """Something went wrong in the workflow engine."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str = "", /, **data: Any) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.data = data
        super().__init__(self.message)


class DefinitionInvalid(WorkflowEngineError):
    """The definition has problems and cannot be published."""

    code = "definition_invalid"

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        errors = [problem for problem in self.problems if problem.severity == "error"]
        first = f": {errors[0].path or '/'}: {errors[0].message}" if errors else ""
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        super().__init__(f"the definition has {len(errors)} problem(s){first}{more}")


class InputInvalid(WorkflowEngineError):
    """A value does not fit its schema: the input of a workflow, or a person's answer."""

    code = "invalid_input"

    def __init__(self, problems: Sequence[Problem], what: str = "input") -> None:
        """
        Args:
            what: the value in question, as the message calls it.
        """
        self.problems = list(problems)
        first = f": {problems[0].path or '/'}: {problems[0].message}" if problems else ""
        super().__init__(f"the {what} is not valid{first}")


class NotFound(WorkflowEngineError):
    """There is no such object for this tenant."""

    code = "not_found"


class Conflict(WorkflowEngineError):
    """The request does not fit the state that the object is in."""

    code = "conflict"


class AlreadyExists(Conflict):
    """An object with this id exists already."""

    code = "already_exists"


class Outdated(Conflict):
    """The object has changed since it was read."""

    code = "outdated"


class Fenced(Conflict):
    """Another writer has moved this execution on; load it again and decide anew."""

    code = "fenced"


class GroupRefused(Conflict):
    """Another write of the same group was refused, so this one was not written; submit it again without that one."""

    code = "group_refused"


class DatabaseInUse(Conflict):
    """Another process writes to this database file."""

    code = "database_in_use"


class CommandRejected(Conflict):
    """The execution's state does not allow this command."""

    code = "rejected"


class LimitExceeded(WorkflowEngineError):
    """A limit is reached."""

    code = "limit_exceeded"


class NotPermitted(WorkflowEngineError):
    """The caller may not do this."""

    code = "not_permitted"


class DependencyUnavailable(WorkflowEngineError):
    """Something that the engine needs does not answer."""

    code = "unavailable"


class StoreUnavailable(DependencyUnavailable):
    """The database does not take the write at the moment."""

    code = "store_unavailable"


class StorageFull(StoreUnavailable):
    """The disk of the database is full; free space and the engine goes on by itself."""

    code = "storage_full"


class InvariantViolated(WorkflowEngineError):
    """The state contradicts the definition: a bug in the engine."""

    code = "internal"
