"""The whole engine on each database: an execution that its process does not live to end."""

import subprocess
import sys
from pathlib import Path

CHILD = Path(__file__).with_name("engine_child.py")


def test_an_execution_goes_on_where_a_killed_process_left_it(url: str, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    command = [sys.executable, str(CHILD), url, str(calls)]
    with subprocess.Popen([*command, "start"], stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "waits\n"
        finally:
            child.kill()
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "shipped for anna\n"
    assert calls.read_text().split() == ["reserve", "ship"]
