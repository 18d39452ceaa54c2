"""The embedded queue: one process, nothing to install."""

from collections import deque
from heapq import heappop, heappush
from itertools import count
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """Ready items by tenant, handed out to tenants in turn.

    A tenant with 100,000 items delays another tenant's single item by at most one round. Within a tenant the higher
    priority (9 first) goes before the lower, equal ones in the order they came. Putting and taking cost O(log n) of one
    tenant's line.
    """

    def __init__(self) -> None:
        self._lines: dict[str, list[tuple[int, int, Item]]] = {}
        self._turns: deque[str] = deque()
        self._arrivals = count()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def put(self, tenant_id: str, priority: int, item: Item) -> None:
        """Queue an item of a tenant."""
        line = self._lines.get(tenant_id)
        if line is None:
            line = self._lines[tenant_id] = []
            self._turns.append(tenant_id)
        heappush(line, (-priority, next(self._arrivals), item))
        self._size += 1

    def take(self) -> Item:
        """The next item of the tenant whose turn it is; raises IndexError when nothing waits."""
        tenant_id = self._turns.popleft()
        line = self._lines[tenant_id]
        _, _, item = heappop(line)
        if line:
            self._turns.append(tenant_id)
        else:
            del self._lines[tenant_id]
        self._size -= 1
        return item
