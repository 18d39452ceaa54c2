"""A tolerant view of a document: its scopes, nodes and connections, as far as they can be made out.

The checks read this instead of the typed model, so that one misspelt field does not hide every other problem.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from workflow_engine.models.problem import pointer


@dataclass(slots=True, eq=False)
class NodeView:
    """A node that is at least an object."""

    raw: dict[str, Any]
    path: str
    scope: "ScopeView"
    body: "ScopeView | None" = None
    """The scope inside, if this is a group."""

    @property
    def id(self) -> str | None:
        return _text(self.raw.get("id"))

    @property
    def type(self) -> str | None:
        return _text(self.raw.get("type"))

    def part(self, name: str) -> dict[str, Any]:
        """An attribute that should be an object; empty if it is none."""
        value = self.raw.get(name)
        return value if isinstance(value, dict) else {}


@dataclass(slots=True, eq=False)
class ConnectionView:
    """A connection that is at least an object."""

    raw: dict[str, Any]
    path: str

    @property
    def source(self) -> str | None:
        return _text(self.raw.get("from"))

    @property
    def target(self) -> str | None:
        return _text(self.raw.get("to"))

    @property
    def is_error(self) -> bool:
        return self.raw.get("on") == "error"


@dataclass(slots=True, eq=False)
class ScopeView:
    """The nodes and connections of the definition itself or of a group."""

    raw: dict[str, Any]
    path: str
    group: NodeView | None = None
    nodes: list[NodeView] = field(default_factory=list)
    connections: list[ConnectionView] = field(default_factory=list)
    by_id: dict[str, NodeView] = field(default_factory=dict)

    def enclosing(self) -> "Iterator[ScopeView]":
        """This scope and those around it, from the inside out."""
        scope: ScopeView | None = self
        while scope is not None:
            yield scope
            scope = scope.group.scope if scope.group is not None else None


@dataclass(slots=True)
class Outline:
    """All scopes of a document, outer before inner."""

    scopes: list[ScopeView]
    by_id: dict[str, NodeView]
    """The first node of each id in the whole definition."""

    @property
    def nodes(self) -> list[NodeView]:
        return [node for scope in self.scopes for node in scope.nodes]


def outline_of(document: dict[str, Any]) -> Outline:
    """The outline of a document; whatever has not the right shape is left out."""
    outline = Outline([], {})
    pending = [ScopeView(document, "")]
    while pending:
        scope = pending.pop(0)
        outline.scopes.append(scope)
        for path, raw in _objects(scope, "nodes"):
            node = NodeView(raw, path, scope)
            scope.nodes.append(node)
            if node.id is not None:
                scope.by_id.setdefault(node.id, node)
                outline.by_id.setdefault(node.id, node)
            if node.type == "group":
                node.body = ScopeView(raw, path, group=node)
                pending.append(node.body)
        scope.connections = [ConnectionView(raw, path) for path, raw in _objects(scope, "connections")]
    return outline


def _objects(scope: ScopeView, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    items = scope.raw.get(name)
    for index, item in enumerate(items if isinstance(items, list) else ()):
        if isinstance(item, dict):
            yield scope.path + pointer(name, index), item


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
