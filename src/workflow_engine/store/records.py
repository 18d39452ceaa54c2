"""What goes into the store and what comes out of it: rows as values. Instants are microseconds since 1970-01-01 UTC."""

from collections.abc import Sequence
from typing import Any

import msgspec


class Summary(msgspec.Struct, gc=False):
    """The part of an execution's row that changes; written when it changes, not with every transition."""

    status: str
    """`pending` `running` `paused` `completed` `failed` `cancelled`."""
    reason: str | None = None
    """Why it is paused (`input`, `timer`, `operator`); None otherwise."""
    progress: int = 0
    """Per cent, 0 to 100."""
    started_at: int | None = None
    finished_at: int | None = None


class ExecutionRow(msgspec.Struct, gc=False):
    """One execution as lists and look-ups show it: who it is, its summary, and how far its log goes."""

    tenant_id: str
    execution_id: str
    workflow_id: str
    version: int
    """The definition's version, pinned for life."""
    priority: int
    created_at: int
    labels: dict[str, Any]
    """At most 32 scalars; fixed at the start."""
    metadata: dict[str, Any]
    """At most 32 scalars; fixed at the start."""
    status: str = "pending"
    reason: str | None = None
    progress: int = 0
    started_at: int | None = None
    finished_at: int | None = None
    transition: int = 0
    """The number of the last committed transition. The store sets it; what a caller gives is ignored."""
    sequence: int = 0
    """The last public sequence. The store sets it; what a caller gives is ignored."""
    parent_execution_id: str | None = None
    """Whose step waits for this execution; None: nobody's. The other parts of the parent are set with it."""
    parent_step_id: str | None = None
    parent_attempt: int | None = None
    parent_generation: int | None = None
    depth: int = 0
    """How many executions stand above it: 0 for one that was started from outside."""


class TaskRow(msgspec.Struct, gc=False):
    """A unit of outstanding work of one execution."""

    task_id: str
    """Unique within its execution; putting it again replaces it."""
    kind: str
    """`timer`, `human`, ...; only timers are indexed by `due_at`."""
    due_at: int | None = None
    data: bytes | None = None


class OutstandingTask(msgspec.Struct, gc=False):
    """A task as a list shows it: the row and whose it is."""

    execution_id: str
    task_id: str
    kind: str
    due_at: int | None
    data: bytes | None
    created_at: int
    """The instant of the transition that put it last."""


class SlotRow(msgspec.Struct, frozen=True, gc=False):
    """A step that asks for a slot of a limit: at most `concurrency` owners per tenant and `key`."""

    step_id: str
    key: str
    attempt: int
    generation: int
    concurrency: int


class Grant(msgspec.Struct, frozen=True, gc=False):
    """A slot that a step has got."""

    tenant_id: str
    execution_id: str
    step_id: str
    attempt: int
    generation: int
    asked_at: int


class NewsRow(msgspec.Struct, frozen=True, gc=False):
    """News for an execution that another one of its tenant wrote down: a command that it has not decided yet."""

    execution_id: str
    """Whom it is for; it need not exist."""
    news_id: str
    """The order of news from one sender, and the same however often they are written."""
    command: bytes


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """News on their way."""

    tenant_id: str
    execution_id: str
    news_id: str
    command: bytes


class IdempotencyRow(msgspec.Struct, gc=False):
    """The answer to a request that carried an `Idempotency-Key`, written in the same commit as its effect."""

    route: str
    """Method and path: the same key on another route is another key."""
    key: str
    body_hash: str
    """Of the canonical body, so that the same key with another body is told apart."""
    status: int
    """The HTTP status of the answer."""
    answer: bytes
    """Its body."""


class TransitionWrite(msgspec.Struct, gc=False):
    """Everything that one transition of one execution writes; it is committed whole or not at all."""

    tenant_id: str
    execution_id: str
    number: int
    """1 for the first. Committed only if the execution stands at `number - 1`; otherwise `Fenced`."""
    first_sequence: int
    last_sequence: int
    """`first_sequence - 1` where the transition has no public event."""
    at: int
    """The `now` that the transition was decided with."""
    events: bytes
    created: ExecutionRow | None = None
    """With number 1, and only then: the new execution. An id that is taken answers `AlreadyExists`."""
    summary: Summary | None = None
    """None: unchanged (or, with `created`, as that row says)."""
    tasks_put: Sequence[TaskRow] = ()
    tasks_removed: Sequence[str] = ()
    """Task ids. Removed before `tasks_put` is put; ids that are gone already do no harm."""
    snapshot: bytes | None = None
    """The state after this transition; replaces the snapshot before it."""
    version: int | None = None
    """The version of the definition that the execution goes on with; None: unchanged."""
    slots_asked: Sequence[SlotRow] = ()
    """In the order in which they stand in line. What was asked for the same attempt of a step before stays."""
    slots_freed: Sequence[tuple[str, str]] = ()
    """Step id and key of each. Freed before `slots_asked` are asked for; slots that are gone already do no harm."""
    news_put: Sequence[NewsRow] = ()
    """For other executions of the tenant."""
    news_removed: Sequence[str] = ()
    """Ids of this execution's own news, which this transition has folded."""
    receipts: Sequence[IdempotencyRow] = ()
    """If one of the keys stands already, nothing of this write is done: `AlreadyExists` with `data["key"]`."""

    @property
    def is_plain(self) -> bool:
        """Whether it is a row of the log and moves the execution's own row, and nothing else."""
        return not (
            self.created is not None
            or self.tasks_put
            or self.tasks_removed
            or self.snapshot is not None
            or self.version is not None
            or self.slots_asked
            or self.slots_freed
            or self.news_put
            or self.news_removed
            or self.receipts
        )


class LogRow(msgspec.Struct, gc=False):
    """One transition of the log."""

    number: int
    first_sequence: int
    last_sequence: int
    at: int
    events: bytes


class DefinitionRow(msgspec.Struct, gc=False):
    """One immutable version of a workflow."""

    workflow_id: str
    version: int
    content_hash: str
    definition: bytes
    """The very bytes that were published."""
    created_at: int


class Publishing(msgspec.Struct, frozen=True, gc=False):
    """What publishing a definition came to."""

    version: int
    is_new: bool
    """False: the latest version has this content already."""
    created_at: int
    """When the version was published first."""


class WorkflowRow(msgspec.Struct, gc=False):
    """A workflow, whatever its version."""

    workflow_id: str
    name: str
    labels: dict[str, Any]
    archived: bool
    """It takes no new executions."""
    latest_version: int
    created_at: int


class LatestDefinition(msgspec.Struct, gc=False):
    """A workflow with its latest version."""

    workflow: WorkflowRow
    definition: DefinitionRow
