"""`make bench`: every measurement, one after another, as a table."""

import subprocess
import sys

MODULES = {
    "engine": "bench.engine",
    "http": "bench.http",
    "store": "bench.store",
    "expressions": "bench.expressions",
    "live": "bench.live",
    "serving": "bench.serving",
    "paused": "bench.paused",
}


def main() -> int:
    """Run the named measurements (all without a name), each in a process of its own."""
    names = sys.argv[1:] or list(MODULES)
    unknown = [name for name in names if name not in MODULES]
    if unknown:
        print(f"no such measurement: {', '.join(unknown)}; there are: {', '.join(MODULES)}")
        return 2
    codes = []
    for name in names:
        print(f"\n== {name}", flush=True)
        codes.append(subprocess.run([sys.executable, "-m", MODULES[name]], check=False).returncode)
    return max(codes)


sys.exit(main())
