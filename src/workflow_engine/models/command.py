"""Commands: what may be asked of an execution. A command asks, a fact is what happened, a rejection is a value."""

from typing import Any

import msgspec

from workflow_engine.models.execution import ExecutionState
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
    """Withdraw everything. `compensate`: then undo what was completed, in reverse order."""

    reason: str = "cancelled"
    compensate: bool = False


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


class GrantSlot(Command, frozen=True):
    """The store has a slot of a `limit` for the step: the answer to an `AskSlot`."""

    step: str
    attempt: int
    generation: int


class NoteChild(Command, frozen=True):
    """The child of a `workflow` step paused for `reason`, or goes on (None): its parent mirrors that."""

    step: str
    attempt: int
    generation: int
    reason: str | None


class AddItems(Command, frozen=True):
    """Give a running `foreach` step more items."""

    step: str
    items: list[Any]


class CompleteByHand(Command, frozen=True):
    """An operator gives the output of an active step, or of a failed one that then continues its execution."""

    step: str
    output: Any = None


class Skip(Command, frozen=True):
    """An operator skips an active step, or a failed one: its output is null and its success connections are taken."""

    step: str


class Fork(Command, frozen=True):
    """Begin a new execution where another one stood.

    `state` is the other's state at that point, and becomes this execution's own: what was under way in it begins anew.
    """

    workflow_id: str
    version: int
    origin_id: str
    origin_sequence: int
    state: ExecutionState
    variables: dict[str, Any] = {}


class Migrate(Command, frozen=True):
    """Go on with another version of the definition: its compiled graph, and new node ids by old ones.

    `outputs` are those that the new version reads and the old one did not keep (`migration.missing_outputs`): by scope
    and old node id.
    """

    version: int
    graph: Any
    nodes: dict[str, str] = {}
    outputs: dict[str, dict[str, Any]] = {}


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
    | GrantSlot
    | NoteChild
    | AddItems
    | CompleteByHand
    | Skip
    | Fork
    | Migrate
)


class Rejection(msgspec.Struct, frozen=True, gc=False):
    """A command that does not fit the state: nothing changed. `code` is stable, `message` names the reason."""

    code: str
    message: str
