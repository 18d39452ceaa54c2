"""Drives one execution through random commands and holds every decision against what must always be true."""

from typing import Any

import msgspec
from oracle import expected, expected_debt

from workflow_engine.engine import joins
from workflow_engine.engine.apply import apply_transition
from workflow_engine.engine.decide import Decision, decide
from workflow_engine.engine.graph import Graph, NodeSpec
from workflow_engine.engine.working import CALL, CLOCK, OUTSIDE, Place, Working
from workflow_engine.models.command import (
    Abort,
    AddItems,
    Answer,
    AnyCommand,
    Cancel,
    CompleteByHand,
    CompleteStep,
    Decline,
    FailStep,
    FireTimers,
    Fork,
    GrantSlot,
    NoteChild,
    Pause,
    Recover,
    Resume,
    Retry,
    SetVariables,
    Signal,
    Skip,
    Start,
    Terminate,
)
from workflow_engine.models.effect import AskSlot, CloseTask, Dispatch, FreeSlot, OpenTask
from workflow_engine.models.event import (
    AnyFact,
    ExecutionForked,
    JoinRoundChanged,
    SlotGranted,
    decode_facts,
    encode_facts,
)
from workflow_engine.models.execution import TERMINAL, ExecutionState, Step, decode_state, encode_state
from workflow_engine.models.instant import MICROSECONDS
from workflow_engine.models.limits import Limits
from workflow_engine.models.step import StepError

START_AT = 1_750_000_000 * MICROSECONDS
INPUT = {"k": 2, "list": [3, 1, 2], "status": "failed"}
SIGNAL_PAYLOADS: tuple[Any, ...] = ({"n": 0}, {"n": 9}, None)
ERRORS = (
    StepError("unavailable", "away", no_effect=True),
    StepError("rate_limited", "slow down", retry_after_s=7.0),
    StepError("deadlock", "the target's own"),
    StepError("http_404", "gone"),
    StepError("unavailable", "for ever", retry_after_s=float("inf")),
)


class Forked(msgspec.Struct):
    """What the driver has to know of the state that a fork begins with."""

    reopenable: dict[str, Step] = {}


class JoinChecks:
    """Stands before `joins.firing` and compares each answer with the oracle's."""

    def __init__(self) -> None:
        self.driver: Driver | None = None
        self.count = 0
        self._ask = joins.firing

    def firing(self, place: Place, node: NodeSpec) -> joins.Firing | None:
        """The answer of the core, which is the oracle's too."""
        answer = self._ask(place, node)
        steps = self.driver.steps_of(place)
        took = expected(place, node, steps)
        assert (answer and answer.took) == took, f"{node.id} fires with {answer}, but {took} is right"
        if answer is not None:
            debt = expected_debt(place, node, steps)
            assert (answer.owed or []) == debt
            if debt and place is not self.driver.twin.places.get(place.key):
                self.driver.debts.append((node.id, debt))
        self.count += 1
        return answer


class Driver:
    """One execution, the log that a store would keep, and the calls and tasks that an outside would know of."""

    def __init__(self, graph: Graph, limits: Limits, checks: JoinChecks) -> None:
        self.graph = graph
        self.checks = checks
        self.limits = limits
        self.now = START_AT
        self.working = Working(graph, ExecutionState("acme", "e1"), limits)
        self.log: list[tuple[int, bytes]] = []
        self.facts: list[AnyFact] = []
        self.calls: list[tuple[str, int, int]] = []
        self.is_unfinished = False
        self.progress = 0
        self.snapshots: list[tuple[int, bytes]] = []
        self.active: set[str] = set()
        self.generations: dict[str, int] = {}
        self.attempts: dict[str, int | None] = {}
        self.debts: list[tuple[str, list[int]]] = []
        self.tasks: set[str] = set()
        self.queued: set[str] = set()
        self.detached: set[str] = set()
        self.slots: dict[str, AskSlot] = {}
        self.granted: dict[str, AskSlot] = {}
        self.twin = self.working

    @property
    def state(self) -> ExecutionState:
        """The live state."""
        return self.working.state

    def steps_of(self, place: Place) -> list[Any]:
        """The active steps of the execution, or of its twin, that a place belongs to."""
        working = self.twin if place is self.twin.places.get(place.key) else self.working
        return [
            step
            for step in working.state.steps.values()
            if step.scope == place.key and step.parent is None and step.undo is None and not step.is_detached
        ]

    # --- random commands

    def act(self, number: int) -> None:
        """What a number stands for in this state: every number is some command, or a burst of them."""
        kind, pick = number % 24, number // 24
        if self.state.status == "failed" and kind % 2:
            self.decide(*[SetVariables({"n": pick})] * (kind % 4 == 1), self.reopening(pick))
            return
        match kind:
            case 0 | 1 | 2 | 3 | 4:
                self.decide(self.result(pick, is_good=True))
            case 5 | 6:
                self.decide(self.result(pick, is_good=False))
            case 7 | 8:
                self.pass_time(pick)
            case 9:
                self.decide(Signal("go", SIGNAL_PAYLOADS[pick % 3]))
            case 10:
                self.decide(self.answer(pick))
            case 11:
                self.decide(Pause())
            case 12:
                self.decide(Resume())
            case 13:
                self.decide(Recover())
            case 14:
                self.decide(SetVariables({"n": pick % 5}) if pick % 2 else SetVariables({}))
            case 15:
                self.decide(self.result(pick, is_good=True), self.result(pick + 1, is_good=bool(pick % 2)))
            case 16:
                self.reload()
            case 17:
                self.decide(self.odd_command(pick))
            case 18:
                self.decide(Retry())
            case 19:
                self.decide(self.grant(pick))
            case 20:
                self.decide(self.by_hand(pick))
            case 21:
                self.decide(self.child_news(pick))
            case 22:
                self.decide(self.more_items(pick))
            case _:
                self.decide(*[self.random_command(pick + offset) for offset in range(pick % 4)])

    def random_command(self, pick: int) -> AnyCommand:
        """One of those that fit often, for bursts."""
        commands = (
            self.result(pick, is_good=True),
            self.result(pick, is_good=False),
            FireTimers(),
            Signal("go", SIGNAL_PAYLOADS[pick % 3]),
            self.answer(pick),
            Pause(),
            Resume(),
            SetVariables({"n": 1}),
            Retry(),
            Recover(),
        )
        return commands[pick % len(commands)]

    def odd_command(self, pick: int) -> AnyCommand:
        """One of those that end the execution or fit nothing."""
        step = next(iter(self.state.steps), "a.1")
        commands = (
            CompleteStep("nothing.1", 1, 0, None),
            CompleteStep(step, 9, 0, None),
            CompleteStep(step, 1, 0, {"n": 5}),
            FailStep(step, 1, 0, ERRORS[0]),
            FailStep(step, 1, 7, ERRORS[0]),
            Answer(step, {}),
            Decline(step, ERRORS[3]),
            Start("random", 1),
            Cancel("enough"),
            Cancel("undo it", compensate=True),
            AddItems(step, [1]),
            Skip("nothing.1"),
            GrantSlot(step, 1, 0),
            NoteChild(step, 1, 0, "input"),
            Terminate(),
            Abort(StepError("internal", "a bug")),
        )
        return commands[pick % len(commands)]

    def reopening(self, pick: int) -> AnyCommand:
        """What continues a failed execution."""
        failed = [step.step_id for step in self.state.reopenable.values() if step.is_failed]
        if pick % 3 == 2 and failed:
            return Skip(failed[pick % len(failed)])
        if pick % 3 == 1 and failed:
            return CompleteByHand(failed[pick % len(failed)], {"by": "hand"})
        return Retry()

    def grant(self, pick: int) -> AnyCommand:
        """A slot for one of the steps that have asked for it, or once more for one that has it."""
        asked = list(self.slots.values()) or list(self.granted.values())
        if not asked:
            return GrantSlot("nothing.1", 1, 0)
        ask = asked[pick % len(asked)]
        return GrantSlot(ask.step, ask.attempt, ask.generation)

    def by_hand(self, pick: int) -> AnyCommand:
        """An operator ends some active step."""
        steps = list(self.state.steps) or ["nothing.1"]
        step = steps[pick % len(steps)]
        return Skip(step) if pick % 2 else CompleteByHand(step, {"by": "hand"})

    def child_news(self, pick: int) -> AnyCommand:
        """The child of a `workflow` step pauses or goes on."""
        children = [step for step in self.state.steps.values() if step.node and self.spec_type(step) == "workflow"]
        if not children:
            return FireTimers()
        step = children[pick % len(children)]
        return NoteChild(step.step_id, step.attempt, step.generation, ("input", "timer", None)[pick % 3])

    def more_items(self, pick: int) -> AnyCommand:
        """A running `foreach` gets more items."""
        parents = [step.step_id for step in self.state.steps.values() if step.items is not None]
        return AddItems(parents[pick % len(parents)], [7, 8][: pick % 3]) if parents else FireTimers()

    def result(self, pick: int, *, is_good: bool) -> AnyCommand:
        """A report about a call that was made at some time: fresh, stale or a duplicate."""
        if not self.calls:
            return FireTimers()
        step, attempt, generation = self.calls[-1 - pick % min(len(self.calls), 6)]
        if is_good:
            return CompleteStep(step, attempt, generation, {"done": pick})
        return FailStep(step, attempt, generation, ERRORS[pick % len(ERRORS)])

    def answer(self, pick: int) -> AnyCommand:
        """A person's answer, or a refusal, to something asked."""
        asked = sorted(self.tasks) or ["nobody.1"]
        step = asked[pick % len(asked)]
        return Decline(step, ERRORS[3]) if pick % 5 == 4 else Answer(step, {"approved": True})

    def pass_time(self, pick: int) -> None:
        """Time passes, to the next timer or by some seconds; then the clock is looked at."""
        due_at = self.working.next_due_at()
        if pick % 3 and due_at is not None:
            self.now = max(self.now, due_at)
        else:
            self.now += (pick % 40) * MICROSECONDS // 2
        self.decide(FireTimers())

    def reload(self) -> None:
        """The process is gone: another one folds the log and goes on."""
        self.working = Working(self.graph, self.fold(), self.limits)
        self.decide(Recover())

    def finish(self) -> None:
        """Everything outside answers well from now on: the execution has to end."""
        for _ in range(3 * self.limits.max_steps):
            if self.state.is_terminal:
                return
            if self.state.is_operator_paused:
                self.decide(Resume())
                continue
            open_calls = [
                (step.step_id, step.attempt, step.generation)
                for step in self.state.steps.values()
                if not step.is_parent
                and step.status != "pending"
                and step.retry_at is None
                and self.working.spec(step).is_io
            ]
            if self.slots:
                self.decide(*[GrantSlot(ask.step, ask.attempt, ask.generation) for ask in self.slots.values()])
            elif open_calls:
                self.decide(*[CompleteStep(*call, None) for call in open_calls])
            elif self.tasks:
                self.decide(Answer(min(self.tasks), {}))
            elif self.working.signal_waits:
                self.decide(Signal("go", {"n": 2_000_000}))
            elif self.working.condition_waits and self.state.variables.get("n") != 1_000_000:
                self.decide(SetVariables({"n": 1_000_000}))
            elif self.working.condition_waits and self.working.next_due_at() is None:
                self.decide(Skip(next(iter(next(iter(self.working.condition_waits.values()))))))
            else:
                due_at = self.working.next_due_at()
                assert due_at is not None, "nothing is awaited and nothing goes on"
                self.now = max(self.now, due_at)
                self.decide(FireTimers())
        raise AssertionError("the execution does not end")

    def check_fork(self, pick: int) -> None:
        """Another execution can begin wherever this one has stood, and comes to an end of its own."""
        number = 1 + pick % len(self.log)
        state = ExecutionState("acme", "e1")
        for at_number, (at, encoded) in enumerate(self.log[:number], 1):
            apply_transition(state, decode_facts(encoded), number=at_number, at=at)
        has_undone = state.status == "failed" and not state.reopenable and state.scopes[""].end_status is None
        is_refused = state.status in ("cancelled", "pending") or state.compensation is not None or has_undone
        fork = Driver(self.graph, self.limits, self.checks)
        fork.now = self.now
        self.checks.driver = fork
        fork.decide(Fork("random", 1, "e1", state.sequence, state, {"n": pick % 4} if pick % 2 else {}))
        assert is_refused == (not fork.state.workflow_id)
        if not is_refused:
            fork.finish()

    # --- one decision

    def decide(self, *commands: AnyCommand) -> None:
        """Decide, commit, perform; then the same for what is left unfinished."""
        self._transition(commands)
        for _ in range(2 * self.limits.max_steps):
            if not self.is_unfinished:
                break
            self._transition(())
        else:
            raise AssertionError("a transition never finishes")
        self.check_rest()

    def _transition(self, commands: tuple[AnyCommand, ...]) -> None:
        self.twin = twin = Working(self.graph, decode_state(encode_state(self.state)), self.limits)
        was_terminal = self.state.is_terminal
        is_current = self.is_current(commands[0]) if commands else None
        self.debts.clear()
        started_before = self.state.steps_started
        sequence_before = self.state.sequence
        at_before = self.state.at
        decision = decide(self.working, commands, now=self.now)
        assert len(decision.rejections) == len(commands)
        if is_current is not None:
            assert is_current == (decision.rejections[0] is None), "a stale report is taken, or a fresh one is not"
        encoded = encode_facts(decision.facts)
        again = decide(twin, commands, now=self.now)
        assert encode_facts(again.facts) == encoded, "a process that folds the state anew decides otherwise"
        assert sorted(map(repr, again.effects)) == sorted(map(repr, decision.effects))
        self.is_unfinished = decision.is_unfinished
        if decision.facts:
            twin.state.number += 1
            self.state.number += 1
            self.log.append((self.now, encoded))
            self.facts.extend(decode_facts(encoded))
        else:
            assert self.state.at == at_before
        assert encode_state(twin.state) == encode_state(self.state)
        assert self.state.sequence == sequence_before + sum(fact.PUBLIC for fact in decision.facts)
        is_fork = any(isinstance(fact, ExecutionForked) for fact in decision.facts)
        started = 0 if is_fork else self.state.steps_started - started_before
        assert started <= self.limits.transition_steps_max + 2, "a transition is not bounded"
        self.follow(decision, was_terminal=was_terminal)
        self.check_state()

    def is_current(self, command: AnyCommand) -> bool | None:
        """Whether a report is about the attempt that is under way, by what the events have told; None: no report."""
        if not isinstance(command, CompleteStep | FailStep):
            return None
        under_way = (self.attempts.get(command.step), self.generations.get(command.step))
        if command.step not in self.active or (command.attempt, command.generation) != under_way:
            return False
        step = self.state.steps[command.step]
        return not step.is_parent and step.status != "pending" and self.working.spec(step).is_io

    # --- what must always be true

    def follow(self, decision: Decision, *, was_terminal: bool) -> None:
        """Each activation has one start and at most one end per generation; nothing begins in an ended execution."""
        for fact in decision.facts:
            if isinstance(fact, SlotGranted):
                self.granted[fact.step] = self.slots.pop(fact.step)
        for effect in decision.effects:
            match effect:
                case Dispatch(step_id) if step_id in self.state.steps:
                    step = self.state.steps[step_id]
                    call = (step_id, step.attempt, step.generation)
                    self.calls.append(call)
                    policy = self.working.spec(step).retry
                    assert step.attempt <= (policy.max_attempts if policy is not None else 1)
                case OpenTask(step_id) if step_id in self.state.steps:
                    self.tasks.add(step_id)
                case CloseTask(step_id):
                    self.tasks.discard(step_id)
                case AskSlot(step_id) if step_id not in self.granted or self.granted[step_id] != effect:
                    self.slots[step_id] = effect
                case FreeSlot(step_id):
                    assert self.slots.pop(step_id, None) or self.granted.pop(step_id, None), "freed what it never asked"
        rounds = [(fact.node, fact.owed) for fact in decision.facts if isinstance(fact, JoinRoundChanged)]
        assert all(debt in rounds for debt in self.debts) or self.state.is_terminal, "a round's debt is not recorded"
        is_open = not was_terminal
        for fact in decision.facts:
            name = str(fact.__struct_config__.tag)
            match name:
                case "execution_forked":
                    for step in msgspec.convert(fact.state, Forked, str_keys=True).reopenable.values():
                        self.generations[step.step_id] = step.generation
                        self.attempts[step.step_id] = None
                        if step.is_detached:
                            self.detached.add(step.step_id)
                case "execution_resumed":
                    is_open = True
                case "step_queued":
                    assert is_open
                    assert fact.step not in self.generations
                    self.generations[fact.step] = 0
                    self.attempts[fact.step] = None
                    self.active.add(fact.step)
                    self.queued.add(fact.step)
                case "step_started" if fact.is_queued:
                    assert is_open
                    assert fact.step in self.queued
                    self.queued.remove(fact.step)
                    self.attempts[fact.step] = 1
                case "step_started":
                    assert is_open
                    assert fact.step not in self.generations, f"{fact.step} starts twice"
                    self.generations[fact.step] = 0
                    self.attempts[fact.step] = 1
                    self.active.add(fact.step)
                case "step_reopened" | "step_requeued":
                    assert is_open
                    assert fact.step in self.generations
                    assert fact.step not in self.active
                    self.generations[fact.step] += 1
                    self.attempts[fact.step] = 1
                    self.active.add(fact.step)
                    if name == "step_requeued":
                        self.queued.add(fact.step)
                        self.attempts[fact.step] = None
                case "step_completed" if fact.is_detached:
                    assert fact.step in self.active
                    self.detached.add(fact.step)
                case "step_parked":
                    assert fact.step in self.detached
                    self.active.discard(fact.step)
                case "step_completed" | "step_failed" | "step_cancelled":
                    assert fact.step in self.active
                    assert fact.step not in self.detached, "it has ended already"
                    self.active.remove(fact.step)
                    self.queued.discard(fact.step)
                case "step_retrying" | "decision_made" | "custom_emitted" | "iteration_delayed" | "items_added":
                    assert fact.step in self.active
                    if name == "step_retrying":
                        self.attempts[fact.step] = None
                case "slot_asked":
                    assert fact.step in self.active
                    self.attempts[fact.step] = None
                case "slot_granted":
                    assert fact.step in self.active
                case "child_noted":
                    assert fact.step in self.active
                case "step_attempted":
                    assert fact.step in self.active
                    self.attempts[fact.step] = fact.attempt
                case "execution_completed" | "execution_failed" | "execution_cancelled":
                    assert is_open
                    assert not self.active, self.active
                    is_open = False
                case "progress_made":
                    assert 0 <= fact.percent < 100
                case "variables_changed":
                    pass
                case _:
                    assert is_open, f"{name} after the end"
        assert is_open != self.state.is_terminal or not self.state.workflow_id

    def check_state(self) -> None:
        """The log folds to the state, and what is derived from the state is what is kept beside it."""
        state = self.state
        kept = encode_state(state)
        folded = self.fold()
        assert encode_state(folded) == kept
        assert state.progress >= self.progress
        assert state.status == "completed" or state.progress < 100
        self.progress = state.progress
        self.active |= {step.step_id for step in state.steps.values() if step.is_detached}  # reopened with its items
        assert set(state.steps) == self.active
        assert set(self.tasks) == {
            step.step_id
            for step in state.steps.values()
            if not step.is_parent and step.status != "pending" and self.spec_type(step) == "human"
        }
        self._check_locks()
        assert set(self.slots) == {step.step_id for step in state.steps.values() if step.slot == "asked"}
        assert set(self.granted) == {step.step_id for step in state.steps.values() if step.slot in ("granted", "held")}
        for scope in state.scopes.values():
            assert all(count > 0 for count in scope.tokens.values())
            if state.status in TERMINAL:
                assert not scope.tokens
                assert not scope.starts
        for step in [*state.steps.values(), *state.reopenable.values()]:
            self._check_step(step)
        assert state.status not in TERMINAL or not state.steps
        if state.status in ("completed", "cancelled"):
            assert not state.reopenable
        self._check_derived(Working(self.graph, folded, self.limits))
        self.snapshots.append((state.number, kept))

    def _check_locks(self) -> None:
        """One step at a time holds a lock; the others wait, each once."""
        wanted: dict[str, set[str]] = {}
        for step in self.state.steps.values():
            if step.lock is not None:
                wanted.setdefault(step.lock, set()).add(step.step_id)
                if step.step_id != self.state.locks[step.lock][0]:
                    assert step.status == "pending", f"{step.step_id} works without its lock"
        assert {lock: set(steps) for lock, steps in self.state.locks.items()} == wanted
        assert all(len(set(steps)) == len(steps) for steps in self.state.locks.values())

    def _check_step(self, step: Any) -> None:
        if step.parent is not None:
            assert step.parent in self.state.steps or step.parent in self.state.reopenable
        if step.repeat_max is not None:
            assert step.open <= 1
            assert step.next_index <= step.repeat_max or step.generation  # a retry evaluates `max` anew
        if step.items is not None:
            children = [child for child in self.state.steps.values() if child.parent == step.step_id]
            assert step.open == len(children)
            assert step.open <= step.concurrency
            closed = [child for child in self.state.reopenable.values() if child.parent == step.step_id]
            assert step.next_index == step.finished + step.open + len(closed)
            assert len(step.results) <= step.finished <= len(step.items)
            assert step.completed <= step.finished

    def spec_type(self, step: Any) -> str:
        """The type of a step's node."""
        return self.working.spec(step).type

    def _check_derived(self, fresh: Working) -> None:
        live = self.working
        assert self.state.is_terminal or set(live.places) == set(fresh.places)
        for key, place in live.places.items():
            other = fresh.places[key]
            assert (place.load, place.busy, place.waiting) == (other.load, other.busy, other.waiting)
            assert (list(place.steps), place.names) == (list(other.steps), other.names)
            assert place.done & ~place.reachable() == other.done & ~other.reachable()
        assert (live.counts, live.kinds) == (fresh.counts, fresh.kinds)
        assert set(live.open_foreach) == set(fresh.open_foreach)
        for name in ("signal_waits", "condition_waits", "children"):
            kept, made = ({key: list(ids) for key, ids in getattr(w, name).items() if ids} for w in (live, fresh))
            assert kept == made, name
        assert live.next_due_at() == fresh.next_due_at()
        steps = len(live.state.steps)
        assert len(live.timers) <= 100 + 8 * steps, "timers that no longer hold pile up"

    def check_rest(self) -> None:
        """An execution at rest has ended, was paused by an operator, or waits for something that can come."""
        state = self.state
        if not state.workflow_id or state.is_terminal or state.is_operator_paused:
            return
        working = self.working
        counts = working.counts
        assert any(counts.values()) or working.next_due_at() is not None, "it hangs silently"
        is_pending = state.status == "pending"
        for place in working.places.values():
            owner = state.steps.get(place.key[:-1])
            is_open = not place.key or (owner is not None and owner.status != "pending")
            for node in place.graph.nodes if is_open else ():
                if node.index in place.waiting:
                    assert expected(place, node, self.steps_of(place)) is None, f"{node.id} could fire and does not"
        assert is_pending or state.steps
        for lock, (holder, *_) in state.locks.items():
            step = state.steps[holder]
            assert step.status != "pending" or step.slot == "asked", f"{holder} has the lock {lock} and does not start"
        for step in state.steps.values():
            if step.items is not None:
                assert step.open == step.concurrency or step.next_index == len(step.items)
            elif step.repeat_max is not None:
                assert step.open or step.delay_until is not None
        if state.status == "paused":
            assert not counts[CALL]
            assert state.reason == ("input" if counts[OUTSIDE] else "timer")
        elif state.status == "running":
            assert counts[CALL] or (not counts[OUTSIDE] and counts[CLOCK])

    def fold(self) -> ExecutionState:
        """The state that the log alone gives."""
        state = ExecutionState("acme", "e1")
        return self.fold_on(state)

    def fold_on(self, state: ExecutionState) -> ExecutionState:
        """A snapshot, and the rest of the log on top of it."""
        for number, (at, encoded) in list(enumerate(self.log, 1))[state.number :]:
            apply_transition(state, decode_facts(encoded), number=number, at=at)
        return state

    def check_snapshots(self) -> None:
        """From whatever snapshot one begins, the rest of the log leads to the same state."""
        now = encode_state(self.state)
        for _, encoded in self.snapshots[:: max(1, len(self.snapshots) // 10)]:
            assert encode_state(self.fold_on(decode_state(encoded))) == now
        numbers = [fact for fact in self.facts if fact.PUBLIC]
        assert self.state.sequence == len(numbers)
