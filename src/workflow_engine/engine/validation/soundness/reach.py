"""From where a token can come to a place: bit masks over the places of a net."""

from collections.abc import Iterable, Sequence
from typing import Final

PLACES_MAX: Final = 12_000
"""Places above which masks of all that comes before each would take too much memory (they grow with the square)."""


def tangles_of(neighbours: Sequence[Iterable[int]]) -> list[list[int]]:
    """The strongly connected components of a graph, by Tarjan's algorithm, each after all that it leads to."""
    found: list[list[int]] = []
    numbers = [-1] * len(neighbours)
    lows = [0] * len(neighbours)
    count = 0
    open_places: list[int] = []
    is_open = bytearray(len(neighbours))
    for root in range(len(neighbours)):
        if numbers[root] >= 0:
            continue
        work = [(root, iter(neighbours[root]))]
        while work:
            place, targets = work[-1]
            if numbers[place] < 0:
                numbers[place] = lows[place] = count
                count += 1
                open_places.append(place)
                is_open[place] = 1
            target = next(targets, -1)
            if target >= 0:
                if numbers[target] < 0:
                    work.append((target, iter(neighbours[target])))
                elif is_open[target]:
                    lows[place] = min(lows[place], numbers[target])
                continue
            work.pop()
            if work:
                lows[work[-1][0]] = min(lows[work[-1][0]], lows[place])
            if lows[place] == numbers[place]:
                members: list[int] = []
                while not members or members[-1] != place:
                    members.append(open_places.pop())
                    is_open[members[-1]] = 0
                found.append(members)
    return found


class Reach:
    """Answers which places lead to a place; counts in `steps` how many it walked through."""

    def __init__(self, precedes: Sequence[Sequence[int]]) -> None:
        self.precedes = precedes
        self.steps = 0
        self._tangle_of: list[int] = []
        self._before: list[int] = []

    def before(self, goals: Iterable[int], barrier: int = 0) -> int:
        """The places from which a token can come to one of the goals without passing through the barrier.

        A barrier has to be on a cycle with the goals: of what comes before those, it must hold nothing back.
        """
        if not self._tangle_of:
            self._condense()
        goals = list(goals)
        home = {self._tangle_of[goal] for goal in goals}
        seen = bytearray(barrier.to_bytes(len(self.precedes) // 8 + 1, "little"))
        outside = 0
        pending = list(goals)
        while pending:
            for place in self.precedes[pending.pop()]:
                byte, bit = place >> 3, 1 << (place & 7)
                if seen[byte] & bit:
                    continue
                seen[byte] |= bit
                self.steps += 1
                if self._before and self._tangle_of[place] not in home:
                    outside |= self._before[self._tangle_of[place]]
                else:
                    pending.append(place)
        return outside | (int.from_bytes(seen, "little") & ~barrier)

    def _condense(self) -> None:
        """Of each tangle, the places that lead to it; a tangle's own places belong to these if it is a cycle."""
        tangles = tangles_of(self.precedes)
        self._tangle_of = [0] * len(self.precedes)
        for number, members in enumerate(tangles):
            for place in members:
                self._tangle_of[place] = number
        if len(self.precedes) > PLACES_MAX:
            return
        for number, members in enumerate(tangles):
            mask = 0
            for place in members:
                for earlier in self.precedes[place]:
                    mask |= 1 << earlier
                    if self._tangle_of[earlier] != number:
                        mask |= self._before[self._tangle_of[earlier]]
            self._before.append(mask)
