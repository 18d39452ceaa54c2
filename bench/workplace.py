"""Where benchmarks keep their files: on a disk, away from the working directory, and gone when the benchmark is.

Standard library alone: it is imported under other engines' interpreters as well.
"""

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

ON_DISK = Path("/var/tmp")
"""Kept over a restart of the machine, and so on its disk, while `/tmp` is often memory."""

STOPPED = 128 + signal.SIGTERM


@contextmanager
def workplace() -> Iterator[Path]:
    """A folder of its own, in `TMPDIR` or else on the disk; removed at the end, also at that which SIGTERM asks for.

    It is `TMPDIR` for whatever this process starts, and so holds all that they leave.
    """
    before = signal.signal(signal.SIGTERM, _end)
    inherited = os.environ.get("TMPDIR")
    chosen = inherited or (str(ON_DISK) if ON_DISK.is_dir() and os.access(ON_DISK, os.W_OK) else None)
    try:
        with tempfile.TemporaryDirectory(prefix="workflow-bench-", dir=chosen, ignore_cleanup_errors=True) as folder:
            os.environ["TMPDIR"] = folder
            yield Path(folder)
    finally:
        if inherited is None:
            os.environ.pop("TMPDIR", None)
        else:
            os.environ["TMPDIR"] = inherited
        signal.signal(signal.SIGTERM, before)


def as_installed() -> None:
    """Let the processes that this one starts have compiled bytecode, as `make install` leaves it."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(STOPPED)
