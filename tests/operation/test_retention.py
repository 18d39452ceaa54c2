import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from workflow_engine import Engine
from workflow_engine.config.settings import Settings, SettingsInvalid, load_settings
from workflow_engine.models.errors import NotFound
from workflow_engine.services import retention
from workflow_engine.store import IdempotencyRow

LONG_AGO_S = 0.000_001


CYCLE = {
    "id": "long",
    "start": ["step"],
    "variables": {"n": 0},
    "nodes": [
        {"id": "step", "type": "wait", "with": {"for": "1ms"}, "assign": {"n": "${ vars.n + 1 }", "x": "${ input }"}},
        {"id": "done", "type": "set"},
    ],
    "connections": [
        {"from": "step", "to": "step", "when": "vars.n < 100"},
        {"from": "step", "to": "done", "otherwise": True},
    ],
}
"""A hundred transitions."""


def workflow(workflow_id: str, *nodes: dict[str, Any]) -> dict[str, Any]:
    return {"id": workflow_id, "nodes": list(nodes) or [{"id": "done", "type": "set", "output": "${ input }"}]}


@asynccontextmanager
async def engine_keeping(folder: Path, **settings: Any) -> AsyncIterator[Engine]:
    """An engine that keeps finished executions so long."""
    async with Engine(f"sqlite:///{folder}/engine.db", settings=Settings(_env_file=None, **settings)) as engine:
        for workflow_id in ("orders", "audit"):
            await engine.publish(workflow(workflow_id))
        yield engine


async def run(engine: Engine, workflow_id: str, value: Any = None) -> str:
    execution = await engine.start(workflow_id, value)
    await execution.wait()
    return execution.id


async def exists(engine: Engine, execution_id: str) -> bool:
    try:
        await engine.execution(execution_id).get()
    except NotFound:
        return False
    return True


async def test_everything_is_kept_for_ever_unless_told_otherwise(tmp_path: Path) -> None:
    async with engine_keeping(tmp_path) as engine:
        execution_id = await run(engine, "orders")
        assert await engine.services.retention.sweep() == 0
        assert await exists(engine, execution_id)


async def test_finished_executions_go_when_they_are_old_and_others_stay(tmp_path: Path) -> None:
    async with engine_keeping(tmp_path, retention=LONG_AGO_S) as engine:
        waiting = {"id": "answer", "type": "wait", "with": {"signal": "answer"}}
        await engine.publish(workflow("waiting", waiting))
        finished = await run(engine, "orders")
        paused = (await engine.start("waiting")).id
        assert await engine.services.retention.sweep() == 1
        assert not await exists(engine, finished)
        assert await exists(engine, paused)
        assert engine.services.retention.removed == 1


async def test_a_workflow_may_have_a_retention_of_its_own(tmp_path: Path) -> None:
    periods = {"retention": 3600.0, "retention_by_workflow": {"orders": LONG_AGO_S, "audit": None}}
    async with engine_keeping(tmp_path, **periods) as engine:
        await engine.publish(workflow("other"))
        orders, audit, other = [await run(engine, name) for name in ("orders", "audit", "other")]
        assert await engine.services.retention.sweep() == 1
        assert [await exists(engine, one) for one in (orders, audit, other)] == [False, True, True]


async def test_the_sweep_runs_by_itself_and_the_file_shrinks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "SWEEP_S", (0.05, 0.05))
    async with engine_keeping(tmp_path, retention=0.5) as engine:
        await asyncio.gather(*(run(engine, "orders", "x" * 500_000) for _ in range(40)))
        assert engine.store.file_bytes() + engine.store.wal_bytes() > 20_000_000
        async with asyncio.timeout(20):
            while engine.store.file_bytes() + engine.store.wal_bytes() > 3_000_000:  # noqa: ASYNC110 - a file's size
                await asyncio.sleep(0.02)
        assert engine.services.retention.removed == 40
        assert await exists(engine, await run(engine, "orders"))


async def test_a_long_log_goes_in_portions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "ROWS_PER_WRITE", 20)
    async with engine_keeping(tmp_path, retention=LONG_AGO_S) as engine:
        await engine.publish(CYCLE)
        execution_id = await run(engine, "long", "x" * 2_000)
        trimmed: list[int] = []
        trim = engine.store.trim_log

        async def counted(tenant_id: str, execution_id: str, *, rows: int) -> int:
            trimmed.append(await trim(tenant_id, execution_id, rows=rows))
            state = await engine.execution(execution_id).get()
            assert state["status"] == "completed"
            return trimmed[-1]

        monkeypatch.setattr(engine.store, "trim_log", counted)
        assert await engine.services.retention.sweep() == 1
        assert len(trimmed) > 1
        assert max(trimmed) == 20
        assert not await exists(engine, execution_id)


async def test_answers_under_idempotency_keys_are_forgotten(tmp_path: Path) -> None:
    async with engine_keeping(tmp_path, idempotency_retention=3600.0) as engine:
        hour = 3_600_000_000
        now = engine.store.now()
        for name, at in (("old", now - hour - 1_000_000), ("young", now - hour + 60_000_000)):
            row = IdempotencyRow("POST /x", name, "hash", 200, b"{}")

            def job(connection: Any, row: IdempotencyRow = row, at: int = at) -> None:
                from workflow_engine.store.receipts import insert_receipts

                insert_receipts(connection, [("default", row)], at)

            await engine.store._run_job(job, 0)
        await engine.services.retention.sweep()
        kept = [await engine.store.receipt("default", "POST /x", name) is not None for name in ("old", "young")]
        assert kept == [False, True]


def test_a_wrong_period_is_a_clear_message(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("soon", "0s", "-1d", "nan", "1e9"):
        monkeypatch.setenv("WORKFLOW_ENGINE_RETENTION", value)
        with pytest.raises(SettingsInvalid, match="WORKFLOW_ENGINE_RETENTION"):
            load_settings(_env_file=None)
    monkeypatch.delenv("WORKFLOW_ENGINE_RETENTION")
    monkeypatch.setenv("WORKFLOW_ENGINE_RETENTION_BY_WORKFLOW", "orders:7d")
    with pytest.raises(SettingsInvalid, match="orders=7d"):
        load_settings(_env_file=None)
