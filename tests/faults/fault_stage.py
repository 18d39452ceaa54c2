"""Where a fault test plays: a folder, servers on one database in it, and a disk that can be full."""

import asyncio
import os
import resource
import sys
from pathlib import Path
from typing import Any, Protocol

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "operation"), str(HERE.parent / "targets")]

from server_process import ServerProcess, settings, wait_until  # noqa: E402

__all__ = ["Disk", "Stage", "require", "wait_until"]

DISK_BYTES = 64 * 1024 * 1024


def require(holds: Any, what: str) -> None:
    """Fail the test with these words unless it holds."""
    if not holds:
        raise AssertionError(what)


class Disk(Protocol):
    """What a server's database lies on."""

    def command(self, folder: Path) -> tuple[str, ...]:
        """What stands before a server's command."""
        ...

    def fill(self, server: ServerProcess) -> None:
        """Leave no room."""
        ...

    def free(self, server: ServerProcess) -> None:
        """Make room again."""
        ...


class PlainDisk:
    """The folder as it is; full by a limit on the size of all that the server writes, its log included."""

    def command(self, folder: Path) -> tuple[str, ...]:
        return ()

    def fill(self, server: ServerProcess) -> None:
        # Less than the first page of the write-ahead log, which may begin anew at any time.
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))

    def free(self, server: ServerProcess) -> None:
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


class SmallDisk:
    """A file system in memory that only the server sees; full by a large file."""

    def command(self, folder: Path) -> tuple[str, ...]:
        mount = f'mount -t tmpfs -o size={DISK_BYTES} tmpfs "$0" && exec "$@"'
        return (*_unshare(), "sh", "-c", mount, str(folder))

    def _filler(self, server: ServerProcess) -> Path:
        return Path(f"/proc/{server.pid}/root{server.folder}/filler")

    def fill(self, server: ServerProcess) -> None:
        with self._filler(server).open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass

    def free(self, server: ServerProcess) -> None:
        self._filler(server).unlink()


def _unshare() -> tuple[str, ...]:
    return ("unshare", "--mount") if os.geteuid() == 0 else ("unshare", "--map-root-user", "--mount")


async def small_disk() -> Disk:
    """A disk that fills, by whatever means this machine has."""
    try:
        trial = await asyncio.create_subprocess_exec(
            *_unshare(), "mount", "-t", "tmpfs", "tmpfs", "/mnt", stderr=asyncio.subprocess.DEVNULL
        )
    except FileNotFoundError:
        return PlainDisk()
    return SmallDisk() if await trial.wait() == 0 else PlainDisk()


class Stage:
    """One run of one fault test."""

    def __init__(self, module: str, folder: Path, *, is_bitten: bool) -> None:
        self.folder = folder
        self._module = module
        self._mode = "--bitten" if is_bitten else "--whole"

    def server(self, disk: Disk | None = None, **given: Any) -> ServerProcess:
        """A server on the stage's database, which is the same for all of its servers."""
        child = (sys.executable, str(HERE / "fault_child.py"), self._module, self._mode)
        before = disk.command(self.folder) if disk is not None else ()
        environment = settings(log_format="json", functions="served_functions", **given)
        environment["PYTHONPATH"] += f"{os.pathsep}{HERE}{os.pathsep}{HERE.parent / 'targets'}"
        return ServerProcess(self.folder, environment=environment, command=(*before, *child))
