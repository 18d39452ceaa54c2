"""Findings in words: what can happen, and the way there."""

from collections.abc import Iterable
from typing import NamedTuple

from workflow_engine.engine.validation.outline import NodeView
from workflow_engine.engine.validation.soundness.net import Choice, Join, Move, Net
from workflow_engine.engine.validation.soundness.search import Growth, Stuck

CHOICES_MAX = 12
NAMES_MAX = 8


class Finding(NamedTuple):
    """One thing that is wrong with a scope, or that could not be shown: the fields of a warning."""

    code: str
    path: str
    message: str
    hint: str


def stuck_finding(net: Net, stuck: Stuck, *, never_fires: bool) -> Finding:
    """A join that waits for ever, with the way there."""
    join = stuck.join
    name = join.node.id
    here = _sources(net, join, stuck.filled)
    missing = _sources(net, join, [place for place in join.connections if place not in stuck.filled])
    way = _way(net, stuck.choices)
    if join.rule == "tally":
        what = f"it starts with every {join.count} tokens, and fewer are left over"
    elif missing:
        what = f"it holds a token from {here}, and none comes from {missing}"
    else:
        what = f"it holds tokens from {here}, and waits for one that a round before still has to come"
    if stuck.has_fired:
        code, message = (
            "tokens_left_behind",
            f"tokens can stay behind before the join `{name}`, which has fired: {what}",
        )
        hint = f"{way} Let each round bring as many tokens as the join takes, or let it join with `auto`"
    elif never_fires:
        code, message = "join_never_fires", f"the join `{name}` never fires: {what}"
        hint = f"{way} Lead a path to each of its connections, or let it join with `auto`"
    else:
        code, message = "deadlock", f"the join `{name}` can wait for ever: {what}"
        hint = f"{way} Let it join with `auto`, which waits only for what can still come, or catch the error `deadlock`"
    return Finding(code, join.node.path, message, hint)


def high_count_finding(join: Join) -> Finding:
    """A `count` join with fewer connections than it asks for."""
    ways = len(join.connections)
    return Finding(
        "join_never_fires",
        join.node.path + "/join/count",
        f"the join `{join.node.id}` never fires: it waits for {join.count} of its {ways} connections",
        f"A round takes one token from each connection: ask for at most {ways}",
    )


def growth_finding(net: Net, growth: Growth) -> Finding:
    """Tokens that become more with each turn of a cycle."""
    node = net.places[growth.place].node
    turn = _told(net, growth.turn)
    again = f"Then again and again: {turn}." if turn else "Then the same again and again."
    return _growth(node, f"{_way(net, growth.choices)} {again}")


def breeding_finding(net: Net, move: Move, choices: Iterable[Choice]) -> Finding:
    """A cycle whose node puts more tokens on it than it takes, and no join that brings them together."""
    turn = _told(net, [move.choice] if move.choice is not None else [])
    again = f"Then with each turn: {turn}." if turn else "Then with each turn."
    return _growth(net.places[move.owner].node, f"{_way(net, choices)} {again}")


def _growth(node: NodeView, way: str) -> Finding:
    return Finding(
        "unbounded_tokens",
        node.path,
        f"tokens can become more and more before `{node.id}`: a cycle puts more tokens than it takes",
        f"{way} Bring the branches together (`join: auto` or `all`) before the way back, or lead only one of them back",
    )


def spinning_finding(net: Net, cycle: list[int], choices: Iterable[Choice]) -> Finding:
    """A cycle that never ends, never waits and never calls."""
    names = list(dict.fromkeys(f"`{net.places[place].node.id}`" for place in cycle))
    shown = [*names[:NAMES_MAX], "..."] if len(names) > NAMES_MAX else names
    return Finding(
        "endless_cycle",
        net.places[cycle[0]].node.path,
        f"this goes on for ever without waiting or calling: {' -> '.join([*shown, names[0]])}",
        f"{_way(net, choices)} Give a connection out of the cycle a `when`, or wait in it",
    )


def not_proved_finding(path: str, scope: str, why: str) -> Finding:
    """What could not be shown, and why."""
    return Finding(
        "not_proved",
        path,
        f"{scope} could not be proved sound: {why}",
        "It may well be sound. Fewer `all` and `count` joins, or groups that close off a part, make it provable",
    )


def _sources(net: Net, join: Join, places: Iterable[int]) -> str:
    ways = sorted(way for place in places for way in join.arrivals[place])
    return _listed(net.connections[way].source for way in ways)


def _listed(names: Iterable[str | None]) -> str:
    unique = list(dict.fromkeys(f"`{name}`" for name in names))
    shown, rest = unique[:NAMES_MAX], len(unique) - NAMES_MAX
    return ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")


def _way(net: Net, choices: Iterable[Choice]) -> str:
    told = _told(net, choices)
    return f"The way there: {told}." if told else "It happens whatever the conditions say."


def _told(net: Net, choices: Iterable[Choice]) -> str:
    told = [_choice(net, choice) for choice in choices]
    rest = len(told) - CHOICES_MAX
    shown = (
        told[:CHOICES_MAX] if rest <= 0 else [*told[: CHOICES_MAX // 2], f"({rest} more)", *told[-CHOICES_MAX // 2 :]]
    )
    return "; ".join(shown)


def _choice(net: Net, choice: Choice) -> str:
    taken = _listed(net.connections[way].target for way in choice.taken)
    left = _listed(net.connections[way].target for way in choice.left)
    if choice.tokens is not None:
        return f"`{choice.node}` passes {choice.tokens} token{'' if choice.tokens == 1 else 's'} to {taken}"
    if choice.is_failure:
        return f"`{choice.node}` fails and goes to {taken}"
    if not taken:
        return f"`{choice.node}` does not go to {left}" if left else f"`{choice.node}` ends its path"
    return f"`{choice.node}` goes to {taken}" + (f", not to {left}" if left else "")
