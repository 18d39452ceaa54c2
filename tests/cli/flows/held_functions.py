"""A step that tells when it has begun, and then does not end before a file is there."""

import os
import threading
from pathlib import Path
from typing import Any

from workflow_engine import function


@function
def hold() -> str:
    if not Path("go").exists():
        os.write(int(os.environ["STARTED_FD"]), b"x")
        threading.Event().wait()
    return "released"


@function
def held_log(word: Any) -> Any:
    with Path("calls").open("a") as calls:
        calls.write(f"{word}\n")
    return word
