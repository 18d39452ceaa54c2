"""Functions that the tests' servers register: steps that begin, wait for a file, and end."""

import asyncio
from pathlib import Path

from workflow_engine import function


@function("until_released")
async def until_released(began: str, release: str) -> str:
    """Note that it runs, and wait until the file `release` exists."""
    with Path(began).open("a") as file:  # noqa: ASYNC230 - instant
        file.write("began\n")
    while not Path(release).exists():  # noqa: ASYNC110, ASYNC240 - another process makes the file
        await asyncio.sleep(0.01)
    return "released"


@function("echo")
async def echo(value: object) -> object:
    """Give back what came."""
    return value


@function("nap")
async def nap(seconds: float) -> str:
    """A step that takes some time."""
    await asyncio.sleep(seconds)
    return "rested"
