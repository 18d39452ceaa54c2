"""Committed transitions on their way to those who follow them."""

from collections.abc import AsyncIterator
from typing import Final

from workflow_engine.services.event_log import EventLog
from workflow_engine.services.event_stream import EventRenderer, StreamEvent
from workflow_engine.services.streams import Streams
from workflow_engine.services.subscription import (
    Feed,
    Subscription,
    Topic,
    execution_topic,
    subscribe,
    tenant_topic,
    workflow_topic,
)
from workflow_engine.services.tail import Reader, Tail
from workflow_engine.services.workflow_executor import Committed
from workflow_engine.store import Store

HELD_BYTES_MAX: Final = 32 * 1024 * 1024
"""Live events held for all readers of this process; beyond it the topic that holds most lets go of what it has."""


class LiveEvents:
    """Renders a committed transition once, encodes each event once, and passes them on. Where nobody follows nothing is
    rendered.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tails: dict[Topic, Tail] = {}
        self._held_bytes = 0
        self.log = EventLog(store)
        self.streams = Streams()
        self.published_total = 0
        """Events that were rendered for somebody."""

    @property
    def topics(self) -> int:
        """Executions, workflows and tenants that are followed."""
        return len(self._tails)

    @property
    def held_bytes(self) -> int:
        """What is held of live events for readers that have yet to take them."""
        return sum(tail.bytes for tail in self._tails.values())

    # --- following

    async def subscribe(
        self, tenant_id: str, execution_id: str, *, after: int = 0, reader: Reader | None = None
    ) -> Subscription:
        """Follow an execution from a sequence on, exclusive. Close what is returned.

        Args:
            reader: who reads, where the door can tell whether it does; without one it is keen.

        Raises:
            NotFound, CursorAhead, ResyncRequired, StoreUnavailable.
        """
        reader = reader or Reader()
        return await subscribe(self._store, self, self.log, tenant_id, execution_id, after=after, reader=reader)

    async def history(self, tenant_id: str, execution_id: str, *, after: int = 0) -> AsyncIterator[StreamEvent]:
        """The events that an execution has so far, after a sequence; raises NotFound, StoreUnavailable."""
        row = await self._store.execution(tenant_id, execution_id)
        progress = None
        while (batch := await self.log.after(row, after, progress=progress)) is not None:
            for event in batch.events:
                yield event
            after, progress = batch.last, batch.events[-1].progress

    def follow_workflow(self, tenant_id: str, workflow_id: str, reader: Reader | None = None) -> Feed:
        """Follow all executions of a workflow, from now on. Close what is returned."""
        return Feed(self, workflow_topic(tenant_id, workflow_id), reader or Reader())

    def follow_tenant(self, tenant_id: str, reader: Reader | None = None) -> Feed:
        """Follow everything of a tenant, from now on. Close what is returned."""
        return Feed(self, tenant_topic(tenant_id), reader or Reader())

    def join(self, topic: Topic) -> Tail:
        """The topic's tail, which is fed until as many have left it as have joined it."""
        tail = self._tails.get(topic)
        if tail is None:
            # What an execution's last event is only its log knows; a feed begins with what comes.
            tail = self._tails[topic] = Tail(None if topic[0] == "execution" else 0)
        tail.readers += 1
        return tail

    def leave(self, topic: Topic) -> None:
        """The counterpart of `join`."""
        tail = self._tails[topic]
        tail.readers -= 1
        if not tail.readers:
            del self._tails[topic]

    # --- publishing

    def publish(self, committed: Committed) -> None:
        """Pass a committed transition on. Called in the order of the commits of each execution, on the loop."""
        if not self._tails:
            return
        state = committed.state
        execution = self._tails.get(execution_topic(state.tenant_id, state.execution_id))
        workflow = self._tails.get(workflow_topic(state.tenant_id, state.workflow_id))
        tenant = self._tails.get(tenant_topic(state.tenant_id))
        if execution is None and workflow is None and tenant is None:
            return
        events = _encoded(committed)
        if not events:
            return
        self.published_total += len(events)
        if execution is not None:
            self._append(execution, events, committed.first_sequence)
        for feed in (workflow, tenant):
            if feed is not None:
                self._append(feed, events, (feed.last or 0) + 1)

    def doubt(self, tenant_id: str, execution_id: str) -> None:
        """A commit may have happened of which nobody told: followers of the execution look at its log again."""
        tail = self._tails.get(execution_topic(tenant_id, execution_id))
        if tail is not None:
            tail.doubt()

    def _append(self, tail: Tail, events: list[StreamEvent], position: int) -> None:
        tail.append(events, position)
        self._held_bytes += sum(len(event.encoded) for event in events)
        if self._held_bytes > HELD_BYTES_MAX:
            self._let_go()

    def _let_go(self) -> None:
        """The running total only rises, so that readers need not report what they took; here it is put right."""
        self._held_bytes = self.held_bytes
        while self._held_bytes > HELD_BYTES_MAX // 2:
            largest = max(self._tails.values(), key=lambda tail: tail.bytes)
            self._held_bytes -= largest.bytes
            largest.drop()


def _encoded(committed: Committed) -> list[StreamEvent]:
    state = committed.state
    renderer = EventRenderer(state.tenant_id, state.execution_id, state.workflow_id)
    renderer.progress, renderer.input, renderer.metadata = committed.progress_before, state.input, state.metadata
    return list(renderer.encode(committed.facts, first_sequence=committed.first_sequence, at=committed.at))
