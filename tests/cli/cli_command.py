"""The command as tests run it: its words, what it answered, and one that is held in the middle of a step."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FLOWS = Path(__file__).parent / "flows"
BROKEN = Path(__file__).parents[1] / "data" / "broken"


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "workflow_engine.cli.entry", *map(str, words)]


class Held:
    """A command whose function has begun and does not end; killed by its pid at the end of the test."""

    def __init__(self, *words: object, **env: str) -> None:
        read, write = os.pipe()
        try:
            self.process = subprocess.Popen(
                command(*words),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                pass_fds=[write],
                env={**os.environ, "STARTED_FD": str(write), **env},
            )
        finally:
            os.close(write)
        with os.fdopen(read, "rb") as started:
            assert started.read(1) == b"x", self.process.communicate(timeout=30)  # EOF: it ended before that

    def ended(self) -> Ran:
        out, err = self.process.communicate(timeout=60)
        return Ran(self.process.returncode, out, err)
