"""The `function` node: calls a Python callable that is registered in this process."""

import asyncio
import inspect
import time
from collections.abc import Awaitable
from typing import Any

import structlog

from workflow_engine.models.step import Completed, Failed, Outcome, StepCall, StepError
from workflow_engine.steps.function_registry import FunctionRegistry, RegisteredFunction, StepContext, StepFailed
from workflow_engine.steps.heartbeat import Silent, Watch, heartbeat
from workflow_engine.steps.output import details_of, outcome_of, plain_text
from workflow_engine.steps.threads import ThreadPool, ThreadsClosed, ThreadsExhausted

log = structlog.get_logger(__name__)

INPUT_NAMES = frozenset({"name", "arguments"})
LIVELIER = "; let it call workflow_engine.heartbeat() more often, or give the node a longer `heartbeat`"

Arguments = dict[str, Any]


class FunctionHandler:
    """Serves `function` nodes from a registry.

    `async def` functions run on the event loop, all others on threads of this handler.

    Args:
        registry: may still grow while the handler serves.
        threads: how many plain functions run at once.
        threads_max: threads at most, with those kept by functions that went on after their timeout. When all of them
            are kept, further calls of plain functions fail with `unavailable` until one returns.
        payload_max_bytes: of an output's JSON.
    """

    def __init__(
        self,
        registry: FunctionRegistry,
        *,
        threads: int = 32,
        threads_max: int = 256,
        payload_max_bytes: int = 1024 * 1024,
    ) -> None:
        self._registry = registry
        self._threads = ThreadPool("function", threads=threads, threads_max=max(threads, threads_max))
        self._payload_max_bytes = payload_max_bytes

    @property
    def threads_kept(self) -> dict[str, int]:
        """Functions that were given up but still hold a thread, with how many each holds."""
        return self._threads.kept

    async def __call__(self, call: StepCall) -> Outcome:
        chosen = self._choose(call.input)
        if isinstance(chosen, StepError):
            return Failed(chosen)
        target, arguments = chosen
        if target.context_parameter is not None:
            arguments[target.context_parameter] = _context(call)
        if target.is_async and call.timeout_s is None and call.heartbeat_s is None:
            # The usual case: even a timeout of None costs half as much as the call, and a watch more than that.
            return await self._awaited(target, target.callable(**arguments))
        run = self._on_loop if target.is_async else self._on_thread
        if call.heartbeat_s is None:
            return await run(target, arguments, call.timeout_s)
        try:
            async with Watch(call.heartbeat_s):
                return await run(target, arguments, call.timeout_s)
        except Silent as silent:
            return Failed(silent.error(f"function {target.name!r}", LIVELIER))

    async def close(self) -> None:
        self._threads.close()

    def _choose(self, given: Any) -> tuple[RegisteredFunction, dict[str, Any]] | StepError:
        """Find the function and a copy of its arguments: what it does to them must not reach the execution's state."""
        if not isinstance(given, dict) or not isinstance(name := given.get("name"), str):
            return _invalid("a function node needs `with: {name: ..., arguments: {...}}`, the name a string")
        if not given.keys() <= INPUT_NAMES:
            return _invalid(
                f"`with` of a function node takes name and arguments, not {sorted(given.keys() - INPUT_NAMES)}"
            )
        target = self._registry.get(name)
        if target is None:
            return _invalid(self._registry.unknown(name))
        arguments = given.get("arguments")
        if arguments is None:
            arguments = {}
        if not isinstance(arguments, dict):
            return _invalid(f"arguments of function {name!r} must be a map of names to values")
        misfit = target.misfit(arguments)
        if misfit is not None:
            return _invalid(f"the arguments don't fit function {name!r}: {misfit}")
        return target, {key: _own(value) for key, value in arguments.items()}

    async def _on_loop(self, target: RegisteredFunction, arguments: Arguments, timeout_s: float | None) -> Outcome:
        heartbeat()
        try:
            async with asyncio.timeout(timeout_s):
                return await self._awaited(target, target.callable(**arguments))
        except TimeoutError:
            return Failed(_timed_out(target, timeout_s, started=True))

    async def _on_thread(self, target: RegisteredFunction, arguments: Arguments, timeout_s: float | None) -> Outcome:
        attempt = _Attempt(target, arguments, self._payload_max_bytes)
        try:
            async with asyncio.timeout(timeout_s):
                outcome = await self._threads.run(target.name, attempt)
                if isinstance(outcome, Completed | Failed):
                    return outcome
                return await self._awaited(target, outcome)
        except ThreadsExhausted:
            return Failed(self._exhausted(target))
        except ThreadsClosed:
            return Failed(StepError("unavailable", "this process is shutting down", no_effect=True))
        except TimeoutError:
            return Failed(_timed_out(target, timeout_s, started=attempt.started))

    async def _awaited(self, target: RegisteredFunction, awaitable: Awaitable[Any]) -> Outcome:
        try:
            return outcome_of(await awaitable, bytes_max=self._payload_max_bytes)
        except asyncio.CancelledError as raised:
            if _is_cancelled_from_outside():
                raise
            return Failed(_error_of(raised, target))
        except (Exception, SystemExit) as raised:  # noqa: BLE001 - the supervised boundary: any end of user code is data
            return Failed(_error_of(raised, target))

    def _exhausted(self, target: RegisteredFunction) -> StepError:
        kept = self._threads.kept
        holders = ", ".join(f"{name} ({count})" for name, count in kept.items())
        message = (
            f"no thread is left for function {target.name!r}: all {sum(kept.values())} are held by functions that went"
            f" on after their timeout: {holders}."
            " Give what they wait for a timeout of its own, then restart this process"
        )
        log.error("function.threads_exhausted", function=target.name, holders=kept)
        return StepError("unavailable", message, {"threads_kept": kept}, no_effect=True)


class _Attempt:
    """One call for a thread: all of its work is done there, the look at the result included.

    An awaitable result is handed back as it is (a plain callable around an async one): it belongs to the loop.
    """

    __slots__ = ("_arguments", "_bytes_max", "_target", "started")

    def __init__(self, target: RegisteredFunction, arguments: dict[str, Any], bytes_max: int) -> None:
        self._target = target
        self._arguments = arguments
        self._bytes_max = bytes_max
        self.started = False

    def __call__(self) -> Outcome | Awaitable[Any]:
        self.started = True
        heartbeat()
        try:
            value = self._target.callable(**self._arguments)
            if inspect.isawaitable(value):
                return value
            return outcome_of(value, bytes_max=self._bytes_max)
        except BaseException as raised:  # noqa: BLE001 - the supervised boundary: any end of user code is data
            return Failed(_error_of(raised, self._target))


def _context(call: StepCall) -> StepContext:
    return StepContext(
        tenant_id=call.tenant_id,
        workflow_id=call.workflow_id,
        execution_id=call.execution_id,
        node_id=call.node_id,
        step_id=call.step_id,
        attempt=call.attempt,
        idempotency_key=call.idempotency_key,
        deadline=None if call.timeout_s is None else time.monotonic() + call.timeout_s,
    )


def _own(value: Any) -> Any:
    """The value in containers of its own."""
    if isinstance(value, dict):
        return {key: _own(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_own(item) for item in value]
    return value


def _is_cancelled_from_outside() -> bool:
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _invalid(message: str) -> StepError:
    return StepError("invalid_input", plain_text(message), no_effect=True)


def _timed_out(target: RegisteredFunction, timeout_s: float | None, *, started: bool) -> StepError:
    details = {"timeout_s": timeout_s}
    if started:
        return StepError("timeout", f"function {target.name!r} did not return within {timeout_s} s", details)
    message = f"function {target.name!r} got no thread within {timeout_s} s: all are busy with other functions"
    return StepError("timeout", message, details, no_effect=True)


def _error_of(raised: BaseException, target: RegisteredFunction) -> StepError:
    """The step's error for what a function raised."""
    if isinstance(raised, StepFailed):
        return StepError(
            plain_text(str(raised.type), 128),
            plain_text(str(raised.message)),
            details_of(raised.details),
            raised.retry_after_s,
            bool(raised.no_effect),
        )
    log.warning("function.raised", function=target.name, exc_info=raised)
    exception = type(raised).__name__
    said = _said(raised)
    message = plain_text(f"{exception}: {said}" if said else exception)
    return StepError(_type_of(raised), message, {"exception": exception, "function": target.name})


def _said(raised: BaseException) -> str:
    try:
        return str(raised)
    except Exception:  # noqa: BLE001 - a user's exception class may fail to describe itself
        return "(its message can't be shown)"


def _type_of(raised: BaseException) -> str:
    if isinstance(raised, TimeoutError):
        return "timeout"
    if isinstance(raised, ConnectionError):
        return "unavailable"
    return "internal"
