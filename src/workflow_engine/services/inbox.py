"""News between executions: a child's end or pause for its parent, a cancellation for a child.

The sender's commit writes them down (`StateManager`), then they go straight into the receiver's mailbox; the
receiver's transition takes the row away. What a process that ended left in the inbox is delivered by the next one. So
news may come twice: whoever gets them tells stale ones by their attempt and generation, or by having ended.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from workflow_engine.models.command import AnyCommand, Cancel, CompleteStep, FailStep, NoteChild
from workflow_engine.models.errors import DependencyUnavailable
from workflow_engine.models.execution import COMPLETED, FAILED, PAUSED, ExecutionState
from workflow_engine.models.step import Completed, Failed, Outcome, StepError
from workflow_engine.services.background import Background
from workflow_engine.store import ExecutionRow, NewsRow, Store, Summary

PAGE: Final = 500
"""News delivered at a time when the engine starts."""

RETRY_S: Final = 1.0
"""Until news that lead to nothing are taken away again, where the store did not do it."""

_KINDS: Final[dict[str, type[AnyCommand]]] = {
    "cancel": Cancel,
    "complete_step": CompleteStep,
    "fail_step": FailStep,
    "note_child": NoteChild,
}
_KIND_OF: Final = {command: kind for kind, command in _KINDS.items()}

Deliver = Callable[[str, str, str, AnyCommand], None]
"""Puts news (tenant, execution and news id, and what they ask for) into the receiver's mailbox."""


def encode_news(command: AnyCommand) -> bytes:
    """A command as the inbox keeps it (JSON)."""
    return msgspec.json.encode((_KIND_OF[type(command)], command))


def decode_news(encoded: bytes) -> AnyCommand:
    """The command that `encode_news` was given."""
    kind, command = msgspec.json.decode(encoded, type=tuple[str, msgspec.Raw])
    return msgspec.json.decode(command, type=_KINDS[kind])


def outcome_of(execution_id: str, state: ExecutionState) -> Outcome:
    """What the end of a child is to the step that waits for it."""
    if state.status == COMPLETED:
        return Completed(state.output)
    details: dict[str, Any] = {"execution_id": execution_id}
    if state.status != FAILED or state.error is None:
        return Failed(StepError("cancelled", f"the execution {execution_id} was cancelled", details))
    if state.error.get("details") is not None:
        details["details"] = state.error["details"]
    return Failed(StepError(state.error["type"], state.error["message"], details))


def news_for_parent(row: ExecutionRow, before: Summary, state: ExecutionState) -> AnyCommand | None:
    """What a parent has to hear when the summary of its child changes from `before`; None: nothing."""
    if row.parent_step_id is None or row.parent_attempt is None or row.parent_generation is None:
        return None
    about = (row.parent_step_id, row.parent_attempt, row.parent_generation)
    if state.is_terminal:
        outcome = outcome_of(row.execution_id, state)
        if isinstance(outcome, Completed):
            return CompleteStep(*about, outcome.output)
        return FailStep(*about, outcome.error)
    paused_before = before.reason if before.status == PAUSED else None
    paused_now = state.reason if state.status == PAUSED else None
    return NoteChild(*about, paused_now) if paused_now != paused_before else None


class Inbox:
    """Delivers news, and forgets those that led to nothing."""

    def __init__(self, store: Store, deliver: Deliver) -> None:
        self._store = store
        self._deliver = deliver
        self._background = Background()
        self._unwanted: list[tuple[str, str, str]] = []
        self._is_forgetting = False

    async def deliver_all(self) -> None:
        """Deliver everything that the inbox holds."""
        after = ("", "", "")
        while page := await self._store.news(after=after, limit=PAGE):
            for one in page:
                self._deliver(one.tenant_id, one.execution_id, one.news_id, decode_news(one.command))
            after = (page[-1].tenant_id, page[-1].execution_id, page[-1].news_id)

    def catch_up(self) -> None:
        """Deliver everything, soon: some of it may never have been."""
        self._background.spawn(self._catch_up())

    async def _catch_up(self) -> None:
        try:
            await self.deliver_all()
        except DependencyUnavailable:
            pass  # the next outage ends as well, and the next start delivers it at the latest

    def deliver(self, tenant_id: str, news: Iterable[NewsRow]) -> None:
        """Deliver what has just become durable."""
        for one in news:
            self._deliver(tenant_id, one.execution_id, one.news_id, decode_news(one.command))

    def forget(self, tenant_id: str, execution_id: str, news_ids: list[str]) -> None:
        """Take news away that no transition will fold: they were refused, or there is nobody to hear them."""
        self._unwanted += [(tenant_id, execution_id, one) for one in news_ids]
        if self._unwanted and not self._is_forgetting:
            self._is_forgetting = self._background.spawn(self._forget()) is not None

    async def _forget(self) -> None:
        try:
            while self._unwanted:
                keys, self._unwanted = self._unwanted, []
                try:
                    await self._store.remove_news(keys)
                except DependencyUnavailable:
                    self._unwanted += keys
                    await asyncio.sleep(RETRY_S)
        finally:
            self._is_forgetting = False

    async def close(self) -> None:
        """Deliver nothing more."""
        await self._background.close()
