import itertools

from workflow_engine.store import Store
from workflow_engine.store.clock import Clock


class Hands:
    """A database's clock and a monotonic one, moved by the test."""

    def __init__(self) -> None:
        self.at = 1_000_000_000
        self.monotonic_us = 0

    def pass_by(self, microseconds: int) -> None:
        self.at += microseconds
        self.monotonic_us += microseconds

    def clock(self) -> Clock:
        return Clock(lambda: self.at, lambda: self.monotonic_us * 1000)


def test_the_monotonic_clock_carries_on_between_samples() -> None:
    hands = Hands()
    clock = hands.clock()
    hands.monotonic_us += 500
    hands.at -= 3_600_000_000
    assert clock.now() == 1_000_000_500


def test_a_database_clock_set_back_never_takes_ours_back_and_is_met_again() -> None:
    hands = Hands()
    clock = hands.clock()
    seen = [clock.now()]
    hands.pass_by(1)
    hands.at -= 10_000_000
    for _ in range(25):
        clock.sample()
        seen.append(clock.now())
        hands.pass_by(1_000_000)
    assert all(earlier < later for earlier, later in itertools.pairwise(seen))
    clock.sample()
    assert clock.now() == hands.at


def test_a_database_clock_set_forward_is_followed_at_once() -> None:
    hands = Hands()
    clock = hands.clock()
    hands.at += 3_600_000_000
    clock.sample()
    assert clock.now() == hands.at


async def test_the_store_tells_the_time_in_microseconds(store: Store) -> None:
    readings = [store.now() for _ in range(1000)]
    assert readings == sorted(readings)
    assert 1_600_000_000_000_000 < readings[0] < 10_000_000_000_000_000
