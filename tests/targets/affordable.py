"""A bound on the processor time that something may cost: what else runs on the machine does not count."""

from collections.abc import Iterator
from time import process_time

TRIES = 3
"""A collection of the garbage of all tests before may fall into one of them."""


def affordable(cpu_s: float) -> Iterator[None]:
    """Makes a `for` repeat its block until it cost less than `cpu_s`; fails if it never did.

    for _ in affordable(cpu_s=0.5):
        answer = refuse(bomb)
    """
    costs: list[float] = []
    while not costs or costs[-1] >= cpu_s:
        assert len(costs) < TRIES, f"meant to cost less than {cpu_s} s of processor time, cost {costs}"
        begun_s = process_time()
        yield
        costs.append(process_time() - begun_s)
