"""F01 and F49: the whole service in one process, with everything that can go wrong, many seeds over."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from simulation import Report, run, run_race, said, table

IS_LONG = os.environ.get("PROPERTIES") == "long"
SEEDS = range(1, 2_001 if IS_LONG else 31)
RACES = range(1, 1_001 if IS_LONG else 31)
TWICE = SEEDS[:: 100 if IS_LONG else 15]
"""Seeds that are played again."""

REPLAY = Path(__file__).parent / "simulation.py"


def reports(play: Callable[[int], Report], seeds: range) -> Iterator[Report]:
    """Play them, on all processors where they are many."""
    if not IS_LONG:
        yield from map(play, seeds)
        return
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        yield from pool.map(play, seeds, chunksize=50)


def judge(found: Iterator[Report], *, options: str = "") -> Counter[str]:
    """What happened in sum, once no seed has broken a promise; those that have are printed with how to replay them."""
    happened: Counter[str] = Counter()
    broken: list[int] = []
    for report in found:
        happened += report.happened
        if report.problems:
            broken.append(report.seed)
            how = f"tests/simulation/simulation.py {report.seed} {options} --journal"
            print(f"{said(report)}\nreplay: .venv/bin/python {how}")  # noqa: T201
    print(table(happened))  # noqa: T201
    assert not broken, f"seeds that break a promise: {broken} (see above how to replay them)"
    return happened


@pytest.mark.timeout(3600)
def test_whatever_goes_wrong_at_whatever_point_the_service_keeps_its_promises() -> None:
    happened = judge(reports(run, SEEDS))
    for trouble in (
        "killed before a commit",
        "killed after a commit",
        "killed between two steps",
        "commit lost",
        "commit landed, answered by an error",
        "commit landed, and nobody could look",
        "disk full at a commit",
        "outages of the disk",
        "stopped and replaced",
        "went on beside the successor",
        "ended in good order",
        "clock moved ahead",
        "clock moved back",
        "result repeated",
        "result delayed",
        "old result repeated",
        "wake-up repeated",
        "wake-up delayed",
        "wake-up before its time",
        "commands sent twice at once",
        "requests at the target after their effect",
    ):
        assert happened[trouble], f"{trouble}: it never happened, so nothing is shown about it"


@pytest.mark.timeout(3600)
def test_of_commands_and_clocks_that_meet_at_one_instant_one_ends_the_execution() -> None:
    happened = judge(reports(run_race, RACES), options="--races")
    assert happened["executions"] > 3 * len(RACES)


def test_the_same_seed_gives_the_same_log_byte_by_byte() -> None:
    for seed in TWICE:
        assert run(seed).digest == run(seed).digest, seed


def test_the_same_seed_gives_the_same_log_in_another_process_with_another_order_of_sets() -> None:
    seed = TWICE[-1]
    environment = os.environ | {"PYTHONHASHSEED": "4711"}
    other = subprocess.run(
        [sys.executable, str(REPLAY), str(seed)], env=environment, capture_output=True, text=True, check=True
    )
    assert other.stdout.splitlines()[-1] == f"log {run(seed).digest}"


def test_another_seed_gives_another_log() -> None:
    assert run(1).digest != run(2).digest
