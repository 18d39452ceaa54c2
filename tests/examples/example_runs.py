"""Two ways to run an example: the command as a user starts it, and an engine in this process, which is quicker."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
COMMAND = Path(sys.executable).parent / "workflow-engine"


@dataclass(frozen=True)
class Ended:
    """How a command ended, and the JSON document that it printed."""

    code: int
    document: Any


Command = Callable[..., Ended]
Execute = Callable[..., Awaitable[dict[str, Any]]]


def environment(data_folder: Path, **settings: str) -> dict[str, str]:
    """The process's environment without settings of whoever runs the tests."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WORKFLOW_ENGINE_")}
    return {**inherited, "XDG_DATA_HOME": str(data_folder), "COLUMNS": "120", **settings}


def run_command(arguments: list[str], data_folder: Path, settings: dict[str, str]) -> Ended:
    """Start `workflow-engine ... --json` and wait for its end."""
    ended = subprocess.run(
        [COMMAND, *arguments, "--json"],
        cwd=ROOT,
        env=environment(data_folder, **settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.stdout, ended.stderr
    return Ended(ended.returncode, json.loads(ended.stdout))


def load_functions(path: Path) -> None:
    """Register the functions of a file, if there is one."""
    spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    if path.exists() and spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
