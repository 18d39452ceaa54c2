"""The script of a test: what the outside does, when, and whether it fits yet."""

from typing import Any

from workflow_engine.engine.validation.json_schema import schema_problems
from workflow_engine.models.command import (
    AddItems,
    Answer,
    AnyCommand,
    Cancel,
    CompleteByHand,
    Decline,
    Pause,
    Resume,
    Retry,
    SetVariables,
    Signal,
    Skip,
    Terminate,
)
from workflow_engine.models.duration import parse_duration
from workflow_engine.models.execution import FAILED, ExecutionState, Step
from workflow_engine.models.instant import MICROSECONDS
from workflow_engine.models.step import StepError
from workflow_engine.models.test_case import ScriptEntry, StubError
from workflow_engine.services.input_schema import input_checker

REVIVING = frozenset({"retry", "complete", "skip"})
"""Actions that a failed execution can go on by."""


class Misfit(Exception):
    """The entry can't be done as things stand; the message says why."""


class Script:
    """The entries of a script, and which of them are done."""

    def __init__(self, entries: list[ScriptEntry], started_at: int) -> None:
        self._entries = entries
        self._started_at = started_at
        self._left = dict.fromkeys(range(len(entries)))

    def scheduled(self) -> list[tuple[int, int]]:
        """The entries with a time of their own: instant and number."""
        return [
            (self._started_at + microseconds(entry.after), number)
            for number, entry in enumerate(self._entries)
            if entry.after is not None
        ]

    def next_in_order(self) -> int | None:
        """The entry that is to come as soon as it fits, if it is one of that kind whose turn it is."""
        number = next(iter(self._left), None)
        return number if number is not None and self._entries[number].after is None else None

    def unfit(self) -> int | None:
        """The first entry left that was to come as soon as it fits."""
        return next((number for number in self._left if self._entries[number].after is None), None)

    def take(self, number: int) -> ScriptEntry:
        """The entry, which is done with this."""
        del self._left[number]
        return self._entries[number]

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        return not self._left

    @property
    def can_revive(self) -> bool:
        """Whether something is left by which a failed execution goes on."""
        return any(self._entries[number].action in REVIVING for number in self._left)

    def entry(self, number: int) -> ScriptEntry:
        """An entry, done or not."""
        return self._entries[number]

    def name(self, number: int) -> str:
        """What messages call an entry."""
        entry = self._entries[number]
        return f"script/{number} ({' '.join([entry.action, entry.target]).strip()})"


def microseconds(duration: str) -> int:
    """A duration of a definition in microseconds."""
    return round(parse_duration(duration) * MICROSECONDS)


def step_error(error: StubError) -> StepError:
    """The error of a stub as a handler would report it."""
    retry_after_s = parse_duration(error.retry_after) if error.retry_after is not None else None
    return StepError(error.type, error.message, error.details, retry_after_s, error.no_effect)


def command_of(entry: ScriptEntry, state: ExecutionState, asked: list[str]) -> AnyCommand:
    """The command that an entry stands for; `asked` are the steps that ask a person, oldest first.

    Raises:
        Misfit: what it is about is not there.
    """
    match entry.action:
        case "signal":
            return Signal(entry.target, entry.payload)
        case "answer":
            return Answer(_asking(entry.target, state, asked).step_id, entry.output)
        case "decline":
            assert entry.error is not None
            return Decline(_asking(entry.target, state, asked).step_id, step_error(entry.error))
        case "complete":
            return CompleteByHand(_step(entry.target, state), entry.output)
        case "skip":
            return Skip(_step(entry.target, state))
        case "items":
            return AddItems(_foreach(entry.target, state), list(entry.values or []))
        case "cancel":
            return Cancel(compensate=entry.cancel is not True and entry.cancel is not None and entry.cancel.compensate)
        case _:
            return _command_of_execution(entry, state)


def _command_of_execution(entry: ScriptEntry, state: ExecutionState) -> AnyCommand:
    match entry.action:
        case "variables":
            return SetVariables(dict(entry.variables or {}))
        case "pause":
            return Pause()
        case "resume":
            if not state.is_operator_paused:
                raise Misfit("no operator has paused the execution")
            return Resume()
        case "retry":
            if state.status != FAILED:
                raise Misfit(f"only a failed execution can be retried; this one is {state.status}")
            return Retry()
        case _:
            return Terminate()


def _asking(name: str, state: ExecutionState, asked: list[str]) -> Step:
    for step_id in asked:
        step = state.steps[step_id]
        if name in (step_id, step.node):
            return step
    raise Misfit(f"no person is asked by `{name}`" + (f"; asked are: {', '.join(asked[:10])}" if asked else ""))


def _step(name: str, state: ExecutionState) -> str:
    for steps in (state.steps, state.reopenable):
        if name in steps:
            return name
        for step_id, step in steps.items():
            if step.node == name:
                return step_id
    raise Misfit(f"no step of `{name}` is active" + (f"; active are: {', '.join([*state.steps][:10])}"))


def _foreach(name: str, state: ExecutionState) -> str:
    for step_id, step in state.steps.items():
        if name in (step_id, step.node) and step.items is not None:
            return step_id
    raise Misfit(f"no foreach of `{name}` is active")


def form_problems(step: Step, output: Any) -> list[str]:
    """What is wrong with an answer by the form that the step shows, as the inbox of people checks it."""
    form = step.input.get("form") if isinstance(step.input, dict) else None
    if not isinstance(form, dict):
        return []
    wrong = schema_problems(form)
    if wrong:
        path, message, _ = wrong[0]
        return [f"the form is no schema: {path}: {message}"]
    return [f"{problem.path or '/'}: {problem.message}" for problem in input_checker(form)(output)]
