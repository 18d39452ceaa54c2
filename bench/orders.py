"""A graph as it comes in reality (`order.yaml`): decisions, a group that reserves each line, an error that is
handled, joins, a wait for a signal, expressions. Every fourth card is declined.

M1  orders one after another, from start to result
M2  200 orders at once
"""

import asyncio
import statistics
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import uvloop

from bench.report import p50_p99, report
from bench.workplace import workplace
from workflow_engine import Engine, StepFailed
from workflow_engine.steps.function_registry import FunctionRegistry

DEFINITION = Path(__file__).with_name("order.yaml")
SINGLES = 300
AT_ONCE = 200
ROUNDS = 5

functions = FunctionRegistry()


@functions.function("orders.score")
async def score(customer: str) -> int:
    """How risky a customer is, from 0 to 100."""
    return len(customer) * 2


@functions.function("orders.reserve")
async def reserve(sku: str, quantity: int) -> dict[str, Any]:
    """Take goods from a shelf."""
    return {"sku": sku, "quantity": quantity, "shelf": f"shelf {sku[-1]}"}


@functions.function("orders.charge")
async def charge(card: str, amount: float) -> dict[str, Any]:
    """Take the money, unless the card is declined."""
    if card == "declined":
        raise StepFailed("declined", "the card was declined")
    return {"charged": amount}


@functions.function("orders.invoice")
async def invoice(because: str) -> dict[str, Any]:
    """Ask for the money instead."""
    return {"because": because}


@functions.function("orders.label")
async def label(address: str, zone: str) -> dict[str, Any]:
    """Address a parcel."""
    return {"parcel": f"{zone}-{len(address)}"}


@functions.function("orders.tell")
async def tell(customer: str) -> None:
    """Tell the customer."""


def order(number: int) -> dict[str, Any]:
    """The input: seven lines, 28 pieces."""
    return {
        "customer": f"{'regular' if number % 2 else 'new'} customer {number}",
        "country": "PT" if number % 3 else "NZ",
        "card": "valid" if number % 4 else "declined",
        "lines": [{"sku": f"goods-{line}", "quantity": line + 1, "price": 9.5} for line in range(7)],
    }


async def process(engine: Engine, number: int, execution_id: str | None = None) -> None:
    """One order from its start to its checked result."""
    execution = await engine.start("order", order(number), execution_id=execution_id)
    await execution.signal("packed", {"pieces": 28})
    output = await execution.result()
    assert output["paid_by"] == ("card" if number % 4 else "invoice"), output
    assert output["points"] == (26 if number % 2 else 0), output


async def steps_of(engine: Engine, numbers: Iterable[int]) -> float:
    """Steps that an order has on average, items of lists counted."""
    counts = []
    for number in numbers:
        await process(engine, number, f"counted-{number}")
        events = [event async for event in engine.execution(f"counted-{number}").events(follow=False)]
        counts.append(sum(event["event"] in ("workflow_step_completed", "workflow_step_failed") for event in events))
    return statistics.mean(counts)


async def measure(engine: Engine) -> None:
    """M1 and M2."""
    await engine.publish(DEFINITION)
    steps = await steps_of(engine, range(8))
    times_ms = []
    for number in range(SINGLES):
        begun = time.perf_counter()
        await process(engine, number)
        times_ms.append((time.perf_counter() - begun) * 1000)
    report(f"M1 an order of {steps:.1f} steps, one after another", p50_p99(times_ms))
    commits = engine.store.commits.group_sizes
    rates, costs = [], []
    for _ in range(ROUNDS):
        before, begun = commits.count, time.perf_counter()
        await asyncio.gather(*(process(engine, number) for number in range(AT_ONCE)))
        rates.append(AT_ONCE / (time.perf_counter() - begun))
        costs.append((commits.count - before) / AT_ONCE)
    rate = statistics.median(rates)
    report(
        f"M2 {AT_ONCE} orders at once, median of {ROUNDS}",
        f"{rate:.0f} executions/s, {rate * steps:,.0f} steps/s, {statistics.median(costs):.2f} commits an execution",
    )


async def run(folder: Path) -> None:
    """Both, on a fresh database."""
    async with Engine(f"sqlite:///{folder / 'orders.db'}", functions=functions) as engine:
        await measure(engine)


def main() -> None:
    """The measurements."""
    with workplace() as folder:
        uvloop.run(run(folder))


if __name__ == "__main__":
    main()
