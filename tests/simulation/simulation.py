"""One schedule of the whole service in one process: everything that happens is drawn from a seed.

    python tests/simulation/simulation.py 17 [--races]

replays seed 17 and says what broke.
"""

import argparse
import asyncio
import hashlib
import os
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

import pytest
from pysqlite3 import dbapi2
from sim_client import DONE
from sim_disk import CONNECT_READER
from sim_flows import Flow
from sim_host import seams
from sim_loop import SimLoop
from sim_nemesis import Plan, plan_of
from sim_scene import Scene
from sim_scripts import everything, race_plan, races

from workflow_engine.store import Store


class Report(NamedTuple):
    """What a schedule was and what came of it."""

    seed: int
    plan: Plan
    problems: list[str]
    happened: Counter[str]
    digest: str
    """Of every row of the log."""
    journal: list[str]


def scratch() -> str | None:
    """A folder in memory, where there is one: the simulated disk is not there to be waited for."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@cache
def empty_database() -> bytes:
    """A database without anything in it, and with a secret that is always the same."""
    with tempfile.TemporaryDirectory(dir=scratch()) as folder:
        path = Path(folder, "empty.db")

        async def make() -> None:
            store = await Store.open(f"sqlite:///{path}")
            await store.close()

        asyncio.run(make())
        connection = dbapi2.connect(str(path))
        connection.execute("UPDATE server_keys SET value = ?", (bytes(32),))
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        return path.read_bytes()


@contextmanager
def database() -> Iterator[Path]:
    """A fresh one."""
    folder = Path(tempfile.mkdtemp(prefix="simulation-", dir=scratch()))
    try:
        path = folder / "engine.db"
        path.write_bytes(empty_database())
        yield path
    finally:
        shutil.rmtree(folder)


def log_digest(path: Path) -> str:
    """Of the whole log, byte by byte."""
    connection = CONNECT_READER(path)
    try:
        digest = hashlib.sha256()
        for row in connection.execute(
            "SELECT tenant_id, execution_id, number, first_sequence, last_sequence, at, commit_id, events"
            " FROM transitions ORDER BY tenant_id, execution_id, number"
        ):
            digest.update(repr(tuple(row)).encode())
        return digest.hexdigest()
    finally:
        connection.close()


Script = Callable[[Scene], Awaitable[None]]


class Tooth(NamedTuple):
    """A protecting line, switched off: what happens then must be noticed."""

    name: str
    bite: Callable[[pytest.MonkeyPatch], None]
    finds: str
    """A part of the problem that has to be found."""
    trouble: dict[str, Any] = {}
    """Parts of the plan that are not left to chance."""
    flows: tuple[Flow, ...] = ()
    is_race: bool = False


def run(seed: int, *, tooth: Tooth | None = None, is_told: bool = False) -> Report:
    """F01: play the schedule of a seed."""
    return play(seed, plan_of(Random(f"{seed} plan")), everything, tooth=tooth, is_told=is_told)


def run_race(seed: int, *, tooth: Tooth | None = None, is_told: bool = False) -> Report:
    """F49: play the race of a seed."""
    return play(seed, race_plan(Random(f"{seed} race")), races, tooth=tooth, is_told=is_told)


def play(seed: int, plan: Plan, script: Script, *, tooth: Tooth | None = None, is_told: bool = False) -> Report:
    """Play a script under a plan; `is_told`: with a journal that has every commit in its place."""
    if tooth is not None:
        plan = plan._replace(**tooth.trouble)
    with database() as path:
        scene = Scene(seed, path, plan)
        scene.flows = tooth.flows if tooth is not None else ()
        loop, auditor = scene.loop, scene.auditor
        if is_told:
            scene.disk.on_commit = auditor.read_all
        asyncio.set_event_loop(loop)
        try:
            with seams(
                loop, scene.disk, scene.wall, scene.target, scene.ids, scene.alarms, plan.snapshot_bytes, scene.note
            ) as patch:
                if tooth is not None:
                    tooth.bite(patch)
                scene.nemesis.start(patch)
                try:
                    loop.run_until_complete(_play(scene, script))
                except (Exception, asyncio.CancelledError):  # noqa: BLE001 - whatever ends a schedule early is its result
                    auditor.fails("P2", "the schedule", traceback.format_exc())
                for failure in loop.failures + scene.alarms:
                    auditor.fails("none", "what nobody expected", failure)
                _count(scene)
                journal = scene.journal if is_told else []
                return Report(seed, plan, auditor.problems, scene.disk.happened, log_digest(path), journal)
        finally:
            for life in scene.supervisor.lives:
                loop.kill(life.process)
            auditor.close()
            _close(loop)
            asyncio.set_event_loop(None)


async def _play(scene: Scene, script: Script) -> None:
    scene.supervisor.start()
    await script(scene)
    await scene.finish()


def _close(loop: SimLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()


def _count(scene: Scene) -> None:
    happened = scene.disk.happened
    happened["lives of the service"] = scene.supervisor.boots
    happened["commits"] = scene.disk.commits
    happened["steps of the loop"] = scene.loop.steps
    happened["executions"] = len(scene.auditor.everybody())
    happened["requests at the target"] = len(scene.target.requests)
    happened["requests at the target after their effect"] = scene.target.repeats
    happened["commands of clients"] = len(scene.clients.ops)
    happened["commands acknowledged"] = sum(op.outcome == DONE for op in scene.clients.ops)
    happened["commands sent twice at once"] = scene.clients.repeats
    happened["checks"] = scene.auditor.checks


def said(report: Report) -> str:
    """A report for people."""
    lines = [f"seed {report.seed}: {'; '.join(report.problems) or 'all promises kept'}", f"  {report.plan}"]
    return "\n".join([*lines, table(report.happened), f"log {report.digest}"])


def table(happened: Counter[str]) -> str:
    """What happened how often."""
    return "\n".join(f"{count:>9} {what}" for what, count in sorted(happened.items()) if count)


def main() -> int:
    """Replay seeds; 0 if all promises were kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seed", type=int)
    parser.add_argument("--to", type=int, help="all seeds from the one up to this one, and what happened in sum")
    parser.add_argument("--races", action="store_true", help="F49 instead of F01")
    parser.add_argument("--journal", action="store_true", help="tell everything that happened")
    options = parser.parse_args()
    total: Counter[str] = Counter()
    broken = 0
    for seed in range(options.seed, (options.to or options.seed) + 1):
        report = (run_race if options.races else run)(seed, is_told=options.journal)
        total += report.happened
        broken += bool(report.problems)
        if report.problems or options.to is None:
            journal = report.journal if options.journal else []
            sys.stdout.write("\n".join([*journal, said(report), ""]))
    if options.to is not None:
        sys.stdout.write(f"{broken} broken\n{table(total)}\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
