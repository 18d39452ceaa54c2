"""Effects: work to do once the facts of a transition are durable, and never before."""

from typing import Any

import msgspec


class Dispatch(msgspec.Struct, frozen=True, gc=False):
    """Call the handler of an I/O step. The step's input stands in the state.

    `is_repeat`: the call was asked for before, and whoever had it may be gone. With `delivery: at_most_once` it is then
    not made again: unless it is still under way here, the step fails with `worker_lost`.
    """

    step: str
    is_repeat: bool = False


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


class AskSlot(msgspec.Struct, frozen=True, gc=False):
    """The step waits for a slot of a tenant-wide limit: at most `concurrency` owners per `key`, oldest first.

    Asked with the transition's commit; the answer is a `GrantSlot` command. Asking again for the same attempt of a step
    (after a crash) changes nothing but that the answer is given again.
    """

    step: str
    attempt: int
    generation: int
    key: str
    concurrency: int


class FreeSlot(msgspec.Struct, frozen=True, gc=False):
    """The step needs its slot no more, or does not wait for one any more: freed with the transition's commit."""

    step: str
    key: str


Effect = Dispatch | Withdraw | OpenTask | CloseTask | AskSlot | FreeSlot
