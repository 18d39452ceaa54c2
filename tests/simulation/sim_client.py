"""Clients: they start executions and steer them, repeat what was not answered, and keep a ledger of what was."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from sim_flows import Flow
from sim_host import Host, Supervisor
from sim_loop import SimLoop
from starlette.responses import Response

from workflow_engine.models.command import (
    AddItems,
    AnyCommand,
    Cancel,
    Pause,
    Resume,
    Retry,
    SetVariables,
    Signal,
    Skip,
    Terminate,
)
from workflow_engine.models.errors import (
    CommandRejected,
    Conflict,
    DependencyUnavailable,
    InputInvalid,
    LimitExceeded,
    NotFound,
)
from workflow_engine.models.json_value import decode_json, encode_json
from workflow_engine.routes.idempotency import RequestKey
from workflow_engine.routes.problems import HttpProblem

PATIENCE_S = 10.0
"""How long a client waits for an answer before it asks again."""

INSISTS_MAX = 2_000

Act = Callable[[Host], Awaitable[None]]
"""What a client has a host do."""

OPEN, DONE, REFUSED = "open", "done", "refused"


class Op:
    """One request of a client, however often it is sent."""

    def __init__(self, number: int, kind: str, tenant_id: str, execution_id: str | None, value: Any = None) -> None:
        self.token = f"op-{number}"
        self.kind = kind
        self.tenant_id = tenant_id
        self.execution_id = execution_id
        self.value = value
        self.outcome = OPEN
        self.sent = 0
        self.started_id: str | None = None
        self.answered_step: int | None = None
        self.answered_by: str | None = None
        """The process that answered, by its name."""

    @property
    def key(self) -> RequestKey:
        """Its `Idempotency-Key`."""
        body = encode_json([self.kind, self.value])
        return RequestKey(self.tenant_id, f"POST {self.kind} {self.execution_id}", self.token, body)

    def __repr__(self) -> str:
        return f"{self.token} {self.kind} {self.execution_id} {self.outcome}"


class Started:
    """An execution that a client has asked for."""

    def __init__(self, op: Op, flow: Flow, *, is_friendly: bool) -> None:
        self.op = op
        self.flow = flow
        self.is_friendly = is_friendly
        """Whether nobody will disturb it on purpose."""


class Clients:
    """All clients of one schedule."""

    def __init__(self, loop: SimLoop, random: Random, supervisor: Supervisor) -> None:
        self._loop = loop
        self._random = random
        self._supervisor = supervisor
        self.ops: list[Op] = []
        self.started: list[Started] = []
        self.surprises: list[str] = []
        self.repeats = 0
        """Requests that were sent twice at once."""

    def op(self, kind: str, tenant_id: str, execution_id: str | None, value: Any = None) -> Op:
        """A new request."""
        made = Op(len(self.ops) + 1, kind, tenant_id, execution_id, value)
        self.ops.append(made)
        return made

    # --- what clients do

    async def publish(self, tenant_id: str, flow: Flow) -> None:
        """Publish a definition and what it needs, until it is answered."""

        async def act(host: Host) -> None:
            for document in (*flow.needs, flow.document):
                await host.services.workflows.publish(tenant_id, document)

        await self._insist(act, "publish")

    async def start(self, tenant_id: str, flow: Flow, *, is_friendly: bool, delay_s: float = 0.0) -> Started:
        """Start an execution; its op knows the id afterwards."""
        op = self.op(
            "start", tenant_id, None, {"workflow_id": flow.document["id"], "delay_s": delay_s, "input": flow.input}
        )
        started = Started(op, flow, is_friendly=is_friendly)
        self.started.append(started)
        await self.send(op)
        return started

    async def send(self, op: Op) -> None:
        """Send it until it is answered for good, sometimes twice at once."""
        if self._random.random() < 0.25:
            self.repeats += 1
            await asyncio.gather(self._send(op), self._send(op))
        else:
            await self._send(op)

    async def _send(self, op: Op) -> None:
        async def act(host: Host) -> None:
            op.sent += 1
            try:
                response = await host.idempotency.answer(op.key, lambda: _serve(host, op))
            except (CommandRejected, Conflict, LimitExceeded, InputInvalid) as refusal:
                if isinstance(refusal, DependencyUnavailable):
                    raise
                op.outcome = op.outcome if op.outcome == DONE else f"{REFUSED}: {refusal}"
                return
            if op.kind == "start":
                found = decode_json(bytes(response.body))["execution_id"]
                if op.started_id not in (None, found):
                    self.surprises.append(f"{op} was answered with two executions: {op.started_id} and {found}")
                op.started_id = found
            op.outcome = DONE
            op.answered_step, op.answered_by = self._loop.steps, host.process.name

        await self._insist(act, repr(op))

    async def _insist(self, act: Act, what: str) -> None:
        """Ask until there is an answer."""
        for _ in range(INSISTS_MAX):
            if await self._try(act, what):
                return
            await asyncio.sleep(self._random.random() * 3)
        self.surprises.append(f"{what}: asked {INSISTS_MAX} times and never answered")

    async def _try(self, act: Act, what: str) -> bool:
        host = self._supervisor.host
        if host is None:
            return False
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._loop.call(host.process, act(host))
        except (ConnectionError, TimeoutError, DependencyUnavailable):
            return False
        except HttpProblem as problem:
            if problem.status != 409:
                self.surprises.append(f"{what}: {problem}")
            return problem.status != 409
        except NotFound as missing:
            self.surprises.append(f"{what}: {missing}")
        return True


async def _serve(host: Host, op: Op) -> Response:
    """What the route behind the request does."""
    executions, key = host.services.executions, op.key

    def render(row: Any, _state: Any) -> tuple[int, bytes]:
        return 200, encode_json({"execution_id": row.execution_id})

    if op.kind == "start":
        found = await executions.start(
            op.tenant_id,
            op.value["workflow_id"],
            {**op.value["input"], "op": op.token},
            delay_s=op.value["delay_s"],
            receipt=key.receipt(render),
        )
        return Response(encode_json({"execution_id": found["execution_id"]}))
    assert op.execution_id is not None
    if op.kind == "answer":
        page, _ = await host.services.people_tasks.page(op.tenant_id, limit=500)
        asked = [task for task in page if task["execution_id"] == op.execution_id]
        if not asked:
            raise CommandRejected("nobody is asked", code="not_waiting")
        await host.services.people_tasks.complete(
            op.tenant_id,
            asked[0]["task_id"],
            {"approved": True},
            by=op.token,
            receipt=lambda task: key.receipt(lambda _row, _state: (200, encode_json(task))),
        )
        return Response(b"{}")
    command = await _aimed(host, op) if op.kind in ("skip", "items") else _command(op)
    await executions.give(op.tenant_id, op.execution_id, command, key.receipt(render))
    return Response(b"{}")


async def _aimed(host: Host, op: Op) -> AnyCommand:
    """A command about one of the steps that there are now."""
    assert op.execution_id is not None
    state = await host.services.executions.state(op.tenant_id, op.execution_id)
    steps = [step for step in [*state.steps.values(), *state.reopenable.values()] if op.kind == "skip" or step.items]
    if not steps:
        raise CommandRejected("there is no such step", code="not_active")
    step = steps[len(op.token) % len(steps)]
    return Skip(step.step_id) if op.kind == "skip" else AddItems(step.step_id, [7, 8])


def _command(op: Op) -> AnyCommand:
    number = int(op.token.removeprefix("op-"))
    match op.kind:
        case "signal":
            return Signal(op.value or "go", {"n": 1_000 + number})
        case "variables":
            return SetVariables({"n": number % 5, op.token: number})
        case "pause":
            return Pause()
        case "resume":
            return Resume()
        case "cancel":
            return Cancel(op.token)
        case "undo":
            return Cancel(op.token, compensate=True)
        case "terminate":
            return Terminate(op.token)
        case "retry":
            return Retry()
        case _:
            raise AssertionError(op.kind)
