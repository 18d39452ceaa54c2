"""`make bench`: every measurement, one after another, as one report of a minute or two. `--long` adds those that take
longer; names choose some of them.
"""

import argparse
import subprocess
import sys
import time

from bench.machine import describe, load
from bench.workplace import as_installed, workplace

MODULES = {
    "engine": "The engine, through the library",
    "orders": "A graph as it comes in reality",
    "http": "Over HTTP",
    "live": "Live events",
    "serving": "At start, at publish, in batches",
    "paused": "At rest",
    "store": "The store",
    "expressions": "Expressions",
}
LONGER = {"live", "expressions"}
"""Those that `--long` adds to."""


def main() -> int:
    """Run the named measurements (all without a name), each in a process of its own."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(MODULES))
    parser.add_argument("--long", action="store_true", help="also what takes several minutes")
    asked = parser.parse_args()
    if unknown := [name for name in asked.names if name not in MODULES]:
        parser.error(f"no such measurement: {', '.join(unknown)}; there are: {', '.join(MODULES)}")
    as_installed()
    begun = time.perf_counter()
    with workplace() as folder:
        print(f"{describe(folder)}, load {load():.2f}")
        codes = [measure(name, is_long=asked.long and name in LONGER) for name in asked.names or MODULES]
    print(f"\n{time.perf_counter() - begun:.0f} s, load {load():.2f}")
    return max(codes)


def measure(name: str, *, is_long: bool) -> int:
    """One of them; its exit code. It hears of it if this process is asked to end."""
    print(f"\n== {MODULES[name]} ({name})", flush=True)
    command = [sys.executable, "-m", f"bench.{name}", *(["--long"] if is_long else [])]
    with subprocess.Popen(command) as child:
        try:
            return child.wait()
        except BaseException:
            child.terminate()
            raise


if __name__ == "__main__":
    sys.exit(main())
