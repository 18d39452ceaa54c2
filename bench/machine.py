"""What the figures were measured on. Standard library alone."""

import os
import platform
import statistics
import time
from pathlib import Path


def describe(folder: Path) -> str:
    """Processor, cores, interpreter, what it costs to reach the disk in `folder`."""
    return (
        f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, "
        f"CPython {platform.python_version()}, fdatasync p50 {fdatasync_ms(folder):.2f} ms"
    )


def fdatasync_ms(folder: Path) -> float:
    """Median milliseconds of 200 appended pages, each forced to the disk."""
    path, times = folder / "fdatasync", []
    with path.open("wb", buffering=0) as file:
        for _ in range(200):
            begun = time.perf_counter()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - begun)
    path.unlink()
    return statistics.median(times) * 1000


def load() -> float:
    """Load average of the last minute."""
    return os.getloadavg()[0]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
