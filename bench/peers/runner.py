"""Runs one work of one engine in a process of its own and gives what it measured."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.peers.machine import Others, adopt_orphans, wait_until_quiet
from bench.peers.postgres import Server

ROOT = Path(__file__).parents[2]

TIMEOUT_S = 240.0
"""No process lives longer; what it did not finish is given as `over 240 s`."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a process said. `measures` is empty where it was too slow."""

    settings: dict[str, str]
    measures: dict[str, float]
    others: float = 0.0
    """The share of the processors that other processes had meanwhile."""


class WorkFailed(Exception):
    """The process ended without a result; the text holds its last words."""


class Runner:
    """Gives each run a folder and a database that nothing has touched before."""

    def __init__(self, folder: Path, peers_python: Path, server: Server, *, is_quick: bool, patience_s: float) -> None:
        self._folder = folder
        self._peers_python = peers_python
        self._server = server
        self._patience_s = patience_s
        self._options = ["--quick"] if is_quick else []
        self._runs = 0
        adopt_orphans()

    def run(self, peer: str, work: str, count: int = 0) -> Result:
        """One work, begun when the machine is quiet, if it gets quiet in time.

        Raises:
            WorkFailed: it ended badly.
        """
        wait_until_quiet(self._server, self._patience_s)
        others = Others(self._server)
        with self._place() as place:
            result = self._measured(peer, work, count, place)
        return replace(result, others=others.share())

    def _measured(self, peer: str, work: str, count: int, place: list[str]) -> Result:
        if work == "w6":
            return self._recovery(peer, place)
        with _Child(self._command(peer, work, [*place, "--count", str(count)])) as child:
            return child.result()

    def _recovery(self, peer: str, place: list[str]) -> Result:
        with _Child(self._command(peer, "w6-victim", place)) as victim:
            if not victim.reached():
                return Result({}, {})
        begun = time.monotonic()
        with _Child(self._command(peer, "w6-rescuer", [*place, "--begun", str(begun)])) as rescuer:
            if not rescuer.reached():
                return Result({}, {})
            first_s = time.monotonic() - begun
            result = rescuer.result()
            all_s = time.monotonic() - begun
        ended = {"all_s": all_s} if result.settings else {}
        return Result(result.settings, {"first_s": first_s} | ended | result.measures)

    def _command(self, peer: str, work: str, options: list[str]) -> list[str]:
        python = sys.executable if peer.startswith("ours") else str(self._peers_python)
        return [python, "-m", "bench.peers.worker", peer, work, *options, *self._options]

    @contextmanager
    def _place(self) -> Iterator[list[str]]:
        self._runs += 1
        database = f"run{self._runs}"
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            url = self._server.create(database)
            try:
                yield ["--folder", folder, "--postgres", url]
            finally:
                self._server.drop(database)


class _Child:
    """A process that prints `reached` and a JSON object; killed at the end of the block with all that it started, if
    it is still there.
    """

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._is_late = False

    def __enter__(self) -> "_Child":
        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, stdout=subprocess.PIPE, stderr=self._errors, text=True, process_group=0
        )
        self._watch = threading.Timer(TIMEOUT_S, self._give_up)
        self._watch.daemon = True
        self._watch.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._watch.cancel()
        self._kill()
        self._process.communicate()
        self._wait_for_orphans()
        self._errors.close()

    def reached(self) -> bool:
        """Wait for the milestone; False: too slow."""
        return self._line() is not None

    def result(self) -> Result:
        """Wait for the measures, and for the process to end by itself."""
        line = self._line()
        if line is None:
            return Result({}, {})
        said = json.loads(line)
        self._process.wait()
        return Result(said["settings"], said["measures"])

    def _line(self) -> str | None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            return line
        if self._is_late:
            return None
        self._process.wait()
        self._errors.seek(0)
        raise WorkFailed(f"{' '.join(self._command[2:5])}: {self._errors.read()[-3000:]}")

    def _give_up(self) -> None:
        self._is_late = True
        self._kill()

    def _kill(self) -> None:
        """The whole group: an engine may be more than one process."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)

    def _wait_for_orphans(self) -> None:
        """Until all that it started is gone: the next process needs their locks, and their time counts as ours."""
        group = self._process.pid
        try:
            while True:
                if os.waitpid(-group, os.WNOHANG)[0] == 0:  # one is still there, and so the number is still its group's
                    os.killpg(group, signal.SIGKILL)
                    os.waitpid(-group, 0)
        except ChildProcessError:
            pass
