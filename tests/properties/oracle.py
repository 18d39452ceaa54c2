"""The join rules once more, by searching the graph for what each token could still do: slow, and written apart."""

from typing import Any

from workflow_engine.engine.graph import Edge, NodeSpec
from workflow_engine.engine.working import Place


def positions(place: Place, steps: list[Any]) -> set[int]:
    """The nodes at which control stands: before them with a token, or in them with an active step."""
    found = {place.graph.edges[index].target for index in place.scope.tokens}
    found |= {place.graph.by_id[name].index for name in place.scope.starts}
    return found | {place.graph.by_id[step.node].index for step in steps}


def may_arrive(place: Place, node: NodeSpec, edge: Edge, steps: list[Any]) -> bool:
    """Whether anything elsewhere can walk to `edge` without passing through `node`."""
    frontier = [index for index in positions(place, steps) if index != node.index]
    seen = set(frontier)
    while frontier:
        here = frontier.pop()
        for way in place.graph.edges:
            is_over = place.graph.nodes[way.source].type == "end" and not way.is_error
            if way.source != here or is_over:
                continue
            if way.index == edge.index:
                return True
            if way.target != node.index and way.target not in seen:
                seen.add(way.target)
                frontier.append(way.target)
    return False


def expected(place: Place, node: NodeSpec, steps: list[Any]) -> list[int] | None:
    """The connections that a join takes a token from now, in the words of the language; None while it waits."""
    tokens = place.scope.tokens
    filled = [edge.index for edge in node.incoming if tokens.get(edge.index)]
    empty = [edge for edge in node.incoming if not tokens.get(edge.index)]
    if not filled:
        return None
    if node.join == "any":
        return filled[:1]
    if node.join == "all":
        return None if empty else filled
    if node.join == "count":
        if node.id in place.scope.owed:
            return None
        if len(node.incoming) == 1:
            return filled * node.count if tokens[filled[0]] >= node.count else None
        return filled if len(filled) >= node.count else None
    return None if any(may_arrive(place, node, edge, steps) for edge in empty) else filled


def expected_debt(place: Place, node: NodeSpec, steps: list[Any]) -> list[int]:
    """The connections that owe a token when a `count` join fires now."""
    if node.join != "count" or len(node.incoming) == 1:
        return []
    empty = [edge for edge in node.incoming if not place.scope.tokens.get(edge.index)]
    return [edge.index for edge in empty if may_arrive(place, node, edge, steps)]
