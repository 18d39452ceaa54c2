"""Starting and refusing to start, in real processes."""

import asyncio
import json
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
from server_process import COMMAND, ServerProcess, settings, wait_until

WAITING: dict[str, Any] = {
    "id": "waiting",
    "nodes": [
        {
            "id": "step",
            "type": "function",
            "with": {
                "name": "until_released",
                "arguments": {"began": "${ input.began }", "release": "${ input.release }"},
            },
        }
    ],
}


async def refused(folder: Path, *arguments: str, **given: Any) -> tuple[int, str]:
    """The exit code and stderr of a server that does not start."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "serve",
        *arguments,
        env=settings(**given),
        cwd=folder,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_it_says_where_it_listens_and_answers_there(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path) as server:
        assert server.url.startswith("http://127.0.0.1:")
        assert await server.get("/health/live") == (200, {"status": "alive"})
        status, body = await server.get("/health/ready")
        assert (status, body["status"]) == (200, "ready")
        server.ask(signal.SIGTERM)
        assert await server.ended() == 0


async def test_ctrl_c_ends_it_in_good_order(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path) as server:
        server.ask(signal.SIGINT)
        assert await server.ended() == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
async def test_without_authentication_only_a_local_address_is_listened_on(tmp_path: Path, host: str) -> None:
    code, said = await refused(tmp_path, "--host", host, "--port", "0", "--db", str(tmp_path / "engine.db"))
    assert code == 2
    assert "AUTH_MODE" in said
    assert "--host 127.0.0.1" in said
    assert not (tmp_path / "engine.db").exists()


async def test_a_second_server_on_the_same_database_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path) as server:
        for port in ("0", server.url.rsplit(":", 1)[1]):
            code, said = await refused(tmp_path, "--port", port, "--db", str(server.database))
            assert code == 2
            assert f"process {server.pid} writes to" in said
        assert (await server.get("/health/ready"))[0] == 200


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code, said = await refused(tmp_path, "--port", str(port), "--db", str(tmp_path / "engine.db"))
    assert code == 2
    assert f"127.0.0.1:{port} can't be listened on" in said


async def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    code, said = await refused(tmp_path, "--port", "0", log_format="xml", retention="soon")
    assert code == 2
    assert "WORKFLOW_ENGINE_LOG_FORMAT" in said
    assert "WORKFLOW_ENGINE_RETENTION" in said


async def test_a_host_that_does_not_exist_is_named(tmp_path: Path) -> None:
    code, said = await refused(tmp_path, "--host", "no-such-host.invalid", "--db", str(tmp_path / "engine.db"))
    assert code == 2
    assert "no-such-host.invalid" in said


async def test_every_request_is_one_line_at_debug_without_its_query_or_body(tmp_path: Path) -> None:
    environment = settings(log_format="json", log_level="debug")
    async with ServerProcess(tmp_path, environment=environment) as server:
        await server.get("/health/live%0a%1b[31m{forged}?ticket=canary-1")
        await server.call("POST", "/api/v1/workflows", {"id": "canary-2"}, Authorization="Bearer canary-3")
        server.ask()
        await server.ended()
    lines = server.log.read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    requests = [entry for entry in entries if entry["event"] == "request"]
    assert [(entry["method"], entry["status"]) for entry in requests] == [("GET", 404), ("POST", 422)]
    assert requests[0]["path"] == "/health/live\n\x1b[31m{forged}"
    assert "canary" not in server.log.read_text()


async def drained(server: ServerProcess) -> bool:
    return (await server.get("/health/ready"))[0] == 503


@pytest.fixture
def functions() -> dict[str, str]:
    return settings(log_format="json", functions="served_functions", shutdown_grace="20s")


async def begin_step(server: ServerProcess, folder: Path) -> str:
    """Start an execution and return once its step runs."""
    await server.publish(WAITING)
    files = {"began": str(folder / "began"), "release": str(folder / "release")}
    execution_id = await server.start("waiting", input=files)

    async def began() -> bool:
        return (folder / "began").exists()

    await wait_until(began)
    return execution_id


async def test_a_drain_is_seen_at_once_and_running_steps_finish(tmp_path: Path, functions: dict[str, str]) -> None:
    async with ServerProcess(tmp_path, environment=functions) as server:
        execution_id = await begin_step(server, tmp_path)
        server.ask()
        await wait_until(lambda: drained(server))
        status, body = await server.get("/health/ready")
        assert body["checks"]["accepting"] == {"ok": False}
        assert (await server.get("/health/live"))[0] == 200
        status, body = await server.call("POST", "/api/v1/workflows/waiting/executions", {"input": {}})
        assert (status, body["code"]) == (503, "shutting_down")
        assert (await server.execution(execution_id))["status"] == "running"
        (tmp_path / "release").touch()
        assert await server.ended() == 0
    async with ServerProcess(tmp_path, environment=functions) as server:
        found = await server.until_status(execution_id)
        assert found["output"] == "released"
        assert (tmp_path / "began").read_text() == "began\n"


async def test_what_does_not_finish_in_time_is_done_by_the_next_process_without_another_attempt(
    tmp_path: Path, functions: dict[str, str]
) -> None:
    functions["WORKFLOW_ENGINE_SHUTDOWN_GRACE"] = "0.3s"
    async with ServerProcess(tmp_path, environment=functions) as server:
        execution_id = await begin_step(server, tmp_path)
        server.ask()
        assert await server.ended() == 0
    (tmp_path / "release").touch()
    async with ServerProcess(tmp_path, environment=functions) as server:
        await server.until_status(execution_id)
        _, page = await server.get(f"/api/v1/executions/{execution_id}/steps")
        assert [(step["status"], step["attempts"]) for step in page["items"]] == [("completed", 1)]
    assert (tmp_path / "began").read_text() == "began\nbegan\n"


async def test_a_request_that_waits_is_answered_when_the_drain_begins(
    tmp_path: Path, functions: dict[str, str]
) -> None:
    functions["WORKFLOW_ENGINE_SHUTDOWN_GRACE"] = "1s"
    async with ServerProcess(tmp_path, environment=functions) as server:
        await begin_step(server, tmp_path)
        files = {"began": str(tmp_path / "second"), "release": str(tmp_path / "release")}
        waiting = asyncio.create_task(
            server.call("POST", "/api/v1/workflows/waiting/executions?wait=20s", {"input": files})
        )

        async def began() -> bool:
            return (tmp_path / "second").exists()

        await wait_until(began)
        server.ask()
        status, body = await waiting
        assert (status, body["status"]) == (202, "running")
        assert await server.ended() == 0


async def test_a_second_signal_ends_it_at_once(tmp_path: Path, functions: dict[str, str]) -> None:
    async with ServerProcess(tmp_path, environment=functions) as server:
        execution_id = await begin_step(server, tmp_path)
        server.ask()
        await wait_until(lambda: drained(server))
        server.ask()
        assert await server.ended(15) != 0  # sooner than its grace
    (tmp_path / "release").touch()
    async with ServerProcess(tmp_path, environment=functions) as server:
        await server.until_status(execution_id)
