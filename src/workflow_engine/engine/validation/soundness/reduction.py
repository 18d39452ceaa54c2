"""Rules that shrink a net and leave every verdict as it is.

Each rule does beforehand what the search would do at once: tokens never compete, so a step with one way on may as well
be taken at once. Rules keep away from places where the order of steps matters: what a cancel list may withdraw, and
what comes to a `count` join on a cycle.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from workflow_engine.engine.validation.soundness.net import Join, Move, Net

WORK_MAX: Final = 300_000
"""Links that are touched before the rules stop: some 0.2 s."""


def prune(net: Net, anchors: set[int]) -> None:
    """Take out what has no influence on any join that can wait for ever, nor on the places of `anchors`."""
    anchors = set(anchors)
    if any(join.is_hard for join in net.joins.values()):
        for join in net.joins.values():
            if join.rule != "auto":
                anchors.update((join.body, *join.connections))
    if anchors:
        anchors |= net.places.keys() - draining(net)
    _keep(net, _upstream(net, anchors))


def draining(net: Net) -> set[int]:
    """The places whose tokens can all come to a rest, if every join fires."""
    drained: set[int] = set()
    open_puts = {move: len(move.puts) for place in net.places.values() for move in place.moves}
    pending = [move.owner for move, count in open_puts.items() if not count]
    while pending:
        place = pending.pop()
        if place in drained:
            continue
        drained.add(place)
        join = net.places[place].body_of
        if join is not None:
            pending += join.connections
        for move in net.places[place].producers:
            if move in open_puts:
                open_puts[move] -= 1
                if not open_puts[move]:
                    pending.append(move.owner)
    return drained


def _upstream(net: Net, anchors: set[int]) -> set[int]:
    """The anchors and all that can come to them, or withdraw what does."""
    owners = [place for place in net.places.values() if any(move.empties for move in place.moves)]
    kept: set[int] = set()
    pending = list(anchors)
    while pending:
        while pending:
            place = pending.pop()
            if place not in kept:
                kept.add(place)
                pending += net.places[place].precedes
        pending = [
            place.index
            for place in owners
            if place.index not in kept and any(not kept.isdisjoint(move.empties) for move in place.moves)
        ]
    return kept


def _keep(net: Net, kept: set[int]) -> None:
    if len(kept) == len(net.places):
        return
    net.places = {index: place for index, place in net.places.items() if index in kept}
    net.joins = {index: join for index, join in net.joins.items() if join.body in kept}
    net.templates &= kept
    for place in net.places.values():
        place.follows &= kept
        place.precedes &= kept
        for move in place.moves:
            _keep_targets(move, kept)
        place.producers = {move: None for move in place.producers if move.owner < 0 or move.owner in kept}
    for move in (net.initial, *(move for join in net.joins.values() for move in join.catches)):
        _keep_targets(move, kept)


def _keep_targets(move: Move, kept: set[int]) -> None:
    if not move.puts.keys() <= kept:
        move.puts = {target: count for target, count in move.puts.items() if target in kept}
    move.empties &= kept


def mark_cyclic(net: Net, tangles: list[list[int]]) -> None:
    """Say of each join whether its tokens may come back to it."""
    tangle_of = {place: number for number, members in enumerate(tangles) for place in members}
    for join in net.joins.values():
        join.is_cyclic = join.body in tangle_of and any(
            tangle_of.get(place) == tangle_of[join.body] for place in join.connections
        )


def ordered_places(net: Net) -> set[int]:
    """The places at which the order of steps can matter."""
    counting = [join for join in net.joins.values() if join.rule == "count" and join.is_cyclic]
    found = _upstream_of(net, (place for join in counting for place in (join.body, *join.connections)))
    for place in net.places.values():
        for move in place.moves:
            if move.empties:
                found |= {place.index, *move.empties}
                found.update(
                    producer.owner
                    for target in move.empties
                    for producer in net.places[target].producers
                    if producer.owner >= 0
                )
    return found


def _upstream_of(net: Net, goals: Iterable[int]) -> set[int]:
    found: set[int] = set()
    pending = list(goals)
    while pending:
        place = pending.pop()
        if place not in found:
            found.add(place)
            pending += net.places[place].precedes
    return found


class Reduction:
    """Applies the rules until none fits or its allowance is spent: the net is right after each of them."""

    def __init__(self, net: Net, ordered: set[int]) -> None:
        self.net = net
        self.ordered = ordered
        self.allowance = WORK_MAX
        places = sorted(net.places.values(), key=lambda place: (place.position, place.index))
        self.places = dict.fromkeys(place.index for place in places)
        self.joins = dict.fromkeys(net.joins)

    def run(self) -> None:
        """Shrink the net in place, from the start on."""
        while (self.places or self.joins) and self.allowance > 0:
            pending, self.places = self.places, {}
            for index in pending:
                if index in self.net.places and self.allowance > 0:
                    self._take_at_once(index)
            if not self.places:
                changed, self.joins = self.joins, {}
                for join in changed:
                    if join in self.net.joins and self.allowance > 0:
                        self._merge_connections(self.net.joins[join])

    def _changed(self, place: int) -> None:
        """Whoever brings tokens to the place is another now."""
        join = self.net.places[place].join
        if join is not None:
            self.joins[join.index] = None

    # --- series: a place with one way on

    def _take_at_once(self, index: int) -> None:
        """Let whoever puts a token on the place put it where it goes next."""
        net = self.net
        place = net.places[index]
        self._drop_doubles(index)
        if not self._has_one_way(index):
            return
        move = place.moves[0]
        self.allowance -= len(place.precedes) + len(place.follows) + len(place.producers) * len(move.puts)
        for target in move.puts:
            del net.places[target].producers[move]
        for producer in place.producers:
            count = producer.puts.pop(index)
            for target, times in move.puts.items():
                producer.puts[target] = producer.puts.get(target, 0) + count * times
                net.places[target].producers[producer] = None
            if producer.owner >= 0:
                self.places[producer.owner] = None
        for before in place.precedes:
            net.places[before].follows.remove(index)
            net.places[before].follows |= place.follows
            self.places[before] = None
        for after in place.follows:
            net.places[after].precedes.remove(index)
            net.places[after].precedes |= place.precedes
            self._changed(after)
        del net.places[index]

    def _has_one_way(self, index: int) -> bool:
        place = self.net.places[index]
        if place.join is not None or len(place.moves) != 1 or index in self.ordered:
            return False
        if place.body_of is not None and place.body_of.is_cyclic and place.body_of.rule in ("auto", "count"):
            return False
        move = place.moves[0]
        if move.empties or index in place.follows or place.follows != move.puts.keys():
            return False
        return len(move.puts) < 2 or len(place.producers) < 2

    # --- alternatives: moves that come to the same

    def _drop_doubles(self, index: int) -> None:
        place = self.net.places[index]
        if len(place.moves) < 2:
            return
        kept: dict[tuple[frozenset[tuple[int, int]], frozenset[int]], Move] = {}
        for move in place.moves:
            self.allowance -= len(move.puts)
            key = (frozenset(move.puts.items()), move.empties)
            is_idle = move.puts == {index: 1} and not move.empties
            if is_idle or key in kept:
                for target in move.puts:
                    del self.net.places[target].producers[move]
                    self._changed(target)
            else:
                kept[key] = move
        if not kept:  # nothing but turning round
            kept[frozenset({(index, 1)}), frozenset()] = place.moves[0]
            place.producers[place.moves[0]] = None
        place.moves = list(kept.values())
        if index in place.follows and all(index not in move.puts for move in place.moves):
            place.follows.remove(index)
            place.precedes.remove(index)

    # --- parallel: connections of a join that always get their tokens together

    def _merge_connections(self, join: Join) -> None:
        """One connection for those that are always filled together."""
        if join.rule not in ("auto", "all"):
            return
        groups: dict[frozenset[tuple[int, int]], list[int]] = defaultdict(list)
        for index in join.connections:
            producers = self.net.places[index].producers
            self.allowance -= len(producers)
            groups[frozenset((id(move), move.puts[index]) for move in producers)].append(index)
        for first, *others in groups.values():
            for other in others:
                self._merge(join, first, other)
        join.connections = [group[0] for group in groups.values()]
        if len(join.connections) == 1:
            self._dissolve(join)
            self.places[join.connections[0]] = None
            if join.body in self.net.places:
                self.places[join.body] = None

    def _merge(self, join: Join, first: int, other: int) -> None:
        net = self.net
        gone = net.places[other]
        self.allowance -= len(gone.producers) + len(gone.precedes)
        for move in gone.producers:
            del move.puts[other]
        for before in gone.precedes:
            net.places[before].follows.remove(other)
            net.link(before, first)
            self.places[before] = None
        for after in gone.follows:
            net.places[after].precedes.discard(other)
        del net.places[other]
        join.arrivals[first] += join.arrivals.pop(other)

    def _dissolve(self, join: Join) -> None:
        """A join with one connection left starts with any token."""
        net = self.net
        del net.joins[join.index]
        place = net.places[join.connections[0]]
        place.join = None
        place.moves = [join.fire]
        join.fire.owner = place.index
        for move in join.catches:
            for target in move.puts:
                del net.places[target].producers[move]
        body = net.places.get(join.body)
        if body is not None:
            body.body_of = None
