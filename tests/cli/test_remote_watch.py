"""`executions watch`: what people and programs see."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from cli_command import Ran, command
from served import Served

Cli = Callable[..., Ran]
Watch = Callable[..., "subprocess.Popen[str]"]

FLOW = {
    "nodes": [
        {"id": "each", "type": "set", "foreach": {"items": "${ [1, 2, 3] }"}, "output": "${ item }"},
        {"id": "asked", "type": "wait", "with": {"signal": "answer"}},
        {"id": "wrong", "type": "fail", "with": {"type": "wrong", "message": "that was wrong"}},
    ],
    "connections": [
        {"from": "each", "to": "asked"},
        {"from": "asked", "to": "wrong", "when": "steps.asked.output != 42"},
    ],
    "output": "${ steps.asked.output }",
}


@pytest.fixture
def started(remote: Cli, request: pytest.FixtureRequest) -> str:
    """An execution that waits for an answer."""
    id_ = request.node.name.replace("_", "-")[-60:]
    Path("flow.json").write_text(json.dumps({"id": id_, **FLOW}))
    assert remote("publish", "flow.json").code == 0
    return remote("start", id_).out.strip()


@pytest.fixture
def watch(remote: Cli) -> Iterator[Watch]:
    """Watch in a process of its own."""
    processes: list[subprocess.Popen[str]] = []

    def begin(*words: object, **more: Any) -> "subprocess.Popen[str]":
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
        processes.append(subprocess.Popen(command("executions", "watch", *words), text=True, **pipes))
        return processes[-1]

    yield begin
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def lines_until(stream: IO[str] | None, word: str) -> list[str]:
    assert stream is not None
    lines = []
    while line := stream.readline():
        lines.append(line.rstrip("\n"))
        if word in line:
            return lines
    raise AssertionError(lines)


def test_people_see_each_step_and_the_result(remote: Cli, watch: Watch, started: str) -> None:
    watching = watch(started)
    shown = lines_until(watching.stderr, "waits for people or signals")
    assert "asked.1: waits for the signal answer" in "\n".join(shown)
    remote("signal", started, "answer", "--payload", "42")
    out, err = watching.communicate(timeout=30)
    assert (watching.returncode, out) == (0, "42\n")
    assert "completed in" in err


def test_programs_get_one_event_a_line_and_nothing_else(remote: Cli, watch: Watch, started: str) -> None:
    watching = watch(started, "--json")
    events = [json.loads(line) for line in lines_until(watching.stdout, "workflow_paused")]
    remote("signal", started, "answer", "--payload", "41")
    out, err = watching.communicate(timeout=30)
    events += [json.loads(line) for line in out.splitlines()]
    assert (watching.returncode, err) == (1, "")
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["data"]["error"]["type"] == "wrong"
    again = remote("executions", "watch", started, "--after", len(events) - 1, "--json")
    assert (again.code, [json.loads(line)["event"] for line in again.out.splitlines()]) == (1, ["workflow_failed"])


def test_ctrl_c_stops_the_watching_and_not_the_execution(remote: Cli, watch: Watch, started: str) -> None:
    watching = watch(started)
    lines_until(watching.stderr, "waits for people or signals")
    watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=30)
    assert watching.returncode == 130
    assert "the execution goes on" in err
    assert "Traceback" not in err
    assert remote("executions", "show", started, "--json").json["status"] == "paused"


def test_watching_ends_when_nobody_reads_it_any_more(remote: Cli, watch: Watch, started: str) -> None:
    read, write = os.pipe()
    watching = watch(started, "--json", stdout=write)
    os.close(write)
    with os.fdopen(read) as lines:
        assert json.loads(lines.readline())["sequence"] == 1
    for _ in range(2):  # the first of these may still fit into the pipe
        remote("signal", started, "other")
    assert watching.wait(timeout=30) == 130


def test_server_that_restarts_is_waited_for(cli: Cli, watch: Watch, tmp_path: Path) -> None:
    served = Served(tmp_path)
    url = ["--url", served.url]
    try:
        Path("flow.json").write_text(json.dumps({"id": "restart", **FLOW}))
        assert cli("publish", "flow.json", *url).code == 0
        started = cli("start", "restart", *url).out.strip()
        watching = watch(started, *url)
        before = lines_until(watching.stderr, "waits for people or signals")
        served.end()
        lines_until(watching.stderr, "the next attempt comes in")
        served = Served(tmp_path, served.port)
        assert cli("signal", started, "answer", "--payload", "42", *url).code == 0
        out, after = watching.communicate(timeout=60)
        assert (watching.returncode, out) == (0, "42\n")
        assert "asked.1: completed" in after
        assert not [line for line in after.splitlines() if line in before]
    finally:
        served.end()
