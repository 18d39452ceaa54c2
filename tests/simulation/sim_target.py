"""The honest target: a service outside that remembers every key, so that a repeated request has no second effect."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextvars import copy_context
from random import Random
from typing import Any, NamedTuple

from sim_loop import Process, SimLoop, current_process

from workflow_engine.models.json_value import encode_json
from workflow_engine.models.step import Completed, Failed, Outcome, StepCall, StepError
from workflow_engine.steps.function_registry import FunctionRegistry, RegisteredFunction, StepContext, StepFailed


class Temper(NamedTuple):
    """How the target behaves while there is trouble."""

    fails: float
    """The share of requests that it refuses, before or after their effect."""
    slow_s: float
    """What a request takes on average."""
    hangs: float
    """The share of requests that it never answers."""


class Request(NamedTuple):
    """One request as the target saw it."""

    process: Process | None
    tenant_id: str
    execution_id: str
    step_id: str
    key: str
    step: int
    """The loop's step in which it came."""


REFUSALS = (
    StepError("unavailable", "away", no_effect=True),
    StepError("rate_limited", "slow down", retry_after_s=3.0, no_effect=True),
)
LOST_REPLY = StepError("unavailable", "the reply was lost")


ANY = "whatever"


class AnyFunctions(FunctionRegistry):
    """A registry that has a function for every name."""

    def get(self, name: str) -> RegisteredFunction | None:
        """The function of that name, or the one for all others."""
        return super().get(name) or super().get(ANY)


class Target:
    """Keeps the ledger that the auditor reads: requests, bodies and effects by key."""

    def __init__(self, loop: SimLoop, random: Random, temper: Temper) -> None:
        self._loop = loop
        self._random = random
        self._temper = temper
        self._calm = asyncio.Event()
        self._gates: dict[str, asyncio.Event] = {}
        self._outside = copy_context()
        self.requests: list[Request] = []
        self.bodies: dict[str, set[bytes]] = {}
        self.effects: Counter[str] = Counter()
        self.once: list[str] = []
        """Keys of the calls that must never be repeated."""
        self.repeats = 0
        self.under_way: Counter[tuple[Process | None, str, str]] = Counter()
        self.on_request: Callable[[Request], None] = lambda _request: None

    def heal(self) -> None:
        """Answer everything well from now on, also what hangs."""
        self._calm.set()

    def strike(self, execution_id: str) -> None:
        """Let all calls of `strike` of an execution return."""
        self._gate(execution_id).set()

    def _gate(self, execution_id: str) -> asyncio.Event:
        return self._gates.setdefault(execution_id, asyncio.Event())

    async def ask(self, context: StepContext | StepCall, body: Any, *, is_steady: bool = False) -> StepError | None:
        """One request; None where it succeeded."""
        process = current_process()
        key = context.idempotency_key
        request = Request(process, context.tenant_id, context.execution_id, context.step_id, key, self._loop.steps)
        self.requests.append(request)
        self.bodies.setdefault(key, set()).add(encode_json(body))
        self.repeats += self.effects[key] > 0
        self.on_request(request)
        place = (process, context.execution_id, context.step_id)
        self.under_way[place] += 1
        try:
            return await self._serve(key, is_steady=is_steady)
        finally:
            self.under_way[place] -= 1

    async def _serve(self, key: str, *, is_steady: bool) -> StepError | None:
        temper, random = self._temper, self._random
        is_calm = self._calm.is_set()
        lot = 1.0 if is_calm else random.random()
        if lot < temper.hangs:
            self._work(key)
            await self._calm.wait()
            return None
        if lot < temper.hangs + temper.fails:
            if random.random() < 0.5:
                await self._pass(random.expovariate(1 / temper.slow_s))
                return REFUSALS[0 if is_steady else random.randrange(len(REFUSALS))]
            self._work(key)
            await self._pass(random.expovariate(1 / temper.slow_s))
            return LOST_REPLY
        if random.random() < 0.3:
            # The work goes on whatever becomes of the caller.
            self._loop.call_later(random.expovariate(1 / temper.slow_s), self._work, key, context=self._outside)
        else:
            self._work(key)
        if random.random() < 0.8:
            await self._pass(0.01 if is_calm else random.expovariate(1 / temper.slow_s))
        return None

    def _work(self, key: str) -> None:
        """The effect, once for each key."""
        if not self.effects[key]:
            self.effects[key] = 1

    async def _pass(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._calm.wait(), seconds)
        except TimeoutError:
            pass

    # --- doors

    def functions(self) -> FunctionRegistry:
        """The functions that definitions may call."""
        registry = AnyFunctions()

        @registry.function("work")
        async def work(context: StepContext, n: Any = None, error: Any = None) -> Any:
            """May fail for good where its node does not repeat it."""
            refused = await self.ask(context, {"n": n, "error": error})
            _raise_if(refused)
            return {"done": 1}

        @registry.function("add")
        async def add(context: StepContext, to: int, amount: int = 1) -> int:
            """A sum."""
            _raise_if(await self.ask(context, {"to": to, "amount": amount}, is_steady=True))
            return to + amount

        @registry.function("once")
        async def once(context: StepContext) -> str:
            """Must never be asked twice for one step."""
            self.once.append(context.idempotency_key)
            _raise_if(await self.ask(context, None, is_steady=True))
            return "once"

        @registry.function(ANY)
        async def whatever(context: StepContext, **arguments: Any) -> Any:
            """In the place of every function that nobody has written."""
            _raise_if(await self.ask(context, arguments))
            return {"done": 1}

        @registry.function("strike")
        async def strike(context: StepContext) -> str:
            """Answers when it is told to."""
            gate = self._gate(context.execution_id)
            if not gate.is_set() and await self.ask(context, None, is_steady=True) is None:
                await gate.wait()
            return "struck"

        @registry.function("refuse")
        async def refuse(context: StepContext) -> None:
            """Always fails, once it was asked."""
            _raise_if(await self.ask(context, None, is_steady=True))
            raise StepFailed("refused", "never")

        return registry


class TargetHandler:
    """In the place of the handler of `http` nodes."""

    def __init__(self, target: Target) -> None:
        self._target = target

    async def __call__(self, call: StepCall) -> Outcome:
        error = await self._target.ask(call, call.input)
        return Completed({"status": 200, "headers": {}, "body": None}) if error is None else Failed(error)

    async def close(self) -> None:
        """Nothing is held."""


def _raise_if(error: StepError | None) -> None:
    if error is not None:
        raise StepFailed(error.type, error.message, retry_after_s=error.retry_after_s, no_effect=error.no_effect)
