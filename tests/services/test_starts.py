"""Many starts at once: how much of the event loop they take at a time."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from family import GATE

from workflow_engine import Engine
from workflow_engine.services.starts import Wanted

COUNT = 1_000


async def test_others_have_a_turn_after_every_fifty_that_are_checked(tmp_path: Path) -> None:
    turn = 0
    checked_in: list[int] = []

    async def take_turns() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    def wanted() -> Iterator[Wanted]:
        for _ in range(COUNT):
            checked_in.append(turn)
            yield Wanted(None, None, None, {}, {}, {}, 5, 0.0)

    async with Engine(f"sqlite:///{tmp_path / 'engine.db'}") as engine:
        await engine.publish(GATE)
        others = asyncio.create_task(take_turns())
        started = await engine.services.executions.start_all("default", "gate", wanted())
        others.cancel()
    assert len(started) == COUNT
    assert max(Counter(checked_in).values()) <= 50
