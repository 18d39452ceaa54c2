"""F32: some program keeps a read transaction open on the database while the engine writes."""

import asyncio
import statistics
import time

from fault_stage import Stage, require, wait_until
from pysqlite3 import dbapi2

from workflow_engine.store import sqlite, sqlite_database

TITLE = "a reader holds its view under writes: the WAL stays under its cap and shrinks when the reader is gone"
TOOTH = "writes go on whatever the size of the WAL"

WAL_BYTES_MAX = 2 * 1024 * 1024
WAL_BYTES_CAP = 12 * 1024 * 1024
BURST_BYTES = 12 * 1024 * 1024
"""What may come in the second between two looks at the WAL."""
WRITES = 400
SHRINK_S = 5.0

KEEP = {"id": "keep", "nodes": [{"id": "done", "type": "set", "output": "kept"}]}
VALUE = "x" * 60_000


def scale() -> None:
    """A WAL a few dozen times smaller than in production."""
    sqlite.WAL_BYTES_MAX = WAL_BYTES_MAX
    sqlite.CHECKPOINT_PAGES = 200
    sqlite_database.WAL_BYTES_CAP = WAL_BYTES_CAP


def bite() -> None:
    """Never look whether there is room."""
    sqlite_database.SqliteDatabase.require_log_room = lambda self: None  # type: ignore[method-assign]


async def strike(stage: Stage) -> None:
    """Hold a view, write far more than the cap, let go."""
    async with stage.server() as server:
        await server.publish(KEEP)
        seconds: list[float] = []

        async def write() -> int:
            begun_s = time.monotonic()
            status, body = await server.call("POST", "/api/v1/workflows/keep/executions", {"input": VALUE})
            seconds.append(time.monotonic() - begun_s)
            require(status in (202, 503), f"{status}: {body}")
            if status == 503:
                require("keeps a transaction open" in body["detail"], body)
            return status

        def wal_bytes() -> int:
            return server.database.with_name("engine.db-wal").stat().st_size

        for _ in range(50):
            require(await write() == 202, "refused without a reason")
        alone_s = statistics.median(seconds)
        seconds.clear()
        reader = dbapi2.connect(str(server.database), isolation_level=None)
        reader.execute("BEGIN")
        before = reader.execute("SELECT count(*) FROM executions").fetchone()
        statuses = []
        largest = 0
        while len(statuses) < WRITES or 503 not in statuses:
            statuses.append(await write())
            largest = max(largest, wal_bytes())
            require(largest <= WAL_BYTES_CAP + BURST_BYTES, f"the WAL has grown to {largest} bytes")
            if statuses[-1] == 503:
                await asyncio.sleep(0.01)
        require(largest > WAL_BYTES_CAP, "the WAL did not grow")
        require(reader.execute("SELECT count(*) FROM executions").fetchone() == before, "the reader lost its view")
        beside_s = statistics.median(seconds)
        require(beside_s < 2 * alone_s + 0.02, f"a write took {beside_s:.3f} s beside the reader, {alone_s:.3f} alone")
        require((await server.get("/api/v1/executions"))[0] == 200, "reads do not work")
        reader.execute("COMMIT")
        reader.close()

        async def small_again() -> bool:
            return wal_bytes() <= WAL_BYTES_MAX

        async def writes_again() -> bool:
            return await write() == 202

        await wait_until(small_again, SHRINK_S)
        await wait_until(writes_again, SHRINK_S)
