"""What the API shows, as models: they make the schemas of the OpenAPI document, and nothing at run time."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Scalars = dict[str, str | int | float | bool | None]
Instant = str


class Resource(BaseModel):
    """The base of all."""

    model_config = ConfigDict(extra="forbid")


class ProblemEntry(Resource):
    """One thing that is wrong, and the way out."""

    severity: Literal["error", "warning"]
    code: str = Field(description="Stable; may be matched by programs.")
    path: str = Field(description="JSON pointer to the place; empty for the whole document.")
    message: str
    hint: str | None


class ProblemDocument(Resource):
    """RFC 9457: why a request was refused."""

    type: str = Field(description="`urn:workflow-engine:problem:<code>`")
    title: str
    status: int
    detail: str
    instance: str = Field(description="The request's path.")
    code: str = Field(description="Stable; may be matched by programs.")
    problems: list[ProblemEntry] = Field(default=[], description="Every wrong place, where there are places.")


class ValidationResult(Resource):
    """What validation found."""

    valid: bool = Field(description="Whether the definition can be published; warnings do not forbid it.")
    problems: list[ProblemEntry]


class Workflow(Resource):
    """A version of a workflow."""

    id: str
    version: int
    name: str
    labels: dict[str, str]
    definition: dict[str, Any] = Field(description="As it was published, without defaults, with sorted keys.")
    archived: bool = Field(description="The workflow takes no new executions.")
    created_at: Instant = Field(description="When this version was published.")


Status = Literal["pending", "running", "paused", "completed", "failed", "cancelled"]
Reason = Literal["input", "timer", "operator"]


class ErrorValue(Resource):
    """An error, as expressions see it too."""

    type: str
    message: str
    details: Any
    node: str | None
    step_id: str | None
    attempt: int | None


class ExecutionSummary(Resource):
    """An execution as a list shows it: without its payloads."""

    execution_id: str
    workflow_id: str
    version: int
    status: Status
    reason: Reason | None = Field(description="Why it is paused: for input, for a clock, by an operator.")
    progress_percentage: int = Field(description="In a list as of the last change of status.")
    sequence: int = Field(description="The number of its last event.")
    priority: int
    metadata: Scalars
    labels: Scalars
    created_at: Instant
    started_at: Instant | None
    finished_at: Instant | None


class Execution(ExecutionSummary):
    """An execution."""

    input: Any
    output: Any
    error: ErrorValue | None
    variables: dict[str, Any]
    active_nodes: list[str]


class Step(Resource):
    """One activation of a node."""

    step_id: str
    node_id: str
    type: str | None = Field(description="The node's type.")
    status: Literal["pending", "processing", "waiting", "completed", "failed", "skipped", "cancelled", "compensated"]
    attempts: int
    input: Any = Field(description="The evaluated `with`; of a `foreach` step `{items}`.")
    output: Any = Field(description="Of a `foreach` step the list of its items' results.")
    error: ErrorValue | None = Field(description="Why it failed, or why it is tried again.")
    worker: str | None = Field(description="Who ran it, where somebody was called.")
    scheduled_at: Instant
    started_at: Instant | None
    finished_at: Instant | None
    output_omitted: str | None = Field(default=None, description="Why a list of results is left out.")


class HumanTask(Resource):
    """What a person is asked."""

    task_id: str
    execution_id: str
    workflow_id: str
    node_id: str
    step_id: str
    status: Literal["waiting", "completed", "failed", "cancelled"]
    title: str | None
    instructions: str | None
    form: Any = Field(description="JSON Schema of the answer, if there is one.")
    assignees: list[str]
    due: Instant | None
    created_at: Instant
    completed_at: Instant | None
    completed_by: str | None


class Waiting(Resource):
    """A step that is active."""

    step_id: str
    node_id: str
    kind: str
    name: str | None
    until: Instant | None
    sentence: str


class FailedStep(Resource):
    """A step that failed."""

    step_id: str | None
    node_id: str
    error: ErrorValue
    sentence: str


class Untouched(Resource):
    """A node that was not activated."""

    node_id: str
    sentence: str


class Explanation(Resource):
    """Why an execution is where it is."""

    execution_id: str
    status: Status
    reason: Reason | None
    summary: str
    waiting: list[Waiting]
    failed: list[FailedStep]
    not_activated: list[Untouched]
