"""Nodes of a definition: their attributes and one model per type."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from workflow_engine.models.duration import parse_duration
from workflow_engine.models.field import (
    TAG_MARK,
    AtLeastOne,
    DefinitionPart,
    Duration,
    DurationOrTemplate,
    ErrorType,
    Expression,
    Fraction,
    Json,
    Labels,
    NodeId,
    NonEmpty,
    Number,
    OrTemplate,
    PositiveDuration,
    PositiveDurationOrTemplate,
    ScopeName,
    VariableName,
    is_template,
)
from workflow_engine.models.node_input import (
    AgentInput,
    ConversationInput,
    EmitInput,
    EndInput,
    FailInput,
    FunctionInput,
    HttpInput,
    HumanInput,
    NodeInput,
    NoInput,
    QueryInput,
    ToolInput,
    WaitInput,
    WorkerInput,
    WorkflowInput,
)

IO_TYPES = frozenset({"http", "function", "worker", "tool", "agent", "query", "conversation", "workflow"})
ORCHESTRATOR_TYPES = frozenset({"tool", "agent", "query", "conversation"})

# Errors that may pass by themselves: what a node without a `retry` of its own repeats on.
TRANSIENT_ERRORS = frozenset({"timeout", "unavailable", "rate_limited"})

# Errors that the same call would meet again: a `retry` without `on` leaves them alone (as it does all of http_4xx).
PERMANENT_ERRORS = frozenset(
    {
        "forbidden",
        "invalid_input",
        "invalid_output",
        "no_match",
        "expression_error",
        "expression_limit",
        "payload_too_large",
        "cancelled",
        "deadlock",
        "limit_exceeded",
    }
)

# A policy can't bring these back: the call is not allowed, was withdrawn, or a hard limit ended it.
NEVER_RETRIED = frozenset({"forbidden", "cancelled", "limit_exceeded"})


class CountJoin(DefinitionPart):
    """Fires at the n-th token, the rest of that round is absorbed."""

    count: int = Field(ge=1)


def _join_kind(value: object) -> str:
    return f"{TAG_MARK}count" if isinstance(value, dict | CountJoin) else f"{TAG_MARK}name"


Join = Annotated[
    Annotated[Literal["auto", "all", "any"], Tag(f"{TAG_MARK}name")] | Annotated[CountJoin, Tag(f"{TAG_MARK}count")],
    Discriminator(_join_kind),
]


class Foreach(DefinitionPart):
    """Activates the node once per item of a list."""

    items: OrTemplate[list[Json]] = Field(description="The list, or a template that gives one.")
    item_name: ScopeName = Field(default="item", alias="as", description="The item's name in expressions.")
    index_name: ScopeName = Field(default="index", alias="index_as", description="The index's name, from 0.")
    concurrency: OrTemplate[Annotated[int, Field(ge=1, le=10_000)]] = Field(
        default=16, description="How many items are active at a time, 1 to 10000."
    )
    on_error: Literal["fail", "continue"] = Field(
        default="fail", description="continue: a failed item is null in the list of results."
    )
    complete_after: OrTemplate[Annotated[int, Field(ge=1)]] | None = Field(
        default=None, description="End early after this many completed items."
    )
    complete_when: Expression | None = Field(
        default=None, description="CEL over completed, vars and steps: end early when it holds."
    )
    rest: Literal["cancel", "continue"] = Field(
        default="cancel", description="What becomes of the remaining items after an early end."
    )
    wait: bool = Field(default=True, description="false: the node completes at once, its items live on in the scope.")


class Repeat(DefinitionPart):
    """Activates the node again and again."""

    while_: Expression | None = Field(default=None, alias="while", description="CEL, looked at before an iteration.")
    until: Expression | None = Field(default=None, description="CEL, looked at after an iteration.")
    max: OrTemplate[Annotated[int, Field(ge=1)]] = Field(default=1000, description="Most iterations.")
    delay: DurationOrTemplate | None = Field(default=None, description="Pause between iterations.")


class Retry(DefinitionPart):
    """When and how often a failed attempt is repeated. A static policy: it holds no templates."""

    max_attempts: int = Field(default=3, ge=1, description="All attempts, the first included.")
    initial: Duration = Field(default="1s", description="Delay before the second attempt.")
    factor: AtLeastOne = Field(default=2, description="Each delay is this many times the one before.")
    max: Duration = Field(default="1m", description="Longest delay.")
    jitter: Fraction = Field(default=0.2, description="Share of the delay that is drawn by chance, 0 to 1.")
    on: list[ErrorType] | None = Field(default=None, description="Only these error types are repeated.")
    not_on: list[ErrorType] = Field(default=[], description="These error types are not repeated.")


class ConcurrencyLimit(DefinitionPart):
    """At most `concurrency` active steps of the tenant per key."""

    key: NonEmpty
    concurrency: OrTemplate[Annotated[int, Field(ge=1)]]


class Position(DefinitionPart):
    """Where an editor draws the node."""

    x: Number
    y: Number


class NodeBase(DefinitionPart):
    """What every node has, whatever its type."""

    id: NodeId = Field(description="Unique in the whole definition.")
    type: str
    name: str | None = Field(default=None, description="For people; default: the id.")
    description: str | None = None
    with_: NodeInput = Field(default=NoInput(), alias="with", description="What the node type takes.")
    assign: dict[VariableName, Json] = Field(
        default={}, description="Variables to set after success; all at the same time, after `output`."
    )
    output: Json = Field(default=None, description="Replaces the raw output, which `output` names inside it.")
    join: Join = Field(default="auto", description="auto, all, any or {count: n}.")
    foreach: Foreach | None = None
    repeat: Repeat | None = None
    retry: Retry | None = Field(default=None, description="Default for I/O nodes: see the reference.")
    delivery: Literal["at_least_once", "at_most_once"] = Field(
        default="at_least_once", description="at_most_once: never sent again; a lost worker makes it worker_lost."
    )
    timeout: PositiveDurationOrTemplate | None = Field(
        default=None, description="Per attempt for I/O nodes, per activation for waits and groups."
    )
    heartbeat: PositiveDuration | None = Field(default=None, description="I/O: lost after this silence.")
    cancel: list[NodeId] = Field(
        default=[], description="Nodes whose active steps this node withdraws when it completes."
    )
    compensate: NodeId | None = Field(default=None, description="The node that undoes this one.")
    lock: NonEmpty | None = Field(default=None, description="At most one active step per lock name in this execution.")
    limit: ConcurrencyLimit | None = None
    priority: int | None = Field(default=None, ge=0, le=9, description="0 to 9; default: the execution's.")
    labels: Labels = {}
    ui: Position | None = Field(default=None, description="Ignored by the engine.")

    @property
    def is_io(self) -> bool:
        """Whether the work is done outside the transition: queued, attempted, retried."""
        return self.type in IO_TYPES

    @property
    def has_output(self) -> bool:
        """Whether the document replaces the raw output (`output: null` does)."""
        return self.is_given("output")


class SetNode(NodeBase):
    """Sets variables and gives a value."""

    type: Literal["set"]
    with_: NoInput = Field(default=NoInput(), alias="with")


class DecisionNode(NodeBase):
    """Passes its token along the first outgoing connection that holds."""

    type: Literal["decision"]
    with_: NoInput = Field(default=NoInput(), alias="with")


class JoinNode(NodeBase):
    """Brings paths together."""

    type: Literal["join"]
    with_: NoInput = Field(default=NoInput(), alias="with")


class EndNode(NodeBase):
    """Ends a path, or the whole execution."""

    type: Literal["end"]
    with_: EndInput = Field(default=EndInput(), alias="with")


class FailNode(NodeBase):
    """Raises an error."""

    type: Literal["fail"]
    with_: FailInput = Field(default=FailInput(), alias="with")


class WaitNode(NodeBase):
    """Waits for a clock, a signal or a condition."""

    type: Literal["wait"]
    with_: WaitInput = Field(alias="with")


class HumanNode(NodeBase):
    """Waits for a person's answer."""

    type: Literal["human"]
    with_: HumanInput = Field(default=HumanInput(), alias="with")


class HttpNode(NodeBase):
    """Makes an HTTP call."""

    type: Literal["http"]
    with_: HttpInput = Field(alias="with")


class FunctionNode(NodeBase):
    """Calls a registered Python function."""

    type: Literal["function"]
    with_: FunctionInput = Field(alias="with")


class WorkerNode(NodeBase):
    """Hands work to an outside worker."""

    type: Literal["worker"]
    with_: WorkerInput = Field(alias="with")


class ToolNode(NodeBase):
    """Calls a tool through the orchestrator."""

    type: Literal["tool"]
    with_: ToolInput = Field(alias="with")


class AgentNode(NodeBase):
    """Calls an agent through the orchestrator."""

    type: Literal["agent"]
    with_: AgentInput = Field(alias="with")


class QueryNode(NodeBase):
    """Queries a collection through the orchestrator."""

    type: Literal["query"]
    with_: QueryInput = Field(alias="with")


class ConversationNode(NodeBase):
    """Sends a message to a conversation through the orchestrator."""

    type: Literal["conversation"]
    with_: ConversationInput = Field(alias="with")


class WorkflowNode(NodeBase):
    """Starts another workflow."""

    type: Literal["workflow"]
    with_: WorkflowInput = Field(alias="with")


class EmitNode(NodeBase):
    """Puts a custom event on the execution's stream."""

    type: Literal["emit"]
    with_: EmitInput = Field(alias="with")


class Connection(DefinitionPart):
    """A way from one node to another."""

    source: NodeId = Field(alias="from")
    target: NodeId = Field(alias="to")
    on: Literal["success", "error"] = "success"
    when: Expression | None = Field(default=None, description="CEL; without it the connection always holds.")
    otherwise: bool = Field(default=False, description="Taken when no connection with a `when` holds.")
    tokens: OrTemplate[Annotated[int, Field(ge=0)]] = Field(default=1, description="How many tokens pass.")
    label: str | None = None


class GroupNode(NodeBase):
    """A scope of its own inside a definition."""

    type: Literal["group"]
    with_: NoInput = Field(default=NoInput(), alias="with")
    nodes: list["Node"]
    connections: list[Connection] = []
    start: list[NodeId] | None = Field(default=None, description="Default: every node without incoming connections.")
    variables: dict[VariableName, Json] = Field(
        default={}, description="Variables of this scope and their first values."
    )
    finish: Literal["all", "first"] = Field(
        default="all", description="first: the scope ends, and the rest is withdrawn, when one path has ended."
    )


NODE_CLASSES: dict[str, type[NodeBase]] = {
    "set": SetNode,
    "decision": DecisionNode,
    "join": JoinNode,
    "end": EndNode,
    "fail": FailNode,
    "group": GroupNode,
    "wait": WaitNode,
    "human": HumanNode,
    "http": HttpNode,
    "function": FunctionNode,
    "worker": WorkerNode,
    "tool": ToolNode,
    "agent": AgentNode,
    "query": QueryNode,
    "conversation": ConversationNode,
    "workflow": WorkflowNode,
    "emit": EmitNode,
}
NODE_TYPES = tuple(NODE_CLASSES)


def _node_type(value: object) -> str | None:
    found = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return f"{TAG_MARK}{found}" if isinstance(found, str) and found in NODE_CLASSES else None


Node = Annotated[
    Annotated[SetNode, Tag(f"{TAG_MARK}set")]
    | Annotated[DecisionNode, Tag(f"{TAG_MARK}decision")]
    | Annotated[JoinNode, Tag(f"{TAG_MARK}join")]
    | Annotated[EndNode, Tag(f"{TAG_MARK}end")]
    | Annotated[FailNode, Tag(f"{TAG_MARK}fail")]
    | Annotated[GroupNode, Tag(f"{TAG_MARK}group")]
    | Annotated[WaitNode, Tag(f"{TAG_MARK}wait")]
    | Annotated[HumanNode, Tag(f"{TAG_MARK}human")]
    | Annotated[HttpNode, Tag(f"{TAG_MARK}http")]
    | Annotated[FunctionNode, Tag(f"{TAG_MARK}function")]
    | Annotated[WorkerNode, Tag(f"{TAG_MARK}worker")]
    | Annotated[ToolNode, Tag(f"{TAG_MARK}tool")]
    | Annotated[AgentNode, Tag(f"{TAG_MARK}agent")]
    | Annotated[QueryNode, Tag(f"{TAG_MARK}query")]
    | Annotated[ConversationNode, Tag(f"{TAG_MARK}conversation")]
    | Annotated[WorkflowNode, Tag(f"{TAG_MARK}workflow")]
    | Annotated[EmitNode, Tag(f"{TAG_MARK}emit")],
    Discriminator(
        _node_type, custom_error_type="node_type", custom_error_message="Input should be a node with a known type"
    ),
]
GroupNode.model_rebuild()


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """A retry with every default filled in and durations as seconds."""

    max_attempts: int
    initial_s: float
    factor: float
    max_s: float
    jitter: float
    on: frozenset[str] | None
    """Error types that are repeated; None: all but the permanent ones."""
    not_on: frozenset[str]
    safe_only: bool
    """Repeat only what surely had no effect (no connection, 429, 503): a POST or PATCH without a retry of its own."""

    def covers(self, error_type: str) -> bool:
        """Whether an error of this type is repeated, attempts permitting."""
        if error_type in self.not_on or error_type in NEVER_RETRIED:
            return False
        if self.on is not None:
            return error_type in self.on
        return error_type not in PERMANENT_ERRORS and not error_type.startswith("http_4")


def effective_retry(node: NodeBase) -> RetryPolicy | None:
    """The policy by which the node's failed attempts are repeated; None: not at all.

    A `retry` of the node's own without `on` covers every error type but those the same call would meet again
    (`PERMANENT_ERRORS`, `http_4xx`). I/O nodes without one repeat on `TRANSIENT_ERRORS`; where the method is POST or
    PATCH, or a template and so not known yet, `safe_only` holds.
    """
    if node.retry is not None:
        return _policy(node.retry, on=node.retry.on, safe_only=False)
    if node.delivery == "at_most_once" or not node.is_io:
        return None
    method = node.with_.method if isinstance(node, HttpNode) else "GET"
    return _policy(
        Retry(), on=sorted(TRANSIENT_ERRORS), safe_only=is_template(method) or method.upper() in {"POST", "PATCH"}
    )


def _policy(retry: Retry, *, on: list[str] | None, safe_only: bool) -> RetryPolicy:
    return RetryPolicy(
        max_attempts=retry.max_attempts,
        initial_s=parse_duration(retry.initial),
        factor=float(retry.factor),
        max_s=parse_duration(retry.max),
        jitter=float(retry.jitter),
        on=None if on is None else frozenset(on),
        not_on=frozenset(retry.not_on),
        safe_only=safe_only,
    )
