"""A process that commits as fast as it can, writes every acknowledged transition to stdout, and waits to be killed.

With a name as second argument it is one such process; without, it forks and kills one per line of stdin.
"""

import asyncio
import json
import os
import signal
import sys

from store_writes import first, later

from workflow_engine.store import Store, TaskRow, TransitionWrite


class Ledger:
    """Submits the next transition of an execution when the one before is acknowledged, and writes that down first."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._name = name

    def start(self, position: int) -> None:
        self._submit(first(f"{self._name}-{position:04}", labels={"round": self._name}))

    def _submit(self, write: TransitionWrite) -> None:
        write.tasks_put = [TaskRow(f"t{write.number}", "timer", write.number)]
        write.snapshot = b"%d" % write.number
        self._store.submit(write, lambda error: self._acknowledged(write, error))

    def _acknowledged(self, write: TransitionWrite, error: Exception | None) -> None:
        if error is not None:
            raise error
        os.write(1, f"{write.execution_id} {write.number}\n".encode())
        self._submit(later(write.execution_id, write.number + 1))


async def main(url: str, name: str) -> None:
    ledger = Ledger(await Store.open(url), name)
    for position in range(100):
        ledger.start(position)
    await asyncio.Event().wait()


def kill_one(url: str, name: str, lines: int) -> dict[str, int]:
    """Fork a process that commits, kill it after so many lines; the last acknowledged transition of each execution."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writing, 1)
        os.close(reading)
        asyncio.run(main(url, name))
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        seen = [pipe.readline() for _ in range(lines)]
        os.kill(child, signal.SIGKILL)
        seen += pipe.readlines()
    os.waitpid(child, 0)
    whole = [line.split() for line in seen if line.endswith(b"\n")]
    return {execution_id.decode(): int(number) for execution_id, number in whole}


def kill_many(url: str) -> None:
    """For every line `name lines` on stdin kill a process; its ledger goes to stdout."""
    for line in sys.stdin:
        name, lines = line.split()
        sys.stdout.write(json.dumps(kill_one(url, name, int(lines))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    if len(sys.argv) > 2:
        asyncio.run(main(sys.argv[1], sys.argv[2]))
    else:
        kill_many(sys.argv[1])
