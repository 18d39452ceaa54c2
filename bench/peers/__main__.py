"""`make bench-peers`: install, serve PostgreSQL, run every work of every engine in turn, round after round."""

import argparse
import sys
from pathlib import Path

from bench.machine import describe, load
from bench.peers import machine, plot
from bench.peers.environment import installed, node_installed
from bench.peers.postgres import SETTINGS, serving
from bench.peers.runner import TIMEOUT_S, Result, Runner
from bench.peers.table import OURS, Results
from bench.peers.works import FULL, QUICK, Sizes
from bench.workplace import as_installed, workplace

PEERS = [OURS, "ours-postgres", "absurd", "langgraph", "dbos-sqlite", "dbos-postgres", "restate"]
WORKS = ["w1", "w1-pure", "w2", "w3", "w4-small", "w4-large", "w5", "w6"]

LIMIT_S = 60.0
"""A fan-out of 10,000 that would take longer, to judge by that of 1,000, is measured with fewer steps."""


def main() -> int:
    """Print the medians and the ratios."""
    asked = _arguments()
    sizes = QUICK if asked.quick else FULL
    as_installed()
    results = Results(_present(asked.peers))
    with workplace() as folder:
        python = installed()
        print(f"{describe(folder)}, load {load():.2f}")
        with serving(folder) as server:
            print("PostgreSQL: " + ", ".join(f"{key}={value}" for key, value in SETTINGS.items() if value))
            runner = Runner(folder, python, server, is_quick=asked.quick, patience_s=asked.patience)
            try:
                measure(results, runner, asked.works, sizes, asked.rounds)
            except KeyboardInterrupt:
                print("interrupted; this is what was measured until then")
    print(f"\nMedians of {asked.rounds} rounds (least to greatest)\n")
    print(results.medians())
    for (peer, work), count in results.scaled.items():
        print(f"* {peer}, {work}: from {count:,} steps, in proportion")
    if disturbed := results.disturbed():
        print(
            f"\nOther processes had {machine.QUIET:.0%} or more of the processors in some rounds; these do not count."
        )
        print(f"Quiet rounds (0: all count, and the median means little): {disturbed}")
    print("\nHow many times as fast as each, this engine is\n")
    print(results.ratios())
    if asked.plot is not None:
        asked.plot.write_text(plot.draw(results))
    return 0


def measure(results: Results, runner: Runner, works: list[str], sizes: Sizes, rounds: int) -> None:
    """Interleaved: in each round each work goes through all engines, beginning with another one each time."""
    said: set[str] = set()
    peers = results.peers
    for number in range(rounds):
        order = peers[number % len(peers) :] + peers[: number % len(peers)]
        for work in works:
            for peer in order if work != "w1-pure" else [OURS]:
                result = runner.run(peer, "w4" if work.startswith("w4") else work, _count(results, peer, work, sizes))
                if result.settings and peer not in said:
                    said.add(peer)
                    print(f"{peer}: {'; '.join(result.settings.values())}")
                _add(results, peer, work, result, sizes)
                shown = ", ".join(f"{key} {value:.3g}" for key, value in result.measures.items())
                shown = f"{shown or f'over {TIMEOUT_S:.0f} s'} (others {result.others:.0%})"
                print(f"  round {number + 1} {work:<8} {peer:<14} {shown}", flush=True)


def _present(peers: list[str]) -> list[str]:
    """Without those that cannot run here, which is said."""
    if "restate" in peers and not node_installed():
        print("restate is left out: it needs node and npm")
        return [peer for peer in peers if peer != "restate"]
    return peers


def _count(results: Results, peer: str, work: str, sizes: Sizes) -> int:
    """Steps of a fan-out or of a row."""
    if work != "w4-large":
        row_steps = sizes.long_row_steps if peer == OURS else sizes.row_steps
        return {"w4-small": sizes.fan_out_small, "w5": row_steps}.get(work, 0)
    small_s = results.median(peer, "w4-small", "s")
    expected_s = (small_s or 0.0) * sizes.fan_out_large / sizes.fan_out_small
    if expected_s <= LIMIT_S:
        return sizes.fan_out_large
    return max(sizes.fan_out_small, int(sizes.fan_out_large * LIMIT_S / expected_s))


def _add(results: Results, peer: str, work: str, result: Result, sizes: Sizes) -> None:
    measures = result.measures
    if work == "w4-large" and measures and measures["steps"] < sizes.fan_out_large:
        results.scaled[peer, work] = int(measures["steps"])
        measures = {"s": measures["s"] * sizes.fan_out_large / measures["steps"]}
    results.add(peer, work, measures, result.others)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--patience", type=float, default=20.0, help="seconds to wait for a quiet machine, each time")
    parser.add_argument("--quick", action="store_true", help="a tenth of each work, to see that it runs")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=PEERS)
    parser.add_argument("--works", nargs="+", choices=WORKS, default=WORKS)
    parser.add_argument("--plot", type=Path, help="write the plot of docs/performance.md to this file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
