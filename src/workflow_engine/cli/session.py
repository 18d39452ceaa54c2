"""One execution, driven by an engine in this process to its end, or to where it waits for people or signals."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, TypeVar

from workflow_engine.cli.display import REFRESH_S, Display, display_for
from workflow_engine.cli.interrupts import Interrupts
from workflow_engine.cli.progress import Progress
from workflow_engine.library import Engine, Execution
from workflow_engine.models.execution import PAUSED, TERMINAL, ExecutionState
from workflow_engine.models.instant import rfc3339
from workflow_engine.models.workflow import Definition
from workflow_engine.services.event_stream import TERMINAL_EVENTS

WAITING_FOR_MAX: Final = 100
GRACE_S: Final = 2.0
"""What running steps get after Ctrl-C: somebody sits there and waits. SIGTERM leaves them the setting's time."""
TOTALS_S: Final = 1.0
"""How often the display may ask for the state, which costs a read of it."""
OVERDUE_S: Final = 5.0
"""How long a timer that was due before the start may take to show its effect."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where an execution stands when the command ends."""

    resource: dict[str, Any]
    waiting_for: list[dict[str, Any]] = field(default_factory=list)
    is_interrupted: bool = False

    @property
    def is_waiting(self) -> bool:
        """Whether people or signals must come."""
        return bool(self.resource["status"] == PAUSED and self.resource["reason"] == "input")


def run_on_loop(work: Callable[[], Awaitable[Result]]) -> Result:
    """Run it on an event loop of its own, the fast one where there is one."""

    async def worked() -> Result:
        return await work()

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(worked())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


def waits_for_input(state: ExecutionState) -> bool:
    """Whether the execution stands still until people or signals come."""
    return state.status == PAUSED and state.reason == "input"


def waiting_for(state: ExecutionState, definition: Definition) -> list[dict[str, Any]]:
    """What an execution waits for, as `workflow_paused` tells it, and of people what they are asked."""
    types = {node.id: node.type for node in definition.nodes}
    waits: list[dict[str, Any]] = []
    for step in state.steps.values():
        type_ = types.get(step.node)
        if step.items is not None or type_ not in ("wait", "human") or len(waits) == WAITING_FOR_MAX:
            continue
        until = step.due_at if step.due_at is not None else step.timeout_at
        name = next((wait.name for wait in step.waits if wait.name is not None), None)
        wait = {
            "node_id": step.node,
            "step_id": step.step_id,
            "kind": "human" if type_ == "human" else "signal" if name is not None else "timer",
            "name": name,
            "until": rfc3339(until) if until is not None else None,
        }
        if type_ == "human" and isinstance(step.input, dict):
            wait |= {name: step.input[name] for name in ("title", "instructions", "form") if name in step.input}
        waits.append(wait)
    return waits


@dataclass(frozen=True, slots=True)
class _Until:
    """The event to stop at. What stood before `sequence` is over: a pause there was ended by an answer or a signal."""

    sequence: int
    is_settled: bool
    """Nothing comes after `sequence`."""

    def is_reached(self, event: dict[str, Any]) -> bool:
        if self.is_settled and event["sequence"] >= self.sequence:
            return True
        if event["event"] in TERMINAL_EVENTS:
            return True
        is_waiting = event["event"] == "workflow_paused" and event["data"]["reason"] == "input"
        return is_waiting and not self.is_settled and event["sequence"] > self.sequence


class Session:
    """Follows one execution and shows it."""

    def __init__(self, engine: Engine, execution: Execution, definition: Definition, interrupts: Interrupts) -> None:
        self._engine = engine
        self._execution = execution
        self._definition = definition
        self._interrupts = interrupts
        self._totals_s = 0.0

    async def follow(self, before: ExecutionState | None) -> Outcome:
        """Show the execution until it ends, waits for people or signals, or the process is asked to stop.

        Args:
            before: where it stood when the command began; what happened since is shown, too. None: it began now.
        """
        after = before.sequence if before is not None else 0
        state = await self._settled_state()
        is_settled = state.is_terminal or waits_for_input(state)
        if not is_settled or state.sequence > after:
            progress = Progress.of(self._execution.id, self._definition, before)
            await self._show(progress, after, _Until(state.sequence, is_settled))
            state = await self._state()
        is_interrupted = self._interrupts.received is not None and state.status not in TERMINAL
        waits = waiting_for(state, self._definition) if waits_for_input(state) else []
        return Outcome(await self._execution.get(), waits, is_interrupted and not waits)

    async def _show(self, progress: Progress, after: int, until: "_Until") -> None:
        display = display_for(progress)
        try:
            await self._watch(progress, display, after, until)
        finally:
            display.close()

    async def _state(self) -> ExecutionState:
        return await self._engine.services.executions.state(self._engine.tenant_id, self._execution.id)

    async def _settled_state(self) -> ExecutionState:
        """The state once timers that were due while no process ran have had their effect."""
        given_up_s = monotonic() + OVERDUE_S
        while True:
            state = await self._state()
            if not (waits_for_input(state) and _is_overdue(state, self._engine.store.now())):
                return state
            if monotonic() > given_up_s:
                return state
            await asyncio.sleep(0.02)

    async def _watch(self, progress: Progress, display: Display, after: int, until: "_Until") -> None:
        reader = asyncio.create_task(self._read(display, after, until))
        interrupted = asyncio.create_task(self._interrupts.wait())
        try:
            while not reader.done() and not interrupted.done():
                await asyncio.wait({reader, interrupted}, timeout=REFRESH_S, return_when=asyncio.FIRST_COMPLETED)
                await self._learn_totals(progress)
                display.draw()
            if reader.done():
                reader.result()
        finally:
            for task in (reader, interrupted):
                task.cancel()
            await asyncio.gather(reader, interrupted, return_exceptions=True)

    async def _read(self, display: Display, after: int, until: "_Until") -> None:
        async with aclosing(self._execution.events(after=after)) as events:  # type: ignore[type-var]
            async for event in events:
                display.take(event)
                if until.is_reached(event):
                    return

    async def _learn_totals(self, progress: Progress) -> None:
        if monotonic() - self._totals_s >= TOTALS_S and progress.needs_totals():
            progress.take_totals(await self._state())
            self._totals_s = monotonic()


def _is_overdue(state: ExecutionState, now: int) -> bool:
    instants = [state.timeout_at]
    for step in state.steps.values():
        instants += [step.due_at, step.timeout_at, step.retry_at]
    return any(at is not None and at <= now for at in instants)


def hurry(engine: Engine, interrupts: Interrupts) -> float:
    """Shorten the time that running steps get if a person waits for the process to end; gives it in seconds."""
    grace_s = engine.settings.shutdown_grace
    if interrupts.received is not None and interrupts.received.name == "SIGINT":
        grace_s = min(grace_s, GRACE_S)
        engine.settings = engine.settings.model_copy(update={"shutdown_grace": grace_s})
    return grace_s
