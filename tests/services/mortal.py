"""Processes that are killed, forked from one that has imported the engine already: none costs a second of imports."""

import asyncio
import multiprocessing
from collections.abc import Callable
from typing import Any, Self

END_S = 100

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["workflow_engine.library"])


class Mortal:
    """A process that calls `live` with these arguments and with a function by which it says things to the test.

    Use it with `async with`; left, it is dead. `said` is what it said, and `exit_code` how it ended, once it has.
    """

    def __init__(self, live: Callable[..., None], *arguments: Any) -> None:
        self._ear, self._mouth = _context.Pipe(duplex=False)
        self._process = _context.Process(target=_live, args=(live, arguments, self._mouth), daemon=True)
        self.said: list[Any] = []
        self.exit_code: int | None = None

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._process.start)
        self._mouth.close()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()
        self._process.close()
        self._ear.close()

    async def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        await self.ended()

    async def ended(self) -> int | None:
        """Its exit code, once it has ended by itself."""
        await asyncio.to_thread(self._process.join, END_S)
        self.exit_code = self._process.exitcode
        while self._ear.poll():
            try:
                self.said.append(self._ear.recv())
            except EOFError:
                break
        return self.exit_code


def _live(live: Callable[..., None], arguments: tuple[Any, ...], mouth: Any) -> None:
    live(*arguments, mouth.send)
