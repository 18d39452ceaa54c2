"""One engine, one work, in a process of its own: `python -m bench.peers.worker ENGINE WORK ...`. The last line that it
prints is a JSON object with settings and measures.
"""

import argparse
import gc
import importlib
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from bench.peers.works import FULL, MILESTONE, MILESTONES, QUICK, STAMPS, Peer, Place, Sizes

PEERS = {
    "ours": "bench.peers.ours:Ours",
    "ours-postgres": "bench.peers.ours:OursOnPostgres",
    "dbos-sqlite": "bench.peers.dbos:DbosSqlite",
    "dbos-postgres": "bench.peers.dbos:DbosPostgres",
    "langgraph": "bench.peers.langgraph:LangGraph",
    "absurd": "bench.peers.absurd:Absurd",
    "restate": "bench.peers.restate:Restate",
}
"""Each engine's class, imported only in its own process."""

Measures = dict[str, float]


def w1(peer: Peer, sizes: Sizes, count: int) -> Measures:
    """Milliseconds of a chain."""
    peer.chains(sizes.chain_steps, 2)
    return {"ms": statistics.median(peer.chains(sizes.chain_steps, sizes.chain_repeats)) * 1000}


def w1_pure(peer: Peer, sizes: Sizes, count: int) -> Measures:
    """Milliseconds of the chain of nodes without an outside effect, which only this engine tells from others."""
    peer.pure_chains(sizes.chain_steps, 2)  # type: ignore[attr-defined]
    times = peer.pure_chains(sizes.chain_steps, sizes.chain_repeats)  # type: ignore[attr-defined]
    return {"ms": statistics.median(times) * 1000}


def w2(peer: Peer, sizes: Sizes, count: int) -> Measures:
    """Executions a second."""
    peer.chains(sizes.many_steps, 2)
    begun = time.perf_counter()
    peer.many(sizes.many_steps, ids(sizes))
    return {"per_s": sizes.many / (time.perf_counter() - begun)}


def w3(peer: Peer, sizes: Sizes, count: int) -> Measures:
    """Milliseconds of a one-step execution."""
    peer.chains(1, 20)
    times = sorted(peer.chains(1, sizes.singles))
    return {"p50_ms": times[len(times) // 2] * 1000, "p99_ms": times[len(times) * 99 // 100] * 1000}


def w4(peer: Peer, sizes: Sizes, count: int) -> Measures:
    """Seconds of a fan-out of `count` steps."""
    peer.fan_out(10)
    begun = time.perf_counter()
    peer.fan_out(count)
    return {"s": time.perf_counter() - begun, "steps": count}


def w5(peer: Peer, sizes: Sizes, count: int) -> Measures:
    """Milliseconds per step from the 100th on, and up to each milestone."""
    STAMPS.clear()
    peer.row(count)
    window = sizes.window
    measures = {"at_100": (STAMPS[100 + window] - STAMPS[100]) / window * 1000}
    for step in MILESTONES:
        if step <= count:
            measures[f"at_{step}"] = (STAMPS[step - 1] - STAMPS[step - 1 - window]) / window * 1000
    last = (STAMPS[-1] - STAMPS[-1 - window]) / window * 1000
    return measures | {"flat": last / measures["at_100"], "steps": count}


def w6_victim(peer: Peer, sizes: Sizes, count: int) -> Measures:
    """Runs W2, says when it is half-way, and is killed then."""
    MILESTONE.steps = sizes.many * sizes.many_steps // 2
    peer.many(sizes.many_steps, ids(sizes))
    raise AssertionError("W2 ended before the kill")


def w6_rescuer(peer: Peer, sizes: Sizes, count: int) -> Measures:
    """Goes on; its first step is announced. (When it came, and what came before it, is added in `main`.)"""
    peer.recover(sizes.many_steps, ids(sizes))
    return {}


def ids(sizes: Sizes) -> list[str]:
    """The executions of W2."""
    return [f"e{number}" for number in range(sizes.many)]


WORKS: dict[str, Callable[[Peer, Sizes, int], Measures]] = {
    "w1": w1,
    "w1-pure": w1_pure,
    "w2": w2,
    "w3": w3,
    "w4": w4,
    "w5": w5,
    "w6-victim": w6_victim,
    "w6-rescuer": w6_rescuer,
}


def spare_loaded_modules() -> None:
    """What `serve` does for its process once it has started, here for every engine alike: the garbage collector
    passes over what is loaded by now, and looks less often at what comes.
    """
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def load(name: str) -> Callable[[Place], Peer]:
    """An engine's class."""
    module, _, attribute = PEERS[name].partition(":")
    found: Callable[[Place], Peer] = getattr(importlib.import_module(module), attribute)
    return found


def main() -> None:
    """Open, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("work", choices=WORKS)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--postgres", default="")
    parser.add_argument("--count", type=int, default=0, help="steps of w4 and w5")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--begun", type=float, default=0.0, help="when it was asked for, monotonic clock")
    asked = parser.parse_args()
    if asked.work == "w6-rescuer":
        MILESTONE.steps = 1
    peer = load(asked.peer)(Place(asked.folder, asked.postgres))
    imported = time.monotonic()
    with peer:
        opened = time.monotonic()
        spare_loaded_modules()
        settings = peer.settings()
        measures = WORKS[asked.work](peer, QUICK if asked.quick else FULL, asked.count)
        if asked.work == "w6-rescuer":
            # On Linux `perf_counter`, by which steps are stamped, is the monotonic clock.
            measures = {
                "imports_s": imported - asked.begun,
                "open_s": min(opened, STAMPS[0]) - imported,
                "step_s": max(0.0, STAMPS[0] - opened),
            }
        print(json.dumps({"settings": settings, "measures": measures}), flush=True)


if __name__ == "__main__":
    main()
