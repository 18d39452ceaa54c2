"""The demo does what it says, and says so with its exit code."""

import subprocess
import sys
from pathlib import Path

from example_runs import ROOT, environment

PROMISES = 6


def test_the_demo_is_killed_half_way_and_proves_that_nothing_was_lost_or_done_twice(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "examples/demo/demo.py"],
        cwd=ROOT,
        env=environment(tmp_path, TMPDIR=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert (ended.stdout.count("✓"), ended.stdout.count("✗")) == (PROMISES, 0)
    assert "kill -9" in ended.stdout
    assert "cut off, repeated" in ended.stdout
    assert not list(tmp_path.glob("workflow-engine-demo-*")), "the demo left its folder behind"
