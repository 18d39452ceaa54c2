"""How much of the machine is left to what is measured."""

import ctypes
import os
import time
from pathlib import Path

from bench.peers.postgres import Server

QUIET = 0.1
"""A round in which other processes had more of the processors counts only where no other was quiet."""


PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """From here on, what a killed child of this process leaves becomes its own child."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


class Others:
    """How much of the processors went to processes that are not ours, from the making of this object on."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._begun = self._now()

    def share(self) -> float:
        """0 to 1. Ours are this process, its children once they have ended, and the server."""
        wall, busy, own = (now - before for now, before in zip(self._now(), self._begun, strict=True))
        return max(0.0, busy - own) / (wall * (os.cpu_count() or 1))

    def _now(self) -> tuple[float, float, float]:
        user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
        busy_s = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        own = os.times()
        own_s = own.user + own.system + own.children_user + own.children_system + self._server.cpu_s()
        return time.monotonic(), busy_s, own_s


def wait_until_quiet(server: Server, patience_s: float) -> None:
    """Until others leave the processors alone for a second, or patience is over."""
    give_up_at = time.monotonic() + patience_s
    while time.monotonic() < give_up_at:
        others = Others(server)
        time.sleep(min(1.0, patience_s))
        if others.share() < QUIET:
            return
