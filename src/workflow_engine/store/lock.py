"""Who may write to a database file: one process at a time, for as long as it lives."""

import fcntl
import os
from pathlib import Path

from workflow_engine.models.errors import DatabaseInUse


class FileLock:
    """An exclusive lock on `<database>.lock`, which holds the owner's pid for people to read.

    The operating system frees it when the process ends, however it ends. The file stays: to delete it would let two
    processes lock two files of the same name.
    """

    def __init__(self, database: Path) -> None:
        self.path = Path(f"{database}.lock")
        self._database = database
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock at once.

        Raises:
            DatabaseInUse: another process holds it, or another store of this one; the message names the pid.
        """
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _pid_in(file)
            os.close(file)
            raise DatabaseInUse(self._refusal(holder), pid=holder) from None
        self._file = file
        _write_pid(file)

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _refusal(self, holder: int | None) -> str:
        who = f"process {holder}" if holder else "another process"
        return (
            f"{who} writes to {self._database}; stop it first, send the command to its server, "
            "or name another database. Reading beside it is possible."
        )


def _pid_in(file: int) -> int | None:
    text = os.pread(file, 32, 0).strip()
    return int(text) if text.isdigit() else None


def _write_pid(file: int) -> None:
    try:
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
    except OSError:
        pass  # a full disk; the lock holds without its owner's name
