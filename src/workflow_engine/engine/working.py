"""The working state: an execution's state with what is derived from it, kept by whoever owns the execution.

Nothing here is stored. `Working` is built from a state in one pass over its active steps and tokens, and follows each
fact in constant time, so that no decision has to look through the whole state.
"""

from collections.abc import Callable, Iterable, Iterator
from heapq import heapify, heappop, heappush
from typing import Any, Final

from workflow_engine.engine.apply import ROOT, apply
from workflow_engine.engine.graph import ANY_CHANGE, Graph, NodeSpec
from workflow_engine.models.event import (
    AnyFact,
    ChildNoted,
    CompensationStarted,
    ErrorValue,
    ExecutionCreated,
    ExecutionForked,
    ExecutionMigrated,
    ExecutionResumed,
    ExecutionStarted,
    ItemsAdded,
    IterationDelayed,
    JoinRoundChanged,
    SlotAsked,
    SlotGranted,
    StepAttempted,
    StepCancelled,
    StepCompleted,
    StepFailed,
    StepParked,
    StepQueued,
    StepReopened,
    StepRequeued,
    StepRetrying,
    StepStarted,
    TokensWithdrawn,
)
from workflow_engine.models.execution import PENDING, ExecutionState, Scope, Step
from workflow_engine.models.limits import Limits

TIMERS_MIN: Final = 64
"""Timers below which those that no longer hold are not swept out; a step has three at most."""

CALL: Final = "call"
OUTSIDE: Final = "outside"
CLOCK: Final = "clock"
"""What an active step keeps the execution from resting for: work, news from outside, or a clock alone."""


class Agenda:
    """What has to be looked at: pairs of a scope's number and a node's index, in sweeps from the lowest to the highest.

    What comes up behind the sweep is left for the next one. So nodes fire in document order and none is starved, and it
    makes no difference whether a node is looked at in vain: the order is the same for an owner who has followed the
    execution and for one who has just folded its log.
    """

    __slots__ = ("_ahead", "_behind", "_position")

    def __init__(self) -> None:
        self._ahead: list[tuple[int, int, str]] = []
        self._behind: list[tuple[int, int, str]] = []
        self._position = (-1, -1)

    def add(self, number: int, index: int, key: str) -> None:
        """Look at a node of a scope (at the scope's end, where the index is that after its last node)."""
        entry = (number, index, key)
        if (number, index) > self._position:
            heappush(self._ahead, entry)
        else:
            heappush(self._behind, entry)

    def begin(self) -> None:
        """Begin a sweep with everything that is noted."""
        self._ahead += self._behind
        heapify(self._ahead)
        self._behind.clear()
        self._position = (-1, -1)

    def pop(self) -> tuple[int, str] | None:
        """What comes next: a node's index and its scope's key; None when nothing is noted."""
        if not self._ahead:
            if not self._behind:
                return None
            self._ahead, self._behind = self._behind, self._ahead
        number, index, key = heappop(self._ahead)
        self._position = (number, index)
        return index, key


class Place:
    """One scope: its state, its graph, and where anything stands in it.

    `outer` is the scope around it, `names` are the items, indexes and iterations that it is inside of; `has_variables`:
    it or a scope around it declares some (see `declaring`). `steps` are the active steps of its nodes, items and
    iterations aside. `load` counts tokens before and active steps on a node; `busy` has the bit of each node with a
    load; `waiting` are the nodes with tokens before them; `done` has the bit of each node that was finished once.
    """

    __slots__ = (
        "_agenda",
        "_noted",
        "_reached",
        "_reached_from",
        "busy",
        "done",
        "end",
        "graph",
        "has_variables",
        "key",
        "load",
        "names",
        "outer",
        "scope",
        "steps",
        "waiting",
    )

    def __init__(
        self,
        key: str,
        graph: Graph,
        scope: Scope,
        *,
        agenda: Agenda,
        outer: "Place | None" = None,
        names: dict[str, Any] | None = None,
    ) -> None:
        self.key = key
        self.graph = graph
        self.scope = scope
        self.outer = outer
        self.names = names
        self.has_variables: bool = outer is not None and (bool(graph.declared) or outer.has_variables)
        self.steps: dict[str, None] = {}
        self.load: dict[int, int] = {}
        self.busy = 0
        self.waiting: dict[int, int] = {}
        self.done = 0
        self.end = len(graph.nodes)
        self._agenda = agenda
        self._noted: set[int] = set()
        self._reached = self._reached_from = 0
        for node, view in scope.views.items():
            if view["status"] in ("completed", "failed", "skipped", "compensated"):
                self.done |= 1 << graph.by_id[node].index
        for connection, count in scope.tokens.items():
            self.put(connection, count)
        for node in scope.starts:
            index = graph.by_id[node].index
            self.add(index, 1)
            self.note(index)
        for node in scope.owed:
            self.note(graph.by_id[node].index)
        self.note(self.end)

    def declaring(self) -> "Iterator[Place]":
        """The scopes that declare variables, from this one outwards; the execution's own are not among them."""
        place: Place | None = self
        while place is not None and place.has_variables:
            if place.graph.declared:
                yield place
            place = place.outer

    def note(self, index: int) -> None:
        """Have a node looked at, or whether the scope has ended."""
        if index not in self._noted:
            self._noted.add(index)
            self._agenda.add(self.scope.number, index, self.key)

    def look_at(self, index: int) -> None:
        """A node is being looked at: what happens from now on has it looked at again."""
        self._noted.discard(index)

    @property
    def is_settled(self) -> bool:
        """Whether no node has to be looked at."""
        return not self._noted

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
        for index in self.waiting:
            self.note(index)
        for owing in self.scope.owed:
            self.note(self.graph.by_id[owing].index)

    def put(self, connection: int, count: int) -> None:
        """Tokens came to a connection."""
        node = self.graph.edges[connection].target
        self.waiting[node] = self.waiting.get(node, 0) + count
        self.add(node, count)
        self.note(node)

    def take(self, connection: int, count: int = 1) -> None:
        """Tokens left a connection."""
        node = self.graph.edges[connection].target
        left = self.waiting[node] - count
        if left:
            self.waiting[node] = left
        else:
            del self.waiting[node]
        self.remove(node, count)

    def leave(self, step_id: str) -> None:
        """A step of the scope is over; the last one leaves nothing but tokens, or nothing at all."""
        del self.steps[step_id]
        if not self.steps:
            self.note(self.end)

    def reachable(self) -> int:
        """The nodes that a token or an active step can still come to, as a bit mask."""
        if self._reached_from != self.busy:
            mask = 0
            left = self.busy
            while left:
                node = left.bit_length() - 1
                mask |= self.graph.downstream(node)
                left ^= 1 << node
            self._reached, self._reached_from = mask, self.busy
        return self._reached


def inner_key(step_id: str) -> str:
    """The key of the scope that a group's step opens."""
    return f"{step_id}~"


class Working:
    """An execution in the hands of its owner: pass it to `decide`, and throw it away when a commit fails.

    `ready` are steps that may have something to do that no token tells of, the first activated first: items and
    iterations to start, a lock or a slot that has come. `changes` are the keys of what has changed and conditions may
    read (see `graph.watched_keys`).
    """

    __slots__ = (
        "agenda",
        "changes",
        "children",
        "condition_waits",
        "counts",
        "graph",
        "kinds",
        "limits",
        "open_foreach",
        "places",
        "ready",
        "signal_waits",
        "state",
        "timers",
    )

    def __init__(self, graph: Graph, state: ExecutionState, limits: Limits) -> None:
        self.graph = graph
        self.state = state
        self.limits = limits
        self.ready: list[tuple[int, str]] = []
        self.changes: set[str] = set()
        self.counts = {CALL: 0, OUTSIDE: 0, CLOCK: 0}
        self.kinds: dict[str, str] = {}
        self.children: dict[str, dict[str, None]] = {}
        self.open_foreach: dict[str, None] = {}
        self.signal_waits: dict[str, dict[str, None]] = {}
        self.condition_waits: dict[str, dict[str, None]] = {}
        self.timers: list[tuple[int, str, str]] = []
        self.rebuild()

    def rebuild(self) -> None:
        """Derive everything anew from the state."""
        state = self.state
        self.agenda = Agenda()
        self.ready.clear()
        self.changes.clear()
        self.counts = {CALL: 0, OUTSIDE: 0, CLOCK: 0}
        for derived in (self.kinds, self.children, self.open_foreach, self.signal_waits, self.condition_waits):
            derived.clear()
        self.timers.clear()
        self.places: dict[str, Place] = {}
        for key, scope in state.scopes.items():
            if key not in self.places and not scope.is_dormant:
                self._open_place(key)
        for step in state.steps.values():
            self._opened(step)
        self.changes.clear()
        if state.start_at is not None:
            heappush(self.timers, (state.start_at, "", "start"))
        if state.timeout_at is not None:
            heappush(self.timers, (state.timeout_at, "", "execution"))

    def _open_place(self, key: str) -> None:
        scope = self.state.scopes[key]
        if key == ROOT:
            self.places[key] = Place(key, self.graph, scope, agenda=self.agenda)
            return
        owner = self.find(key[:-1])
        if owner is None:  # compensation inside of a scope that is over
            outer, names = self.places[ROOT], None
        else:
            outer = self.place(owner)
            names = {**(outer.names or {}), **self.own_names(owner)} or None
        graph = self.graph.bodies[scope.path]
        self.places[key] = Place(key, graph, scope, agenda=self.agenda, outer=outer, names=names)

    # --- looking up

    def find(self, step_id: str) -> Step | None:
        """A step that is active or can be reopened."""
        return self.state.steps.get(step_id) or self.state.reopenable.get(step_id)

    def place(self, step: Step) -> Place:
        """The scope of a step."""
        place = self.places.get(step.scope)
        if place is None:
            self._open_place(step.scope)
            place = self.places[step.scope]
        return place

    def spec(self, step: Step) -> NodeSpec:
        """The compiled node of a step."""
        place = self.places.get(step.scope)  # not through `place`: this is asked for several times in each step
        return (place if place is not None else self.place(step)).graph.by_id[step.node]

    def own_names(self, step: Step) -> dict[str, Any]:
        """The item, index and iteration that a step has of its own, and those of the steps that it is an item of."""
        names: dict[str, Any] = {}
        foreach = self.spec(step).foreach
        while step.parent is not None:
            parent = self.find(step.parent)
            assert parent is not None
            assert step.index is not None
            if parent.items is not None:
                assert foreach is not None
                names[foreach.item_name] = parent.items[step.index]
                names[foreach.index_name] = step.index
            else:
                names["iteration"] = step.index
            step = parent
        if step.undo is not None:
            names.update(step.undo.names, output=step.undo.output)
        return names

    def caught(self, step: Step) -> ErrorValue | None:
        """The error that a step handles: that of the activation which it is, or is part of."""
        return self.activation(step).caught

    def activation(self, step: Step) -> Step:
        """The activation of its node that a step is an item or iteration of; itself where it is neither."""
        while step.parent is not None:
            parent = self.find(step.parent)
            assert parent is not None
            step = parent
        return step

    def inside(self, step: Step) -> Iterator[Step]:
        """What stands directly inside a step: its items or iterations, or the steps of the scope it has opened."""
        steps = self.state.steps
        if step.is_parent:
            ids: Iterable[str] = list(self.children.get(step.step_id, ()))
        else:
            place = self.places.get(inner_key(step.step_id))
            ids = list(place.steps) if place is not None else ()
        for step_id in ids:
            if step_id in steps:
                yield steps[step_id]

    # --- following facts

    def emit(self, fact: AnyFact) -> None:
        """Apply a fact to the state and follow it."""
        follow = _FOLLOWERS.get(type(fact))
        if follow is None:
            apply(self.state, fact)
        else:
            follow(self, fact)

    def _completed(self, fact: StepCompleted) -> None:
        step = self.state.steps[fact.step]
        place = self.place(step)
        apply(self.state, fact)
        if fact.is_detached:
            if step.undo is None:
                place.remove(place.graph.by_id[step.node].index, 1)
            self.open_foreach.pop(step.step_id, None)
            self.make_ready(step)
        else:
            self._closed(step, place)
        self._moved(step, place, fact.puts)

    def _failed(self, fact: StepFailed) -> None:
        step = self.state.steps[fact.step]
        place = self.place(step)
        apply(self.state, fact)
        self._closed(step, place)
        self._moved(step, place, fact.puts)

    def _moved(self, step: Step, place: Place, puts: list[tuple[int, int]]) -> None:
        if step.parent is not None or step.undo is not None:
            return
        place.done |= 1 << place.graph.by_id[step.node].index
        for connection, count in puts:
            place.put(connection, count)

    def _cancelled(self, fact: StepCancelled) -> None:
        step = self.state.steps[fact.step]
        place = self.place(step)
        apply(self.state, fact)
        self._closed(step, place)
        if step.parent is None and step.undo is None:
            place.done &= ~(1 << place.graph.by_id[step.node].index)

    def _parked(self, fact: StepParked) -> None:
        step = self.state.steps[fact.step]
        place = self.place(step)
        apply(self.state, fact)
        self._closed(step, place)

    def _started(self, fact: StepStarted) -> None:
        apply(self.state, fact)
        step = self.state.steps[fact.step]
        if fact.is_queued:
            siblings = self.places[step.scope].steps if step.parent is None else self.children[step.parent]
            siblings[step.step_id] = siblings.pop(step.step_id)  # in the order of their starts, as the state has them
            self._changed(step)
        else:
            self._arrived(step, fact.took, is_start=fact.is_start)
        if fact.starts is not None or fact.is_queued:
            self._open_inside(step.step_id)

    def _open_inside(self, step_id: str) -> None:
        """A group has begun, or goes on: everything in its scope is to be looked at."""
        scope = self.state.scopes.get(inner_key(step_id))
        if scope is not None and not scope.is_dormant:
            self._open_place(inner_key(step_id))

    def _queued(self, fact: StepQueued) -> None:
        apply(self.state, fact)
        self._arrived(self.state.steps[fact.step], fact.took, is_start=fact.is_start)

    def _arrived(self, step: Step, took: list[int], *, is_start: bool) -> None:
        """A step is there: it has taken its tokens."""
        self._opened(step)
        if step.parent is not None:
            self._classify(self.state.steps[step.parent])  # a delay before it is over
        place = self.places[step.scope]
        for connection in took:
            place.take(connection)
        if is_start:
            place.remove(place.graph.by_id[step.node].index, 1)

    def _reopened(self, fact: StepReopened | StepRequeued) -> None:
        parent = self.state.reopenable[fact.step].parent
        is_back = parent is not None and parent not in self.state.steps
        apply(self.state, fact)
        if is_back and parent is not None:
            self._opened(self.state.steps[parent])
        self._opened(self.state.steps[fact.step])
        if isinstance(fact, StepReopened):
            self._open_inside(fact.step)

    def _attempted(self, fact: StepAttempted) -> None:
        apply(self.state, fact)
        self._changed(self.state.steps[fact.step])
        if fact.starts is not None:
            self._open_inside(fact.step)

    def _retrying(self, fact: StepRetrying) -> None:
        apply(self.state, fact)
        step = self.state.steps[fact.step]
        self.places.pop(inner_key(step.step_id), None)
        self._changed(step)

    def _step_changed(self, fact: Any) -> None:
        apply(self.state, fact)
        self._changed(self.state.steps[fact.step])

    def _items_added(self, fact: ItemsAdded) -> None:
        apply(self.state, fact)
        self.make_ready(self.state.steps[fact.step])

    def _round_changed(self, fact: JoinRoundChanged) -> None:
        apply(self.state, fact)
        for connection in fact.absorbed:
            self.places[fact.scope].take(connection)

    def _tokens_withdrawn(self, fact: TokensWithdrawn) -> None:
        apply(self.state, fact)
        place = self.places[fact.scope]
        for connection, count in fact.tokens:
            place.take(connection, count)
        for node in fact.starts:
            place.remove(place.graph.by_id[node].index, 1)
        place.note(place.end)

    def _created(self, fact: ExecutionCreated) -> None:
        apply(self.state, fact)
        self._open_place(ROOT)
        if self.state.start_at is not None:
            heappush(self.timers, (self.state.start_at, "", "start"))

    def _begun(self, fact: ExecutionStarted) -> None:
        apply(self.state, fact)
        place = self.places[ROOT]
        for node in place.scope.starts:
            index = place.graph.by_id[node].index
            place.add(index, 1)
            place.note(index)
        if self.state.timeout_at is not None:
            heappush(self.timers, (self.state.timeout_at, "", "execution"))

    def _anew(self, fact: AnyFact) -> None:
        apply(self.state, fact)
        self.rebuild()
        self.changes.update(self.condition_waits)

    def _resumed(self, fact: ExecutionResumed) -> None:
        apply(self.state, fact)
        if fact.is_operator or fact.is_retry:
            self.rebuild()
            self.changes.update(self.condition_waits)  # nobody looked at them in between

    # --- keeping what is derived

    def _opened(self, step: Step) -> None:
        if step.parent is None:
            place = self.place(step)
            place.steps[step.step_id] = None
            if step.undo is None and not step.is_detached:
                place.add(place.graph.by_id[step.node].index, 1)
                if step.items is not None and step.scope == ROOT:
                    self.open_foreach[step.step_id] = None
        else:
            self.children.setdefault(step.parent, {})[step.step_id] = None
        self._changed(step)

    def _changed(self, step: Step) -> None:
        """Keep up with what a step waits for."""
        self._classify(step)
        if step.is_parent or step.status == PENDING:
            self.make_ready(step)
        elif step.waits:
            self._watch_wait(step)
        self.watch(step)
        if self.condition_waits:
            self._note_change(step)

    def make_ready(self, step: Step) -> None:
        """Have a step looked at that may have something to do."""
        heappush(self.ready, (step.number, step.step_id))

    def _note_change(self, step: Step) -> None:
        self.changes.add(f"steps.{step.node}")
        self.changes.add("steps")

    def _classify(self, step: Step) -> None:
        kind = self._kind(step)
        before = self.kinds.get(step.step_id)
        if kind == before:
            return
        if before is not None:
            self.counts[before] -= 1
            del self.kinds[step.step_id]
        if kind is not None:
            self.counts[kind] += 1
            self.kinds[step.step_id] = kind

    def _kind(self, step: Step) -> str | None:
        if step.items is not None or step.repeat_max is not None:
            return CLOCK if step.delay_until is not None else None
        if step.status == PENDING:
            return CALL if step.slot is not None else None
        spec = self.spec(step)
        if step.child_pause is not None:
            return CLOCK if step.child_pause == "timer" else OUTSIDE
        if spec.is_io:
            return CALL
        if spec.type == "human":
            return OUTSIDE
        if spec.type == "wait":
            return CLOCK if all(wait.at is not None for wait in step.waits) else OUTSIDE
        return CALL if step.retry_at is not None else None

    def _watch_wait(self, step: Step) -> None:
        for wait in step.waits:
            if wait.name is not None:
                self.signal_waits.setdefault(wait.name, {})[step.step_id] = None
        if any(wait.kind == "condition" for wait in step.waits):
            for key in self._watched(step):
                self.condition_waits.setdefault(key, {})[step.step_id] = None

    def _watched(self, step: Step) -> set[str]:
        return {key for wait in self.spec(step).waits for key in wait.watches}

    def watch(self, step: Step) -> None:
        """Arm the timers of a step. A timer that no longer holds is passed over when its time comes."""
        timers = self.timers
        if step.waits and (due_at := step.due_at) is not None:
            heappush(timers, (due_at, step.step_id, "due"))
        if step.timeout_at is not None:
            heappush(timers, (step.timeout_at, step.step_id, "timeout"))
        if step.retry_at is not None:
            heappush(timers, (step.retry_at, step.step_id, "retry"))
        if step.delay_until is not None:
            heappush(timers, (step.delay_until, step.step_id, "next"))
        if timers and len(timers) > TIMERS_MIN + 6 * len(self.state.steps):
            self.timers = [timer for timer in self.timers if self.is_armed(*timer)]
            heapify(self.timers)

    def _closed(self, step: Step, place: Place) -> None:
        kind = self.kinds.pop(step.step_id, None)
        if kind is not None:
            self.counts[kind] -= 1
        if step.waits:
            self._unwatch_wait(step)
        if step.is_parent:
            self.children.pop(step.step_id, None)
            self.open_foreach.pop(step.step_id, None)
        elif len(self.places) > 1:
            self.places.pop(inner_key(step.step_id), None)
        if step.lock is not None:
            self._release_lock(step.lock)
        if self.condition_waits:
            self._note_change(step)
        if step.parent is not None:
            siblings = self.children.get(step.parent)
            if siblings is not None:
                siblings.pop(step.step_id, None)
        else:
            if not step.is_detached and step.undo is None:
                place.remove(place.graph.by_id[step.node].index, 1)
            place.leave(step.step_id)
        if len(self.places) > len(self.state.scopes):
            self._drop_places()
        if step.undo is not None:
            self.places[ROOT].note(self.places[ROOT].end)  # what is to be undone next may have been in any scope

    def _drop_places(self) -> None:
        """Scopes that nothing can go on in: a compensating step's, and those that a retry had still to open."""
        for key in [key for key in self.places if key not in self.state.scopes]:
            del self.places[key]

    def _release_lock(self, lock: str) -> None:
        waiting = self.state.locks.get(lock)
        if waiting:
            self.make_ready(self.state.steps[waiting[0]])

    def _unwatch_wait(self, step: Step) -> None:
        for wait in step.waits:
            if wait.name is not None:
                _drop(self.signal_waits, wait.name, step.step_id)
        if any(wait.kind == "condition" for wait in step.waits):
            for key in self._watched(step):
                _drop(self.condition_waits, key, step.step_id)

    def conditions_to_look_at(self) -> list[str]:
        """The steps whose condition reads something that has changed since it was asked for, oldest first."""
        changes, self.changes = self.changes, set()
        if not self.condition_waits:
            return []
        found = {step for key in changes for step in self.condition_waits.get(key, ())}
        return sorted(found, key=lambda step_id: self.state.steps[step_id].number)

    def time_passes(self) -> None:
        """Whatever reads the clock may have changed."""
        if ANY_CHANGE in self.condition_waits:
            self.changes.add(ANY_CHANGE)

    # --- timers

    def is_armed(self, at: int, step_id: str, kind: str) -> bool:
        """Whether a timer of the heap still holds."""
        state = self.state
        if kind == "start":
            return state.start_at == at
        if kind == "execution":
            return state.timeout_at == at and not state.is_terminal
        step = state.steps.get(step_id)
        # Resuming arms again what an operator's pause holds back.
        if step is None or (kind in ("retry", "next") and state.is_operator_paused):
            return False
        match kind:
            case "due":
                return at == step.due_at
            case "timeout":
                return at == step.timeout_at
            case "next":
                return at == step.delay_until
            case _:
                return at == step.retry_at

    def pop_timer(self) -> tuple[int, str, str]:
        """Take the next timer, which `next_due_at` has just named: `(at, step id, kind)`."""
        return heappop(self.timers)

    def next_due_at(self) -> int | None:
        """When the next timer is due; None when no clock is awaited."""
        if not self.timers or self.state.is_terminal:
            return None
        while self.timers:
            if self.is_armed(*self.timers[0]):
                return self.timers[0][0]
            heappop(self.timers)
        return None


def _drop(index: dict[str, dict[str, None]], key: str, step_id: str) -> None:
    steps = index.get(key)
    if steps is not None:
        steps.pop(step_id, None)
        if not steps:
            del index[key]


_FOLLOWERS: dict[type, Callable[[Working, Any], None]] = {
    StepCompleted: Working._completed,
    StepFailed: Working._failed,
    StepCancelled: Working._cancelled,
    StepParked: Working._parked,
    StepStarted: Working._started,
    StepQueued: Working._queued,
    StepReopened: Working._reopened,
    StepRequeued: Working._reopened,
    StepAttempted: Working._attempted,
    StepRetrying: Working._retrying,
    SlotAsked: Working._step_changed,
    SlotGranted: Working._step_changed,
    IterationDelayed: Working._step_changed,
    ChildNoted: Working._step_changed,
    ItemsAdded: Working._items_added,
    JoinRoundChanged: Working._round_changed,
    TokensWithdrawn: Working._tokens_withdrawn,
    ExecutionCreated: Working._created,
    ExecutionStarted: Working._begun,
    ExecutionForked: Working._anew,
    ExecutionMigrated: Working._anew,
    CompensationStarted: Working._anew,
    ExecutionResumed: Working._resumed,
}
