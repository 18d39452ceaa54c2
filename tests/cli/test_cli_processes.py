"""The real command: killed, interrupted, beside another one, on a terminal."""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_command import BROKEN, FLOWS, Held, Ran, command

HELD = ["run", FLOWS / "held.yaml", "--functions", FLOWS / "held_functions.py", "--db", "h.db", "--execution-id", "h1"]
Cli = Callable[..., Ran]
Hold = Callable[..., Held]


def test_killed_execution_is_completed_by_resume(hold: Hold, cli: Cli) -> None:
    held = hold(*HELD)
    os.kill(held.process.pid, signal.SIGKILL)
    assert held.ended().code == -signal.SIGKILL
    Path("go").touch()
    resumed = cli("resume", "h1", "--db", "h.db", "--json")
    assert resumed.code == 0
    checked = subprocess.run([sys.executable, "-m", "json.tool"], input=resumed.out, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    assert resumed.json["output"] == [1, 2, 3]
    assert sorted(Path("calls").read_text().split()) == ["1", "2", "3", "first"]  # what was done is not done again


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_execution_says_how_to_go_on(hold: Hold, cli: Cli, number: signal.Signals) -> None:
    held = hold(*HELD, "--json", WORKFLOW_ENGINE_SHUTDOWN_GRACE="0.1")
    held.process.send_signal(number)
    ended = held.ended()
    assert ended.code == 130
    assert ended.json["status"] == "running"
    assert f"workflow-engine resume h1 --db {Path('h.db').absolute()}" in ended.err
    assert "Traceback" not in ended.err
    Path("go").touch()
    assert cli("run", FLOWS / "order.yaml", "-i", '{"amount": 1}', "--db", "h.db").code == 0
    resumed = cli("resume", "h1", "--db", "h.db", "--json")  # the other one has finished it, or left it to this one
    assert (resumed.code, resumed.json["status"]) == (0, "completed")


def test_second_signal_stops_at_once(hold: Hold) -> None:
    held = hold(*HELD)
    held.process.send_signal(signal.SIGTERM)
    assert held.process.stderr is not None
    while "second signal" not in held.process.stderr.readline():
        pass
    held.process.send_signal(signal.SIGTERM)
    assert held.ended().code == 130


def test_database_in_use_is_refused_to_writers_and_open_to_readers(hold: Hold, cli: Cli) -> None:
    held = hold(*HELD)
    second = cli("run", FLOWS / "order.yaml", "-i", '{"amount": 1}', "--db", "h.db", "--json")
    assert second.code == 2
    assert second.json["error"]["code"] == "database_in_use"
    assert f"process {held.process.pid} writes to" in second.err
    assert cli("resume", "h1", "--db", "h.db").code == 2
    shown = cli("executions", "show", "h1", "--db", "h.db", "--json")
    assert {step["node_id"]: step["status"] for step in shown.json["steps"]} == {
        "first": "completed",
        "hold": "processing",
    }


def test_terminal_shows_a_live_view_that_is_not_higher_than_it(tmp_path: Path) -> None:
    nodes = [{"id": f"n{number}", "type": "set"} for number in range(200)]
    connections = [{"from": f"n{number}", "to": f"n{number + 1}"} for number in range(199)]
    Path("long.json").write_text(json.dumps({"id": "long", "nodes": nodes, "connections": connections}))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 80, 0, 0))
    ran = subprocess.Popen(
        command("run", "long.json"), stdout=subprocess.PIPE, stderr=theirs, env={**os.environ, "TERM": "xterm"}
    )
    os.close(theirs)
    screen = _read_all(ours)
    assert ran.stdout is not None
    with ran.stdout:
        assert json.loads(ran.stdout.read()) is None
    assert ran.wait(timeout=30) == 0
    assert "\x1b[" in screen
    last = screen.rpartition("\x1b[2K")[2]
    assert "completed" in last
    assert "... and 193 completed" in last
    assert last.count("\n") <= 22


def _read_all(descriptor: int) -> str:
    parts = []
    with os.fdopen(descriptor, "rb", buffering=0) as terminal:
        while select.select([terminal], [], [], 60)[0]:
            try:
                part = terminal.read(65536)
            except OSError:  # Linux says so when the other side has closed
                break
            if not part:
                break
            parts.append(part)
    return b"".join(parts).decode()


def test_version_imports_nothing_heavy() -> None:
    heavy = ("typer", "rich", "pydantic", "sqlalchemy", "asyncio", "yaml", "msgspec")
    code = (
        "import sys; from workflow_engine.cli.entry import main; main(sys.argv[1:]);"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    for word in ("--version", "version"):
        done = subprocess.run([sys.executable, "-c", code, word], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines() == ["workflow-engine 0.1.0", "[]"]


def test_reader_that_has_seen_enough_is_no_error() -> None:
    ran = subprocess.Popen(command("validate", *[BROKEN / "misspelt_fields.yaml"] * 100), stdout=subprocess.PIPE)
    assert ran.stdout is not None
    ran.stdout.read(1)
    ran.stdout.close()
    assert ran.wait(timeout=60) == 2
