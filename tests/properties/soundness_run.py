"""Plays a random scope with the real engine: conditions, failures and the order of results drawn from a seed."""

from random import Random
from typing import Any

from workflow_engine.engine.decide import decide
from workflow_engine.engine.graph import compile_graph
from workflow_engine.engine.validation import validate
from workflow_engine.engine.working import Working
from workflow_engine.models.command import AnyCommand, CompleteStep, FailStep, SetVariables, Signal, Start
from workflow_engine.models.execution import ExecutionState
from workflow_engine.models.limits import Limits
from workflow_engine.models.step import StepError

AT = 1_750_000_000_000_000
LIMITS = Limits(max_steps=200, transition_steps_max=20)


def playable(scope: dict[str, Any]) -> dict[str, Any]:
    """The scope as a definition in which each condition has a variable of its own, and no call retries."""
    variables: dict[str, Any] = {"n": 0}
    connections = []
    for at, way in enumerate(scope["connections"]):
        made = dict(way)
        if way.get("on") != "error" and "when" in way:
            made["when"] = f"vars.c{at}"
            variables[f"c{at}"] = False
        connections.append(made)
    nodes = [{**node, "retry": {"max_attempts": 1}} if node["type"] == "function" else node for node in scope["nodes"]]
    return {"id": "random", "variables": variables, **scope, "nodes": nodes, "connections": connections}


class Run:
    """One execution of a playable definition."""

    def __init__(self, document: dict[str, Any], seed: int) -> None:
        validation = validate(document)
        assert validation.definition is not None, validation.problems
        self.variables = document["variables"]
        self.draw = Random(seed)
        self.working = Working(compile_graph(validation.definition), ExecutionState("acme", "e1"), LIMITS)

    def ends_in_deadlock(self) -> bool:
        """Drive it to its end, or for a while, and say whether it ended in the error `deadlock`."""
        self._decide(Start("random", 1, None))
        state = self.working.state
        for _ in range(60):
            if state.is_terminal:
                break
            self._decide(*[self._news() for _ in range(self.draw.randint(1, 2))])
        return state.error is not None and state.error["type"] == "deadlock"

    def _news(self) -> AnyCommand:
        """What happens next outside: a call ends well or not, or a signal comes."""
        steps = list(self.working.state.steps.values())
        calls = [step for step in steps if self.working.spec(step).type == "function"]
        if not calls or (len(calls) < len(steps) and self.draw.random() < 0.4):
            return Signal("go", None)
        step = self.draw.choice(calls)
        if self.draw.random() < 0.7:
            return CompleteStep(step.step_id, step.attempt, step.generation, None)
        error = StepError(self.draw.choice(("timeout", "broken")), "as drawn")
        return FailStep(step.step_id, step.attempt, step.generation, error)

    def _decide(self, *commands: AnyCommand) -> None:
        drawn = {name: self.draw.random() < 0.5 for name in self.variables} | {"n": self.draw.randint(0, 3)}
        decision = decide(self.working, (*commands[:-1], SetVariables(drawn), *commands[-1:]), now=AT)
        while decision.is_unfinished and not self.working.state.is_terminal:
            decision = decide(self.working, (), now=AT)
