"""Which nodes and connections of a definition its tests went through."""

from collections.abc import Iterator
from typing import Any

from workflow_engine.models.node import Connection, GroupNode, Node
from workflow_engine.models.workflow import Definition
from workflow_engine.services.rehearsal.trace import Connection as Taken
from workflow_engine.services.rehearsal.trace import Trace


class Coverage:
    """The parts of one definition, and those that were covered so far."""

    def __init__(self, definition: Definition) -> None:
        self._nodes: dict[str, bool] = {}
        self._connections: dict[Taken, str] = {}
        self._taken: set[Taken] = set()
        for group, nodes, connections in _scopes(definition):
            self._nodes |= dict.fromkeys((node.id for node in nodes), False)
            self._connections |= {(group, index): _label(one) for index, one in enumerate(connections)}

    def add(self, trace: Trace) -> None:
        """What one run of a test went through."""
        for node in trace.activated:
            self._nodes[node] = True
        self._taken |= trace.taken

    @property
    def nodes(self) -> tuple[list[str], list[str]]:
        """The nodes that were activated, and those that were not."""
        return _parted((node, is_covered) for node, is_covered in self._nodes.items())

    @property
    def connections(self) -> tuple[list[str], list[str]]:
        """The connections that a token took, and the others."""
        return _parted((label, taken in self._taken) for taken, label in self._connections.items())

    def to_dict(self) -> dict[str, Any]:
        """As the API shows it."""
        both = {"nodes": self.nodes, "connections": self.connections}
        return {name: {"covered": covered, "missed": missed} for name, (covered, missed) in both.items()}


def _parted(parts: Iterator[tuple[str, bool]]) -> tuple[list[str], list[str]]:
    lists: tuple[list[str], list[str]] = ([], [])
    for name, is_covered in parts:
        lists[0 if is_covered else 1].append(name)
    return lists


def _scopes(definition: Definition) -> Iterator[tuple[str, list[Node], list[Connection]]]:
    pending: list[tuple[str, list[Node], list[Connection]]] = [("", definition.nodes, definition.connections)]
    while pending:
        scope = pending.pop(0)
        yield scope
        pending += [(node.id, node.nodes, node.connections) for node in scope[1] if isinstance(node, GroupNode)]


def _label(connection: Connection) -> str:
    label = f"{connection.source} -> {connection.target}"
    if connection.on == "error":
        label += " on error"
    if connection.when is not None:
        label += f" when {connection.when}"
    return label + (" otherwise" if connection.otherwise else "")
