"""Commands: what may be asked of an execution. A command asks, a fact is what happened, a rejection is a value."""

from typing import Any

import msgspec

from workflow_engine.models.step import StepError


class Command(msgspec.Struct, frozen=True, gc=False):
    """The base of all commands."""


class Start(Command, frozen=True):
    """Begin. `delay_s`: not before so many seconds from now."""

    workflow_id: str
    version: int
    input: Any = None
    variables: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    priority: int = 5
    delay_s: float = 0.0


class CompleteStep(Command, frozen=True):
    """An attempt of a step succeeded with `output`."""

    step: str
    attempt: int
    generation: int
    output: Any


class FailStep(Command, frozen=True):
    """An attempt of a step failed."""

    step: str
    attempt: int
    generation: int
    error: StepError


class FireTimers(Command, frozen=True):
    """Look at the clock: do what is due."""


class Signal(Command, frozen=True):
    """A message from outside."""

    name: str
    payload: Any = None


class Answer(Command, frozen=True):
    """A person's answer to a `human` step; the caller has checked it against the form."""

    step: str
    output: Any
    by: str | None = None


class Decline(Command, frozen=True):
    """A person could not do a `human` step: it fails with `error`."""

    step: str
    error: StepError
    by: str | None = None


class Pause(Command, frozen=True):
    """Start nothing new."""


class Resume(Command, frozen=True):
    """Go on after a `Pause`."""


class Cancel(Command, frozen=True):
    """Withdraw everything."""

    reason: str = "cancelled"


class Terminate(Command, frozen=True):
    """Stop at once."""

    reason: str = "terminated"


class Abort(Command, frozen=True):
    """The engine itself can't go on with this execution: end it with `error` rather than leave it hanging."""

    error: StepError


class Retry(Command, frozen=True):
    """Continue a failed execution at its failed steps."""


class SetVariables(Command, frozen=True):
    """Merge into the execution's variables."""

    changed: dict[str, Any]


class Recover(Command, frozen=True):
    """The process that held the execution is gone: dispatch again what was outstanding, and go on."""


AnyCommand = (
    Start
    | CompleteStep
    | FailStep
    | FireTimers
    | Signal
    | Answer
    | Decline
    | Pause
    | Resume
    | Cancel
    | Terminate
    | Abort
    | Retry
    | SetVariables
    | Recover
)


class Rejection(msgspec.Struct, frozen=True, gc=False):
    """A command that does not fit the state: nothing changed. `code` is stable, `message` names the reason."""

    code: str
    message: str
