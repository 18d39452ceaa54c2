"""`make faults`: every fault happens once to the engine as it is, which must survive it, and once to an engine whose
protecting line is switched off, which must not: a test that can't fail proves nothing.

A fault is a module `fNN_name.py` in this folder with
    TITLE     what happens, in a line;
    TOOTH     the protection that is switched off, in a line;
    scale()   sets sizes and times that fit a test, in the server's process;
    bite()    switches the protection off, in the server's process;
    strike(stage)  a coroutine: makes the fault happen, requires that it did, and that the promise holds.

    python tests/faults/fault_runner.py [F31 ...]
"""

import asyncio
import importlib
import sys
import tempfile
import time
import traceback
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from fault_stage import Stage  # noqa: E402

STRIKE_TIMEOUT_S = 300.0


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def all_faults() -> dict[str, ModuleType]:
    """Every fault by its number."""
    names = sorted(path.stem for path in HERE.glob("f[0-9][0-9]_*.py"))
    return {name.split("_")[0].upper(): importlib.import_module(name) for name in names}


async def survives(fault: ModuleType, *, is_bitten: bool) -> str | None:
    """Make the fault happen once; None if the promise held, else what broke."""
    with tempfile.TemporaryDirectory(prefix="fault-") as folder:
        try:
            async with asyncio.timeout(STRIKE_TIMEOUT_S):
                await fault.strike(Stage(fault.__name__, Path(folder), is_bitten=is_bitten))
        except Exception:  # noqa: BLE001 - whatever it is, the fault was not survived
            return traceback.format_exc()
    return None


async def run_one(number: str, fault: ModuleType) -> tuple[bool, bool]:
    """Whether the engine survives, and whether the tooth bites."""
    begun_s = time.monotonic()
    broken = await survives(fault, is_bitten=False)
    if broken is not None:
        say(broken)
    bitten = await survives(fault, is_bitten=True)
    seconds = time.monotonic() - begun_s
    say(f"{number} {'survived' if broken is None else 'NOT SURVIVED'}: {fault.TITLE} ({seconds:.0f} s)")
    reason = bitten.strip().splitlines()[-1] if bitten else ""
    say(f"    tooth {'bites' if bitten else 'DOES NOT BITE'}: {fault.TOOTH}" + (f" -> {reason}" if reason else ""))
    return broken is None, bitten is not None


def main() -> int:
    """Run the named faults (all without a name); 0 if all were survived and all teeth bite."""
    faults = all_faults()
    chosen = {number: faults[number] for number in (sys.argv[1:] or faults)}
    results = [asyncio.run(run_one(number, fault)) for number, fault in chosen.items()]
    survived, biting = (sum(column) for column in zip(*results, strict=True))
    say(f"faults {survived}/{len(results)} (teeth {biting}/{len(results)})")
    return 0 if survived == biting == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
