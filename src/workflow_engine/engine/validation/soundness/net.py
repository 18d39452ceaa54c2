"""The token game of one scope with its data abstracted: where tokens can stand, and what each can do next.

A *place* is where a token can stand: before a node that any token starts, on one connection of a join, in a join that
has fired. A *move* is one way in which the node of a place can end; a condition may go either way. Every place has one
consumer, so tokens never compete: only joins look at more than one place.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final, Literal

from workflow_engine.engine.validation.outline import ConnectionView, NodeView, ScopeView

PURE_TYPES: Final = frozenset({"set", "decision", "join", "end", "fail", "emit"})
TOKENS_OF_TEMPLATE: Final = (0, 1, 2)
"""What stands for a number of tokens that is known at run time only. Not all numbers: nothing is proved by these."""
ENUMERATED_MAX: Final = 3
"""Conditional connections of a split whose subsets are written out; more are chosen one after the other."""

Rule = Literal["auto", "all", "count", "tally"]
"""`tally`: a `count` join with one incoming connection, which counts its tokens."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What is decided by a move: the connections that get a token and those that don't, by index."""

    node: str
    taken: tuple[int, ...] = ()
    left: tuple[int, ...] = ()
    is_failure: bool = False
    tokens: int | None = None
    """Tokens that the one connection taken passes, where a template says how many."""


@dataclass(slots=True, eq=False)
class Move:
    """One way on: takes the token of its owner, withdraws those in `empties`, puts others."""

    owner: int
    puts: dict[int, int]
    choice: Choice | None = None
    empties: frozenset[int] = frozenset()


@dataclass(slots=True, eq=False)
class Place:
    """Where tokens can stand. `moves` is empty on a join's connection, and where a token ends the whole scope."""

    index: int
    position: int
    """How far from the start its node is: before all that follow it, back edges apart."""
    node: NodeView
    is_instant: bool
    """Whether the node neither waits nor calls."""
    moves: list[Move] = field(default_factory=list)
    follows: set[int] = field(default_factory=set)
    """Where a token can be drawn to go next, by the connections alone."""
    precedes: set[int] = field(default_factory=set)
    """The places that this one follows."""
    producers: dict[Move, None] = field(default_factory=dict)
    join: "Join | None" = None
    """The join on a connection of which the place is."""
    body_of: "Join | None" = None
    """The join that puts a token here when it fires."""
    may_exit: bool = False
    """Whether a condition may let a token here end the scope."""


@dataclass(slots=True, eq=False)
class Join:
    """A node that looks at several tokens before it starts."""

    index: int
    """Position of the node in the document."""
    node: NodeView
    rule: Rule
    count: int
    connections: list[int]
    """Its places, in document order."""
    body: int
    fire: Move
    arrivals: dict[int, list[int]]
    """By place: the connections that it stands for."""
    catches: list[Move] = field(default_factory=list)
    """How a deadlock goes on that an error connection catches."""
    is_caught: bool = False
    """Whether one surely does."""
    is_cyclic: bool = False
    """Whether its tokens may come back to it."""

    @property
    def is_hard(self) -> bool:
        """Whether it can wait for ever."""
        return self.rule != "auto" and self.count != 1


@dataclass(slots=True, eq=False)
class Net:
    """The token game of a scope."""

    scope: ScopeView
    connections: list[ConnectionView]
    places: dict[int, Place] = field(default_factory=dict)
    joins: dict[int, Join] = field(default_factory=dict)
    initial: Move = field(default_factory=lambda: Move(-1, {}))
    has_cancels: bool = False
    templates: set[int] = field(default_factory=set)
    """Places behind which the number of tokens is known at run time only."""

    def link(self, source: int, target: int) -> None:
        """A token at `source` can be drawn to go to `target`."""
        self.places[source].follows.add(target)
        self.places[target].precedes.add(source)

    def starting(self, place: int) -> int:
        """Where a token of the place comes to work: the place itself, or the join's body."""
        join = self.places[place].join
        return place if join is None else join.body


def net_of(scope: ScopeView, endless_groups: Iterable[str] = ()) -> Net:
    """The net of a scope without errors; `endless_groups` are the groups inside that can't complete."""
    return _Builder(scope, frozenset(endless_groups)).build()


class _Builder:
    def __init__(self, scope: ScopeView, endless_groups: frozenset[str]) -> None:
        self.scope = scope
        self.endless_groups = endless_groups
        self.is_first = scope.group is not None and scope.raw.get("finish") == "first"
        self.net = Net(scope, scope.connections)
        self.incoming: dict[str, list[int]] = {name: [] for name in scope.by_id}
        self.outgoing: dict[str, list[int]] = {name: [] for name in scope.by_id}
        for index, connection in enumerate(scope.connections):
            self.outgoing[_name(connection.source)].append(index)
            self.incoming[_name(connection.target)].append(index)
        self.targets: dict[int, int] = {}
        self.bodies: dict[str, int] = {}
        self.withdrawn: set[int] = set()
        self.starts = _starts(scope, self.incoming)
        self.order = self._order()

    def build(self) -> Net:
        for index, name in enumerate(self.scope.by_id):
            if name in self.order:
                self._add_places(index, name)
        for name in self.order:
            self._add_moves(name)
        for name in self.order:
            self._add_empties(name)
        for place in self.net.places.values():
            for move in place.moves:
                self._register(move)
            if len(place.moves) == 1:
                place.moves[0].choice = None
        for join in self.net.joins.values():
            for move in (join.fire, *join.catches):
                self._register(move)
        for name in self.starts:
            self._add_start(name)
        return self.net

    def _add_start(self, name: str) -> None:
        place = self.net.places[self.bodies[name]]
        if place.index in self.withdrawn:
            begun, place = place, self._add_place(name)  # what has not begun yet is not withdrawn
            place.moves.append(Move(place.index, {begun.index: 1}))
            self._register(place.moves[0])
        initial = self.net.initial
        initial.puts[place.index] = initial.puts.get(place.index, 0) + 1
        place.producers[initial] = None

    def _register(self, move: Move) -> None:
        for target in move.puts:
            self.net.places[target].producers[move] = None
            if move.owner >= 0:
                self.net.link(move.owner, target)

    def _order(self) -> dict[str, int]:
        """The nodes that can be reached, by their position in reverse postorder."""
        seen: set[str] = set()
        finished: list[str] = []
        for start in self.starts:
            stack = [(start, iter(self.outgoing[start]))] if start not in seen else []
            seen.add(start)
            while stack:
                way = next(stack[-1][1], None)
                if way is None:
                    finished.append(stack.pop()[0])
                    continue
                target = _name(self.scope.connections[way].target)
                if target not in seen:
                    seen.add(target)
                    stack.append((target, iter(self.outgoing[target])))
        return {name: position for position, name in enumerate(reversed(finished))}

    def _add_place(self, name: str) -> Place:
        node = self.scope.by_id[name]
        place = Place(len(self.net.places), self.order[name], node, _is_instant(node))
        self.net.places[place.index] = place
        return place

    def _add_places(self, index: int, name: str) -> None:
        body = self.bodies[name] = self._add_place(name).index
        ways = self.incoming[name]
        rule, count = _rule(self.scope.by_id[name], len(ways))
        if rule is None:
            self.targets.update(dict.fromkeys(ways, body))
            return
        places = [self._add_place(name) for _ in ways]
        join = Join(
            index=index,
            node=self.scope.by_id[name],
            rule=rule,
            count=count,
            connections=[place.index for place in places],
            body=body,
            fire=Move(-1, {body: 1}),
            arrivals={place.index: [way] for place, way in zip(places, ways, strict=True)},
        )
        self.net.joins[index] = join
        self.net.places[body].body_of = join
        for place, way in zip(places, ways, strict=True):
            place.join = join
            self.targets[way] = place.index
            self.net.link(place.index, body)

    # --- moves

    def _add_moves(self, name: str) -> None:
        body = self.net.places[self.bodies[name]]
        node = body.node
        errors = [way for way in self.outgoing[name] if self.scope.connections[way].is_error]
        successes = [way for way in self.outgoing[name] if not self.scope.connections[way].is_error]
        if node.type == "end":
            self._end(body, node)
        elif node.type == "decision":
            self._decide(body, successes)
        elif node.type != "fail" and name not in self.endless_groups:
            self._split(body, successes)
        first, is_sure = self._first_holding(errors)
        catches = [self._move(body, [way], [], is_failure=True) for way in first]
        if self._may_fail(node, successes):
            body.moves += catches
        if body.body_of is not None:
            body.body_of.catches = [Move(-1, dict(move.puts), move.choice) for move in catches]
            body.body_of.is_caught = is_sure
        shown = {target for move in body.moves for target in move.puts}
        for way in self.outgoing[name]:
            if self.targets[way] not in shown and not self._is_virtual(way, shown):
                self.net.link(body.index, self.targets[way])

    def _is_virtual(self, way: int, shown: set[int]) -> bool:
        """Whether the connection is reached by way of a place that stands between."""
        return any(self.targets[way] in self.net.places[place].follows for place in shown)

    def _end(self, body: Place, node: NodeView) -> None:
        terminates = node.part("with").get("terminate")
        if terminates is True:
            return
        body.may_exit = isinstance(terminates, str)
        self._end_path(body, Choice(node.id or ""))

    def _end_path(self, body: Place, choice: Choice) -> None:
        if self.is_first:
            body.may_exit = True
        else:
            body.moves.append(Move(body.index, {}, choice))

    def _decide(self, body: Place, ways: list[int]) -> None:
        first, is_sure = self._first_holding(ways)
        body.may_exit = not is_sure
        for way in first:
            body.moves.append(self._move(body, [way], [other for other in first if other != way]))

    def _first_holding(self, ways: list[int]) -> tuple[list[int], bool]:
        """The connections of which the first that holds is taken, and whether one surely does."""
        found = []
        for way in ways:
            raw = self.scope.connections[way].raw
            if raw.get("otherwise") is not True:
                found.append(way)
                if raw.get("when") is None:
                    return found, True
        for way in ways:
            if self.scope.connections[way].raw.get("otherwise") is True:
                return [*found, way], True
        return found, False

    def _split(self, body: Place, ways: list[int]) -> None:
        raws = {way: self.scope.connections[way].raw for way in ways}
        otherwise = [way for way in ways if raws[way].get("otherwise") is True]
        conditional = [way for way in ways if way not in otherwise and raws[way].get("when") is not None]
        always = [way for way in ways if way not in otherwise and way not in conditional]
        if len(conditional) > ENUMERATED_MAX:
            self._split_wide(body, always, conditional, otherwise)
            return
        for holds in product((True, False), repeat=len(conditional)):
            taken = [way for way, hold in zip(conditional, holds, strict=True) if hold]
            left = [way for way in conditional if way not in taken]
            rest = otherwise if not taken else []
            self._go(body, [*always, *taken, *rest], [*left, *(way for way in otherwise if way not in rest)])

    def _go(self, body: Place, taken: list[int], left: list[int]) -> None:
        move = self._move(body, taken, left)
        if move.puts:
            body.moves.append(move)
        else:
            self._end_path(body, move.choice or Choice(body.node.id or ""))

    def _split_wide(self, body: Place, always: list[int], conditional: list[int], otherwise: list[int]) -> None:
        """Condition after condition. Places stand for "none has held yet" and for "one has held"."""
        none_held, one_held = body, None
        for number, way in enumerate(conditional):
            is_last = number == len(conditional) - 1
            ways = always if number == 0 else []
            next_none = None if is_last else self._add_place(_name(body.node.id))
            next_one = None if is_last else self._add_place(_name(body.node.id))
            none_held.moves.append(self._move(none_held, [*ways, way], [], then=next_one))
            if next_none is not None:
                none_held.moves.append(self._move(none_held, ways, [way], then=next_none))
            elif otherwise or always:
                none_held.moves.append(self._move(none_held, otherwise, [way]))
            else:
                self._end_path(none_held, Choice(body.node.id or "", (), (way,)))
            if one_held is not None:
                one_held.moves.append(self._move(one_held, [way], [], then=next_one))
                one_held.moves.append(self._move(one_held, [], [way], then=next_one))
            if next_none is not None and next_one is not None:
                none_held, one_held = next_none, next_one

    def _move(
        self, place: Place, taken: list[int], left: list[int], *, then: Place | None = None, is_failure: bool = False
    ) -> Move:
        puts: dict[int, int] = {}
        for way in taken:
            tokens = self.scope.connections[way].raw.get("tokens", 1)
            target = self.targets[way]
            if isinstance(tokens, str):
                may_end = len(taken) == 1 and then is None and not is_failure
                target, tokens = self._template(place, way, may_end=may_end), 1
            if tokens:
                puts[target] = puts.get(target, 0) + tokens
        if then is not None:
            puts[then.index] = 1
        return Move(place.index, puts, Choice(_name(place.node.id), tuple(taken), tuple(left), is_failure))

    def _template(self, place: Place, way: int, *, may_end: bool) -> int:
        """The place where the number of tokens of a connection is chosen; `may_end`: none of them ends the path."""
        made = self._add_place(_name(place.node.id))
        for tokens in TOKENS_OF_TEMPLATE:
            if tokens == 0 and may_end and self.is_first:
                made.may_exit = True
                continue
            choice = Choice(_name(place.node.id), (way,), tokens=tokens)
            made.moves.append(Move(made.index, {self.targets[way]: tokens} if tokens else {}, choice))
        self.net.link(made.index, self.targets[way])
        self.net.templates.add(made.index)
        return made.index

    def _may_fail(self, node: NodeView, successes: list[int]) -> bool:
        if node.type not in PURE_TYPES or node.type == "fail":
            return True
        if any(word in node.raw for word in ("foreach", "repeat", "lock", "limit", "timeout")):
            return True
        if node.type == "decision" and not self._first_holding(successes)[1]:
            return True
        return _has_expression(node.raw) or any(
            raw.get("when") is not None or isinstance(raw.get("tokens"), str)
            for raw in (self.scope.connections[way].raw for way in successes)
        )

    # --- cancel lists

    def _add_empties(self, name: str) -> None:
        body = self.net.places[self.bodies[name]]
        named = [target for target in body.node.raw.get("cancel") or () if target in self.order]
        if not named:
            return
        empties = frozenset(place for target in named for place in self._places_of(target))
        self.net.has_cancels = True
        self.withdrawn |= empties
        for move in body.moves:
            if move.choice is None or not move.choice.is_failure:
                move.empties = empties

    def _places_of(self, name: str) -> list[int]:
        return [self.bodies[name], *(self.targets[way] for way in self.incoming[name])]


def _starts(scope: ScopeView, incoming: Mapping[str, list[int]]) -> list[str]:
    given = scope.raw.get("start")
    if isinstance(given, list):
        return [name for name in given if name in scope.by_id]
    undoing = {node.raw.get("compensate") for node in scope.nodes}
    return [name for name, ways in incoming.items() if not ways and name not in undoing]


def _rule(node: NodeView, ways: int) -> tuple[Rule | None, int]:
    """The join's rule and count; no rule where any token starts the node."""
    given = node.raw.get("join", "auto")
    if isinstance(given, dict):
        count = given["count"]
        if ways > 1:
            return "count", count
        return ("tally", count) if count > 1 and ways else (None, 1)
    if ways < 2 or given == "any":
        return None, 1
    return ("all", ways) if given == "all" else ("auto", 1)


def _is_instant(node: NodeView) -> bool:
    if "lock" in node.raw or "limit" in node.raw or node.part("repeat").get("delay") is not None:
        return False
    if node.body is not None:
        return all(_is_instant(inner) for inner in node.body.nodes)
    return node.type in PURE_TYPES


def _has_expression(value: Any) -> bool:
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            if "${" in item:
                return True
        elif isinstance(item, dict):
            pending += item.values()
        elif isinstance(item, list):
            pending += item
    return False


def _name(value: str | None) -> str:
    return value or ""
