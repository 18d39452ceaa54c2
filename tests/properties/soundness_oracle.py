"""The token game once more, played out in full: every order in which steps start and end, every way in which they end.

Slow, and written apart from the analysis: it reads the document, searches the drawing for each question that a join
asks, and keeps steps at work apart from tokens that wait. Where a number of tokens is a template, it tries some.
"""

from collections import deque
from dataclasses import dataclass, field
from itertools import chain, combinations
from typing import Any, NamedTuple

PURE = {"set", "decision", "join", "end", "emit"}
TEMPLATE_TOKENS = (0, 1, 2, 3)


class Game(NamedTuple):
    """Where everything stands: tokens by connection, nodes yet to begin, steps at work by node, what rounds owe."""

    tokens: tuple[int, ...]
    starts: frozenset[str]
    active: tuple[int, ...]
    owed: frozenset[int] = frozenset()


@dataclass
class Play:
    """What was found among all games that can come about."""

    deadlocks: set[str] = field(default_factory=set)
    """Joins whose deadlock nothing catches for sure."""
    fired: set[str] = field(default_factory=set)
    is_complete: bool = True
    """Whether every game was looked at; if not, there may be more to find."""
    games: int = 0


class Oracle:
    """All games of one scope, given as the document of a definition or of a group."""

    def __init__(self, scope: dict[str, Any], *, is_first: bool = False) -> None:
        self.is_first = is_first
        self.nodes = {node["id"]: node for node in scope["nodes"]}
        self.names = list(self.nodes)
        self.ways = scope.get("connections", [])
        self.into = {name: [at for at, way in enumerate(self.ways) if way["to"] == name] for name in self.nodes}
        self.out_of = {name: [at for at, way in enumerate(self.ways) if way["from"] == name] for name in self.nodes}
        undoing = {node.get("compensate") for node in scope["nodes"]}
        default = [name for name in self.names if not self.into[name] and name not in undoing]
        self.starts = frozenset(scope.get("start", default))

    def play(self, games_max: int) -> Play:
        """Look at every game, or at as many as may be."""
        found = Play()
        first = self.settled(Game((0,) * len(self.ways), self.starts, (0,) * len(self.names)))
        seen = {first}
        pending = deque([first])
        while pending:
            game = pending.popleft()
            found.games += 1
            for after in self.following(game, found):
                if after not in seen:
                    if len(seen) >= games_max:
                        found.is_complete = False
                        continue
                    seen.add(after)
                    pending.append(after)
        return found

    # --- rules

    def following(self, game: Game, found: Play) -> list[Game]:
        after = []
        for name in game.starts:
            after.append(self.begun(game._replace(starts=game.starts - {name}), name))
        for name in self.names:
            took = self.firing(game, name)
            if took is not None:
                found.fired.add(name)
                owed = self.new_debt(game, name, took)
                after.append(self.begun(self.without(game, took)._replace(owed=game.owed | owed), name))
        for at, name in enumerate(self.names):
            if game.active[at]:
                ended = game._replace(active=changed(game.active, at, -1))
                after += [self.put(game, ended, name, end) for end in self.ends(name) if end != "scope"]
        if not after and any(game.tokens) and not any(game.active):
            after += self.blocked(game, found)
        return [self.settled(game) for game in after]

    def begun(self, game: Game, name: str) -> Game:
        return game._replace(active=changed(game.active, self.names.index(name), 1))

    def without(self, game: Game, took: list[int]) -> Game:
        tokens = list(game.tokens)
        for at in took:
            tokens[at] -= 1
        return game._replace(tokens=tuple(tokens))

    def join_of(self, name: str) -> tuple[str, int]:
        join = self.nodes[name].get("join", "auto")
        return ("count", join["count"]) if isinstance(join, dict) else (join, 0)

    def firing(self, game: Game, name: str) -> list[int] | None:
        rule, count = self.join_of(name)
        into = self.into[name]
        filled = [at for at in into if game.tokens[at]]
        if not filled:
            return None
        if len(into) == 1:
            wanted = count if rule == "count" else 1
            return filled * wanted if game.tokens[filled[0]] >= wanted else None
        match rule:
            case "any":
                return filled[:1]
            case "all":
                return filled if len(filled) == len(into) else None
            case "count":
                return filled if len(filled) >= count and game.owed.isdisjoint(into) else None
        return None if any(self.may_come(game, name, at) for at in into if at not in filled) else filled

    def may_come(self, game: Game, name: str, goal: int) -> bool:
        """Whether anything elsewhere can walk to the connection `goal` without passing through the node `name`."""
        frontier = {self.ways[at]["to"] for at, count in enumerate(game.tokens) if count} | game.starts
        frontier |= {self.names[at] for at, count in enumerate(game.active) if count}
        frontier.discard(name)
        seen = set(frontier)
        while frontier:
            here = frontier.pop()
            for at in self.out_of[here]:
                if at == goal:
                    return True
                there = self.ways[at]["to"]
                if there != name and there not in seen:
                    seen.add(there)
                    frontier.add(there)
        return False

    def new_debt(self, game: Game, name: str, took: list[int]) -> frozenset[int]:
        into = self.into[name]
        if self.join_of(name)[0] != "count" or len(into) == 1:
            return frozenset()
        return frozenset(at for at in into if at not in took and self.may_come(game, name, at))

    def settled(self, game: Game) -> Game:
        while True:
            absorbed = [at for at in game.owed if game.tokens[at]]
            gone = [at for at in game.owed if at not in absorbed and not self.may_come(game, self.ways[at]["to"], at)]
            if not absorbed and not gone:
                return game
            game = self.without(game, absorbed)._replace(owed=game.owed - set(absorbed) - set(gone))

    def put(self, before: Game, game: Game, name: str, end: dict[int, int]) -> Game:
        """The step of a node has ended: what its cancel list withdraws, and the tokens it gives."""
        if not any(self.ways[at].get("on") == "error" for at in end):
            active, tokens = list(game.active), list(game.tokens)
            for other in self.nodes[name].get("cancel", ()):
                active[self.names.index(other)] = 0
                for at in self.into[other]:
                    tokens[at] = 0
            game = game._replace(active=tuple(active), tokens=tuple(tokens))
        tokens = list(game.tokens)
        for at, count in end.items():
            tokens[at] += count
        return game._replace(tokens=tuple(tokens))

    def blocked(self, game: Game, found: Play) -> list[Game]:
        """Nothing moves and tokens are left."""
        waiting = [name for name in self.names if any(game.tokens[at] for at in self.into[name])]
        for name in waiting:
            if self.join_of(name)[0] == "auto":
                took = [at for at in self.into[name] if game.tokens[at]]
                return [self.begun(self.without(game, took), name)]
        name = waiting[0]
        took = [at for at in self.into[name] if game.tokens[at]]
        errors, is_sure = self.first_holding([at for at in self.out_of[name] if self.ways[at].get("on") == "error"])
        if not is_sure:
            found.deadlocks.add(name)
        stopped = self.without(game, took)
        return [self.put(game, stopped, name, end) for at in errors for end in self.amounts([at])]

    # --- how a step can end

    def ends(self, name: str) -> list[Any]:
        """The tokens by connection that each way of ending gives; `scope` where it ends the whole scope."""
        node = self.nodes[name]
        errors = [at for at in self.out_of[name] if self.ways[at].get("on") == "error"]
        good = [at for at in self.out_of[name] if at not in errors]
        ends: list[Any] = []
        if node["type"] == "end":
            stops = node.get("with", {}).get("terminate", False)
            ends += ["scope"] * (stops is not False) + [{}] * (stops is not True)
        elif node["type"] == "decision":
            first, is_sure = self.first_holding(good)
            ends += [end for at in first for end in self.amounts([at])] + ["scope"] * (not is_sure)
        elif node["type"] != "fail":
            ends += [end for taken in self.splits(good) for end in self.amounts(taken)]
        if self.is_first:
            ends = ["scope" if end == {} else end for end in ends]
        if self.may_fail(node, good):
            first, is_sure = self.first_holding(errors)
            ends += [end or {at: 0} for at in first for end in self.amounts([at])] + ["scope"] * (not is_sure)
        return ends

    def splits(self, good: list[int]) -> list[list[int]]:
        certain = [at for at in good if "when" not in self.ways[at] and not self.ways[at].get("otherwise")]
        maybe = [at for at in good if "when" in self.ways[at]]
        otherwise = [at for at in good if self.ways[at].get("otherwise")]
        subsets = chain.from_iterable(combinations(maybe, size) for size in range(len(maybe) + 1))
        return [[*certain, *subset, *(otherwise if not subset else [])] for subset in subsets]

    def first_holding(self, ways: list[int]) -> tuple[list[int], bool]:
        found = []
        for at in ways:
            if self.ways[at].get("otherwise"):
                continue
            found.append(at)
            if "when" not in self.ways[at]:
                return found, True
        otherwise = [at for at in ways if self.ways[at].get("otherwise")]
        return found + otherwise, bool(otherwise)

    def amounts(self, taken: list[int]) -> list[dict[int, int]]:
        found: list[dict[int, int]] = [{}]
        for at in taken:
            tokens = self.ways[at].get("tokens", 1)
            numbers = TEMPLATE_TOKENS if isinstance(tokens, str) else (tokens,)
            found = [{**end, at: number} if number else end for end in found for number in numbers]
        return found

    def may_fail(self, node: dict[str, Any], good: list[int]) -> bool:
        if node["type"] not in PURE or "${" in str({key: node[key] for key in node if key != "nodes"}):
            return True
        if node["type"] == "decision" and not self.first_holding(good)[1]:
            return True
        return any("when" in self.ways[at] or isinstance(self.ways[at].get("tokens"), str) for at in good)


def changed(counts: tuple[int, ...], at: int, by: int) -> tuple[int, ...]:
    """The counts with one of them changed."""
    return (*counts[:at], counts[at] + by, *counts[at + 1 :])
