"""Tests that a definition carries: what goes in, what the outside does, and what must come of it."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from workflow_engine.models.duration import TimestampInvalid, parse_timestamp
from workflow_engine.models.field import (
    TAG_MARK,
    DefinitionPart,
    Duration,
    ErrorType,
    Json,
    NodeId,
    NonEmpty,
    VariableName,
)

DEFAULT_NOW = "2026-01-01T00:00:00Z"

SCRIPT_ACTIONS = (
    *("signal", "answer", "decline", "variables", "complete", "skip", "items"),
    *("pause", "resume", "retry", "terminate", "cancel"),
)
"""What an entry of a script can be; each names exactly one of them."""


def _instant(text: str) -> str:
    try:
        parse_timestamp(text)
    except TimestampInvalid as error:
        raise PydanticCustomError("invalid_timestamp", "{reason}", {"reason": str(error)}) from None
    return text


def _tag_by(kind: type, tag: str, other: str) -> Any:
    """Tells values of a kind, in documents as in models, from all others."""
    return Discriminator(lambda value: f"{TAG_MARK}{tag if isinstance(value, kind) else other}")


Instant = Annotated[str, AfterValidator(_instant), Field(json_schema_extra={"examples": [DEFAULT_NOW]})]
StepName = Annotated[NonEmpty, Field(description="A node's id, or a step's.")]


class StubError(DefinitionPart):
    """The error that a call gives."""

    type: ErrorType
    message: str = ""
    details: Json = None
    retry_after: Duration | None = Field(default=None, description="The target's wish: a floor for the back-off.")
    no_effect: bool = Field(default=False, description="The call surely changed nothing: a POST may be repeated.")


class Stub(DefinitionPart):
    """What one call of an I/O node gives instead of being made: `output` or `error`."""

    output: Json = None
    error: StubError | None = None
    after: Duration = Field(default="0s", description="How long the call takes on the test's clock.")


Stubs = Annotated[
    Annotated[Stub, Tag(f"{TAG_MARK}stub")] | Annotated[list[Stub], Field(min_length=1), Tag(f"{TAG_MARK}stubs")],
    _tag_by(list, "stubs", "stub"),
]


class CancelOptions(DefinitionPart):
    """How an execution is cancelled."""

    compensate: bool = False


class ScriptEntry(DefinitionPart):
    """One thing that the outside does: exactly one of signal, answer, decline, ..., cancel."""

    after: Duration | None = Field(
        default=None, description="Since the start of the test; default: as soon as it fits, in the script's order."
    )
    signal: NonEmpty | None = Field(default=None, description="A signal of this name comes, with `payload`.")
    payload: Json = None
    answer: StepName | None = Field(default=None, description="A person answers with `output`.")
    decline: StepName | None = Field(default=None, description="A person can't do it: the step fails with `error`.")
    complete: StepName | None = Field(default=None, description="An operator completes the step with `output`.")
    output: Json = None
    error: StubError | None = None
    skip: StepName | None = Field(default=None, description="An operator skips the step.")
    items: StepName | None = Field(default=None, description="A running foreach gets more items: `values`.")
    values: list[Json] | None = None
    variables: dict[VariableName, Json] | None = Field(default=None, description="They are merged.")
    pause: Literal[True] | None = None
    resume: Literal[True] | None = None
    retry: Literal[True] | None = None
    terminate: Literal[True] | None = None
    cancel: (
        Annotated[
            Annotated[Literal[True], Tag(f"{TAG_MARK}true")] | Annotated[CancelOptions, Tag(f"{TAG_MARK}options")],
            _tag_by(bool, "true", "options"),
        ]
        | None
    ) = None

    @property
    def action(self) -> str:
        """Which of the actions it is."""
        return next(name for name in SCRIPT_ACTIONS if self.is_given(name))

    @property
    def target(self) -> str:
        """The node or step that it is about, or the signal's name; empty for the execution as a whole."""
        named = getattr(self, self.action)
        return named if isinstance(named, str) else ""


class ExpectedError(DefinitionPart):
    """The error of the execution: the fields that are given must be equal."""

    type: ErrorType | None = None
    message: str | None = None
    details: Json = None
    node: str | None = None


PathPart = Annotated[
    Annotated[NodeId, Tag(f"{TAG_MARK}node")] | Annotated[list[NodeId], Tag(f"{TAG_MARK}nodes")],
    _tag_by(list, "nodes", "node"),
]


class Expectation(DefinitionPart):
    """What must be true at the end of the test; what is not given is not looked at, but for `status`."""

    status: Literal["completed", "failed", "cancelled", "paused", "running"] = "completed"
    reason: Literal["input", "timer", "operator"] | None = Field(default=None, description="Why it is paused.")
    output: Json = Field(default=None, description="Of the execution, exactly.")
    error: ExpectedError | None = None
    variables: dict[VariableName, Json] = Field(default={}, description="The variables given must be equal.")
    path: list[PathPart] | None = Field(
        default=None,
        description="Node ids of all completed activations in order of completion; a list inside: in any order.",
    )
    visited: list[NodeId] = Field(default=[], description="Each was completed at least once.")
    not_visited: list[NodeId] = Field(default=[], description="None was ever activated.")
    counts: dict[NodeId, Annotated[int, Field(ge=0)]] = Field(
        default={}, description="Completed activations; items and iterations count, what they are parts of does not."
    )
    events: list[NonEmpty] | None = Field(default=None, description="Custom events in order, as `custom:name`.")


class WorkflowTest(DefinitionPart):
    """One test of a definition, run on a virtual clock and without any call."""

    name: NonEmpty = Field(description="Unique in the definition.")
    description: str | None = None
    input: Json = None
    variables: dict[VariableName, Json] = Field(default={}, description="As in a start.")
    now: Instant = Field(default=DEFAULT_NOW, description="What the clock says at the start.")
    stubs: dict[NodeId, Stubs] = Field(
        default={}, description="By node: what its calls give, in their order; the last one repeats."
    )
    script: list[ScriptEntry] = Field(default=[], description="What the outside does.")
    expect: Expectation = Expectation()
