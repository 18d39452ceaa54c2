"""Restate: a server in Rust that keeps every step, and a process of Node that runs them. Both live and die with this
process, which only passes on what is to be done.
"""

import ctypes
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import threading
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.peers.environment import MODULES, NODE_FOLDER
from bench.peers.postgres import PR_SET_PDEATHSIG
from bench.peers.works import MILESTONE, STAMPS, Place

SERVER: Mapping[str, str] = {
    "RESTATE_BASE_DIR": "restate",
    "RESTATE_NODE_NAME": "bench",
    "RESTATE_LISTEN_MODE": "unix",
    "RESTATE_BIND_IP": "127.0.0.1",
    "RESTATE_ADVERTISED_HOST": "127.0.0.1",
    "RESTATE_DISABLE_TELEMETRY": "true",
    "RESTATE_ADMIN__DISABLE_WEB_UI": "true",
    "RESTATE_LOG_FILTER": "warn",
    "RESTATE_DEFAULT_NUM_PARTITIONS": "4",
    "RESTATE_WORKER__INVOKER__CONCURRENT_INVOCATIONS_LIMIT": "200",
}
"""What differs from the defaults. The last two made W2 faster (24 partitions and 1,000 invocations are the defaults);
durability is left as it is. It is reached by sockets in its folder alone."""

SOCKETS = ("restate/bench/ingress.sock", "restate/bench/admin.sock")
"""From the folder on, which is the working directory of both processes: a path of a socket has to be short."""

WARM_UP, WARM_UP_STEPS = 1_000, 10
"""Executions, and steps of each, before a new server is measured: the compiler of Node needs as many."""

STOPPED_WITHIN_S = 10.0


class RestateFailed(Exception):
    """One of the two processes ended; the text holds what both said."""


class Restate:
    """Service and client share one process of Node: with two cores, a third process was no gain."""

    def __init__(self, place: Place) -> None:
        self._folder = place.folder
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._running = ExitStack()

    def __enter__(self) -> Self:
        is_new = not (self._folder / SERVER["RESTATE_BASE_DIR"]).exists()
        with ExitStack() as starting:
            self._start("server", [_binary(), "--no-logo"], starting)
            self._node = self._start("node", [_node(), NODE_FOLDER / "service.mjs", *SOCKETS, self._port()], starting)
            threading.Thread(target=self._read, daemon=True).start()
            self._ask("open", isNew=is_new, milestone=MILESTONE.steps)
            if is_new:
                self.many(WARM_UP_STEPS, [f"warm{number}" for number in range(WARM_UP)])
                self._ask("stamps")
            self._running = starting.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    def settings(self) -> dict[str, str]:
        """As the server dumps its configuration, in the same environment."""
        dumped = subprocess.run(
            [_binary(), "--dump-config"], env=_environment(), cwd=self._folder, capture_output=True, check=True
        )
        config = tomllib.loads(dumped.stdout.decode())
        provider = config["bifrost"]["default-provider"]
        log = config["log-server"] if provider == "replicated" else config["bifrost"][provider]
        return {
            "engine": f"restate-server {_version('restate-server')}, sdk {_version('restate-sdk')}",
            "database": "RocksDB (Restate server)",
            "durability": f"{provider} log, rocksdb-disable-wal-fsync={str(log['rocksdb-disable-wal-fsync']).lower()}",
        }

    def chains(self, length: int, repeats: int) -> list[float]:
        """See `Peer`. Taken in Node."""
        return [taken / 1000 for taken in self._ask("chains", length=length, repeats=repeats)]

    def many(self, length: int, ids: Sequence[str]) -> None:
        """An id is the idempotency key of the call."""
        self._ask("many", length=length, ids=list(ids), milestone=MILESTONE.steps)

    def fan_out(self, count: int) -> None:
        """`Promise.all`."""
        self._ask("fanOut", count=count)

    def row(self, count: int) -> None:
        """See `Peer`."""
        self._ask("stamps")
        self.chains(count, 1)
        STAMPS.extend(self._ask("stamps"))

    def recover(self, length: int, ids: Sequence[str]) -> None:
        """The server goes on by itself at its start. The same calls again wait for what they once began."""
        self.many(length, ids)
        STAMPS.extend(self._ask("stamps"))

    def _start(self, name: str, command: Sequence[str | Path], starting: ExitStack) -> subprocess.Popen[str]:
        with (self._folder / f"{name}.log").open("a") as output:
            process = subprocess.Popen(
                command,
                env=_environment(),
                cwd=self._folder,
                stdin=subprocess.PIPE if name == "node" else subprocess.DEVNULL,
                stdout=subprocess.PIPE if name == "node" else output,
                stderr=output,
                text=True,
                preexec_fn=_die_with_parent,
            )
        starting.callback(_stop, process)
        return process

    def _port(self) -> str:
        """Where the service listens: free at first, and the same after a restart, since executions are bound to it."""
        path = self._folder / "port"
        if not path.exists():
            with socket.create_server(("127.0.0.1", 0)) as free:
                path.write_text(str(free.getsockname()[1]))
        return path.read_text()

    def _ask(self, what: str, **options: object) -> Any:
        assert self._node.stdin is not None
        try:
            self._node.stdin.write(json.dumps({"do": what, **options}) + "\n")
            self._node.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended, which the missing answer tells
        said = self._answers.get()
        if said is None:
            logs = [(self._folder / f"{name}.log").read_text(errors="replace")[-1500:] for name in ("node", "server")]
            raise RestateFailed(f"{what}: {' '.join(logs)}")
        return said["answer"]

    def _read(self) -> None:
        """Node's lines: the milestone is announced at once, answers are for `_ask`."""
        assert self._node.stdout is not None
        for line in self._node.stdout:
            said = json.loads(line)
            if "reached" in said:
                print("reached", flush=True)
            else:
                self._answers.put(said)
        self._answers.put(None)


_libc = ctypes.CDLL(None)


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOPPED_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _environment() -> dict[str, str]:
    """Ours without what it may say of another Restate, and without RUST_BACKTRACE: each error that the server passes
    on within itself would cost it 20 ms. What the server leaves behind is left in its folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RESTATE_", "RUST_"))}
    return kept | dict(SERVER) | {"TMPDIR": "."}


def _node() -> str:
    found = shutil.which("node")
    assert found is not None
    return found


def _binary() -> Path:
    """The package of this platform is the only one that is installed."""
    return next((MODULES / "@restatedev").glob("restate-server-*/bin/restate-server"))


def _version(package: str) -> str:
    return str(json.loads((MODULES / "@restatedev" / package / "package.json").read_text())["version"])
