"""When a node may fire, and which tokens that takes: the join rules of the language.

One function answers for one node in one scope; it changes nothing. The reachability it asks for is compiled into masks,
so an answer costs a few machine words however large the graph is.
"""

from collections.abc import Callable
from typing import NamedTuple

from workflow_engine.engine.graph import Edge, NodeSpec
from workflow_engine.engine.working import Place


class Firing(NamedTuple):
    """The connections to take one token from (a connection may stand twice), and what a `count` round then still
    owes.
    """

    took: list[int]
    owed: list[int] | None = None


def firing(place: Place, node: NodeSpec) -> Firing | None:
    """How the node fires now; None when it has to wait."""
    tokens = place.scope.tokens
    if len(node.incoming) == 1 and node.join != "count":
        index = node.incoming[0].index
        return Firing([index]) if index in tokens else None
    filled = [edge.index for edge in node.incoming if edge.index in tokens]
    if not filled:
        return None
    return _RULES[node.join](place, node, filled)


def _any(place: Place, node: NodeSpec, filled: list[int]) -> Firing | None:
    return Firing(filled[:1])


def _all(place: Place, node: NodeSpec, filled: list[int]) -> Firing | None:
    return Firing(filled) if len(filled) == len(node.incoming) else None


def _auto(place: Place, node: NodeSpec, filled: list[int]) -> Firing | None:
    for edge in node.incoming:
        if edge.index not in place.scope.tokens and can_still_come(place, edge):
            return None
    return Firing(filled)


def _count(place: Place, node: NodeSpec, filled: list[int]) -> Firing | None:
    if node.id in place.scope.owed:
        return None
    if len(node.incoming) == 1:
        tokens = place.scope.tokens[filled[0]]
        return Firing(filled * node.count) if tokens >= node.count else None
    if len(filled) < node.count:
        return None
    late = [
        edge.index for edge in node.incoming if edge.index not in place.scope.tokens and can_still_come(place, edge)
    ]
    return Firing(filled, late)


_RULES: dict[str, Callable[[Place, NodeSpec, list[int]], Firing | None]] = {
    "auto": _auto,
    "any": _any,
    "all": _all,
    "count": _count,
}


def can_still_come(place: Place, edge: Edge) -> bool:
    """Whether a token elsewhere in the scope, or a step at work there, can still reach the empty connection `edge`."""
    return bool(place.graph.upstream(edge) & place.busy)


class Debt(NamedTuple):
    """What became of a `count` round's debt: tokens that came late and are absorbed, connections that still owe one."""

    absorbed: list[int]
    owed: list[int]


def settled_debt(place: Place, node: NodeSpec) -> Debt | None:
    """The debt of the node's last round after what has happened since; None when nothing about it changed."""
    owed = place.scope.owed.get(node.id)
    if owed is None:
        return None
    absorbed = [index for index in owed if index in place.scope.tokens]
    left = [index for index in owed if index not in absorbed and can_still_come(place, place.graph.edges[index])]
    return Debt(absorbed, left) if len(left) < len(owed) else None


def stuck_join(place: Place) -> NodeSpec | None:
    """The first `auto` join in document order that holds tokens: it fires when nothing else in the scope can move."""
    for index in sorted(place.waiting):
        if place.graph.nodes[index].join == "auto":
            return place.graph.nodes[index]
    return None


def deadlocked_join(place: Place) -> NodeSpec:
    """The first join in document order that waits for tokens that can't come any more."""
    return place.graph.nodes[min(place.waiting)]


def filled_and_missing(place: Place, node: NodeSpec) -> tuple[list[int], list[Edge]]:
    """The connections of a join that hold a token, and those that don't."""
    tokens = place.scope.tokens
    filled = [edge.index for edge in node.incoming if edge.index in tokens]
    return filled, [edge for edge in node.incoming if edge.index not in tokens]
