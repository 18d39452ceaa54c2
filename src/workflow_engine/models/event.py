"""Facts: what happened to an execution, in order. The log is made of them and the state is their fold.

A fact carries everything that `apply` needs, so that no expression is evaluated again when a log is folded. Facts whose
class is `PUBLIC` are also events of the execution's public stream: each takes the next number of its `sequence`.

Instants (`*_at`) are microseconds since 1970 UTC. `step` is a step id, `took` and `puts` name connections by their
position in the document (within the scope's list): `took` one token from each, `puts` pairs of connection and number of
tokens.
"""

from typing import Any, ClassVar

import msgspec

ErrorValue = dict[str, Any]
"""An error as expressions and clients see it: `{type, message, details, node, step_id, attempt}`."""


class Fact(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="fact", gc=False):
    """The base of all facts."""

    PUBLIC: ClassVar[bool] = False


class ExecutionCreated(Fact, tag="execution_created", frozen=True):
    """The execution exists; it has not begun yet."""

    workflow_id: str
    version: int
    input: Any = None
    variables: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    priority: int = 5
    start_at: int | None = None


class ExecutionStarted(Fact, tag="execution_started", frozen=True):
    """The first tokens are on the start nodes. The input stands in `ExecutionCreated`."""

    PUBLIC = True

    version: int
    starts: list[str]
    variables: dict[str, Any] = {}
    timeout_at: int | None = None


class StepStarted(Fact, tag="step_started", frozen=True):
    """A node was activated: it took its tokens, or is an item of the `foreach` step `parent`."""

    PUBLIC = True

    step: str
    node: str
    status: str
    scope: str = ""
    took: list[int] = []
    is_start: bool = False
    parent: str | None = None
    index: int | None = None
    input: Any = None
    waiting_for: dict[str, Any] | None = None
    due_at: int | None = None
    timeout_at: int | None = None
    timeout_s: float | None = None
    signal: str | None = None
    items: list[Any] | None = None
    concurrency: int = 1


class StepReopened(Fact, tag="step_reopened", frozen=True):
    """An operator's retry opens a failed or withdrawn step again, in place, as a new generation.

    `is_fresh`: the step had failed and begins anew, with what the other fields say; otherwise it goes on with what it
    had.
    """

    PUBLIC = True

    step: str
    status: str
    is_fresh: bool = False
    input: Any = None
    waiting_for: dict[str, Any] | None = None
    due_at: int | None = None
    timeout_at: int | None = None
    timeout_s: float | None = None
    signal: str | None = None
    items: list[Any] | None = None
    concurrency: int = 1


class StepAttempted(Fact, tag="step_attempted", frozen=True):
    """The back-off is over: the next attempt of the step begins."""

    step: str
    attempt: int


class StepRetrying(Fact, tag="step_retrying", frozen=True):
    """An attempt failed; another begins at `next_at`."""

    PUBLIC = True

    step: str
    error: ErrorValue
    attempt: int
    next_at: int


class DecisionMade(Fact, tag="decision_made", frozen=True):
    """The connections that were looked at, their results, and the targets that get tokens."""

    PUBLIC = True

    step: str
    connections: list[dict[str, Any]]
    taken: list[str]


class StepCompleted(Fact, tag="step_completed", frozen=True):
    """A step succeeded. `is_list`: its output is the list of its items' results, which stand in their own facts."""

    PUBLIC = True

    step: str
    output: Any = None
    attempt: int = 1
    duration_ms: int = 0
    puts: list[tuple[int, int]] = []
    next_node: str | None = None
    is_kept: bool = False
    is_list: bool = False
    ends_path: bool = False
    end_status: str | None = None
    end_message: str | None = None


class StepFailed(Fact, tag="step_failed", frozen=True):
    """A step failed for good. Without `puts` the error leaves its scope, and the step can be reopened by a retry."""

    PUBLIC = True

    step: str
    error: ErrorValue
    attempt: int = 1
    puts: list[tuple[int, int]] = []
    next_node: str | None = None
    is_reopenable: bool = False


class StepCancelled(Fact, tag="step_cancelled", frozen=True):
    """A step was withdrawn."""

    PUBLIC = True

    step: str
    reason: str
    is_reopenable: bool = False


class JoinRoundChanged(Fact, tag="join_round_changed", frozen=True):
    """A `count` join absorbed late tokens of a round; `owed` are the connections that still owe one."""

    node: str
    owed: list[int]
    absorbed: list[int] = []
    scope: str = ""


class SignalReceived(Fact, tag="signal_received", frozen=True):
    """A message from outside arrived; it is kept until a wait takes it."""

    PUBLIC = True

    number: int
    name: str
    payload: Any = None


class SignalTaken(Fact, tag="signal_taken", frozen=True):
    """A wait took the signal."""

    number: int


class VariablesChanged(Fact, tag="variables_changed", frozen=True):
    """The variables that a transition changed, each with its final value."""

    PUBLIC = True

    changed: dict[str, Any]


class CustomEmitted(Fact, tag="custom_emitted", frozen=True):
    """An `emit` node put an event of its own on the stream."""

    PUBLIC = True

    step: str
    event: str
    data: Any = None


class ProgressMade(Fact, tag="progress_made", frozen=True):
    """The progress after this transition, in percent; it stands first in its transition."""

    percent: int


class ExecutionPaused(Fact, tag="execution_paused", frozen=True):
    """Nothing goes on until `reason` is over: `input`, `timer` or `operator`."""

    PUBLIC = True

    reason: str
    waiting_for: list[dict[str, Any]] = []


class ExecutionResumed(Fact, tag="execution_resumed", frozen=True):
    """The execution goes on. `is_retry`: a failed one, at the steps that can be reopened."""

    PUBLIC = True

    is_operator: bool = False
    is_retry: bool = False
    timeout_at: int | None = None


class ExecutionCompleted(Fact, tag="execution_completed", frozen=True):
    """The end: every path ended well."""

    PUBLIC = True

    output: Any = None


class ExecutionFailed(Fact, tag="execution_failed", frozen=True):
    """The end: an error left the outermost scope, or an `end` node said so."""

    PUBLIC = True

    error: ErrorValue


class ExecutionCancelled(Fact, tag="execution_cancelled", frozen=True):
    """The end: withdrawn by a command or by an `end` node."""

    PUBLIC = True

    reason: str


AnyFact = (
    ExecutionCreated
    | ExecutionStarted
    | StepStarted
    | StepReopened
    | StepAttempted
    | StepRetrying
    | DecisionMade
    | StepCompleted
    | StepFailed
    | StepCancelled
    | JoinRoundChanged
    | SignalReceived
    | SignalTaken
    | VariablesChanged
    | CustomEmitted
    | ProgressMade
    | ExecutionPaused
    | ExecutionResumed
    | ExecutionCompleted
    | ExecutionFailed
    | ExecutionCancelled
)

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(list[AnyFact])


def encode_facts(facts: list[AnyFact]) -> bytes:
    """The facts of one transition as the JSON that the log keeps."""
    return _encoder.encode(facts)


def decode_facts(encoded: bytes) -> list[AnyFact]:
    """The facts of one log row; raises msgspec.ValidationError for what this version does not know."""
    return _decoder.decode(encoded)
