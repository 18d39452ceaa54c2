"""Heartbeats: a call lives as long as it says so, and is lost after too long a silence."""

import asyncio
import contextvars
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from http_target import Target

import workflow_engine
from workflow_engine import Engine, heartbeat
from workflow_engine.models.step import Completed, Failed, Outcome, StepCall, StepError
from workflow_engine.services.step_processor import StepProcessor
from workflow_engine.steps.function import FunctionHandler
from workflow_engine.steps.function_registry import FunctionRegistry, StepContext, StepFailed
from workflow_engine.steps.http import HttpHandler
from workflow_engine.steps.registry import Handlers

Build = Callable[..., StepCall]

QUIET_S = 0.05
"""The heartbeat of calls that fall silent."""
ALIVE_S = 0.5
"""The heartbeat of calls that live: beats come 25 times as often, so that a busy machine does not end them."""


@pytest.fixture
def registry() -> FunctionRegistry:
    return FunctionRegistry()


@pytest.fixture
async def served(registry: FunctionRegistry) -> AsyncIterator[FunctionHandler]:
    handler = FunctionHandler(registry, threads=1, threads_max=3)
    yield handler
    await handler.close()


@pytest.fixture
def watched(step_call: Build) -> Build:
    def build(given: Any, heartbeat_s: float | None, **fields: Any) -> StepCall:
        return msgspec.structs.replace(step_call(given, **fields), heartbeat_s=heartbeat_s)

    return build


@pytest.fixture
def run(served: FunctionHandler, watched: Build) -> Callable[..., Any]:
    async def call(name: str, heartbeat_s: float | None, *, timeout_s: float | None = None) -> Outcome:
        return await served(watched({"name": name}, heartbeat_s, type="function", timeout_s=timeout_s))

    return call


Run = Callable[..., Any]


def failure(outcome: Outcome) -> StepError:
    assert isinstance(outcome, Failed), outcome
    return outcome.error


def pauses() -> Any:
    """Instants for beats, until a call without a beat would have been lost for certain."""
    end_s = time.monotonic() + 1.5 * ALIVE_S
    while time.monotonic() < end_s:
        yield ALIVE_S / 25


# Functions


async def test_an_async_function_that_falls_silent_is_cancelled_and_fails_as_a_timeout(
    registry: FunctionRegistry, run: Run
) -> None:
    cancelled = []

    @registry.function
    async def stuck() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    error = failure(await run("stuck", QUIET_S))
    assert (error.type, error.no_effect, cancelled) == ("timeout", False, [True])
    assert error.message.startswith("function 'stuck' gave no sign of life for ")
    assert "longer than its heartbeat of 0.05 s" in error.message
    assert "workflow_engine.heartbeat()" in error.message
    assert error.details["heartbeat_s"] == QUIET_S
    assert error.details["silence_s"] >= QUIET_S
    assert error.details["details"] is None


async def test_a_plain_function_that_falls_silent_fails_in_time_and_keeps_its_thread(
    registry: FunctionRegistry, served: FunctionHandler, run: Run
) -> None:
    release = threading.Event()
    registry.function("stuck")(release.wait)
    registry.function("quick")(lambda: "done")
    assert failure(await run("stuck", QUIET_S)).type == "timeout"
    assert served.threads_kept == {"stuck": 1}
    assert await run("quick", ALIVE_S) == Completed("done")
    release.set()


async def test_functions_that_beat_live_longer_than_their_heartbeat(registry: FunctionRegistry, run: Run) -> None:
    never = threading.Event()

    @registry.function
    async def on_loop() -> str:
        for pause_s in pauses():
            heartbeat()
            await asyncio.sleep(pause_s)
        return "loop"

    @registry.function
    def on_thread() -> str:
        for pause_s in pauses():
            heartbeat()
            never.wait(pause_s)
        return "thread"

    @registry.function
    async def on_others() -> str:
        await asyncio.to_thread(on_thread)
        context = contextvars.copy_context()
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def own() -> None:
            context.run(on_thread)
            loop.call_soon_threadsafe(ended.set)

        threading.Thread(target=own, daemon=True).start()
        await ended.wait()
        return "others"

    outcomes = await asyncio.gather(*(run(name, ALIVE_S) for name in ("on_loop", "on_thread", "on_others")))
    assert outcomes == [Completed("loop"), Completed("thread"), Completed("others")]


async def test_a_function_is_lost_although_it_has_beaten_before_and_its_last_details_are_told(
    registry: FunctionRegistry, run: Run
) -> None:
    rows = {"rows": [1]}
    never = threading.Event()

    @registry.function
    def stuck() -> None:
        heartbeat({"rows": 0})
        heartbeat(rows)
        heartbeat()
        rows["rows"].append(2)
        never.wait()

    error = failure(await run("stuck", QUIET_S))
    assert (error.type, error.details["details"]) == ("timeout", {"rows": [1]})
    never.set()


async def test_details_that_are_not_json_are_replaced_and_harm_nothing(registry: FunctionRegistry, run: Run) -> None:
    @registry.function
    async def stuck() -> None:
        heartbeat({"open": {1}})
        await asyncio.get_running_loop().create_future()

    assert "left out" in failure(await run("stuck", QUIET_S)).details["details"]


async def test_a_wait_for_a_thread_is_no_silence(registry: FunctionRegistry, run: Run) -> None:
    release = threading.Event()
    registry.function("busy")(release.wait)
    registry.function("quick")(lambda: "done")

    @registry.function
    async def stuck() -> None:
        await asyncio.get_running_loop().create_future()

    busy = asyncio.create_task(run("busy", None))
    await asyncio.sleep(0)
    queued = asyncio.create_task(run("quick", QUIET_S))
    assert failure(await run("stuck", 4 * QUIET_S)).type == "timeout"
    assert not queued.done()
    release.set()
    assert await queued == Completed("done")
    assert await busy == Completed(True)


async def test_what_a_function_raises_itself_stays_its_own_error(registry: FunctionRegistry, run: Run) -> None:
    @registry.function
    async def slow() -> None:
        raise TimeoutError("the bank is slow")

    @registry.function
    async def refused() -> None:
        heartbeat()
        raise StepFailed("card_declined", "no funds")

    assert failure(await run("slow", ALIVE_S)).message == "TimeoutError: the bank is slow"
    assert failure(await run("refused", ALIVE_S)).type == "card_declined"


async def test_timeout_and_heartbeat_stand_beside_each_other(registry: FunctionRegistry, run: Run) -> None:
    @registry.function
    async def lively() -> None:
        for pause_s in pauses():
            heartbeat()
            await asyncio.sleep(pause_s)

    @registry.function
    async def stuck() -> None:
        await asyncio.get_running_loop().create_future()

    assert failure(await run("lively", ALIVE_S, timeout_s=ALIVE_S / 5)).details == {"timeout_s": ALIVE_S / 5}
    assert "heartbeat" in failure(await run("stuck", QUIET_S, timeout_s=60)).message


async def test_without_a_heartbeat_a_call_may_be_silent_and_outside_a_step_a_beat_does_nothing(
    registry: FunctionRegistry, run: Run
) -> None:
    release = asyncio.Event()

    @registry.function
    async def silent() -> str:
        heartbeat()
        await release.wait()
        return "done"

    @registry.function
    async def stuck() -> None:
        await asyncio.get_running_loop().create_future()

    silent_one = asyncio.create_task(run("silent", None))
    assert failure(await run("stuck", 2 * QUIET_S)).type == "timeout"
    heartbeat({"nobody": "listens"})
    release.set()
    assert await silent_one == Completed("done")
    assert workflow_engine.heartbeat is heartbeat


async def test_a_call_that_is_withdrawn_from_outside_ends_as_withdrawn(registry: FunctionRegistry, run: Run) -> None:
    started = asyncio.Event()

    @registry.function
    async def stuck() -> None:
        started.set()
        await asyncio.get_running_loop().create_future()

    running = asyncio.create_task(run("stuck", ALIVE_S))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


# HTTP


def never_answer(_writer: asyncio.StreamWriter) -> Any:
    return asyncio.get_running_loop().create_future()


async def test_a_target_that_says_nothing_is_lost_after_the_heartbeat(
    target: Target, handler: HttpHandler, watched: Build
) -> None:
    target.answer = never_answer
    error = failure(await handler(watched({"url": target.url, "method": "POST"}, QUIET_S)))
    assert (error.type, error.no_effect) == ("timeout", False)
    assert error.message.startswith(f"POST {target.url} gave no sign of life for ")


async def test_each_piece_of_an_answer_is_a_sign_of_life(target: Target, handler: HttpHandler, watched: Build) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        body = [b"x" for _ in range(40)]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 40\r\n\r\n")
        for piece in body:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(1.5 * ALIVE_S / len(body))

    target.answer = drip
    outcome = await handler(watched({"url": target.url}, ALIVE_S))
    assert isinstance(outcome, Completed)
    assert outcome.output["body"] == "x" * 40


async def test_an_answer_that_stops_in_the_middle_is_lost(target: Target, handler: HttpHandler, watched: Build) -> None:
    async def stall(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx")
        await never_answer(writer)

    target.answer = stall
    assert "heartbeat of 0.05 s" in failure(await handler(watched({"url": target.url}, QUIET_S))).message


async def test_a_request_that_was_never_sent_had_no_effect(watched: Build) -> None:
    async def no_names(host: str, port: int) -> Any:
        await asyncio.get_running_loop().create_future()

    handler = HttpHandler(["nowhere.example"], resolve=no_names)
    error = failure(await handler(watched({"url": "http://nowhere.example/", "method": "POST"}, QUIET_S)))
    assert (error.type, error.no_effect) == ("timeout", True)
    await handler.close()


# The slots


async def test_a_lost_call_frees_its_slot_and_is_reported_once(registry: FunctionRegistry, watched: Build) -> None:
    @registry.function
    async def stuck() -> None:
        await asyncio.get_running_loop().create_future()

    registry.function("quick")(lambda: "done")
    reported: asyncio.Queue[tuple[str, int, Outcome]] = asyncio.Queue()
    handlers = Handlers({"function": FunctionHandler(registry)})
    processor = StepProcessor(
        handlers,
        concurrency=1,
        on_outcome=lambda call, generation, outcome: reported.put_nowait((call.step_id, generation, outcome)),
    )
    stuck_call = watched({"name": "stuck"}, QUIET_S, type="function")
    quick_call = msgspec.structs.replace(watched({"name": "quick"}, None, type="function"), step_id="n.2")
    processor.submit(stuck_call, generation=3, priority=5)
    processor.submit(quick_call, generation=0, priority=5)
    step_id, generation, outcome = await reported.get()
    assert (step_id, generation, failure(outcome).type) == ("n.1", 3, "timeout")
    assert await reported.get() == ("n.2", 0, Completed("done"))
    assert (processor.running, reported.qsize()) == (0, 0)
    await processor.close(grace_s=0)
    await handlers.close()


# The whole engine


async def test_a_silent_attempt_is_repeated_as_a_timeout_and_the_next_one_lives(
    registry: FunctionRegistry, tmp_path: Path
) -> None:
    @registry.function
    async def work(context: StepContext) -> int:
        for pause_s in pauses() if context.attempt > 1 else ():
            heartbeat()
            await asyncio.sleep(pause_s)
        if context.attempt == 1:
            await asyncio.get_running_loop().create_future()
        return context.attempt

    node = {"id": "work", "type": "function", "with": {"name": "work"}, "heartbeat": f"{ALIVE_S}s"}
    async with Engine(f"sqlite:///{tmp_path}/beats.db", functions=registry) as engine:
        await engine.publish({"id": "beats", "nodes": [node | {"retry": {"initial": "1ms"}}]})
        execution = await engine.start("beats", {})
        assert await execution.result() == 2
        events = [event async for event in execution.events(follow=False)]
    (retrying,) = [event["data"] for event in events if event["event"] == "workflow_step_retrying"]
    assert (retrying["error"]["type"], retrying["error"]["details"]["heartbeat_s"]) == ("timeout", ALIVE_S)
