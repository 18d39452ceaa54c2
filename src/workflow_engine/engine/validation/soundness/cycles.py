"""What the cycles of a net show without a search: those that never end, and those that breed tokens."""

from collections import Counter, deque
from collections.abc import Iterable

from workflow_engine.engine.validation.soundness.net import Choice, Move, Net
from workflow_engine.engine.validation.soundness.reach import tangles_of


def components(net: Net) -> list[list[int]]:
    """The places of each cycle or tangle of cycles; places on no cycle are left out."""
    places = net.places
    tangles = tangles_of([places[index].follows for index in range(len(places))])
    return [members for members in tangles if len(members) > 1 or members[0] in places[members[0]].follows]


def endless_places(net: Net, tangles: list[list[int]]) -> set[int]:
    """The places from which a token never comes to rest, to a wait, to a call or to an end, whatever holds."""
    tangle_of = {place: number for number, members in enumerate(tangles) for place in members}
    kept = {place.index for place in net.places.values() if place.join is None and _may_be_endless(net, place.index)}
    pending = deque(kept)
    while pending:
        place = pending.popleft()
        if place not in kept or _stays(net, place, kept, tangle_of):
            continue
        kept.remove(place)
        pending.extend(_before(net, place, tangle_of))
    return kept


def _may_be_endless(net: Net, place: int) -> bool:
    at = net.places[place]
    join = at.body_of
    return at.is_instant and bool(at.moves) and not at.may_exit and (join is None or not join.is_hard)


def _stays(net: Net, place: int, kept: set[int], tangle_of: dict[int, int]) -> bool:
    at = net.places[place]
    if not all(any(net.starting(target) in kept for target in move.puts) for move in at.moves):
        return False
    if at.body_of is None or at.body_of.rule != "auto":
        return True
    # An `auto` join waits for what can still come round: it spins only if all of that does.
    sources = {source for way in at.body_of.connections for source in net.places[way].precedes}
    return all(source in kept for source in sources if tangle_of.get(source, -1) == tangle_of.get(place, -2))


def _before(net: Net, place: int, tangle_of: dict[int, int]) -> Iterable[int]:
    at = net.places[place]
    ways = [place] if at.body_of is None else [place, *at.body_of.connections]
    yield from (move.owner for way in ways for move in net.places[way].producers if move.owner >= 0)
    yield from (
        join.body
        for target in at.follows
        if (join := net.places[target].join) is not None and tangle_of.get(target) == tangle_of.get(place)
    )


def spinning_cycles(net: Net, tangles: list[list[int]], ways: "Ways") -> list[list[int]]:
    """Of each tangle from which nothing ever comes to an end, one shortest cycle, as places where nodes work."""
    endless = endless_places(net, tangles)
    withdrawn = {place for owner in net.places.values() for move in owner.moves for place in move.empties}
    found = []
    for members in tangles:
        if not endless.isdisjoint(members) and withdrawn.isdisjoint(members) and not _may_be_stopped(net, members):
            cycle = _cycle_within(net, [place for place in members if place in endless and place in ways])
            if cycle:
                found.append(cycle)
    return found


def _may_be_stopped(net: Net, members: list[int]) -> bool:
    """Whether a token of the cycle can come to where the whole scope ends."""
    seen = set(members)
    pending = list(members)
    while pending:
        place = net.places[pending.pop()]
        if place.may_exit or (place.join is None and not place.moves):
            return True
        for target in place.follows - seen:
            seen.add(target)
            pending.append(target)
    return False


def _cycle_within(net: Net, members: list[int]) -> list[int]:
    """A short cycle through some of the members; empty if they are on none."""
    inside = set(members)
    ways = {
        place: [
            target
            for target in dict.fromkeys(net.starting(put) for move in net.places[place].moves for put in move.puts)
            if target in inside
        ]
        for place in sorted(members, key=lambda place: (net.places[place].position, place))
    }
    for start in _on_a_cycle(ways):
        came_from: dict[int, int] = {}
        pending = deque([start])
        while pending:
            place = pending.popleft()
            for target in ways[place]:
                if target == start:
                    return _walked(came_from, start, place)
                if target not in came_from:
                    came_from[target] = place
                    pending.append(target)
    return []


def _on_a_cycle(ways: dict[int, list[int]]) -> list[int]:
    """A place that a cycle goes through, if there is any: walk on until a place comes again."""
    seen: set[int] = set()
    for root in ways:
        path = [(root, iter(ways[root]))] if root not in seen else []
        here = {root}
        seen.add(root)
        while path:
            target = next(path[-1][1], None)
            if target is None:
                here.discard(path.pop()[0])
            elif target in here:
                return [target]
            elif target not in seen:
                seen.add(target)
                here.add(target)
                path.append((target, iter(ways[target])))
    return []


def _walked(came_from: dict[int, int], start: int, place: int) -> list[int]:
    path = [place]
    while path[-1] != start:
        path.append(came_from[path[-1]])
    return path[::-1]


def breeding_moves(net: Net, tangles: list[list[int]], ways: "Ways") -> tuple[list[Move], set[int]]:
    """Moves that put more tokens on a tangle of cycles than they take from it.

    Gives one for each tangle that breeds tokens for sure, for want of any join on it; and the places of those tangles
    where only a search can tell.
    """
    sure: list[Move] = []
    unsure: set[int] = set()
    for members in tangles:
        move = _breeding_move(net, {place for place in members if place in ways})
        if move is None:
            continue
        if net.has_cancels or any(net.places[place].join is not None for place in members):
            unsure.update(members)
        else:
            sure.append(move)
    return sure, unsure


def _breeding_move(net: Net, members: set[int]) -> Move | None:
    for place in sorted(members, key=lambda place: (net.places[place].position, place)):
        for move in net.places[place].moves:
            if sum(count for target, count in move.puts.items() if target in members) > 1:
                return move
    return None


class Ways:
    """By which moves a token can come to each place, a shortest way; a join needs its count of connections."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self._came_by: dict[int, tuple[int, Choice | None]] = dict.fromkeys(net.initial.puts, (-1, None))
        filled: Counter[int] = Counter()
        pending = deque(self._came_by)
        while pending:
            place = pending.popleft()
            join = net.places[place].join
            if join is None:
                for move in net.places[place].moves:
                    pending.extend(self._come(move, place))
                continue
            filled[join.index] += 1
            if join.rule == "tally" or filled[join.index] >= join.count:
                pending.extend(self._come(join.fire, place))
            for move in join.catches:
                pending.extend(self._come(move, place))

    def _come(self, move: Move, place: int) -> list[int]:
        new = [target for target in move.puts if target not in self._came_by]
        self._came_by.update(dict.fromkeys(new, (place, move.choice)))
        return new

    def __contains__(self, place: int) -> bool:
        """Whether a token can come to the place, as far as can be said without a search."""
        return place in self._came_by

    def choices_to(self, place: int) -> list[Choice]:
        """What has to be decided for a token to come to the place."""
        choices = []
        while place in self._came_by and self._came_by[place][0] >= 0:
            place, choice = self._came_by[place]
            if choice is not None:
                choices.append(choice)
        return choices[::-1]
