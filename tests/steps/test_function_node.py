"""The function node: registration, the call, its errors, and threads that a call keeps."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial, wraps
from typing import Any

import pytest
import structlog

from workflow_engine.models.step import Completed, Failed, Outcome, StepCall, StepError
from workflow_engine.steps.function import FunctionHandler
from workflow_engine.steps.function_registry import (
    FunctionDuplicate,
    FunctionRegistry,
    StepContext,
    StepFailed,
    function,
    functions,
)

Build = Callable[..., StepCall]


@pytest.fixture
def registry() -> FunctionRegistry:
    return FunctionRegistry()


@pytest.fixture
async def served(registry: FunctionRegistry) -> AsyncIterator[FunctionHandler]:
    handler = FunctionHandler(registry, threads=2, threads_max=4)
    yield handler
    await handler.close()


@pytest.fixture
def run(served: FunctionHandler, step_call: Build) -> Callable[..., Any]:
    async def call(name: Any, arguments: Any = None, *, timeout_s: float | None = None) -> Outcome:
        return await served(step_call({"name": name, "arguments": arguments}, type="function", timeout_s=timeout_s))

    return call


Run = Callable[..., Any]


def failure(outcome: Outcome) -> StepError:
    assert isinstance(outcome, Failed), outcome
    return outcome.error


# The call


async def test_async_and_plain_functions_get_their_arguments_by_name(registry: FunctionRegistry, run: Run) -> None:
    @registry.function("add.async")
    async def add_async(a: int, b: int = 1) -> dict[str, Any]:
        return {"sum": a + b, "thread": threading.current_thread() is threading.main_thread()}

    @registry.function
    def add(a: int, b: int = 1) -> dict[str, Any]:
        return {"sum": a + b, "thread": threading.current_thread() is threading.main_thread()}

    assert await run("add.async", {"a": 2}) == Completed({"sum": 3, "thread": True})
    assert await run("add", {"a": 2, "b": 5}) == Completed({"sum": 7, "thread": False})


async def test_partials_callables_and_wrapped_async_functions_are_called_rightly(
    registry: FunctionRegistry, run: Run
) -> None:
    async def inner(a: int) -> int:
        return a

    @wraps(inner)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return inner(*args, **kwargs)

    class Adder:
        async def __call__(self, a: int) -> int:
            return a

    registry.function("partial")(partial(inner, a=4))
    registry.function("wrapped")(wrapped)
    registry.function("adder")(Adder())
    assert await run("partial") == Completed(4)
    assert await run("wrapped", {"a": 5}) == Completed(5)
    assert await run("adder", {"a": 6}) == Completed(6)


async def test_a_parameter_annotated_step_context_gets_the_context(registry: FunctionRegistry, run: Run) -> None:
    @registry.function
    async def who(context: StepContext, n: int) -> list[Any]:
        assert context.remaining_s is not None
        return [
            context.tenant_id,
            context.step_id,
            context.attempt,
            context.idempotency_key,
            context.remaining_s <= 9,
            n,
        ]

    @registry.function
    def quoted(*, ctx: "StepContext | None" = None) -> bool:
        return ctx is not None and ctx.remaining_s is None

    assert await run("who", {"n": 1}, timeout_s=9) == Completed(["t", "n.1", 1, "key-1", True, 1])
    assert await run("quoted") == Completed(True)


async def test_a_function_cant_change_the_executions_state_through_its_arguments(
    registry: FunctionRegistry, served: FunctionHandler, step_call: Build
) -> None:
    @registry.function
    async def spoil(items: list[Any], **rest: Any) -> None:
        items[0].append(1)
        rest["more"]["x"] = 1

    arguments: dict[str, Any] = {"items": [[]], "more": {}}
    await served(step_call({"name": "spoil", "arguments": arguments}, type="function"))
    assert arguments == {"items": [[]], "more": {}}


async def test_a_value_that_is_not_json_is_invalid_output(registry: FunctionRegistry, run: Run) -> None:
    registry.function("plain")(lambda: {"a": {1}})

    @registry.function
    async def on_loop() -> Any:
        return {"a": object()}

    for name, named in (("plain", "set"), ("on_loop", "object")):
        error = failure(await run(name))
        assert error.type == "invalid_output"
        assert "/a" in error.message
        assert named in error.message


# Input


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({}, "missing: a"),
        ({"a": 1, "c": 2}, "unexpected: c"),
        ({"a": 1, "context": 2}, "unexpected: context"),
        ({"b": 1}, "missing: a"),
        ([1], "map"),
    ],
)
async def test_wrong_arguments_are_invalid_input_and_name_what_is_wrong(
    registry: FunctionRegistry, run: Run, arguments: Any, named: str
) -> None:
    @registry.function
    async def target(context: StepContext, a: int, b: int = 0) -> None:
        raise AssertionError

    error = failure(await run("target", arguments))
    assert (error.type, error.no_effect) == ("invalid_input", True)
    assert named in error.message


async def test_an_unknown_name_is_invalid_input_and_names_close_ones(registry: FunctionRegistry, run: Run) -> None:
    registry.function("charge_card")(lambda: None)
    error = failure(await run("charge_cart"))
    assert error.type == "invalid_input"
    assert "did you mean 'charge_card'?" in error.message
    assert "WORKFLOW_ENGINE_FUNCTIONS" in error.message


@pytest.mark.parametrize("given", [None, {}, {"name": 1}, {"name": "f", "args": {}}, {"arguments": {}}])
async def test_a_with_of_another_shape_is_invalid_input(served: FunctionHandler, step_call: Build, given: Any) -> None:
    assert failure(await served(step_call(given, type="function"))).type == "invalid_input"


# Errors


async def test_step_failed_names_its_own_error_type(registry: FunctionRegistry, run: Run) -> None:
    @registry.function
    def declined() -> None:
        raise StepFailed("card_declined", "no funds", {"code": (51,)}, retry_after_s=3, no_effect=True)

    assert failure(await run("declined")) == StepError("card_declined", "no funds", {"code": [51]}, 3, True)


@pytest.mark.parametrize(
    ("raised", "type_", "message"),
    [
        (ValueError("bad"), "internal", "ValueError: bad"),
        (KeyError(), "internal", "KeyError"),
        (SystemExit(3), "internal", "SystemExit: 3"),
        (asyncio.CancelledError(), "internal", "CancelledError"),
        (ConnectionResetError("gone"), "unavailable", "ConnectionResetError: gone"),
        (TimeoutError("slow"), "timeout", "TimeoutError: slow"),
    ],
)
async def test_what_a_function_raises_becomes_an_error(
    registry: FunctionRegistry, run: Run, raised: BaseException, type_: str, message: str
) -> None:
    @registry.function
    async def on_loop() -> None:
        raise raised

    @registry.function
    def on_thread() -> None:
        raise raised

    for name in ("on_loop", "on_thread"):
        error = failure(await run(name, timeout_s=5))
        assert (error.type, error.message) == (type_, message)
        assert error.details == {"exception": type(raised).__name__, "function": name}


async def test_stop_iteration_and_an_exception_that_cant_be_shown_are_errors_too(
    registry: FunctionRegistry, run: Run
) -> None:
    class Shy(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    for number, raised in enumerate((StopIteration(), Shy())):

        def on_thread(raised: Exception = raised) -> None:
            raise raised

        registry.function(f"f{number}")(on_thread)
        assert failure(await run(f"f{number}", {})).type == "internal"


async def test_the_traceback_goes_to_the_log_only(registry: FunctionRegistry, run: Run) -> None:
    @registry.function
    async def broken() -> None:
        raise ValueError("bad")

    with structlog.testing.capture_logs() as logs:
        error = failure(await run("broken"))
    assert [(one["event"], one["function"], type(one["exc_info"])) for one in logs] == [
        ("function.raised", "broken", ValueError)
    ]
    assert "test_function_node" not in f"{error.message}{error.details}"


# Timeouts and threads


async def test_an_async_function_is_cancelled_at_its_timeout(registry: FunctionRegistry, run: Run) -> None:
    cancelled = asyncio.Event()

    @registry.function
    async def hang() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.set()

    error = failure(await run("hang", timeout_s=0.02))
    assert (error.type, error.details) == ("timeout", {"timeout_s": 0.02})
    assert cancelled.is_set()


async def test_cancelling_a_call_cancels_the_async_function(registry: FunctionRegistry, run: Run) -> None:
    started = asyncio.Event()

    @registry.function
    async def hang() -> None:
        started.set()
        await asyncio.get_running_loop().create_future()

    running = asyncio.create_task(run("hang"))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def returned(handler: FunctionHandler, count: int) -> None:
    """Wait until at most so many threads are kept."""
    async with asyncio.timeout(30):
        while sum(handler.threads_kept.values()) > count:  # noqa: ASYNC110 - the thread itself gives no event
            await asyncio.sleep(0)


async def test_hung_functions_keep_threads_beside_the_pool_until_the_cap_and_say_who_they_are(
    registry: FunctionRegistry, served: FunctionHandler, run: Run
) -> None:
    release = threading.Event()

    @registry.function
    def hang() -> None:
        release.wait()

    @registry.function
    def quick() -> str:
        return "done"

    with structlog.testing.capture_logs() as logs:
        for kept in (1, 2, 3):
            assert failure(await run("hang", timeout_s=0.05)).type == "timeout"
            assert served.threads_kept == {"hang": kept}
            assert await run("quick", timeout_s=5) == Completed("done")
        assert failure(await run("hang", timeout_s=0.05)).type == "timeout"
        error = failure(await run("quick", timeout_s=5))
    assert (error.type, error.no_effect, error.details) == ("unavailable", True, {"threads_kept": {"hang": 4}})
    assert "hang (4)" in error.message
    kept_logs = [(one["function"], one["threads_kept"]) for one in logs if one["event"] == "function.thread_kept"]
    assert kept_logs == [("hang", 1), ("hang", 2), ("hang", 3), ("hang", 4)]

    release.set()
    await returned(served, 0)
    assert await run("quick", timeout_s=5) == Completed("done")


async def test_calls_that_wait_for_a_thread_are_refused_when_the_last_one_is_kept(
    registry: FunctionRegistry, step_call: Build
) -> None:
    handler = FunctionHandler(registry, threads=1, threads_max=1)
    release, started = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    @registry.function
    def hang() -> None:
        loop.call_soon_threadsafe(started.set)
        release.wait()

    registry.function("quick")(lambda: "done")
    hanging = asyncio.create_task(handler(step_call({"name": "hang"}, type="function", timeout_s=None)))
    await started.wait()
    queued = asyncio.create_task(handler(step_call({"name": "quick"}, type="function", timeout_s=None)))
    await asyncio.sleep(0)
    hanging.cancel()
    assert failure(await queued).type == "unavailable"
    release.set()
    await returned(handler, 0)
    outcome = await handler(step_call({"name": "quick"}, type="function", timeout_s=5))
    assert outcome == Completed("done")
    await handler.close()


async def test_a_timeout_while_waiting_for_a_thread_says_so_and_the_function_is_never_called(
    registry: FunctionRegistry, step_call: Build
) -> None:
    handler = FunctionHandler(registry, threads=1, threads_max=1)
    release, called = threading.Event(), []
    registry.function("busy")(release.wait)
    registry.function("late")(lambda: called.append(1))
    busy = asyncio.create_task(handler(step_call({"name": "busy"}, type="function", timeout_s=None)))
    await asyncio.sleep(0)
    error = failure(await handler(step_call({"name": "late"}, type="function", timeout_s=0.02)))
    assert (error.type, error.no_effect) == ("timeout", True)
    assert "got no thread" in error.message
    release.set()
    assert await busy == Completed(True)
    assert called == []
    await handler.close()


async def test_closing_fails_what_waits_for_a_thread_and_what_comes_later(
    registry: FunctionRegistry, step_call: Build
) -> None:
    handler = FunctionHandler(registry, threads=1)
    release = threading.Event()
    registry.function("busy")(release.wait)
    calls = [asyncio.create_task(handler(step_call({"name": "busy"}, type="function", timeout_s=5))) for _ in range(3)]
    await asyncio.sleep(0)
    await handler.close()
    release.set()
    outcomes = await asyncio.gather(*calls)
    assert [one for one in outcomes if isinstance(one, Completed)] in ([Completed(True)], [])
    assert {one.error.type for one in outcomes if isinstance(one, Failed)} == {"unavailable"}
    assert failure(await handler(step_call({"name": "busy"}, type="function"))).type == "unavailable"


async def test_many_calls_of_plain_functions_share_few_threads(registry: FunctionRegistry, run: Run) -> None:
    used: set[str] = set()

    @registry.function
    def note(n: int) -> int:
        used.add(threading.current_thread().name)
        return n

    outcomes = await asyncio.gather(*(run("note", {"n": n}) for n in range(500)))
    assert outcomes == [Completed(n) for n in range(500)]
    assert len(used) <= 2


def test_a_process_ends_although_a_function_hangs() -> None:
    code = """
import asyncio, threading
from workflow_engine.models.step import StepCall
from workflow_engine.steps.function import FunctionHandler
from workflow_engine.steps.function_registry import FunctionRegistry
registry = FunctionRegistry()
registry.function("hang")(threading.Event().wait)
async def main():
    handler = FunctionHandler(registry)
    call = StepCall("t", "w", 1, "e", "n", "n.1", "function", 1, lambda: "k", {"name": "hang"}, 0.05)
    print((await handler(call)).error.type)
    await handler.close()
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.splitlines()[-1] == "timeout"


# Registration


def test_two_callables_of_one_name_are_refused_naming_both_places(registry: FunctionRegistry) -> None:
    @registry.function("pay")
    def first() -> None: ...

    with pytest.raises(FunctionDuplicate, match=r"first.*second"):

        @registry.function("pay")
        def second() -> None: ...

    registry.function("pay")(first)
    assert registry.names == ["pay"]


def test_registries_can_be_included_but_not_hide_each_other(registry: FunctionRegistry) -> None:
    other = FunctionRegistry()
    other.function("a")(lambda: None)
    registry.include(other)
    registry.include(other)
    assert "a" in registry
    clash = FunctionRegistry()
    clash.function("a")(lambda: None)
    with pytest.raises(FunctionDuplicate):
        registry.include(clash)


def test_what_cant_be_called_by_name_is_refused(registry: FunctionRegistry) -> None:
    def positional(a: int, /) -> None: ...

    with pytest.raises(ValueError, match="positional only"):
        registry.function(positional)
    with pytest.raises(ValueError, match="no name of its own"):
        registry.function(lambda: None)
    for name in ("", "a\nb", "x" * 300):
        with pytest.raises(ValueError, match="printable"):
            registry.function(name)(print)


def test_the_module_level_decorator_fills_the_default_registry_and_leaves_the_callable_as_it_is() -> None:
    @function("tests.steps.default")
    def target() -> int:
        return 1

    assert "tests.steps.default" in functions
    assert target() == 1
