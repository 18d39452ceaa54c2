"""Tenants in turn, urgent first within a tenant."""

from workflow_engine.queue import FairQueue


def taken(queue: FairQueue[str]) -> list[str]:
    return [queue.take() for _ in range(len(queue))]


def test_a_tenant_with_a_long_line_delays_another_by_one_round_only() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(1_000):
        queue.put("loud", 5, f"loud-{number}")
    queue.put("quiet", 5, "quiet")
    assert taken(queue)[:3] == ["loud-0", "quiet", "loud-1"]


def test_a_higher_priority_goes_first_and_equal_ones_keep_their_order() -> None:
    queue: FairQueue[str] = FairQueue()
    for priority, item in [(1, "low"), (5, "first"), (9, "urgent"), (5, "second")]:
        queue.put("one", priority, item)
    assert taken(queue) == ["urgent", "first", "second", "low"]


def test_a_priority_of_one_tenant_does_not_push_another_back() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.put("quiet", 0, "quiet-0")
    for number in range(3):
        queue.put("loud", 9, f"loud-{number}")
    queue.put("quiet", 0, "quiet-1")
    assert taken(queue) == ["quiet-0", "loud-0", "quiet-1", "loud-1", "loud-2"]


def test_a_tenant_that_comes_back_takes_its_place_at_the_end_of_the_round() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.put("one", 5, "one-0")
    queue.put("two", 5, "two-0")
    assert queue.take() == "one-0"
    queue.put("one", 5, "one-1")
    assert taken(queue) == ["two-0", "one-1"]
