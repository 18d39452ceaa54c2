"""kill -9 of the whole process in the middle of outgoing calls: nothing lost, nothing applied twice."""

from pathlib import Path

from mortal import Mortal
from order_lives import live
from recording_target import RecordingTarget

from workflow_engine.models.event import StepCompleted, decode_facts
from workflow_engine.store import Store

EXECUTIONS = 300
STEPS = 3
KILLS = 10


async def completed_steps(url: str) -> int:
    """Steps whose result is in the log."""
    store = await Store.open(url, read_only=True)
    try:
        count = 0
        for row in await store.executions("default", limit=500):
            for entry in await store.log("default", row.execution_id):
                count += sum(isinstance(fact, StepCompleted) for fact in decode_facts(entry.events))
        return count
    finally:
        await store.close()


async def test_ten_kills_in_the_middle_of_calls_lose_nothing_and_apply_nothing_twice(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'crash.db'}"
    acknowledged: set[str] = set()
    in_flight = 0
    async with RecordingTarget() as target:
        for kill in range(KILLS):
            target.fall_silent_after(60 + kill)
            async with Mortal(live, url, target.url, EXECUTIONS) as process:
                await target.silence()
            acknowledged |= set(process.said)
            in_flight += len(target.calls_by_key) - await completed_steps(url)
        target.speak_again()
        async with Mortal(live, url, target.url, EXECUTIONS) as process:
            assert await process.ended() == 0
        acknowledged |= set(process.said)

    store = await Store.open(url, read_only=True)
    rows = await store.executions("default", limit=500)
    await store.close()
    assert len(rows) == EXECUTIONS
    assert {row.status for row in rows} == {"completed"}
    assert acknowledged <= {row.execution_id for row in rows}
    assert len(target.calls_by_key) == EXECUTIONS * STEPS
    assert target.has_one_body_per_key
    assert await completed_steps(url) == EXECUTIONS * STEPS
    assert KILLS <= len(target.calls) - len(target.calls_by_key) <= in_flight
