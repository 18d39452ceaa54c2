"""The numbers and printers of `parcel_labels.yaml`."""

import asyncio

from workflow_engine import function

_printing = 0


@function
async def next_number(last: int) -> int:
    """The number after the last one. It takes a moment, in which another could draw the same."""
    await asyncio.sleep(0.01)
    return last + 1


@function
async def print_label(text: str) -> dict[str, object]:
    """Print a label; says how many were printed at that time."""
    global _printing
    _printing += 1
    at_once = _printing
    await asyncio.sleep(0.02)
    _printing -= 1
    return {"text": text, "at_once": at_once}
