"""The process that gets killed: parents and their children, or a line before a limit."""

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

from family import calling, executions

from workflow_engine import Engine
from workflow_engine.config.settings import Settings
from workflow_engine.models.command import Cancel, CompleteStep
from workflow_engine.services.inbox import decode_news
from workflow_engine.store import NewsRow, Store, TransitionWrite

LIMIT = 3


def definitions(kind: str, target: str) -> list[dict[str, Any]]:
    pay: dict[str, Any] = {
        "id": "pay",
        "type": "http",
        "with": {"method": "POST", "url": target, "json": "${ input }"},
        "output": "${ output.body }",
    }
    if kind == "limit":
        return [{"id": "order", "nodes": [{**pay, "limit": {"key": "bank", "concurrency": LIMIT}}]}]
    if kind == "once":
        return [{"id": "order", "nodes": [{**pay, "delivery": "at_most_once"}]}]
    return [{"id": "payment", "nodes": [pay]}, calling("shipment", "payment"), calling("order", "shipment")]


def tells(news: list[NewsRow], kind: type) -> bool:
    return any(isinstance(decode_news(one.command), kind) for one in news)


MOMENTS: dict[str, Callable[[TransitionWrite], bool]] = {
    # A parent's call is durable, its child has not begun.
    "called": lambda write: write.created is not None and write.created.workflow_id == "order",
    # A child has begun, and its parent knows nothing of it.
    "begun": lambda write: write.created is not None and write.created.parent_execution_id is not None,
    # A child has ended, and its parent has not folded the news.
    "ended": lambda write: tells(write.news_put, CompleteStep),
    # A parent has folded the news.
    "folded": lambda write: bool(write.news_removed),
    # A cancelled parent has told its child, who has not heard it.
    "cancelled": lambda write: tells(write.news_put, Cancel),
    # A step has asked for its slot, and perhaps got it, and has not heard of it.
    "asked": lambda write: bool(write.slots_asked),
    # A step has given its slot back, and the next does not know that it is its turn.
    "freed": lambda write: bool(write.slots_freed),
}


def die_at(moment: str) -> None:
    """Kill this process as soon as a transition is durable that is such a moment, before anybody hears of it."""
    submit = Store.submit

    def watch(store: Store, write: TransitionWrite, on_done: Callable[[Exception | None], None]) -> None:
        def landed(error: Exception | None) -> None:
            if error is None and MOMENTS[moment](write):
                os.kill(os.getpid(), signal.SIGKILL)
            on_done(error)

        submit(store, write, landed)

    Store.submit = watch  # type: ignore[method-assign]


def live(url: str, target: str, kind: str, count: int, moment: str | None, _say: Callable[[str], None]) -> None:
    """One life, which ends with SIGKILL at a moment if one is given; `kind` is `family`, `limit` or `once`."""
    if moment is not None:
        die_at(moment)
    asyncio.run(_live(url, target, kind, count, is_cancelling=moment == "cancelled"))


async def _live(url: str, target: str, kind: str, count: int, *, is_cancelling: bool) -> None:
    settings = Settings(database_url=url, http_allow=("127.0.0.0/8",))
    async with Engine(url, settings=settings) as engine:
        for definition in definitions(kind, target):
            await engine.publish(definition)
        known = {row.execution_id: row.status for row in await executions(engine, "order")}
        for number in range(count):
            if f"order-{number:03}" not in known:
                await engine.start("order", number, execution_id=f"order-{number:03}")
        if is_cancelling and known["order-000"] == "running":
            await engine.execution("order-000").cancel()
        for workflow_id in ("order", "shipment", "payment"):
            for row in await executions(engine, workflow_id):
                await engine.execution(row.execution_id).wait()
