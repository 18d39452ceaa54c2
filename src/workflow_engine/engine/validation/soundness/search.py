"""The bounded search of a net's markings for tokens that stay behind, and for growth without end.

Of all orders in which steps may end, one is enough: tokens never compete, and a step that ends can't keep a join from
firing that could fire before. So at each marking one step is taken, the farthest from the start, in each way in which
it can end. Exceptions, where all orders are tried: places of cancel lists and of `count` joins on cycles, and an `auto`
join on a cycle that could start again while its last step is still at work. (Persistent sets, after Godefroid: they
keep every marking in which nothing moves.)
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from workflow_engine.engine.validation.soundness.net import Choice, Join, Move, Net
from workflow_engine.engine.validation.soundness.reach import Reach

PUMP_STEPS_MAX: Final = 300
"""How far back a marking is compared with those that led to it."""
WEIGHT_PLACES: Final = 2_000
"""Places for which a marking costs one step more: masks grow with the net."""
TOKENS_MAX: Final = 1 << 40
"""A place that holds more tokens than this ends the search: `tokens` multiply on a path of many splits."""

Surplus = tuple[tuple[int, int], ...]


class Marking(NamedTuple):
    """Tokens of a scope: one bit per place that holds any, further tokens by place, a bit per token owed to a round."""

    marked: int
    owed: int = 0
    surplus: Surplus = ()


Kind = Literal["move", "fire", "stuck", "deadlock"]


class Event(NamedTuple):
    """What leads from one marking to the next: a move of a place, or a join's start. `way` numbers moves."""

    kind: Kind
    at: int
    way: int = 0


@dataclass(slots=True)
class Budget:
    """What all searches of one definition may cost together."""

    markings: int
    """Markings that may still be visited."""
    steps: int
    """Joins that may still be looked at, and places that may be walked through to learn what can come to them."""


@dataclass(slots=True)
class Stuck:
    """A join that waits for ever."""

    join: Join
    filled: list[int]
    """Its places that hold a token."""
    choices: list[Choice]
    has_fired: bool
    """Whether it has fired before, on the same path."""


@dataclass(slots=True)
class Growth:
    """Tokens that become more with each turn."""

    place: int
    """A place on which they gather."""
    choices: list[Choice]
    turn: list[Choice]


@dataclass(slots=True)
class Outcome:
    """What a search has found."""

    stuck: list[Stuck] = field(default_factory=list)
    growth: Growth | None = None
    fired: set[int] = field(default_factory=set)
    """The joins that fired on some path."""
    gave_up: str | None = None
    """Why not all was seen."""
    may_miss: bool = False
    """Whether a join that could fire may have been passed over: for a step that ends all, or on a path that turns."""


@dataclass(slots=True, eq=False)
class _JoinMasks:
    join: Join
    ways: tuple[int, ...]
    """Bits of its connections."""
    mask: int
    body: int
    """Bit of the place where its step is at work, if it may come back to itself."""
    is_ordered: bool
    reach: int | None = None
    """Places from which a token can come to the join."""
    comes: dict[int, int] = field(default_factory=dict)
    """By connection: places from which a token can come to it without passing through the join."""
    arrived: int = 0
    """Of an `auto` join: the bit that stands for all its tokens on connections to which no more can come."""
    blocked_by: int = 0
    """Number of the connection that was seen last to be waited for: the first to look at again."""


class _OutOfBudget(Exception):
    """The search has cost what it may."""


class Search:
    """The markings of a net, breadth first, so that the first way found to a marking is a shortest one."""

    def __init__(self, net: Net, ordered: set[int]) -> None:
        places = sorted(net.places.values(), key=lambda place: (place.position, place.index))
        self.budget = Budget(0, 0)
        self.outcome = Outcome()
        self.names = [place.index for place in places]
        bits = {place.index: bit for bit, place in enumerate(places)}
        self.initial = {bits[place]: count for place, count in net.initial.puts.items()}
        self.precedes = [[bits[before] for before in place.precedes] for place in places]
        self.joins: list[_JoinMasks] = []
        self.join_at: dict[int, _JoinMasks] = {}
        self.catches: dict[int, list[_Compiled]] = {}
        self.fires: dict[int, _Compiled] = {}
        for _, join in sorted(net.joins.items()):
            ways = tuple(bits[place] for place in join.connections)
            is_ordered = not ordered.isdisjoint(join.connections)
            comes_back = join.is_cyclic and join.rule in ("auto", "count")
            body = 1 << bits[join.body] if comes_back else 0
            masks = _JoinMasks(join, ways, sum(1 << way for way in ways), body, is_ordered)
            if join.rule == "auto":
                follows = set().union(*(net.places[place].follows for place in join.connections))
                self._add_arrived(masks, [bits[place] for place in follows])
            self.joins.append(masks)
            self.join_at.update(dict.fromkeys(ways, masks))
            self.fires[join.index] = self._compiled(join.fire, bits)
            self.catches[join.index] = [self._compiled(move, bits) for move in join.catches]
        self.weight = 1 + len(places) // WEIGHT_PLACES
        self.reach = Reach(self.precedes)
        self.moves = [[self._compiled(move, bits) for move in place.moves] for place in places]
        self.by_index = {masks.join.index: masks for masks in self.joins}
        self.bodies = {
            masks.body: masks
            for masks in self.joins
            if masks.body and masks.join.rule == "auto" and masks.join.body not in ordered
        }
        self.waiting = sum(masks.mask for masks in self.joins)
        self.tellable = sum(masks.mask & ~masks.arrived for masks in self.joins if masks.join.rule == "auto")
        self.working = ((1 << len(self.precedes)) - 1) & ~self.waiting
        withdrawn = {target for place in places for move in place.moves for target in move.empties}
        self.ending = self._mask(
            bits[place.index]
            for place in places
            if place.join is None and not place.moves and place.index not in withdrawn
        )
        self.free = self.working & ~self._mask(bits[place] for place in ordered if place in bits)
        for body in self.bodies:
            self.free &= ~body
        self.counted = [masks.ways[0] for masks in self.joins if masks.join.rule == "tally"]
        self.parents: dict[Marking, tuple[Marking, Event] | None] = {}
        self.records: dict[Marking, int] = {}
        self.befores: dict[Marking, list[Marking]] = {}

    def _add_arrived(self, masks: _JoinMasks, following: Iterable[int]) -> None:
        """A place that leads where the join's connections lead."""
        place = len(self.precedes)
        self.precedes.append([])
        self.names.append(masks.join.connections[0])
        masks.arrived = 1 << place
        masks.mask |= masks.arrived
        self.join_at[place] = masks
        for after in following:
            self.precedes[after].append(place)

    def run(self, budget: Budget, *, is_deep: bool = False) -> Outcome:
        """Look at every marking that can be reached, until the budget is spent or growth is found.

        `is_deep`: depth first, which comes to the end of some paths however many there are.
        """
        self.budget = budget
        self.outcome = Outcome()
        self.parents.clear()
        self.records.clear()
        self.befores.clear()
        try:
            first = self._settled(*self._put(0, {}, self.initial), 0)
            self._visit(first, None)
            self.records[first] = 0
            pending = deque([first])
            while pending and self.outcome.growth is None:
                marking = pending.pop() if is_deep else pending.popleft()
                for event, after in self._following(marking):
                    self.befores.setdefault(after, []).append(marking)
                    if after in self.parents:
                        continue
                    self._visit(after, (marking, event))
                    if self._is_record(after, marking):
                        self._look_for_growth(after)
                    pending.append(after)
        except _OutOfBudget as reason:
            self.outcome.gave_up = str(reason)
        if self.outcome.stuck and not self.outcome.may_miss:
            self.outcome.may_miss = self._turns()
        return self.outcome

    def _turns(self) -> bool:
        """Whether some marking leads back to itself: take away, again and again, those that lead nowhere."""
        ways_on: Counter[Marking] = Counter(before for befores in self.befores.values() for before in befores)
        ended = [marking for marking in self.parents if not ways_on[marking]]
        for marking in ended:
            for before in self.befores.get(marking, ()):
                ways_on[before] -= 1
                if not ways_on[before]:
                    ended.append(before)
        return len(ended) < len(self.parents)

    def _visit(self, marking: Marking, by: tuple[Marking, Event] | None) -> None:
        self.budget.markings -= 1
        self.budget.steps -= self.weight
        if self.budget.markings < 0:
            raise _OutOfBudget("too many markings")
        if self.budget.steps < 0:
            raise _OutOfBudget("too many joins wait for each other")
        self.parents[marking] = by

    def _is_record(self, marking: Marking, before: Marking) -> bool:
        """Whether there are more tokens than ever on the way to the marking, some of them on one place."""
        tokens = marking.marked.bit_count() + sum(extra for _, extra in marking.surplus)
        most = self.records[before]
        self.records[marking] = max(tokens, most)
        return tokens > most and bool(marking.surplus)

    # --- what can follow

    def _following(self, marking: Marking) -> Iterator[tuple[Event, Marking]]:
        marked = marking.marked
        if marked & self.ending:
            self.outcome.may_miss = True
            return
        enabled = []
        rest = marked & (self.free | self.waiting)
        while rest:
            place = rest.bit_length() - 1
            masks = self.join_at.get(place)
            if masks is None:
                yield from self._moved(marking, place)
                return
            rest &= ~masks.mask
            self.budget.steps -= self.weight
            if self._fires(masks, marking):
                if not masks.is_ordered and not marked & masks.body:
                    yield self._fired(marking, masks)
                    return
                enabled.append(masks)
        bound = marked & self.working
        for body, masks in self.bodies.items():
            if body & bound and self._is_alone(marking, body, masks):
                yield from self._moved(marking, body.bit_length() - 1)
                return
        if not enabled and not bound:
            yield from self._unblocked(marking)
            return
        for masks in enabled:
            yield self._fired(marking, masks)
        for place in _bits(bound):
            yield from self._moved(marking, place)

    def _waiting(self, marked: int) -> Iterator[_JoinMasks]:
        rest = marked & self.waiting
        while rest:
            masks = self.join_at[rest.bit_length() - 1]
            rest &= ~masks.mask
            yield masks

    def _is_alone(self, marking: Marking, body: int, masks: _JoinMasks) -> bool:
        """Whether nothing but the join's own step can still bring it a token."""
        if masks.reach is None:
            masks.reach = self._before(masks.ways) | masks.mask
        return not marking.marked & masks.reach & ~body and body.bit_length() - 1 not in dict(marking.surplus)

    def _fires(self, masks: _JoinMasks, marking: Marking) -> bool:
        filled = marking.marked & masks.mask
        join = masks.join
        match join.rule:
            case "all":
                return filled == masks.mask
            case "tally":
                return 1 + dict(marking.surplus).get(masks.ways[0], 0) >= join.count
            case "count":
                return not marking.owed & masks.mask and filled.bit_count() >= join.count
            case "auto":
                return not self._must_wait(masks, marking.marked)

    def _is_awaited(self, masks: _JoinMasks, way: int, elsewhere: int) -> bool:
        """Whether a token elsewhere can still come to an empty connection without passing through the join."""
        self.budget.steps -= self.weight
        return bool(elsewhere & self._comes(masks, way))

    def _must_wait(self, masks: _JoinMasks, marked: int) -> bool:
        """Whether an `auto` join has to wait for some empty connection."""
        elsewhere = marked & ~masks.mask & ~masks.body
        if not elsewhere:
            return False
        count = len(masks.ways)
        for number in range(masks.blocked_by, masks.blocked_by + count):
            way = masks.ways[number % count]
            if not marked >> way & 1 and self._is_awaited(masks, way, elsewhere):
                masks.blocked_by = number % count
                return True
        return False

    def _still_to_come(self, masks: _JoinMasks, marked: int) -> int:
        """The empty connections of a `count` join to which a token can still come, as bits."""
        elsewhere = marked & ~masks.mask & ~masks.body
        return self._mask(
            way for way in masks.ways if not marked >> way & 1 and self._is_awaited(masks, way, elsewhere)
        )

    def _comes(self, masks: _JoinMasks, way: int) -> int:
        found = masks.comes.get(way)
        if found is None:
            barrier = masks.mask | masks.body if masks.join.is_cyclic else 0
            found = masks.comes[way] = self._before((way,), barrier)
        return found

    def _before(self, goals: tuple[int, ...], barrier: int = 0) -> int:
        walked = self.reach.steps
        found = self.reach.before(goals, barrier)
        self.budget.steps -= self.reach.steps - walked
        return found

    # --- steps

    def _moved(self, marking: Marking, place: int) -> Iterator[tuple[Event, Marking]]:
        for way, move in enumerate(self.moves[place]):
            surplus = dict(marking.surplus)
            marked = _take(marking.marked, surplus, place)
            if move.empties:
                for emptied in _bits(marked & move.empties):
                    surplus.pop(emptied, None)
                marked &= ~move.empties
            yield Event("move", place, way), self._settled(*self._put(marked, surplus, move.puts), marking.owed)

    def _fired(self, marking: Marking, masks: _JoinMasks, kind: Kind = "fire", way: int = 0) -> tuple[Event, Marking]:
        surplus = dict(marking.surplus)
        marked, owed = marking.marked, marking.owed
        join = masks.join
        filled = marked & masks.mask
        if kind != "deadlock":
            self.outcome.fired.add(join.index)
        for place in _bits(filled):
            for _ in range(join.count if join.rule == "tally" and kind != "deadlock" else 1):
                marked = _take(marked, surplus, place)
        if join.rule == "count" and kind != "deadlock":
            owed |= self._still_to_come(masks, marking.marked)
        move = self.catches[join.index][way] if kind == "deadlock" else self.fires[join.index]
        return Event(kind, join.index, way), self._settled(*self._put(marked, surplus, move.puts), owed)

    def _unblocked(self, marking: Marking) -> Iterator[tuple[Event, Marking]]:
        """Nothing moves: the first `auto` join starts with what it has, or the first join that waits is deadlocked."""
        waiting = sorted(self._waiting(marking.marked), key=lambda masks: masks.join.index)
        for masks in waiting:
            if masks.join.rule == "auto":
                yield self._fired(marking, masks, "stuck")
                return
        if waiting:
            self._note_stuck(marking, waiting[0])
            for way in range(len(self.catches[waiting[0].join.index])):
                yield self._fired(marking, waiting[0], "deadlock", way)

    def _put(self, marked: int, surplus: dict[int, int], puts: dict[int, int]) -> tuple[int, dict[int, int]]:
        for place, count in puts.items():
            extra = count
            if not marked >> place & 1:
                marked |= 1 << place
                extra -= 1
            if extra:
                surplus[place] = surplus.get(place, 0) + extra
                if surplus[place] > TOKENS_MAX:
                    raise _OutOfBudget("too many tokens")
        return marked, surplus

    def _settled(self, marked: int, surplus: dict[int, int], owed: int) -> Marking:
        """Absorb what is owed, forget what can't come any more, and tell apart only what makes a difference."""
        is_changed = bool(owed)
        while is_changed:
            is_changed = False
            for place in _bits(owed):
                if marked >> place & 1:
                    marked = _take(marked, surplus, place)
                    owed &= ~(1 << place)
                    is_changed = True
                elif not self._may_come(place, marked):
                    owed &= ~(1 << place)
                    is_changed = True
        rest = marked & self.tellable
        while rest:
            masks = self.join_at[rest.bit_length() - 1]
            rest &= ~masks.mask
            marked = self._alike(masks, marked, surplus)
        return Marking(marked, owed, tuple(sorted(surplus.items())) if surplus else ())

    def _may_come(self, way: int, marked: int) -> bool:
        masks = self.join_at[way]
        return self._is_awaited(masks, way, marked & ~masks.mask & ~masks.body)

    def _alike(self, masks: _JoinMasks, marked: int, surplus: dict[int, int]) -> int:
        """Which connections of an `auto` join hold its tokens does not matter once nothing more can come to them."""
        filled = marked & masks.mask & ~masks.arrived
        if not filled or marked & masks.body or (surplus and any(way in surplus for way in masks.ways)):
            return marked
        elsewhere = marked & ~masks.mask
        for way in _bits(filled):
            if not elsewhere or not self._is_awaited(masks, way, elsewhere):
                marked = marked & ~(1 << way) | masks.arrived
        return marked

    # --- findings

    def _note_stuck(self, marking: Marking, masks: _JoinMasks) -> None:
        join = masks.join
        if join.is_caught or any(stuck.join is join for stuck in self.outcome.stuck):
            return
        events = self._path(marking)
        has_fired = any(event.at == join.index and event.kind == "fire" for event in events)
        filled = [self.names[place] for place in masks.ways if marking.marked >> place & 1]
        self.outcome.stuck.append(Stuck(join, filled, self._choices(events), has_fired))

    def _path(self, marking: Marking) -> list[Event]:
        events = []
        by = self.parents[marking]
        while by is not None:
            marking, event = by
            events.append(event)
            by = self.parents[marking]
        return events[::-1]

    def _choices(self, events: list[Event]) -> list[Choice]:
        found = []
        for event in events:
            moves = {"move": self.moves, "deadlock": self.catches}.get(event.kind)
            choice = moves[event.at][event.way].choice if moves is not None else None  # type: ignore[index]
            if choice is not None and (event.kind == "deadlock" or len(self.moves[event.at]) > 1):
                found.append(choice)
        return found

    def _look_for_growth(self, marking: Marking) -> None:
        """A marking that holds all the tokens of one before it and more, and whose way can be gone again."""
        grown = dict(marking.surplus)
        turn: list[Event] = []
        by = self.parents[marking]
        for _ in range(PUMP_STEPS_MAX):
            if by is None:
                return
            before, event = by
            turn.append(event)
            self.budget.steps -= self.weight
            is_more = before.owed == marking.owed and not before.marked & ~marking.marked
            if is_more and all(grown.get(place, 0) >= extra for place, extra in before.surplus):
                events = turn[::-1]
                if self._repeats(before, marking, events):
                    added = _counts(marking)
                    added.subtract(_counts(before))
                    place = max(added, key=lambda place: added[place])
                    self.outcome.growth = Growth(
                        self.names[place], self._choices(self._path(before)), self._choices(events)
                    )
                    return
            by = self.parents[before]

    def _repeats(self, before: Marking, after: Marking, events: list[Event]) -> bool:
        """Whether the same events add the same tokens once more. Then they always do: joins only ask which places are
        filled, and those are the same from now on.
        """
        added = _counts(after)
        added.subtract(_counts(before))
        if any(added[place] for place in self.counted) and any(event.kind in ("stuck", "deadlock") for event in events):
            return False  # more tokens would let a join that counts them start, and something would move
        self.budget.steps -= len(events)
        marking = after
        for event in events:
            following = self._after(marking, event)
            if following is None:
                return False
            marking = following
        grown = _counts(after)
        grown.update(added)
        return marking.owed == after.owed and +_counts(marking) == +grown

    def _after(self, marking: Marking, event: Event) -> Marking | None:
        """The marking after an event, if that can happen."""
        if event.kind == "move":
            if not marking.marked >> event.at & 1:
                return None
            return list(self._moved(marking, event.at))[event.way][1]
        masks = self.by_index[event.at]
        if event.kind == "fire":
            return self._fired(marking, masks)[1] if self._fires(masks, marking) else None
        return next((after for found, after in self._following(marking) if found == event), None)

    @staticmethod
    def _mask(bits: Iterable[int]) -> int:
        mask = 0
        for bit in bits:
            mask |= 1 << bit
        return mask

    def _compiled(self, move: Move, bits: dict[int, int]) -> "_Compiled":
        empties = 0
        for place in move.empties:
            if place in bits:
                empties |= 1 << bits[place]
                empties |= self.join_at[bits[place]].arrived if bits[place] in self.join_at else 0
        return _Compiled({bits[place]: count for place, count in move.puts.items()}, empties, move.choice)


class _Compiled(NamedTuple):
    puts: dict[int, int]
    empties: int
    choice: Choice | None


def _take(marked: int, surplus: dict[int, int], place: int) -> int:
    """Take one token from a place that holds some."""
    extra = surplus.get(place, 0)
    if not extra:
        return marked & ~(1 << place)
    if extra == 1:
        del surplus[place]
    else:
        surplus[place] = extra - 1
    return marked


def _counts(marking: Marking) -> Counter[int]:
    counts = Counter(dict.fromkeys(_bits(marking.marked), 1))
    for place, extra in marking.surplus:
        counts[place] += extra
    return counts


def _bits(mask: int) -> Iterator[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
