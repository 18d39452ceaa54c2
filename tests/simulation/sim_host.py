"""The service under test: the real engine, opened in a simulated process, and whoever starts it again when it dies."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import ModuleType, SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
import structlog
from sim_disk import Disk, LoopCommitter
from sim_loop import BEGINS_S, Process, SimLoop
from sim_target import Target, TargetHandler

from workflow_engine import Engine, EngineClosed, main
from workflow_engine.config.settings import Settings
from workflow_engine.models.errors import WorkflowEngineError
from workflow_engine.models.instant import MICROSECONDS
from workflow_engine.routes.idempotency import Idempotency
from workflow_engine.services import retention, state_manager
from workflow_engine.services.engine_services import EngineServices
from workflow_engine.store import clock, committer, database, sqlite, sqlite_database, store

BEGINS_AT = 1_750_031_400 * MICROSECONDS
"""2025-06-15T23:50:00Z by the database's clock, when a schedule begins."""

PACKAGE = "workflow_engine."

ALARMS = (
    "execution.abandoned",
    "step.handler_raised",
    "store.writer_stopped",
    "retention.sweep_failed",
    "background.failed",
    "child.start_failed",
)
"""Log entries that tell of a bug."""


Note = Callable[[str], None]
"""Writes a line into the journal of the schedule."""


class WallClock:
    """The database's clock: the machine's, and whatever the nemesis adds to it."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop
        self.offset_at = 0

    def at(self, _connection: Any = None) -> int:
        """Microseconds since 1970 UTC."""
        return BEGINS_AT + int((self._loop.time() - BEGINS_S) * MICROSECONDS) + self.offset_at


class OpenLock:
    """In the place of the lock that keeps a second process out, which has tests of its own: here two may meet."""

    def __init__(self, _path: Path) -> None:
        self.is_held = False

    def acquire(self) -> None:
        """Always granted."""

    def release(self) -> None:
        """Nothing is held."""


@contextmanager
def seams(
    loop: SimLoop,
    disk: Disk,
    wall: WallClock,
    target: Target,
    random: Random,
    alarms: list[str],
    snapshot_bytes: int,
    journal: Note,
) -> Iterator[pytest.MonkeyPatch]:
    """Put the simulated clock, disk, thread and target where the engine meets the real ones, and nothing else."""
    before = structlog.get_config()

    def note(_logger: Any, _method: str, entry: dict[str, Any]) -> Any:
        journal(" ".join(f"{name}={value}" for name, value in entry.items()))
        if entry["event"] in ALARMS:
            alarms.append(f"{entry['event']}: {entry.get('exc_info') or entry.get('error')!r}")
        raise structlog.DropEvent

    with pytest.MonkeyPatch.context() as patch:
        structlog.configure(processors=[note], cache_logger_on_first_use=False)
        ticking = SimpleNamespace(monotonic=loop.time)
        patch.setattr(sqlite, "clock_at", wall.at)
        patch.setattr(sqlite_database, "Clock", lambda read_at: clock.Clock(read_at, loop.monotonic_ns))
        patch.setattr(database, "time", ticking)
        patch.setattr(sqlite_database, "time", ticking)
        patch.setattr(sqlite_database, "FileLock", OpenLock)
        patch.setattr(sqlite, "connect_writer", disk.connect_writer)
        patch.setattr(sqlite, "connect_reader", disk.connect_reader)
        patch.setattr(store, "Committer", LoopCommitter)
        patch.setattr(committer, "secrets", SimpleNamespace(randbits=random.getrandbits))
        for module in _drawing_ids():
            patch.setattr(module, "uuid7", lambda: UUID(int=random.getrandbits(128), version=4))
        patch.setattr(retention, "perf_counter", loop.time)
        patch.setattr(state_manager, "SNAPSHOT_LOG_BYTES_MIN", snapshot_bytes)
        patch.setattr(main, "http_handler", lambda _settings: TargetHandler(target))
        try:
            yield patch
        finally:
            structlog.configure(**before)


def _drawing_ids() -> list[ModuleType]:
    """The modules of the product that make ids by chance."""
    return [one for name, one in sorted(sys.modules.items()) if name.startswith(PACKAGE) and hasattr(one, "uuid7")]


class Host:
    """One life of the service."""

    def __init__(self, name: str, path: Path, target: Target, settings: Settings) -> None:
        self.process = Process(name)
        self.engine = Engine(f"sqlite:///{path}", functions=target.functions(), settings=settings)
        self._idempotency: Idempotency | None = None

    @property
    def services(self) -> EngineServices:
        """What the doors call; raises ConnectionRefusedError where it is closed already."""
        try:
            return self.engine.services
        except EngineClosed:
            raise ConnectionRefusedError(f"{self.process.name} is closed") from None

    @property
    def idempotency(self) -> Idempotency:
        """What remembers requests, as the HTTP door has it."""
        if self._idempotency is None:
            self._idempotency = Idempotency(self.services.store)
        return self._idempotency


class Supervisor:
    """Starts the service, and starts it again whenever it has died."""

    def __init__(
        self, loop: SimLoop, random: Random, path: Path, target: Target, settings: Settings, note: Note
    ) -> None:
        self._note = note
        self._loop = loop
        self._random = random
        self._path = path
        self._target = target
        self._settings = settings
        self._runner: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()
        self.host: Host | None = None
        """Who serves now."""
        self.lives: list[Host] = []
        self.boots = 0

    def start(self) -> None:
        """Keep one host alive from now on."""
        self._wanted.set()
        self._runner = self._loop.create_task(self._run())

    async def stop(self) -> None:
        """Start none any more, and let the present one end in good order."""
        assert self._runner is not None
        self._runner.cancel()
        await asyncio.gather(self._runner, return_exceptions=True)
        if self.host is not None:
            await self._loop.call(self.host.process, self.host.engine.__aexit__(None, None, None))
            self._loop.kill(self.host.process)

    def retire(self) -> Host | None:
        """The present host takes no more; gives it. Another one is started by `replace`."""
        old, self.host = self.host, None
        return old

    def replace(self) -> None:
        """The present host serves no more: start another one."""
        self.host = None
        self._wanted.set()

    async def _run(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self.host is None:
                await asyncio.sleep(self._random.random() * 2)
                self.host = await self._boot()

    async def _boot(self) -> Host | None:
        self.boots += 1
        host = Host(f"engine-{self.boots}", self._path, self._target, self._settings)
        self.lives.append(host)
        host.process.on_death.append(lambda: self._note(f"{host.process.name} is dead"))
        self._note(f"{host.process.name} starts")

        def on_death() -> None:
            if self.host is host:
                self.replace()

        host.process.on_death.append(on_death)
        try:
            await self._loop.call(host.process, host.engine.__aenter__())
        except (ConnectionError, WorkflowEngineError):
            self._loop.kill(host.process)
        return None if host.process.is_dead else host
