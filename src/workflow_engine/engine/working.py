"""The working state: an execution's state with what is derived from it, kept by whoever owns the execution.

Nothing here is stored. `Working` is built from a state in one pass over its active steps and tokens, and follows each
fact in constant time, so that no decision has to look through the whole state.
"""

from collections import deque
from heapq import heapify, heappop, heappush
from typing import Final

from workflow_engine.engine.apply import apply
from workflow_engine.engine.graph import Graph, NodeSpec, bits
from workflow_engine.models.event import (
    AnyFact,
    ExecutionCreated,
    ExecutionResumed,
    ExecutionStarted,
    JoinRoundChanged,
    StepCancelled,
    StepCompleted,
    StepFailed,
    StepReopened,
    StepStarted,
)
from workflow_engine.models.execution import ExecutionState, Scope, Step
from workflow_engine.models.limits import Limits

TIMERS_MIN: Final = 64
"""Timers below which those that no longer hold are not swept out; a step has three at most."""


class Place:
    """One scope: its state, its graph, and where anything stands in it.

    `load` counts tokens before and active steps on a node; `busy` has the bit of each node with a load; `waiting` are
    the nodes with tokens before them; `dirty` are the nodes that have to be looked at; `done` has the bit of each node
    that was finished once.
    """

    __slots__ = ("_reached", "_reached_from", "busy", "dirty", "done", "graph", "key", "load", "scope", "waiting")

    def __init__(self, key: str, graph: Graph, scope: Scope) -> None:
        self.key = key
        self.graph = graph
        self.scope = scope
        self.load: dict[int, int] = {}
        self.busy = 0
        self.waiting: dict[int, int] = {}
        self.dirty: set[int] = set()
        self.done = 0
        self._reached = self._reached_from = 0
        for node, view in scope.views.items():
            if view["status"] in ("completed", "failed"):
                self.done |= 1 << graph.by_id[node].index
        for connection, count in scope.tokens.items():
            self.put(connection, count)
        for node in scope.starts:
            self.add(graph.by_id[node].index, 1)
        self.look_everywhere()

    def look_everywhere(self) -> None:
        """Look at every node with a token before it or a debt: what a fold of the log would give."""
        by_id = self.graph.by_id
        self.dirty = set(self.waiting)
        self.dirty.update(by_id[node].index for node in self.scope.starts)
        self.dirty.update(by_id[node].index for node in self.scope.owed)

    def add(self, node: int, count: int) -> None:
        """Put load on a node."""
        self.load[node] = self.load.get(node, 0) + count
        self.busy |= 1 << node

    def remove(self, node: int, count: int) -> None:
        """Take load off a node; where none is left, joins that waited for it have to look again."""
        left = self.load[node] - count
        if left:
            self.load[node] = left
            return
        del self.load[node]
        self.busy &= ~(1 << node)
        self.dirty.update(self.waiting)
        for owing in self.scope.owed:
            self.dirty.add(self.graph.by_id[owing].index)

    def put(self, connection: int, count: int) -> None:
        """Tokens came to a connection."""
        node = self.graph.edges[connection].target
        self.waiting[node] = self.waiting.get(node, 0) + count
        self.add(node, count)
        self.dirty.add(node)

    def take(self, connection: int) -> None:
        """A token left a connection."""
        node = self.graph.edges[connection].target
        left = self.waiting[node] - 1
        if left:
            self.waiting[node] = left
        else:
            del self.waiting[node]
        self.remove(node, 1)

    def reachable(self) -> int:
        """The nodes that a token or an active step can still come to, as a bit mask."""
        if self._reached_from != self.busy:
            mask = 0
            for node in bits(self.busy):
                mask |= self.graph.downstream(node)
            self._reached, self._reached_from = mask, self.busy
        return self._reached


class Working:
    """An execution in the hands of its owner: pass it to `decide`, and throw it away when a commit fails."""

    __slots__ = (
        "clock_waits",
        "foreach_opened",
        "graph",
        "input_waits",
        "io_steps",
        "limits",
        "open_foreach",
        "parents",
        "places",
        "signal_waits",
        "state",
        "timers",
    )

    def __init__(self, graph: Graph, state: ExecutionState, limits: Limits) -> None:
        self.graph = graph
        self.state = state
        self.limits = limits
        self.io_steps = 0
        self.clock_waits = 0
        self.input_waits = 0
        self.parents: deque[str] = deque()
        self.foreach_opened = 0
        self.open_foreach: dict[str, int] = {}
        self.signal_waits: dict[str, dict[str, None]] = {}
        self.timers: list[tuple[int, str, str]] = []
        self.rebuild()

    def rebuild(self) -> None:
        """Derive everything anew from the state."""
        state = self.state
        self.io_steps = self.clock_waits = self.input_waits = 0
        self.parents.clear()
        self.open_foreach.clear()
        self.signal_waits.clear()
        self.timers.clear()
        self.places = {key: Place(key, self.graph, scope) for key, scope in state.scopes.items()}
        for step in state.steps.values():
            self._opened(step)
        if state.start_at is not None:
            heappush(self.timers, (state.start_at, "", "start"))
        if state.timeout_at is not None:
            heappush(self.timers, (state.timeout_at, "", "execution"))

    def look_everywhere(self) -> None:
        """Begin a transition's rounds as a process would that has just folded the log: who holds it must not matter."""
        for place in self.places.values():
            place.look_everywhere()
        if len(self.parents) > 1:
            still_open = (step_id for step_id in self.parents if step_id in self.open_foreach)
            self.parents = deque(sorted(still_open, key=self.open_foreach.__getitem__))

    def spec(self, step: Step) -> NodeSpec:
        """The compiled node of a step."""
        return self.places[step.scope].graph.by_id[step.node]

    def emit(self, fact: AnyFact) -> None:
        """Apply a fact to the state and follow it."""
        match fact:
            case StepCompleted() | StepFailed() | StepCancelled():
                step = self.state.steps[fact.step]
                apply(self.state, fact)
                self._closed(step)
                if not isinstance(fact, StepCancelled):
                    place = self.places[step.scope]
                    if step.parent is None:
                        place.done |= 1 << place.graph.by_id[step.node].index
                    for connection, count in fact.puts:
                        place.put(connection, count)
            case StepStarted():
                apply(self.state, fact)
                place = self.places[fact.scope]
                self._opened(self.state.steps[fact.step])
                for connection in fact.took:
                    place.take(connection)
                if fact.is_start:
                    place.remove(place.graph.by_id[fact.node].index, 1)
            case StepReopened():
                apply(self.state, fact)
                self._opened(self.state.steps[fact.step])
            case JoinRoundChanged():
                apply(self.state, fact)
                for connection in fact.absorbed:
                    self.places[fact.scope].take(connection)
            case ExecutionCreated() | ExecutionStarted():
                apply(self.state, fact)
                self.rebuild()
            case ExecutionResumed():
                apply(self.state, fact)
                if fact.is_operator or fact.is_retry:
                    self.rebuild()
            case _:
                apply(self.state, fact)

    def _opened(self, step: Step) -> None:
        spec = self.spec(step)
        if step.parent is None:
            self.places[step.scope].add(spec.index, 1)
        if step.items is not None:
            self.parents.append(step.step_id)
            self.open_foreach[step.step_id] = self.foreach_opened
            self.foreach_opened += 1
        elif spec.is_io:
            self.io_steps += 1
        elif step.signal is not None or spec.type == "human":
            self.input_waits += 1
            if step.signal is not None:
                self.signal_waits.setdefault(step.signal, {})[step.step_id] = None
        elif step.due_at is not None:
            self.clock_waits += 1
        self.watch(step)

    def watch(self, step: Step) -> None:
        """Arm the timers of a step. A timer that no longer holds is passed over when its time comes."""
        if step.due_at is not None:
            heappush(self.timers, (step.due_at, step.step_id, "due"))
        if step.timeout_at is not None:
            heappush(self.timers, (step.timeout_at, step.step_id, "timeout"))
        if step.retry_at is not None:
            heappush(self.timers, (step.retry_at, step.step_id, "retry"))
        if len(self.timers) > TIMERS_MIN + 6 * len(self.state.steps):
            self.timers = [timer for timer in self.timers if self.is_armed(*timer)]
            heapify(self.timers)

    def _closed(self, step: Step) -> None:
        spec = self.spec(step)
        if step.items is not None:
            self.open_foreach.pop(step.step_id, None)
        elif spec.is_io:
            self.io_steps -= 1
        elif step.signal is not None or spec.type == "human":
            self.input_waits -= 1
            if step.signal is not None:
                waits = self.signal_waits[step.signal]
                del waits[step.step_id]
                if not waits:
                    del self.signal_waits[step.signal]
        elif step.due_at is not None:
            self.clock_waits -= 1
        if step.parent is None:
            self.places[step.scope].remove(spec.index, 1)

    def is_armed(self, at: int, step_id: str, kind: str) -> bool:
        """Whether a timer of the heap still holds."""
        state = self.state
        if kind == "start":
            return state.start_at == at
        if kind == "execution":
            return state.timeout_at == at and not state.is_terminal
        step = state.steps.get(step_id)
        if step is None or (kind == "retry" and state.is_operator_paused):  # resuming arms it again
            return False
        return at == (step.due_at if kind == "due" else step.timeout_at if kind == "timeout" else step.retry_at)

    def pop_timer(self) -> tuple[int, str, str]:
        """Take the next timer, which `next_due_at` has just named: `(at, step id, kind)`."""
        return heappop(self.timers)

    def next_due_at(self) -> int | None:
        """When the next timer is due; None when no clock is awaited."""
        if self.state.is_terminal:
            return None
        while self.timers:
            if self.is_armed(*self.timers[0]):
                return self.timers[0][0]
            heappop(self.timers)
        return None
