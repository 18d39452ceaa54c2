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


ExecutionImage = dict[str, Any]
"""A state as plain data: the builtins of an `ExecutionState`."""


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


class Wait(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One thing that a `wait` step waits for: `kind` is for, until, signal or condition.

    `at` is the instant of a clock, `name` a signal's name.
    """

    kind: str
    at: int | None = None
    name: str | None = None


class StepQueued(Fact, tag="step_queued", frozen=True):
    """A node was activated and has to wait before it starts: for its lock, for a slot of its limit, or for both."""

    step: str
    node: str
    scope: str = ""
    took: list[int] = []
    is_start: bool = False
    parent: str | None = None
    index: int | None = None
    lock: str | None = None
    limit_key: str | None = None
    limit_max: int = 0
    undoes: str | None = None


class SlotAsked(Fact, tag="slot_asked", frozen=True):
    """A step has its lock, if it needs one, and asks the store for a slot of its limit."""

    step: str


class SlotGranted(Fact, tag="slot_granted", frozen=True):
    """The store has a slot for the step."""

    step: str


class StepRequeued(Fact, tag="step_requeued", frozen=True):
    """A retry opens a step again that has to wait for its lock or its limit before it starts."""

    step: str


class StepParked(Fact, tag="step_parked", frozen=True):
    """A `foreach` step that was over before its items is done with them, or they are withdrawn until a retry."""

    step: str
    is_reopenable: bool = False


class StepStarted(Fact, tag="step_started", frozen=True):
    """A node was activated: it took its tokens, or is an item or iteration of the step `parent`.

    `is_queued`: a `StepQueued` has taken the tokens before. `variables` are those of the scope that a group opens,
    `starts` its first nodes; `repeat_max` makes it a step whose iterations are its children, `undoes` is the step that
    it compensates.
    """

    PUBLIC = True

    step: str
    node: str
    status: str
    scope: str = ""
    took: list[int] = []
    is_start: bool = False
    is_queued: bool = False
    parent: str | None = None
    index: int | None = None
    input: Any = None
    waiting_for: dict[str, Any] | None = None
    waits: list[Wait] = []
    timeout_at: int | None = None
    timeout_s: float | None = None
    lock: str | None = None
    items: list[Any] | None = None
    concurrency: int = 1
    complete_after: int | None = None
    repeat_max: int | None = None
    variables: dict[str, Any] = {}
    starts: list[str] | None = None
    undoes: str | None = None


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
    waits: list[Wait] = []
    timeout_at: int | None = None
    timeout_s: float | None = None
    items: list[Any] | None = None
    concurrency: int = 1
    complete_after: int | None = None
    repeat_max: int | None = None
    variables: dict[str, Any] = {}
    starts: list[str] | None = None


class StepAttempted(Fact, tag="step_attempted", frozen=True):
    """The back-off is over: the next attempt of the step begins; a group's with its scope as at its start."""

    step: str
    attempt: int
    timeout_at: int | None = None
    variables: dict[str, Any] = {}
    starts: list[str] | None = None


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
    """A step succeeded. `is_list`: its output is the list of its items' results, which stand in their own facts.

    `is_skipped`: an operator passed over it. `is_detached`: the step is over, and items of it live on in the scope.
    `is_undoable`: it has a node that undoes it, which `undo_names` are kept for.
    """

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
    is_skipped: bool = False
    is_detached: bool = False
    is_undoable: bool = False
    undo_names: dict[str, Any] = {}


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


class IterationDelayed(Fact, tag="iteration_delayed", frozen=True):
    """The next iteration of a `repeat` begins at `until`."""

    step: str
    until: int


class ItemsAdded(Fact, tag="items_added", frozen=True):
    """A running `foreach` step got more items."""

    PUBLIC = True

    step: str
    items: list[Any]


class TokensWithdrawn(Fact, tag="tokens_withdrawn", frozen=True):
    """A `cancel` list took these tokens away: pairs of connection and number, and start nodes that had not begun."""

    tokens: list[tuple[int, int]]
    starts: list[str] = []
    scope: str = ""


class ChildNoted(Fact, tag="child_noted", frozen=True):
    """The child of a `workflow` step paused for `reason`, or goes on (None)."""

    step: str
    reason: str | None = None


class JoinRoundChanged(Fact, tag="join_round_changed", frozen=True):
    """A `count` join absorbed late tokens of a round; `owed` are the connections that still owe one."""

    node: str
    owed: list[int]
    absorbed: list[int] = []
    scope: str = ""


class SignalReceived(Fact, tag="signal_received", frozen=True):
    """A message from outside arrived; it is kept until a wait takes it, or `is_lost` where none that waits wants it."""

    PUBLIC = True

    number: int
    name: str
    payload: Any = None
    is_lost: bool = False


class SignalTaken(Fact, tag="signal_taken", frozen=True):
    """A wait took the signal."""

    number: int


class VariablesChanged(Fact, tag="variables_changed", frozen=True):
    """The variables of a scope that a transition changed, each with its final value."""

    PUBLIC = True

    changed: dict[str, Any]
    scope: str = ""


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


class CompensationStarted(Fact, tag="compensation_started", frozen=True):
    """The execution is to end, and undoes what was completed first: `steps` in the order in which they are undone.

    It then ends as failed with `error`, or as cancelled for `reason`.
    """

    PUBLIC = True

    steps: list[str]
    error: ErrorValue | None = None
    reason: str | None = None


class ExecutionForked(Fact, tag="execution_forked", frozen=True):
    """The execution exists, and stands where another stood: `state` is what it begins with, steps to reopen included.

    It is the first event of the new execution's stream, a `workflow_started`.
    """

    PUBLIC = True

    workflow_id: str
    version: int
    origin_id: str
    origin_sequence: int
    state: ExecutionImage
    timeout_at: int | None = None


class ExecutionMigrated(Fact, tag="execution_migrated", frozen=True):
    """The execution goes on with another version.

    `nodes` are new ids by old ones, where they differ; `dropped` the nodes that are gone; `connections` give, by the
    path of nodes of a scope, the new position of each of its connections that holds a token or was taken; `outputs`, by
    scope and old node id, what the old version did not keep and the new one reads.
    """

    PUBLIC = True

    from_version: int
    version: int
    nodes: dict[str, str] = {}
    dropped: list[str] = []
    connections: dict[str, dict[int, int]] = {}
    outputs: dict[str, dict[str, Any]] = {}


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
    | ExecutionForked
    | ExecutionMigrated
    | StepQueued
    | SlotAsked
    | SlotGranted
    | StepRequeued
    | StepParked
    | StepStarted
    | StepReopened
    | StepAttempted
    | StepRetrying
    | DecisionMade
    | StepCompleted
    | StepFailed
    | StepCancelled
    | IterationDelayed
    | ItemsAdded
    | TokensWithdrawn
    | ChildNoted
    | JoinRoundChanged
    | SignalReceived
    | SignalTaken
    | VariablesChanged
    | CustomEmitted
    | ProgressMade
    | ExecutionPaused
    | ExecutionResumed
    | CompensationStarted
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
