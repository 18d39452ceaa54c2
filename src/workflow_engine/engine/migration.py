"""Moving an execution to another version of its definition: where each token and step stands there, or why it can't."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from workflow_engine.engine.apply import apply
from workflow_engine.engine.graph import Edge, Graph, NodeSpec
from workflow_engine.models.event import AnyFact, ExecutionMigrated, ItemsAdded, StepCompleted, StepStarted
from workflow_engine.models.execution import ExecutionState, Scope, Step


@dataclass(slots=True)
class Plan:
    """The fact that moves an execution, and what stands against it: each problem names the place and the way out."""

    fact: ExecutionMigrated
    problems: list[str] = field(default_factory=list)


Outputs = dict[str, dict[str, Any]]
"""Outputs of completed nodes by scope key and node id."""


def missing_outputs(state: ExecutionState, old: Graph, new: Graph, nodes: dict[str, str]) -> list[tuple[str, str]]:
    """The scope keys and (old) node ids whose latest output the new version reads, and the state does not hold.

    The log has them; whoever can read it gives them to `plan_migration`.
    """
    missing = []
    for key, scope in state.scopes.items():
        before = old.bodies[scope.path]
        after = new.bodies.get("/".join(nodes.get(node, node) for node in scope.path.split("/")))
        if after is None:
            continue
        for node, view in scope.views.items():
            kept = after.by_id.get(nodes.get(node, node))
            is_new = kept is not None and kept.keeps_output and not before.by_id[node].keeps_output
            if is_new and view["count"] and view["output"] is None:
                missing.append((key, node))
    return missing


class OutputReader:
    """Finds the latest outputs of nodes in a log: feed it every transition's facts, in order.

    Attributes:
        outputs: those that were found, as `plan_migration` takes them.
    """

    def __init__(self, wanted: list[tuple[str, str]]) -> None:
        self._wanted = set(wanted)
        self._lists: dict[str, list[Any]] = {}
        self.outputs: Outputs = {}

    def feed(self, facts: Iterable[AnyFact]) -> None:
        """Read the facts of one transition."""
        for fact in facts:
            if isinstance(fact, StepStarted) and fact.items is not None and (fact.scope, fact.node) in self._wanted:
                self._lists[fact.step] = [None] * len(fact.items)
            elif isinstance(fact, ItemsAdded) and fact.step in self._lists:
                self._lists[fact.step] += [None] * len(fact.items)
            elif isinstance(fact, StepCompleted):
                self._completed(fact)

    def _completed(self, fact: StepCompleted) -> None:
        scope, _, name = fact.step.rpartition("~")
        key = f"{scope}~" if scope else ""
        step, _, index = name.partition(":")
        node = step.partition(".")[0]
        if (key, node) not in self._wanted:
            return
        if not index:
            output = self._lists.pop(fact.step, None) if fact.is_list else fact.output
            self.outputs.setdefault(key, {})[node] = output
        elif (listed := self._lists.get(key + step)) is not None and index.isdecimal():
            listed[int(index)] = fact.output


def plan_migration(
    state: ExecutionState,
    old: Graph,
    new: Graph,
    version: int,
    nodes: dict[str, str],
    *,
    outputs: Outputs | None = None,
) -> Plan:
    """Where everything of an execution stands in another version.

    Args:
        nodes: new node ids by old ones; a node that is not named keeps its id.
        outputs: what `missing_outputs` names, from the log.
    """
    known = {name for graph in old.bodies.values() for name in graph.by_id}
    problems = [
        f"the old version has no node {name}; name nodes by their old ids" for name in nodes if name not in known
    ]
    known_new = {name for graph in new.bodies.values() for name in graph.by_id}
    problems += [
        f"the new version has no node {name} that {of} could become"
        for of, name in nodes.items()
        if name not in known_new
    ]
    renamed = {old_id: new_id for old_id, new_id in nodes.items() if old_id != new_id}
    dropped = sorted(name for name in known if renamed.get(name, name) not in known_new)
    planner = _Planner(old, new, renamed, problems)
    for scope in state.scopes.values():
        planner.scope(scope)
    for key, step in (*state.steps.items(), *state.reopenable.items()):
        planner.step(key, step, state.scopes[step.scope])
    for undo in state.undo:
        planner.undo(undo.step_id, undo.path, undo.node)
    for key, node in missing_outputs(state, old, new, renamed):
        if node not in (outputs or {}).get(key, {}):
            problems.append(f"the new version reads the output of {node}, which the old one has not kept")
    fact = ExecutionMigrated(state.version, version, renamed, dropped, planner.connections, outputs or {})
    return Plan(fact, problems)


def rebase(
    state: ExecutionState,
    old: Graph,
    new: Graph,
    version: int,
    nodes: dict[str, str],
    *,
    outputs: Outputs | None = None,
) -> list[str]:
    """Move a state to another version in place; gives the problems, and changes nothing where there are any."""
    plan = plan_migration(state, old, new, version, nodes, outputs=outputs)
    if not plan.problems:
        apply(state, plan.fact)
    return plan.problems


class _Planner:
    def __init__(self, old: Graph, new: Graph, nodes: dict[str, str], problems: list[str]) -> None:
        self._old = old
        self._new = new
        self._nodes = nodes
        self._problems = problems
        self.connections: dict[str, dict[int, int]] = {}

    def scope(self, scope: Scope) -> None:
        before = self._old.bodies[scope.path]
        after = self._graph(scope.path)
        if after is None:
            return  # its owner, a step, is told of
        used = {*scope.tokens, *scope.withdrawn_tokens, *scope.errors}
        indexes = self.connections.setdefault(scope.path, {})
        wanted: Iterable[int] = used | {index for owed in scope.owed.values() for index in owed}
        for index in sorted(wanted):
            edge = before.edges[index]
            found = self._edge(edge, before, after)
            if found is not None:
                indexes[index] = found.index
            elif index in used:
                self._problems.append(
                    f"a token stands on the connection {edge.source_id} -> {edge.target_id}, which the new version "
                    "does not have; map its nodes, or let the execution pass it first"
                )
        for node in (*scope.starts, *scope.withdrawn_starts):
            if self._nodes.get(node, node) not in after.by_id:
                self._problems.append(f"{node} is to begin and is not in the new version; map it to another node")

    def step(self, step_id: str, step: Step, scope: Scope) -> None:
        before = self._old.bodies[scope.path].by_id[step.node]
        after = self._node(scope.path, step.node)
        if after is None:
            self._problems.append(
                f"the step {step_id} stands on {step.node}, which is not in the same scope of the new version; map it"
            )
        elif not _is_alike(before, after):
            self._problems.append(
                f"the step {step_id} can't go on as {after.id}: both have to be of one type, and alike in "
                "`foreach`, `repeat` and how they wait"
            )

    def undo(self, step_id: str, path: str, node: str) -> None:
        after = self._node(path, node)
        if after is None or after.compensate is None:
            self._problems.append(f"the new version has nothing that undoes {step_id}; map {node} to a node with it")

    def _path(self, path: str) -> str:
        return "/".join(self._nodes.get(node, node) for node in path.split("/"))

    def _graph(self, path: str) -> Graph | None:
        return self._new.bodies.get(self._path(path))

    def _node(self, path: str, node: str) -> NodeSpec | None:
        graph = self._graph(path)
        return graph.by_id.get(self._nodes.get(node, node)) if graph is not None else None

    def _edge(self, edge: Edge, before: Graph, after: Graph) -> Edge | None:
        """The connection between the same nodes; among several, the one at the same place."""
        ends = (edge.source_id, edge.target_id, edge.is_error)
        position = sum(_ends(other) == ends for other in before.edges[: edge.index])
        wanted = (self._nodes.get(ends[0], ends[0]), self._nodes.get(ends[1], ends[1]), edge.is_error)
        found = [other for other in after.edges if _ends(other) == wanted]
        return found[position] if position < len(found) else None


def _ends(edge: Edge) -> tuple[str, str, bool]:
    return edge.source_id, edge.target_id, edge.is_error


def _is_alike(before: NodeSpec, after: NodeSpec) -> bool:
    return (
        before.type == after.type
        and (before.foreach is None) == (after.foreach is None)
        and (before.repeat is None) == (after.repeat is None)
        and [wait.kind for wait in before.waits] == [wait.kind for wait in after.waits]
    )
