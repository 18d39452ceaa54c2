"""How fast the store is, on SQLite and on PostgreSQL: `python -m bench.store`.

Prints the median of a single commit, writes a second from 1 and from 100 submitters with the size of their groups, and
the rate of a burst with what a write costs the processor in this process.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.peers.postgres import PostgresFailed, serving
from workflow_engine.store import ExecutionRow, Store, Summary, TaskRow, TransitionWrite

EVENTS = os.urandom(300)


def first(execution_id: str, at: int) -> TransitionWrite:
    row = ExecutionRow("default", execution_id, "bench", 1, 5, at, {}, {}, status="running", started_at=at)
    return TransitionWrite("default", execution_id, 1, 1, 3, at, EVENTS, created=row)


def later(execution_id: str, number: int, at: int) -> TransitionWrite:
    return TransitionWrite("default", execution_id, number, 3 * number - 2, 3 * number, at, EVENTS)


async def single_commits(store: Store, count: int) -> list[float]:
    """Seconds of each of so many commits, one after the other."""
    await store.commit(first("single", store.now()))
    times = []
    for number in range(2, count + 2):
        began = time.perf_counter()
        await store.commit(later("single", number, store.now()))
        times.append(time.perf_counter() - began)
    return times


async def burst(store: Store, writes: list[TransitionWrite]) -> float:
    """Transitions a second when all are submitted at once."""
    left = len(writes)
    done = asyncio.Event()

    def on_done(error: Exception | None) -> None:
        nonlocal left
        if error is not None:
            raise error
        left -= 1
        if left == 0:
            done.set()

    began = time.perf_counter()
    for write in writes:
        store.submit(write, on_done)
    await done.wait()
    return len(writes) / (time.perf_counter() - began)


def transitions(executions: int, each: int, at: int) -> list[TransitionWrite]:
    ids = [f"burst-{at}-{position:06}" for position in range(executions)]
    started = [first(execution_id, at) for execution_id in ids]
    return started + [later(execution_id, number, at) for number in range(2, each + 1) for execution_id in ids]


def short_lives(executions: int, at: int) -> list[TransitionWrite]:
    """Executions with labels that start, wait for a timer, and complete."""
    writes = []
    for position in range(executions):
        execution_id = f"short-{at}-{position:06}"
        start = first(execution_id, at)
        if start.created is not None:
            start.created.labels = {"team": "red", "prio": 3}
        start.tasks_put = [TaskRow("wait.1", "timer", at + 1_000_000)]
        end = later(execution_id, 2, at)
        end.summary = Summary("completed", None, 100, at, at + 1)
        end.tasks_removed = ["wait.1"]
        writes += [start, end]
    return writes


BURSTS: list[tuple[str, Callable[[int], list[TransitionWrite]]]] = [
    ("1,000 x 10 transitions", partial(transitions, 1000, 10)),
    ("5,000 x start and end", partial(short_lives, 5000)),
]


def busy_thread() -> Callable[[], None]:
    """A thread that computes all the time; calling the answer ends it."""
    ended = threading.Event()

    def spin() -> None:
        number = 0
        while not ended.is_set():
            number += 1

    threading.Thread(target=spin, daemon=True).start()
    return ended.set


async def reads(store: Store, count: int) -> list[float]:
    times = []
    for _ in range(count):
        began = time.perf_counter()
        await store.execution("default", "single")
        times.append(time.perf_counter() - began)
    return times


async def submitters(store: Store, count: int, seconds: float) -> tuple[float, float]:
    """Writes a second, and writes in a commit, while so many executions each go on as soon as they are durable."""
    at = store.now()
    ends_at = time.perf_counter() + seconds
    before = (sum(store.commits.group_sizes.counts), store.commits.group_sizes.sum)

    async def go_on(execution_id: str) -> None:
        number = 1
        await store.commit(first(execution_id, at))
        while time.perf_counter() < ends_at:
            number += 1
            await store.commit(later(execution_id, number, at))

    await asyncio.gather(*(go_on(f"submitter-{at}-{position:03}") for position in range(count)))
    commits = sum(store.commits.group_sizes.counts) - before[0]
    writes = store.commits.group_sizes.sum - before[1]
    return writes / seconds, writes / commits


async def measure(name: str, url: str, rounds: int) -> None:
    print(name)
    store = await Store.open(url)
    times = await single_commits(store, 3000)
    fresh, times = sorted(times[:1000]), sorted(times[2000:])
    print(f"  single commit, fresh   p50 {fresh[500] * 1000:.3f} ms   p99 {fresh[990] * 1000:.3f} ms   (the log grows)")
    print(f"  single commit          p50 {times[500] * 1000:.3f} ms   p99 {times[990] * 1000:.3f} ms")
    for count in (1, 100):
        rate, size = await submitters(store, count, 2.0)
        print(f"  {count:3} submitters        {rate:,.0f}/s   ({size:.1f} writes in a commit)")
    for title, make in BURSTS:
        rates, costs = [], []
        for _ in range(rounds):
            writes = make(store.now())
            began_s = time.process_time()
            rates.append(await burst(store, writes))
            costs.append((time.process_time() - began_s) / len(writes) * 1e6)
        rate, best = statistics.median(rates), max(rates)
        print(f"  {title:22} {rate:,.0f}/s   (best {best:,.0f}; CPU {min(costs):.1f} us for a write)")
    times = sorted(await reads(store, 1000))
    print(f"  execution()            p50 {times[500] * 1000:.3f} ms   p99 {times[990] * 1000:.3f} ms")
    await beside_computing(store)
    await store.close()


async def beside_computing(store: Store) -> None:
    for interval_s in (0.005, 0.0005):
        sys.setswitchinterval(interval_s)
        stop = busy_thread()
        rate = await burst(store, transitions(1000, 10, store.now()))
        began = time.perf_counter()
        rows = await store.log("default", "single", limit=500)
        log_s = time.perf_counter() - began
        stop()
        print(f"  busy thread, {interval_s * 1000} ms   {rate:,.0f}/s   log() of {len(rows)} rows {log_s:.3f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where the databases go (default: a temporary folder)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["sqlite", "postgresql"], help="one database instead of both")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        if arguments.only != "postgresql":
            asyncio.run(measure("SQLite", f"sqlite:///{folder}/bench.db", arguments.rounds))
            print(f"  database               {(folder / 'bench.db').stat().st_size / 2**20:.0f} MiB")
        if arguments.only != "sqlite":
            try:
                with serving(folder) as server:
                    asyncio.run(measure("PostgreSQL", server.create("bench"), arguments.rounds))
                    print(f"  server                 {server.cpu_s():.0f} s of CPU in all")
            except PostgresFailed as error:
                print(f"PostgreSQL can't be started here: {error}")


if __name__ == "__main__":
    main()
