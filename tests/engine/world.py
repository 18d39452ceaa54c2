"""A driver for tests of the core: one execution, a clock that is moved by hand, and an outside that answers as told.

Whatever happens, `World` checks after every decision that the log folds to the state it has.
"""

from collections.abc import Callable
from typing import Any

from workflow_engine.engine.apply import apply_transition
from workflow_engine.engine.decide import Decision, decide
from workflow_engine.engine.graph import Graph, compile_graph
from workflow_engine.engine.migration import OutputReader, Outputs, missing_outputs, rebase
from workflow_engine.engine.validation.validate import validate
from workflow_engine.engine.working import Working
from workflow_engine.models.command import (
    Answer,
    AnyCommand,
    CompleteStep,
    FailStep,
    FireTimers,
    Fork,
    GrantSlot,
    Migrate,
    NoteChild,
    Rejection,
    Signal,
    Start,
)
from workflow_engine.models.effect import AskSlot, CloseTask, Dispatch, FreeSlot, OpenTask, Withdraw
from workflow_engine.models.event import AnyFact, decode_facts, encode_facts
from workflow_engine.models.execution import ExecutionState, Step, encode_state
from workflow_engine.models.instant import MICROSECONDS
from workflow_engine.models.limits import Limits
from workflow_engine.models.step import StepError

NOON_AT = 1_750_000_000 * MICROSECONDS

Outcome = Any
"""What a fake call gives: a value, a StepError, or a function of the step that gives one of the two."""


def refused(type: str = "unavailable", message: str = "no", **fields: Any) -> StepError:  # noqa: A002
    """An outcome that is an error."""
    return StepError(type, message, **fields)


class World:
    """One execution of a definition.

    `outcomes` by node id; an I/O node without one stays under way. `is_folded`: fold the whole log after each decision.
    """

    def __init__(
        self,
        nodes: list[dict[str, Any]],
        connections: list[Any] = (),
        *,
        outcomes: dict[str, Outcome] | None = None,
        limits: Limits | None = None,
        is_folded: bool = True,
        **fields: Any,
    ) -> None:
        self._begin(graph_of(nodes, connections, **fields), limits or Limits(), outcomes or {}, is_folded=is_folded)

    def _begin(self, graph: Graph, limits: Limits, outcomes: dict[str, Outcome], *, is_folded: bool) -> None:
        self.is_folded = is_folded
        self.graph = graph
        self.limits = limits
        self.now = NOON_AT
        self.state = ExecutionState("acme", "e1")
        self.working = Working(self.graph, self.state, self.limits)
        self.outcomes = outcomes
        self.log: list[tuple[int, bytes]] = []
        self.facts: list[AnyFact] = []
        self.last: Decision = Decision([], [], [], False)
        self.under_way: dict[str, tuple[int, int]] = {}
        self.asked: list[str] = []
        self.slots: dict[str, AskSlot] = {}
        self.freed: list[str] = []
        self.calls: list[str] = []
        self.withdrawn: list[str] = []
        self.rejection: Rejection | None = None

    # --- commands

    def start(self, input: Any = None, **fields: Any) -> "World":  # noqa: A002
        """Start and run as far as the outside's answers go."""
        self.do(Start("flow", 1, input, **fields))
        return self

    def do(self, *commands: AnyCommand) -> list[Rejection | None]:
        """Decide a burst, and then what the outside answers to it."""
        rejections = self.decide(*commands).rejections
        self._answer_calls()
        return rejections

    def decide(self, *commands: AnyCommand) -> Decision:
        """Decide a burst and what is left unfinished, and no more."""
        first = decision = self._transition(*commands)
        while decision.is_unfinished:
            decision = self._transition()
        return first

    def complete(self, step: str, output: Any = None) -> Rejection | None:
        """The outside reports the current attempt of a step as done."""
        attempt, generation = self.under_way.pop(step)
        return self.do(CompleteStep(step, attempt, generation, output))[0]

    def fail(self, step: str, error: StepError | None = None) -> Rejection | None:
        """The outside reports the current attempt of a step as failed."""
        attempt, generation = self.under_way.pop(step)
        return self.do(FailStep(step, attempt, generation, error or refused()))[0]

    def signal(self, name: str, payload: Any = None) -> Rejection | None:
        """A message from outside."""
        return self.do(Signal(name, payload))[0]

    def answer(self, step: str, output: Any = None) -> Rejection | None:
        """A person's answer."""
        return self.do(Answer(step, output))[0]

    def grant(self, step: str) -> Rejection | None:
        """The store has a slot for a step that asked for one."""
        asked = self.slots.pop(step)
        return self.do(GrantSlot(step, asked.attempt, asked.generation))[0]

    def note_child(self, step: str, reason: str | None) -> Rejection | None:
        """The child of a `workflow` step paused, or goes on."""
        attempt, generation = self.under_way[step]
        return self.do(NoteChild(step, attempt, generation, reason))[0]

    def migrate(self, graph: Graph, nodes: dict[str, str] | None = None, *, version: int = 2) -> Rejection | None:
        """An operator moves the execution to another version."""
        rejection = self.do(Migrate(version, graph, nodes or {}, self.outputs(self.state, graph, nodes or {})))[0]
        self.graph = self.working.graph
        return rejection

    def fork(
        self,
        number: int | None = None,
        *,
        graph: Graph | None = None,
        nodes: dict[str, str] | None = None,
        outcomes: dict[str, Outcome] | None = None,
        variables: dict[str, Any] | None = None,
    ) -> "World":
        """A new execution that begins where this one stood after `number` transitions; after all of them by default."""
        new = object.__new__(World)
        new._begin(graph or self.graph, self.limits, outcomes or {}, is_folded=self.is_folded)
        new.state.execution_id = "e2"
        new.now = self.now
        origin = self.folded(number)
        version = 1
        if graph is not None:
            version = 2
            outputs = self.outputs(origin, graph, nodes or {})
            assert rebase(origin, self.graph, graph, version, nodes or {}, outputs=outputs) == []
        new.rejection = new.do(Fork("flow", version, "e1", origin.sequence, origin, variables or {}))[0]
        return new

    def outputs(self, state: ExecutionState, graph: Graph, nodes: dict[str, str]) -> Outputs:
        """What another version reads and this one has not kept, from the log."""
        reader = OutputReader(missing_outputs(state, self.graph, graph, nodes))
        reader.feed(self.facts)
        return reader.outputs

    def wait(self, seconds: float) -> None:
        """Let time pass and look at the clock once, at its end."""
        self.now += int(seconds * MICROSECONDS)
        self.do(FireTimers())

    def run_clock(self, *, wakes_max: int = 1000) -> None:
        """Let time pass from timer to timer until no clock is awaited any more."""
        for _ in range(wakes_max):
            due_at = self.working.next_due_at()
            if due_at is None:
                return
            self.now = max(self.now, due_at)
            self.do(FireTimers())
        raise AssertionError("the clock is awaited without end")

    # --- what happened

    @property
    def status(self) -> str:
        """The execution's status, with the reason of a pause behind a slash."""
        return f"{self.state.status}/{self.state.reason}" if self.state.reason else self.state.status

    @property
    def output(self) -> Any:
        """The execution's output."""
        return self.state.output

    @property
    def error(self) -> dict[str, Any]:
        """The execution's error."""
        assert self.state.error is not None
        return self.state.error

    def started(self) -> list[str]:
        """The step ids in the order of their starts."""
        return [fact.step for fact in self.all("step_started")]

    def names(self) -> list[str]:
        """The public events as `event:step`, in order."""
        return [":".join([tag(fact), *([fact.step] if hasattr(fact, "step") else [])]) for fact in self.public()]

    def all(self, name: str) -> list[Any]:
        """Every fact of a kind."""
        return [fact for fact in self.facts if tag(fact) == name]

    def public(self) -> list[AnyFact]:
        """The facts that are events of the public stream."""
        return [fact for fact in self.facts if fact.PUBLIC]

    def view(self, node: str) -> dict[str, Any]:
        """What `steps.<node>` shows."""
        return self.state.scopes[""].views[node]

    def active(self) -> list[str]:
        """The ids of the active steps."""
        return list(self.state.steps)

    # --- inside

    def _transition(self, *commands: AnyCommand) -> Decision:
        self.last = decision = decide(self.working, commands, now=self.now)
        if decision.facts:
            self.state.number += 1
            encoded = encode_facts(decision.facts)
            self.log.append((self.now, encoded))
            self.facts.extend(decode_facts(encoded))
        if self.is_folded:
            assert encode_state(self.folded()) == encode_state(self.state)
        for effect in decision.effects:
            self._perform(effect)
        self.under_way = {step: call for step, call in self.under_way.items() if step in self.state.steps}
        return decision

    def folded(self, transitions: int | None = None) -> ExecutionState:
        """The state that the log alone gives, or its first transitions."""
        state = ExecutionState("acme", self.state.execution_id)
        for number, (at, encoded) in enumerate(self.log[:transitions], 1):
            apply_transition(state, decode_facts(encoded), number=number, at=at)
        return state

    def _perform(self, effect: Any) -> None:
        match effect:
            case Dispatch(step_id):
                step = self.state.steps.get(step_id)
                if step is not None:
                    self.calls.append(step_id)
                    self.under_way[step_id] = (step.attempt, step.generation)
            case Withdraw(step_id):
                self.withdrawn.append(step_id)
                self.under_way.pop(step_id, None)
            case OpenTask(step_id):
                self.asked.append(step_id)
            case CloseTask(step_id):
                if step_id in self.asked:
                    self.asked.remove(step_id)
            case AskSlot(step_id):
                self.slots[step_id] = effect
            case FreeSlot(step_id):
                self.slots.pop(step_id, None)
                self.freed.append(step_id)

    def _answer_calls(self) -> None:
        while True:
            ready = [step for step in self.under_way if self.state.steps[step].node in self.outcomes]
            if not ready:
                return
            step = self.state.steps[ready[0]]
            attempt, generation = self.under_way.pop(step.step_id)
            outcome = outcome_of(self.outcomes[step.node], step)
            if isinstance(outcome, StepError):
                self.decide(FailStep(step.step_id, attempt, generation, outcome))
            else:
                self.decide(CompleteStep(step.step_id, attempt, generation, outcome))


def graph_of(nodes: list[dict[str, Any]], connections: list[Any] = (), **fields: Any) -> Graph:
    """A definition, published and compiled."""
    document = {"id": "flow", "nodes": nodes, "connections": [connection(item) for item in connections], **fields}
    published = validate(document)
    assert published.definition is not None, published.problems
    return compile_graph(published.definition)


def outcome_of(outcome: Outcome, step: Step) -> Any:
    """What a fake call gives for a step."""
    return outcome(step) if isinstance(outcome, Callable) else outcome


def tag(fact: AnyFact) -> str:
    """The name under which the log keeps a fact."""
    return str(fact.__struct_config__.tag)


def connection(item: Any) -> dict[str, Any]:
    """A connection: a map as in a document, or text such as `a -> b`, `a -> b if vars.x`, `a -> b else`, `a ->! b`."""
    if isinstance(item, dict):
        return item
    ends, _, when = item.partition(" if ")
    made: dict[str, Any] = {"when": when} if when else {}
    if ends.endswith(" else"):
        ends = ends.removesuffix(" else")
        made["otherwise"] = True
    if " ->! " in ends:
        made["on"] = "error"
    source, _, target = ends.replace(" ->! ", " -> ").partition(" -> ")
    return {"from": source, "to": target, **made}


def pure(*names: str, **fields: Any) -> list[dict[str, Any]]:
    """`set` nodes."""
    return [{"id": name, "type": "set", **fields} for name in names]


def call(name: str, **fields: Any) -> dict[str, Any]:
    """A `function` node that is not tried again unless the fields say so."""
    return {"id": name, "type": "function", "with": {"name": "work"}, "retry": {"max_attempts": 1}, **fields}


def node(name: str, type: str, **fields: Any) -> dict[str, Any]:  # noqa: A002
    """A node of any type; `input_` stands for `with`."""
    if "input_" in fields:
        fields["with"] = fields.pop("input_")
    return {"id": name, "type": type, **fields}


def group(name: str, nodes: list[dict[str, Any]], connections: list[Any] = (), **fields: Any) -> dict[str, Any]:
    """A group with its own nodes and connections."""
    return {
        "id": name,
        "type": "group",
        "nodes": nodes,
        "connections": [connection(item) for item in connections],
        **fields,
    }
