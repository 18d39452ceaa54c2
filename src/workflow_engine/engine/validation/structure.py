"""Ids, connections and reachability: what can be said without looking into an expression."""

from collections import defaultdict
from typing import Any

from workflow_engine.engine.validation.outline import ConnectionView, Outline, ScopeView
from workflow_engine.engine.validation.report import Report
from workflow_engine.models.problem import pointer


def check_structure(outline: Outline, report: Report) -> None:
    """Tells duplicate ids, connections to nowhere, contradictions, missing starts and what can't be reached."""
    _check_ids(outline, report)
    for scope in outline.scopes:
        for connection in scope.connections:
            _check_connection(connection, scope, outline, report)
        _check_otherwise(scope, report)
        _check_references(scope, outline, report)
        _check_undoing(scope, report)
        _check_start(scope, report)
        _check_decisions(scope, report)


def _check_ids(outline: Outline, report: Report) -> None:
    for node in outline.nodes:
        first = outline.by_id.get(node.id or "")
        if first is not None and first is not node:
            report.error(
                "duplicate_node_id",
                node.path + "/id",
                f"the id `{node.id}` is taken by {first.path}",
                "ids are unique in the whole definition, groups included: choose another",
            )


def _check_connection(connection: ConnectionView, scope: ScopeView, outline: Outline, report: Report) -> None:
    for word, node_id in (("from", connection.source), ("to", connection.target)):
        if node_id is not None and node_id not in scope.by_id:
            _tell_unknown(node_id, connection.path + pointer(word), scope, outline, report)
    if connection.raw.get("otherwise") is True and connection.raw.get("when") is not None:
        report.error(
            "contradiction",
            connection.path,
            "`when` and `otherwise` exclude each other",
            "`otherwise` is taken when no `when` beside it holds: keep one of the two",
        )
    source = scope.by_id.get(connection.source or "")
    if source is not None and source.type in {"end", "fail"} and not connection.is_error:
        report.warning(
            "connection_never_taken",
            connection.path,
            f"`{source.id}` is of type `{source.type}`, so nothing follows its success",
            "remove the connection" if source.type == "end" else "did you mean `on: error`?",
        )


def _tell_unknown(node_id: str, path: str, scope: ScopeView, outline: Outline, report: Report) -> None:
    if node_id in outline.by_id:
        report.error(
            "connection_across_scopes",
            path,
            f"`{node_id}` is in another scope",
            "connections stay within one group; connect the group itself",
        )
    else:
        hint = report.suggestion(node_id, scope.by_id)
        report.error("unknown_node", path, f"there is no node `{node_id[:80]}`", hint)


def _check_otherwise(scope: ScopeView, report: Report) -> None:
    seen: dict[tuple[str | None, bool], ConnectionView] = {}
    for connection in scope.connections:
        if connection.raw.get("otherwise") is True:
            first = seen.setdefault((connection.source, connection.is_error), connection)
            if first is not connection:
                report.error(
                    "duplicate_otherwise",
                    connection.path + "/otherwise",
                    f"`{connection.source}` has an `otherwise` already: {first.path}",
                    "keep one of them",
                )


def _check_references(scope: ScopeView, outline: Outline, report: Report) -> None:
    for path, node_id in _references(scope):
        if node_id not in scope.by_id:
            _tell_unknown(node_id, path, scope, outline, report)


def _check_undoing(scope: ScopeView, report: Report) -> None:
    """A node that undoes another stands outside of the flow: nothing but a compensation activates it."""
    undoing = {name for node in scope.nodes if isinstance(name := node.raw.get("compensate"), str)}
    hint = "let the compensation activate it alone; a copy of it can stand in the flow"
    for connection in scope.connections:
        for word, node_id in (("from", connection.source), ("to", connection.target)):
            if node_id in undoing:
                report.error(
                    "compensation_in_flow",
                    connection.path + pointer(word),
                    f"`{node_id}` undoes another node, so it stands outside of the flow",
                    hint,
                )
    for index, node_id in enumerate(_listed(scope.raw, "start")):
        if isinstance(node_id, str) and node_id in undoing:
            message = f"`{node_id}` undoes another node, so the flow can't begin with it"
            report.error("compensation_in_flow", scope.path + pointer("start", index), message, hint)


def _references(scope: ScopeView) -> list[tuple[str, str]]:
    found = [(scope.path + pointer("start", index), item) for index, item in enumerate(_listed(scope.raw, "start"))]
    for node in scope.nodes:
        found += [(node.path + pointer("cancel", at), item) for at, item in enumerate(_listed(node.raw, "cancel"))]
        if "compensate" in node.raw:
            found.append((node.path + "/compensate", node.raw["compensate"]))
    return [(path, item) for path, item in found if isinstance(item, str)]


def _listed(raw: dict[str, Any], name: str) -> list[Any]:
    value = raw.get(name)
    return value if isinstance(value, list) else []


def _check_start(scope: ScopeView, report: Report) -> None:
    if not isinstance(scope.raw.get("nodes"), list):
        return
    undoing = {node.raw.get("compensate") for node in scope.nodes if isinstance(node.raw.get("compensate"), str)}
    starts = _starts(scope, undoing)
    if starts:
        _warn_unreachable(scope, starts, undoing, report)
    elif not scope.raw["nodes"]:
        report.error("no_start", scope.path + "/nodes", "there are no nodes", "add at least one")
    elif "start" in scope.raw:
        if scope.raw["start"] == []:
            report.error("no_start", scope.path + "/start", "`start` is empty", "name the nodes to begin with")
    else:
        report.error(
            "no_start",
            scope.path + "/nodes",
            "every node has an incoming connection, so none can begin",
            "name the nodes to begin with: start: [id]",
        )


def _starts(scope: ScopeView, undoing: set[Any]) -> list[str]:
    if isinstance(scope.raw.get("start"), list):
        return [item for item in scope.raw["start"] if isinstance(item, str) and item in scope.by_id]
    targets = {connection.target for connection in scope.connections}
    return [node_id for node_id in scope.by_id if node_id not in targets and node_id not in undoing]


def _warn_unreachable(scope: ScopeView, starts: list[str], undoing: set[Any], report: Report) -> None:
    following: dict[str | None, list[str]] = defaultdict(list)
    for connection in scope.connections:
        if connection.target in scope.by_id:
            following[connection.source].append(connection.target or "")
    reached: set[str] = set()
    pending = [*starts, *(node_id for node_id in undoing if node_id in scope.by_id)]
    while pending:
        node_id = pending.pop()
        if node_id not in reached:
            reached.add(node_id)
            pending += following[node_id]
    for node_id, node in scope.by_id.items():
        if node_id not in reached:
            report.warning(
                "unreachable_node",
                node.path,
                f"no path from the start leads to `{node_id}`",
                "connect it, add it to `start`, or remove it",
            )


def _check_decisions(scope: ScopeView, report: Report) -> None:
    exits: dict[str | None, list[ConnectionView]] = defaultdict(list)
    for connection in scope.connections:
        if not connection.is_error:
            exits[connection.source].append(connection)
    for node_id, node in scope.by_id.items():
        if node.type == "decision" and all(_is_conditional(connection) for connection in exits[node_id]):
            report.warning(
                "decision_without_otherwise",
                node.path,
                f"when no condition holds, `{node_id}` fails with no_match",
                "add a connection with `otherwise: true`",
            )


def _is_conditional(connection: ConnectionView) -> bool:
    return connection.raw.get("when") is not None and connection.raw.get("otherwise") is not True
