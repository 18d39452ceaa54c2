"""F31: the disk is full in the middle of work, and later there is room again."""

import asyncio
import time

from fault_stage import Stage, require, small_disk, wait_until
from pysqlite3 import dbapi2

from workflow_engine.services.workflow_executor import WorkflowExecutor

TITLE = "disk full under load, then freed: writes refused, reads served, no claims, work resumes by itself"
TOOTH = "work that met the full disk is not taken up when it has room again"

EXECUTIONS = 30
STEPS = 300
RESUME_S = 5.0

CYCLE = {
    "id": "cycle",
    "start": ["step"],
    "variables": {"n": 0},
    "nodes": [
        {
            "id": "step",
            "type": "function",
            "with": {"name": "echo", "arguments": {"value": "${ {'n': vars.n + 1, 'load': input.load} }"}},
            "assign": {"n": "${ output.n }"},
        },
        {"id": "done", "type": "set", "output": "${ vars.n }"},
    ],
    "connections": [
        {"from": "step", "to": "step", "when": "vars.n < input.steps"},
        {"from": "step", "to": "done", "otherwise": True},
    ],
}


def scale() -> None:
    """Real sizes and times."""


def bite() -> None:
    """Forget what is parked."""
    WorkflowExecutor._on_outage_over = lambda self: self.processor.release()  # type: ignore[method-assign]


async def strike(stage: Stage) -> None:
    """Fill the disk, look at everything, free it, look again."""
    disk = await small_disk()
    async with stage.server(disk, worker_concurrency=10) as server:
        await server.publish(CYCLE)
        value = {"steps": STEPS, "load": "x" * 2_000}
        accepted = [await server.start("cycle", input=value) for _ in range(EXECUTIONS)]
        disk.fill(server)

        async def refused() -> bool:
            status, body = await server.call("POST", "/api/v1/workflows/cycle/executions", {"input": value})
            if status == 202:
                accepted.append(body["execution_id"])
                return False
            require(status in (503, 507), f"a full disk is answered with {status}")
            require(body["type"].startswith("urn:workflow-engine:problem:st"), body)
            return True

        await wait_until(refused, 15)
        require(await server.metric("workflow_engine_store_outage") == 1, "no outage is reported")
        status, body = await server.get("/health/ready")
        require(status == 503 and not body["checks"]["database"]["ok"], f"ready on a full disk: {body}")
        require((await server.get("/health/live"))[0] == 200, "not alive on a full disk")
        statuses = {(await server.execution(execution_id))["status"] for execution_id in accepted}
        require("running" in statuses, "all was done before the disk was full")
        claims = await server.metric("workflow_engine_step_queue_wait_seconds_count")
        await asyncio.sleep(1.5)  # the probe has looked in between
        claims_later = await server.metric("workflow_engine_step_queue_wait_seconds_count")
        require(claims_later - claims <= 10, f"{claims_later - claims} steps were claimed on a full disk")
        require(await refused(), "the disk did not stay full")

        freed_s = time.monotonic()
        disk.free(server)

        async def accepted_again() -> bool:
            return not await refused()

        await wait_until(accepted_again, RESUME_S)
        for execution_id in accepted:
            found = await server.until_status(execution_id)
            require(found["output"] == STEPS, f"{execution_id} ended with {found['output']}")
        require(time.monotonic() - freed_s < 60, "work resumed, but slowly")
        check_integrity(f"/proc/{server.pid}/root{server.database}")


def check_integrity(path: str) -> None:
    """The database is sound."""
    connection = dbapi2.connect(path)
    try:
        found = connection.execute("PRAGMA integrity_check").fetchall()
    finally:
        connection.close()
    require(found == [("ok",)], found)
