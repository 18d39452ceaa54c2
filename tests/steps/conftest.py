"""A scripted target, a handler that may reach it, and calls to hand to handlers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from http_target import Target

from workflow_engine.models.step import StepCall
from workflow_engine.steps.http import HttpHandler


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    target = Target()
    server = await asyncio.start_server(target.serve, "127.0.0.1", 0)
    target.port = server.sockets[0].getsockname()[1]
    yield target
    server.close()
    await asyncio.sleep(0)


@pytest.fixture
async def handler() -> AsyncIterator[HttpHandler]:
    handler = HttpHandler(["127.0.0.0/8"])
    yield handler
    await handler.close()


@pytest.fixture
def step_call() -> Callable[..., StepCall]:
    def build(
        given: Any,
        *,
        type: str = "http",  # noqa: A002 - the field's name
        timeout_s: float | None = 5.0,
        attempt: int = 1,
    ) -> StepCall:
        return StepCall(
            tenant_id="t",
            workflow_id="w",
            version=1,
            execution_id="e",
            node_id="n",
            step_id="n.1",
            type=type,
            attempt=attempt,
            make_idempotency_key=lambda: "key-1",
            input=given,
            timeout_s=timeout_s,
        )

    return build
