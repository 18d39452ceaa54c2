"""The definition of a workflow: one immutable version of the graph and its data."""

import hashlib
from typing import Any, Literal

import msgspec
from pydantic import Field

from workflow_engine.models.field import (
    DefinitionPart,
    Json,
    Labels,
    NodeId,
    NonEmpty,
    NonNegative,
    PositiveDuration,
    PositiveDurationOrTemplate,
    VariableName,
    WorkflowId,
)
from workflow_engine.models.node import Connection, Node
from workflow_engine.models.test_case import WorkflowTest

_CANONICAL = msgspec.json.Encoder(order="sorted")


class Callback(DefinitionPart):
    """Where to report key events by HTTP."""

    url: NonEmpty
    events: list[NonEmpty] = Field(min_length=1)
    secret: NonEmpty | None = Field(default=None, description="Name of the secret that signs the calls.")


class Budget(DefinitionPart):
    """What an execution may spend."""

    tokens: int | None = Field(default=None, ge=0)
    cost: NonNegative | None = None
    calls: int | None = Field(default=None, ge=0)
    time: PositiveDuration | None = None


class Expose(DefinitionPart):
    """How the workflow is offered to other systems."""

    mcp: bool = False


class Definition(DefinitionPart):
    """One version of a workflow."""

    id: WorkflowId = Field(description="Lower-case letters, digits, _ and -, at most 128.")
    name: str | None = Field(default=None, description="For people; default: the id.")
    description: str | None = None
    labels: Labels = {}
    input: dict[str, Json] | None = Field(default=None, description="JSON Schema (2020-12) of the input.")
    variables: dict[VariableName, Json] = Field(default={}, description="Variables and their first values.")
    timeout: PositiveDurationOrTemplate | None = Field(default=None, description="For the whole execution.")
    output: Json = Field(default=None, description="Default: the output of the last node(s) that ended a path.")
    on_failure: Literal["none", "compensate"] = "none"
    callbacks: list[Callback] = []
    start: list[NodeId] | None = Field(default=None, description="Default: every node without incoming connections.")
    budget: Budget | None = None
    tests: list[WorkflowTest] = Field(default=[], description="Stubs and expectations; see the page on testing.")
    expose: Expose | None = None
    nodes: list[Node]
    connections: list[Connection] = Field(default=[], description="In the order in which they are looked at.")

    @property
    def has_output(self) -> bool:
        """Whether the document says what the execution's output is (`output: null` does)."""
        return self.is_given("output")

    def document(self) -> dict[str, Any]:
        """The definition as its author wrote it, without the defaults."""
        return self.model_dump(exclude_unset=True)

    def canonical(self) -> bytes:
        """The document as JSON with sorted keys and no white space: equal bytes for equal content."""
        return _CANONICAL.encode(self.document())

    def content_hash(self) -> str:
        """SHA-256 of the canonical form in hexadecimal; versions with the same content share it."""
        return hashlib.sha256(self.canonical()).hexdigest()
