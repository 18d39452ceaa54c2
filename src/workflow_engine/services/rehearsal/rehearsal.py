"""One test of a definition, run: `decide` under a virtual clock, with what the test says in the place of the outside.

Nothing is called, stored or awaited. What is simultaneous happens in the order of its cause or, with a seed, in an
order that is drawn from the seed: the same seed gives the same log.
"""

import hashlib
import heapq
from random import Random
from time import monotonic
from typing import Final

import msgspec

from workflow_engine.engine.decide import decide
from workflow_engine.engine.graph import Graph
from workflow_engine.engine.working import Working
from workflow_engine.models.command import Answer, AnyCommand, FireTimers, GrantSlot, Rejection, Start
from workflow_engine.models.duration import parse_timestamp
from workflow_engine.models.effect import AskSlot, CloseTask, Dispatch, Effect, FreeSlot, OpenTask, Withdraw
from workflow_engine.models.event import encode_facts
from workflow_engine.models.execution import FAILED, ExecutionState
from workflow_engine.models.instant import MICROSECONDS
from workflow_engine.models.limits import Limits as EngineLimits
from workflow_engine.models.test_case import WorkflowTest
from workflow_engine.services.input_schema import InputSchema
from workflow_engine.services.rehearsal.outside import Calls, Limits, StubMissing
from workflow_engine.services.rehearsal.script import Misfit, Script, command_of, form_problems
from workflow_engine.services.rehearsal.trace import Trace
from workflow_engine.services.rehearsal.verdict import Finding, findings_of
from workflow_engine.services.rehearsal.virtual_time import duration_text

TENANT: Final = "test"
EXECUTION: Final = "test"

LAST_AT: Final = 253_000_000_000 * MICROSECONDS
"""In the year 9987; the calendar of timestamps ends with 9999."""

MESSAGE_CHARS_MAX: Final = 2_000

BURST_MAX: Final = 3
"""Results that a seed may give to one transition."""


class Bounds(msgspec.Struct, frozen=True):
    """What one run of a test may cost. Going over it fails the test with a message that says so."""

    transitions_max: int = 50_000
    steps_max: int = 200_000
    span_s_max: float = 100 * 365 * 86_400.0
    """Of the virtual clock."""
    ends_at_s: float | None = None
    """When the run is given up, by the monotonic clock."""


class Rehearsal(msgspec.Struct, frozen=True):
    """What came of one run of a test."""

    findings: list[Finding]
    trace: Trace
    state: ExecutionState
    span_us: int
    """How far the virtual clock went."""
    transitions: int
    digest: bytes
    """Of the whole log."""

    @property
    def passed(self) -> bool:
        """Whether all was as expected."""
        return not self.findings


class _Failed(Exception):
    """The test can't go on."""

    def __init__(self, message: str, what: str = "run") -> None:
        super().__init__(message)
        self.finding = Finding(what, message[:MESSAGE_CHARS_MAX])


def rehearse(
    graph: Graph,
    input_schema: InputSchema,
    test: WorkflowTest,
    *,
    seed: int | None = None,
    bounds: Bounds = Bounds(),  # noqa: B008 - immutable
) -> Rehearsal:
    """Run a test once.

    Args:
        seed: the order of what is simultaneous is drawn from it; None: in the order of its cause.
    """
    return _Run(graph, input_schema, test, seed, bounds).rehearsal()


class _Run:
    def __init__(
        self, graph: Graph, input_schema: InputSchema, test: WorkflowTest, seed: int | None, bounds: Bounds
    ) -> None:
        self._test = test
        self._input_schema = input_schema
        self._bounds = bounds
        self._random = Random(seed) if seed is not None else None
        self._started_at = self._now = parse_timestamp(test.now)
        self._state = ExecutionState(TENANT, EXECUTION)
        self._working = Working(graph, self._state, EngineLimits(max_steps=bounds.steps_max))
        self._graph = graph
        self._trace = Trace(self._now)
        self._calls = Calls(test.stubs)
        self._limits = Limits()
        self._script = Script(test.script, self._now)
        self._asked: list[str] = []
        self._transitions = 0
        self._log = hashlib.blake2b(digest_size=16)
        # What is to happen: instant, order, and a call's command or the number of a script's entry.
        self._future: list[tuple[int, int, AnyCommand | int]] = []
        self._ready: list[AnyCommand | int] = []
        self._count = 0
        self._under_way: dict[str, AnyCommand] = {}

    def rehearsal(self) -> Rehearsal:
        """Run to the end, and judge."""
        try:
            self._play()
            findings = findings_of(self._test.expect, self._state, self._trace)
        except _Failed as failed:
            findings = [failed.finding]
        return Rehearsal(
            findings,
            self._trace,
            self._state,
            self._now - self._started_at,
            self._transitions,
            self._log.digest(),
        )

    # --- playing

    def _play(self) -> None:
        for at, number in self._script.scheduled():
            self._plan(at, number)
        self._start()
        while not self._is_over():
            happening = self._next()
            if happening is None:
                if self._is_expected_rest() or not self._go_on():
                    break
            elif isinstance(happening, int):
                self._enter(happening)
            else:
                self._give(*happening)
        self._refuse_leftovers()

    def _start(self) -> None:
        self._keep_time()
        problems = self._input_schema.problems_or_limit(self._test.input)
        if problems:
            told = "; ".join(f"{problem.path or '/'}: {problem.message}" for problem in problems[:5])
            raise _Failed(f"the input is not valid: {told}", "input")
        test = self._test
        self._give(Start(self._graph.workflow_id, 1, test.input, dict(test.variables)))

    def _is_over(self) -> bool:
        state = self._state
        return state.is_terminal and not (state.status == FAILED and self._script.can_revive)

    def _is_expected_rest(self) -> bool:
        """Whether the test is over where it was expected to stand still."""
        expect = self._test.expect
        is_there = self._state.status == expect.status and expect.reason in (None, self._state.reason)
        return expect.status in ("paused", "running") and is_there and self._script.is_over

    def _go_on(self) -> bool:
        """At rest: the script's next entry if it fits, else the clock goes on; False where nothing is left to come."""
        number = self._script.next_in_order()
        if number is not None and self._fits(number):
            self._enter(number)
            return True
        at = self._next_instant()
        if at is not None:
            self._advance(at)
            return True
        if number is not None and self._script.entry(number).action == "signal" and not self._state.is_terminal:
            self._enter(number)  # nobody waits for it, and nothing else can happen: it comes all the same
            return True
        return False

    def _next_instant(self) -> int | None:
        instants = [self._future[0][0]] if self._future else []
        due_at = self._working.next_due_at()
        return min([*instants, *([due_at] if due_at is not None else [])], default=None)

    def _advance(self, at: int) -> None:
        span_us = at - self._started_at
        if span_us > self._bounds.span_s_max * MICROSECONDS or at > LAST_AT:
            raise _Failed(f"the clock of the test would go on for {duration_text(span_us)}: that is too far")
        self._now = max(self._now, at)

    def _refuse_leftovers(self) -> None:
        number = self._script.unfit()
        if number is None:
            return
        state = self._state
        status = f"{state.status}/{state.reason}" if state.reason else state.status
        reason = f"the execution is {status}"
        try:
            command_of(self._script.entry(number), state, self._asked)
        except Misfit as misfit:
            reason += f", and {misfit}"
        raise _Failed(f"{self._script.name(number)} never came to pass: {reason}", "script")

    # --- what is ready

    def _plan(self, at: int, happening: AnyCommand | int) -> None:
        self._count += 1
        heapq.heappush(self._future, (at, self._count, happening))

    def _next(self) -> int | list[AnyCommand] | None:
        """What happens next at this instant: an entry of the script, or commands; None where all is at rest."""
        while self._future and self._future[0][0] <= self._now:
            self._ready.append(heapq.heappop(self._future)[2])
        while self._ready or self._is_timer_due():
            happening = self._draw()
            if happening is None:
                return [FireTimers()]
            if isinstance(happening, int):
                return happening
            if self._is_awaited(happening):
                return [happening, *self._more()]
        return None

    def _is_timer_due(self) -> bool:
        due_at = self._working.next_due_at()
        return due_at is not None and due_at <= self._now

    def _draw(self) -> AnyCommand | int | None:
        """One of the things that are ready; None: the clock's own."""
        ready = self._ready
        if self._random is None:
            return ready.pop(0) if ready else None
        chosen = self._random.randrange(len(ready) + self._is_timer_due())
        if chosen == len(ready):
            return None
        ready[chosen], ready[-1] = ready[-1], ready[chosen]
        return ready.pop()

    def _more(self) -> list[AnyCommand]:
        """With a seed, a transition sometimes takes several results at once."""
        burst: list[AnyCommand] = []
        if self._random is None:
            return burst
        for _ in range(self._random.randrange(BURST_MAX)):
            if not self._ready or isinstance(self._ready[-1], int):
                break
            command = self._ready.pop()
            assert not isinstance(command, int)
            if self._is_awaited(command):
                burst.append(command)
        return burst

    def _is_awaited(self, command: AnyCommand) -> bool:
        """Whether a result is still that of a call under way; the withdrawn ones are dropped here."""
        step = getattr(command, "step", "")
        if self._under_way.get(step) is not command:
            return False
        del self._under_way[step]
        return True

    # --- the script

    def _fits(self, number: int) -> bool:
        entry = self._script.entry(number)
        try:
            command_of(entry, self._state, self._asked)
        except Misfit:
            return False
        return entry.action != "signal" or self._waits_for(entry.target)

    def _waits_for(self, signal: str) -> bool:
        return any(wait.name == signal for step in self._state.steps.values() for wait in step.waits)

    def _enter(self, number: int) -> None:
        """Do an entry of the script; raises _Failed where it is refused."""
        entry = self._script.take(number)
        name = self._script.name(number)
        try:
            command = command_of(entry, self._state, self._asked)
        except Misfit as misfit:
            raise _Failed(f"{name} at +{duration_text(self._now - self._started_at)}: {misfit}", "script") from None
        if isinstance(command, Answer):
            problems = form_problems(self._state.steps[command.step], entry.output)
            if problems:
                raise _Failed(f"{name}: the answer does not fit the form: {'; '.join(problems[:5])}", "script")
        rejection = self._give(command)[0]
        if rejection is not None and not (rejection.code == "ended" and entry.after is not None):
            raise _Failed(f"{name} was refused: {rejection.message}", "script")

    # --- deciding

    def _give(self, *commands: AnyCommand) -> list[Rejection | None]:
        """Decide a burst and what is left unfinished, and take what follows from it."""
        decision = decide(self._working, commands, now=self._now)
        rejections = decision.rejections
        while True:
            if decision.facts:
                self._state.number += 1
                self._log.update(self._now.to_bytes(8, "big", signed=True) + encode_facts(decision.facts))
                self._trace.follow(decision.facts, self._now)
            for effect in decision.effects:
                self._perform(effect)
            self._keep_bounds()
            if not decision.is_unfinished:
                return rejections
            decision = decide(self._working, (), now=self._now)

    def _keep_bounds(self) -> None:
        self._transitions += 1
        if self._transitions > self._bounds.transitions_max:
            raise _Failed(
                f"the test took more than {self._bounds.transitions_max:,} transitions; does the workflow ever end?"
            )
        self._keep_time()

    def _keep_time(self) -> None:
        if self._bounds.ends_at_s is not None and monotonic() > self._bounds.ends_at_s:
            raise _Failed("the tests took too long together; `workflow-engine test` has no such limit")

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Dispatch(step_id):
                self._call(step_id)
            case Withdraw(step_id):
                self._under_way.pop(step_id, None)
            case OpenTask(step_id):
                self._asked.append(step_id)
            case CloseTask(step_id):
                if step_id in self._asked:
                    self._asked.remove(step_id)
            case AskSlot():
                self._grant(self._limits.ask(effect))
            case FreeSlot(step_id, key):
                self._under_way.pop(step_id, None)
                self._grant(self._limits.free(key, step_id))

    def _call(self, step_id: str) -> None:
        step = self._state.steps.get(step_id)
        if step is None:
            return
        try:
            after_us, command = self._calls.outcome(step, self._working.spec(step).type)
        except StubMissing as missing:
            raise _Failed(str(missing), "stubs") from None
        self._under_way[step_id] = command
        self._plan(self._now + after_us, command)

    def _grant(self, grants: list[GrantSlot]) -> None:
        for grant in grants:
            self._under_way[grant.step] = grant
            self._plan(self._now, grant)
