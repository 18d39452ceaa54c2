"""The state of one execution: what a fold of its log gives, and what a snapshot keeps.

Everything here is plain data that `msgspec` writes and reads as it stands; only `engine.apply` changes it.
"""

from typing import Any, Final

import msgspec

from workflow_engine.models.event import ErrorValue, Wait

PENDING: Final = "pending"
RUNNING: Final = "running"
PAUSED: Final = "paused"
COMPLETED: Final = "completed"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"

LIFECYCLE: Final[dict[str, frozenset[str]]] = {
    PENDING: frozenset({RUNNING, PAUSED, COMPLETED, FAILED, CANCELLED}),
    RUNNING: frozenset({RUNNING, PAUSED, COMPLETED, FAILED, CANCELLED}),
    PAUSED: frozenset({RUNNING, PAUSED, COMPLETED, FAILED, CANCELLED}),
    COMPLETED: frozenset(),
    FAILED: frozenset({RUNNING, PAUSED}),  # an operator's retry reopens it
    CANCELLED: frozenset(),
}
"""Which status may follow which. `failed` is terminal until an operator retries."""

TERMINAL: Final = frozenset({COMPLETED, FAILED, CANCELLED})


class Undo(msgspec.Struct, omit_defaults=True, gc=False):
    """A completed step that a compensation would undo: its output, and the names that its undoing node reads."""

    step_id: str
    node: str
    scope: str = ""
    path: str = ""
    output: Any = None
    names: dict[str, Any] = {}


class Step(msgspec.Struct, omit_defaults=True, gc=False):
    """An active activation of a node, or one that a retry can reopen.

    `number` counts the steps of the execution as they were activated, `generation` operator retries: a result that
    names another generation or attempt is stale. `index` and `parent` are set for an item of a `foreach` and an
    iteration of a `repeat`. `items`, `concurrency`, `next_index`, `open`, `finished`, `completed` and `results` belong
    to the `foreach` step itself, whose results are kept by item, in whatever order they come; `repeat_max`,
    `next_index`, `last` and `delay_until` to the `repeat` step itself.

    `lock` and `limit_key` are what it holds or, while it is pending, waits for; `slot` is None, asked, granted or held.
    `child_pause` is why the child of a `workflow` step is paused.
    """

    step_id: str
    node: str
    status: str
    started_at: int
    number: int = 0
    scope: str = ""
    attempt: int = 1
    generation: int = 0
    input: Any = None
    caught: ErrorValue | None = None
    parent: str | None = None
    index: int | None = None
    waits: list[Wait] = []
    timeout_at: int | None = None
    timeout_s: float | None = None
    retry_at: int | None = None
    error: ErrorValue | None = None
    lock: str | None = None
    limit_key: str | None = None
    limit_max: int = 0
    slot: str | None = None
    items: list[Any] | None = None
    concurrency: int = 1
    complete_after: int | None = None
    next_index: int = 0
    open: int = 0
    finished: int = 0
    completed: int = 0
    results: dict[int, Any] = {}
    repeat_max: int | None = None
    last: Any = None
    delay_until: int | None = None
    child_pause: str | None = None
    undo: Undo | None = None
    is_detached: bool = False
    is_failed: bool = False

    @property
    def is_parent(self) -> bool:
        """Whether its work is done by items or iterations of it."""
        return self.items is not None or self.repeat_max is not None

    @property
    def due_at(self) -> int | None:
        """When the first clock that it waits for is due."""
        return min((wait.at for wait in self.waits if wait.at is not None), default=None) if self.waits else None


class Scope(msgspec.Struct, omit_defaults=True, gc=False):
    """Where control stands in one scope: tokens by connection, activations by node, what expressions can read.

    `path` names the groups that it is inside of, by node; `number` counts the scopes of the execution. `views` hold,
    per activated node, what `steps.<node>` shows: `{status, output, error, attempt, count}`. `errors` are those that
    the tokens of error connections carry: pairs of a number of tokens and their error, in the tokens' order.
    `is_dormant`: its group is to begin anew, and nothing stands in it until then.
    """

    path: str = ""
    number: int = 0
    starts: list[str] = []
    variables: dict[str, Any] = {}
    tokens: dict[int, int] = {}
    errors: dict[int, list[tuple[int, ErrorValue]]] = {}
    ordinals: dict[str, int] = {}
    views: dict[str, dict[str, Any]] = {}
    owed: dict[str, list[int]] = {}
    ended: list[str] = []
    end_status: str | None = None
    end_message: str | None = None
    end_node: str | None = None
    withdrawn_tokens: dict[int, int] = {}
    withdrawn_starts: list[str] = []
    is_dormant: bool = False


class Compensation(msgspec.Struct, omit_defaults=True, gc=False):
    """An execution that undoes what it has done: how it will end, and what could not be undone."""

    error: ErrorValue | None = None
    reason: str | None = None
    failures: list[ErrorValue] = []
    ordinals: dict[str, int] = {}


class PendingSignal(msgspec.Struct, gc=False):
    """A signal that no wait has taken yet. `size` is the payload's JSON in bytes."""

    number: int
    name: str
    payload: Any
    size: int


class ExecutionState(msgspec.Struct, omit_defaults=True, gc=False):
    """All that the engine knows of an execution when it decides.

    `locks` name, per lock, the steps that want it in order of their turn: the first holds it. `undo` are the completed
    steps that a compensation would undo, the latest last.
    """

    tenant_id: str
    execution_id: str
    workflow_id: str = ""
    version: int = 0
    status: str = PENDING
    reason: str | None = None
    number: int = 0
    sequence: int = 0
    at: int = 0
    created_at: int = 0
    started_at: int | None = None
    finished_at: int | None = None
    start_at: int | None = None
    timeout_at: int | None = None
    input: Any = None
    output: Any = None
    error: ErrorValue | None = None
    variables: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    priority: int = 5
    is_operator_paused: bool = False
    progress: int = 0
    steps_started: int = 0
    signals_received: int = 0
    signals: list[PendingSignal] = []
    scopes_opened: int = 0
    scopes: dict[str, Scope] = {}
    steps: dict[str, Step] = {}
    reopenable: dict[str, Step] = {}
    locks: dict[str, list[str]] = {}
    undo: list[Undo] = []
    compensation: Compensation | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether the execution has ended (a failed one may still be reopened by a retry)."""
        return self.status in TERMINAL


_decoder = msgspec.json.Decoder(ExecutionState)


def encode_state(state: ExecutionState) -> bytes:
    """The state as a snapshot keeps it (JSON)."""
    return msgspec.json.encode(state)


def decode_state(encoded: bytes) -> ExecutionState:
    """The state that a snapshot holds."""
    return _decoder.decode(encoded)
