"""Which connections get a token: splits, decisions and error connections."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from workflow_engine.engine.expressions import Template
from workflow_engine.engine.graph import Edge, NodeSpec
from workflow_engine.engine.variables import Evaluator, StepFault
from workflow_engine.engine.working import Place


class Choice(NamedTuple):
    """The connections taken, in document order, and each one looked at as `{to, when, result}`."""

    taken: list[Edge]
    looked_at: list[dict[str, Any]]


def _holds(evaluator: Evaluator, place: Place, edge: Edge, extra: Mapping[str, Any] | None) -> bool:
    if edge.when is None:
        return True
    try:
        return evaluator.holds(edge.when, place, extra)
    except StepFault as failure:
        raise StepFault(
            failure.type, f"the condition of the connection {edge.source_id} -> {edge.target_id} fails: {failure}"
        ) from failure


def _record(edge: Edge, result: bool) -> dict[str, Any]:
    when = "otherwise" if edge.otherwise else edge.when.source if edge.when is not None else None
    return {"to": edge.target_id, "when": when, "result": result}


def first_holding(
    evaluator: Evaluator, place: Place, edges: tuple[Edge, ...], extra: Mapping[str, Any] | None
) -> Choice:
    """The first connection that holds, else the `otherwise`, else none: a decision, or an error's way on."""
    looked_at = []
    otherwise = None
    for edge in edges:
        if edge.otherwise:
            otherwise = edge
            continue
        result = _holds(evaluator, place, edge, extra)
        looked_at.append(_record(edge, result))
        if result:
            return Choice([edge], looked_at)
    if otherwise is not None:
        looked_at.append(_record(otherwise, True))
        return Choice([otherwise], looked_at)
    return Choice([], looked_at)


def all_holding(evaluator: Evaluator, place: Place, node: NodeSpec, extra: Mapping[str, Any] | None) -> Choice:
    """Every connection that holds; `otherwise` when none with a `when` does."""
    if not node.is_split_conditional:
        return Choice(list(node.on_success), [])
    taken = []
    looked_at = []
    has_match = False
    for edge in node.on_success:
        if edge.otherwise:
            continue
        result = _holds(evaluator, place, edge, extra)
        has_match = has_match or (result and edge.when is not None)
        if edge.when is not None:
            looked_at.append(_record(edge, result))
        if result:
            taken.append(edge)
    for edge in node.on_success:
        if edge.otherwise:
            looked_at.append(_record(edge, not has_match))
            if not has_match:
                taken.append(edge)
    taken.sort(key=lambda edge: edge.index)
    return Choice(taken, looked_at)


def token_puts(
    evaluator: Evaluator, place: Place, taken: list[Edge], extra: Mapping[str, Any] | None
) -> list[tuple[int, int]]:
    """Pairs of connection and number of tokens; connections that get none are left out."""
    puts = []
    for edge in taken:
        count = edge.tokens
        if isinstance(count, Template):
            count = _token_count(evaluator.value(count, place, extra), edge, evaluator.limits.tokens_max)
        if count:
            puts.append((edge.index, count))
    return puts


def _token_count(value: Any, edge: Edge, tokens_max: int) -> int:
    if type(value) is not int or not 0 <= value <= tokens_max:
        shown = value if isinstance(value, int | float | bool) else type(value).__name__
        raise StepFault(
            "expression_error",
            f"`tokens` of the connection {edge.source_id} -> {edge.target_id} gives {shown}; "
            f"it must be an integer from 0 to {tokens_max}",
        )
    return value
