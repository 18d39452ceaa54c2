"""Ctrl-C and SIGTERM: the first one stops in good order, the second one at once."""

import asyncio
import os
import signal
import sys
from types import FrameType
from typing import Final

from workflow_engine.cli.entry import EXIT_INTERRUPTED

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR: Final = b"\x1b[?25h"


class Interrupts:
    """Listens for the signals that ask the process to stop; use it on the loop of the main thread.

    The handlers are Python's own and not the loop's: they are heard even while a function blocks the loop.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._event = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._before = {number: signal.signal(number, self._take) for number in _SIGNALS}

    async def wait(self) -> None:
        """Return once a signal has come."""
        await self._event.wait()

    def close(self) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            # Nothing is lost by it: what is not committed was not promised to anybody.
            if sys.stderr.isatty():
                os.write(2, _SHOW_CURSOR)
            os._exit(EXIT_INTERRUPTED)
        self.received = signal.Signals(number)
        self._loop.call_soon_threadsafe(self._event.set)
