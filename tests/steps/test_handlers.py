"""The boundary around every handler."""

import asyncio
from collections.abc import Callable

import pytest
import structlog

from workflow_engine.models.step import Completed, Failed, Outcome, StepCall
from workflow_engine.steps.registry import Handlers

Build = Callable[..., StepCall]


class Echo:
    closed = False

    async def __call__(self, call: StepCall) -> Outcome:
        if call.input == "break":
            raise RuntimeError("secret detail")
        if call.input == "hang":
            await asyncio.get_running_loop().create_future()
        return Completed(call.input)

    async def close(self) -> None:
        self.closed = True


class Stubborn(Echo):
    async def close(self) -> None:
        raise RuntimeError


async def test_a_call_goes_to_the_handler_of_its_type(step_call: Build) -> None:
    assert await Handlers({"http": Echo()}).run(step_call(1)) == Completed(1)


async def test_an_unknown_type_is_an_error_that_names_the_types_served(step_call: Build) -> None:
    outcome = await Handlers({"http": Echo(), "function": Echo()}).run(step_call(1, type="tool"))
    assert isinstance(outcome, Failed)
    assert "'tool'" in outcome.error.message
    assert "function, http" in outcome.error.message


async def test_a_handlers_bug_is_internal_with_an_id_that_the_log_explains(step_call: Build) -> None:
    with structlog.testing.capture_logs() as logs:
        outcome = await Handlers({"http": Echo()}).run(step_call("break"))
    assert isinstance(outcome, Failed)
    assert outcome.error.type == "internal"
    assert "secret detail" not in outcome.error.message
    assert outcome.error.details["error_id"] == logs[0]["error_id"]
    assert logs[0]["exc_info"]


async def test_cancellation_passes_through(step_call: Build) -> None:
    running = asyncio.create_task(Handlers({"http": Echo()}).run(step_call("hang")))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_every_handler_is_closed_although_one_fails_to() -> None:
    last = Echo()
    await Handlers({"a": Stubborn(), "b": last}).close()
    assert last.closed
