"""What crosses the line between the engine and the code that does a step's work: a call, and its outcome as a value."""

from collections.abc import Callable
from typing import Any

import msgspec


class StepError(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Why a step's attempt failed, in the words that error connections and `retry.on` see."""

    type: str
    """An error type of DESIGN.md section 4 (`timeout`, `unavailable`, ...) or one that the called code named."""
    message: str
    """For people: names the place and the way out."""
    details: Any = None
    """JSON, bounded by the handler that made it."""
    retry_after_s: float | None = None
    """The target's wish; a floor for the next attempt's delay."""
    no_effect: bool = False
    """The call surely changed nothing at the target (never connected, 429, 503): even an unsafe one may be repeated."""


class StepCall(msgspec.Struct, frozen=True, gc=False):
    """One attempt of an I/O node's step: everything its handler gets."""

    tenant_id: str
    workflow_id: str
    version: int
    execution_id: str
    node_id: str
    step_id: str
    type: str
    """The node's type (`http`, `function`); it chooses the handler."""
    attempt: int
    """Counts from 1."""
    make_idempotency_key: Callable[[], str]
    """Not every target asks for one, and it is a hash."""
    input: Any
    """The node's evaluated `with`, as the execution's state has it: a handler gives copies to code that may change it.
    """
    timeout_s: float | None
    """The node's `timeout`; None leaves it to the handler's default."""
    heartbeat_s: float | None = None
    """The node's `heartbeat`: the attempt is lost after so long a silence; None: it may be silent."""

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt and delivery of one activation."""
        return self.make_idempotency_key()


class Completed(msgspec.Struct, frozen=True, gc=False):
    """The attempt succeeded; `output` is pure JSON within the payload limit."""

    output: Any


class Failed(msgspec.Struct, frozen=True, gc=False):
    """The attempt failed; whether it is repeated is the node's `retry` to say."""

    error: StepError


Outcome = Completed | Failed
