"""docs/guide.md: every command on the page, in order, against a server as a process of its own."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import Served

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "guide.md"
MARK = "<<<the command has ended>>>"
IN_ANOTHER_TERMINAL = "workflow-engine executions watch"
FOR_THE_SERVER = "make serve"

VARYING = [
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<id>"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+Z)?", "<instant>"),
    (r"\d\d:\d\d:\d\d", "<time>"),
    (r'"duration_ms":\d+', '"duration_ms":<duration>'),
    (r"\d+(\.\d)? (m?s|min \d+ s)\b", "<duration>"),
    (r"\r", ""),
    (r" +$", ""),
    (r"  +", "  "),
]


def steady(text: str) -> str:
    for pattern, replacement in VARYING:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text.strip()


def commands() -> list[tuple[str, str]]:
    """Each command of the page with what the page says it prints."""
    found: list[tuple[str, str]] = []
    for language, block in re.findall(r"```(sh|console)\n(.*?)```", PAGE.read_text(), re.DOTALL):
        if language == "sh":
            found.append((block, ""))
            continue
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, printed = part.partition("\n")
            found.append((command, printed))
    return found


class Terminal:
    """A shell into which commands are typed; the page's port stands for the server's."""

    def __init__(self, folder: Path, port: int) -> None:
        self._port = str(port)
        self._shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            env={
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "WORKFLOW_ENGINE_URL": f"http://127.0.0.1:{port}",
            },
        )

    def type(self, command: str) -> None:
        """Type a command, and wait for nothing."""
        assert self._shell.stdin is not None
        self._shell.stdin.write(f"{command.replace(':8000', f':{self._port}')}\necho; echo '{MARK}'\n")
        self._shell.stdin.flush()

    def printed(self) -> str:
        """What the oldest command printed whose output was not read yet."""
        assert self._shell.stdout is not None
        lines = []
        while (line := self._shell.stdout.readline()).rstrip("\n") != MARK:
            assert line, lines
            lines.append(line)
        return "".join(lines).replace(f":{self._port}", ":8000")

    def close(self) -> None:
        self._shell.kill()
        self._shell.communicate()


@pytest.fixture
def terminals(server: Served, tmp_path: Path) -> Iterator[tuple[Terminal, Terminal]]:
    both = Terminal(tmp_path, server.port), Terminal(tmp_path, server.port)
    yield both
    for terminal in both:
        terminal.close()


def test_every_command_prints_what_the_page_says(terminals: tuple[Terminal, Terminal]) -> None:
    terminal, other = terminals
    watched = ""
    for command, expected in commands():
        if command == FOR_THE_SERVER:
            continue
        if command.startswith(IN_ANOTHER_TERMINAL):
            other.type(command)
            watched = expected
            continue
        terminal.type(command)
        assert steady(terminal.printed()) == steady(expected), command
    assert steady(other.printed()) == steady(watched)


def test_server_starts_as_the_page_says(server: Served) -> None:
    assert (ROOT / "Makefile").read_text().count("workflow-engine serve") == 1
    announced = f"Workflow Engine listens on {server.url} (documentation: {server.url}/docs)\n"
    assert dict(commands())[FOR_THE_SERVER] == announced.replace(server.url, "http://127.0.0.1:8000")
