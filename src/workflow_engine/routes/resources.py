"""What the API shows, as models: they make the schemas of the OpenAPI document, and nothing at run time."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

Scalars = dict[str, str | int | float | bool | None]
Instant = str


class Resource(BaseModel):
    """The base of all."""

    # Built when the OpenAPI document is asked for, not at the start of the process.
    model_config = ConfigDict(extra="forbid", defer_build=True)


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


class MigratedStep(Resource):
    """What an active step would be in another version."""

    step_id: str
    from_: str = Field(alias="from", description="Its node.")
    to: str | None = Field(description="Its node there; null: there is none.")


class MigrationRehearsal(Resource):
    """What a migration would come to."""

    possible: bool
    problems: list[ProblemEntry] = Field(description="Everything that has no place in the version.")
    steps: list[MigratedStep]


class Migration(RootModel[Execution | MigrationRehearsal]):
    """An execution that was migrated or, of a dry run, what would happen."""


class RefusedExecution(Resource):
    """An execution that did not take an action."""

    execution_id: str
    code: str = Field(description="Stable; as the single call's would be.")
    detail: str


class BulkResult(Resource):
    """What became of an action for many executions."""

    matched: int = Field(description="Executions that this request was about.")
    succeeded: int = Field(description="Those that have taken the action.")
    failed: list[RefusedExecution] = Field(description="Those that have not, and why.")
    execution_ids: list[str] | None = Field(description="Of a dry run: the executions that it was about.")
    next_cursor: str | None = Field(description="Leads on to those beyond `limit`.")


class BatchItem(Resource):
    """What became of one start of a batch."""

    index: int = Field(description="Its place in the request, from 0.")
    status: int = Field(description="What a start alone would have been answered: 202 accepted, else a refusal.")
    execution_id: str | None = Field(default=None, description="Of an accepted one; of a refused one the id it gave.")
    execution: ExecutionSummary | None = Field(default=None, description="Of an accepted one.")
    problem: ProblemDocument | None = Field(default=None, description="Of a refused one.")


class BatchResult(Resource):
    """What became of the starts of a batch."""

    items: list[BatchItem] = Field(description="In the order of the request.")
    accepted: int
    refused: int


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


class Cause(Resource):
    """One reason why a node is where it is; what else belongs to its kind stands beside these fields."""

    model_config = ConfigDict(extra="allow")

    kind: Literal[
        "connection",
        "lock",
        "limit",
        "signal",
        "human",
        "condition",
        "timer",
        "lease",
        "child",
        "join",
        "retry",
        "operator",
        "error",
        "withdrawn",
    ]
    sentence: str
    node_id: str | None = Field(description="The node that the cause is about.")
    step_id: str | None
    who_can_unblock: str | None
    how: str | None = Field(description="The call of this API that does it, or that leads on.")


class ExplainedNode(Resource):
    """A node that waits, failed, was withdrawn or was not activated."""

    node_id: str
    step_id: str | None = Field(description="Null: no step of it is active.")
    scope: str = Field(description="What the ids of the scope's steps begin with; empty for the outermost scope.")
    status: Literal["pending", "processing", "waiting", "failed", "cancelled", "skipped"]
    since: Instant | None = Field(description="When the step began.")
    timeout_at: Instant | None
    sentence: str
    causes: list[Cause]


class ExpressionValue(Resource):
    """What a part of a condition gave."""

    expression: str
    value: Any


class DecidedConnection(Resource):
    """A connection that was looked at."""

    to: str
    when: str | None = Field(description="The condition, or `otherwise`; null: it always holds.")
    result: bool
    values: list[ExpressionValue] | None = Field(
        description="Of every sub-expression, the whole one first. Null: it has no condition, or lies too far back."
    )


class ExplainedDecision(Resource):
    """The latest decision of a node."""

    step_id: str
    node_id: str
    sequence: int = Field(description="Of the event that tells of it.")
    at: Instant
    taken: list[str] = Field(description="The targets that got a token.")
    connections: list[DecidedConnection]


class Explanation(Resource):
    """Why an execution is where it is."""

    execution_id: str
    status: Status
    reason: Reason | None
    summary: str
    nodes: list[ExplainedNode] = Field(description="At most 100, at most 20 of one node, the most urgent first.")
    total: int = Field(description="How many there are in all.")
    decisions: list[ExplainedDecision] = Field(description="The latest of each of at most 20 nodes, the latest first.")
