"""Effects: work to do once the facts of a transition are durable, and never before."""

from typing import Any

import msgspec


class Dispatch(msgspec.Struct, frozen=True, gc=False):
    """Call the handler of an I/O step. The step's input stands in the state."""

    step: str


class Withdraw(msgspec.Struct, frozen=True, gc=False):
    """The step is over for the engine: cancel its call if it runs here."""

    step: str


class OpenTask(msgspec.Struct, frozen=True, gc=False):
    """A person is asked: the inbox gets an entry with the transition's commit."""

    step: str


class CloseTask(msgspec.Struct, frozen=True, gc=False):
    """The person is not asked any more: the entry is closed with the transition's commit.

    `status` is how: `completed`, `failed` or `cancelled`; `by` is who answered, where that is known. The step is gone
    from the state by then, so what its entry shows comes along.
    """

    step: str
    node: str
    generation: int
    input: Any
    status: str
    opened_at: int
    by: str | None = None


Effect = Dispatch | Withdraw | OpenTask | CloseTask
