import json
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from databases import SQLITE_ONLY, asked

from workflow_engine.models.errors import DatabaseInUse, StoreUnavailable
from workflow_engine.store import Store

HERE = Path(__file__).parent


@contextmanager
def writer(url: str, name: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that writes, killed with SIGKILL at the end."""
    command = [sys.executable, str(HERE / "crash_child.py"), url, name]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        try:
            yield child
        finally:
            child.kill()


class Killer:
    """Kills one process after another while they commit."""

    def __init__(self, child: "subprocess.Popen[str]") -> None:
        self._child = child

    def kill_one(self, name: str, lines: int) -> dict[str, int]:
        """Kill it once so many transitions are acknowledged; gives the last acknowledged of each execution."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(f"{name} {lines}\n")
        self._child.stdin.flush()
        ledger: dict[str, int] = json.loads(self._child.stdout.readline())
        return ledger


@pytest.fixture
def killer(url: str) -> Iterator[Killer]:
    command = [sys.executable, str(HERE / "crash_child.py"), url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        yield Killer(child)
        child.kill()


async def test_every_acknowledged_transition_survives_kill_9(url: str, killer: Killer) -> None:
    luck = random.Random(7)
    rounds = 20 if url.startswith("sqlite") else 5
    for round_number in range(rounds):
        ledger = killer.kill_one(f"round{round_number}", luck.randint(1, 1500))
        store = await Store.open(url)
        for execution_id, number in ledger.items():
            assert (await store.execution("acme", execution_id)).transition >= number
        for execution_id in luck.sample(sorted(ledger), min(10, len(ledger))):
            await require_whole(store, execution_id)
        await store.close()
    if url.startswith("sqlite"):
        assert asked(url, "PRAGMA integrity_check") == [("ok",)]
        assert asked(url, "PRAGMA auto_vacuum") == [(2,)]


async def require_whole(store: Store, execution_id: str) -> None:
    """Nothing of any transition is missing."""
    row, snapshot, log = await store.load("acme", execution_id)
    assert row.labels.keys() == {"round"}
    assert snapshot == (row.transition, b"%d" % row.transition)
    assert log == []
    numbers = [entry.number for entry in await store.log("acme", execution_id)]
    assert numbers == list(range(1, row.transition + 1))
    timers = await store.tasks("acme", kind="timer", execution_id=execution_id, limit=500)
    assert len(timers) == row.transition


async def test_a_second_process_is_refused_by_name_and_let_in_after_kill_9(url: str) -> None:
    with writer(url, "holder") as child:
        assert child.stdout is not None
        child.stdout.readline()
        with pytest.raises(DatabaseInUse, match=rf"process {child.pid}\b.* writes to"):
            await Store.open(url)
        beside = await Store.open(url, read_only=True)
        assert len(await beside.executions("acme", limit=500)) > 0
        await beside.close()
        child.kill()
        child.wait()
        after_crash = await Store.open(url, read_only=True)
        assert len(await after_crash.executions("acme", limit=500)) > 0
        await after_crash.close()
    store = await Store.open(url)
    await store.close()


@SQLITE_ONLY
async def test_another_name_of_the_file_does_not_get_round_the_lock(store: Store, tmp_path: Path) -> None:
    (tmp_path / "alias.db").symlink_to(tmp_path / "engine.db")
    with pytest.raises(DatabaseInUse):
        await Store.open(f"sqlite:///{tmp_path}/alias.db")


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


@SQLITE_ONLY
async def test_reading_where_there_is_no_database_makes_none(url: str, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="there is no database at"):
        await Store.open(url, read_only=True)
    assert files_in(tmp_path) == []


@SQLITE_ONLY
async def test_the_files_are_for_their_owner_alone(store: Store, tmp_path: Path) -> None:
    assert {path.stat().st_mode & 0o077 for path in files_in(tmp_path)} == {0}
