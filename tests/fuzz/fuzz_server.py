"""`make fuzz`: Schemathesis against a real server, by the server's own OpenAPI document, for FUZZ_SECONDS (120).

It looks for server errors and for answers that the document does not announce: their status, type, headers and schema.
The exit code is not 0 if there are any, or if the server is not well afterwards. FUZZ_SEED repeats a run.
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "operation"))

from server_process import ServerProcess, settings

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
REQUEST_TIMEOUT_S = 40
MARGIN_S = 120

WAITING: dict[str, Any] = {
    "id": "fuzzed",
    "nodes": [
        {"id": "ask", "type": "human", "with": {"title": "Go on?", "form": {"type": "object"}}},
        {"id": "wait", "type": "wait", "with": {"signal": "go"}},
    ],
    "connections": [{"from": "ask", "to": "wait"}],
}


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def fuzz(server: ServerProcess, seconds: int) -> int:
    """Schemathesis's exit code."""
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{server.url}/openapi.json"),
        *("--checks", ",".join(CHECKS), "--max-time", str(seconds), "--continue-on-failure", "--warnings", "off"),
        *("--request-timeout", str(REQUEST_TIMEOUT_S), "--suppress-health-check", "all"),
    ]
    if seed := os.environ.get("FUZZ_SEED"):
        command += ["--seed", seed]
    process = await asyncio.create_subprocess_exec(*command, cwd=server.folder)
    try:
        return await asyncio.wait_for(process.wait(), seconds + MARGIN_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def main() -> int:
    """Start a server with something in it, fuzz it, look whether it is still well."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        async with ServerProcess(Path(folder), environment=settings(log_format="json")) as server:
            await server.publish(WAITING)
            for number in range(3):
                await server.start("fuzzed", execution_id=f"fuzzed-{number}")
            code = await fuzz(server, int(os.environ.get("FUZZ_SECONDS", "120")))
            is_ready = (await server.get("/health/ready"))[0] == 200
            server.ask()
            end_code = await server.ended()
        errors = [line for line in server.log.read_text().splitlines() if '"level": "error"' in line]
        for line in errors[:20]:
            say(line[:2000])
    if code or errors or not is_ready or end_code:
        say(f"fuzz: findings (schemathesis {code}, errors logged {len(errors)}, ready {is_ready}, end {end_code})")
        return 1
    say("fuzz: no findings")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
