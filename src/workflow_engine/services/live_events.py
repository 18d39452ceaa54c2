"""Who listens to which execution, and the events that reach them after each commit."""

from collections.abc import Callable
from typing import Any

from workflow_engine.services.event_stream import EventRenderer
from workflow_engine.services.workflow_executor import Committed, Key

Listener = Callable[[dict[str, Any]], None]
"""Gets one event envelope at a time, on the loop, in order; it must not block."""


class LiveEvents:
    """Passes committed transitions on. Where nobody listens nothing is rendered."""

    def __init__(self) -> None:
        self._listeners: dict[Key, list[Listener]] = {}

    def listen(self, key: Key, listener: Listener) -> Callable[[], None]:
        """Hear the events of an execution from now on; call what is returned to stop."""
        self._listeners.setdefault(key, []).append(listener)

        def stop() -> None:
            left = self._listeners.get(key)
            if left is not None and listener in left:
                left.remove(listener)
                if not left:
                    del self._listeners[key]

        return stop

    def publish(self, committed: Committed) -> None:
        """Render a transition once for all who listen to its execution."""
        state = committed.state
        listeners = self._listeners.get((state.tenant_id, state.execution_id))
        if not listeners:
            return
        renderer = EventRenderer(state.tenant_id, state.execution_id, state.workflow_id)
        renderer.progress, renderer.input, renderer.metadata = committed.progress_before, state.input, state.metadata
        for event in renderer.render(committed.facts, first_sequence=committed.first_sequence, at=committed.at):
            for listener in list(listeners):
                listener(event)
