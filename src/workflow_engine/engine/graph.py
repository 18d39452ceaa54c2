"""A definition, compiled: nodes and connections by number, expressions as closures, reachability as bit masks.

A graph is immutable and shared by all executions of a definition version. Masks have one bit per node; they are made
when a join first asks, because most graphs never do.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from workflow_engine.engine.expressions import Expression, Template, compile_expression, compile_template
from workflow_engine.models.node import Connection, CountJoin, Node, NodeBase, RetryPolicy, WaitNode, effective_retry
from workflow_engine.models.workflow import Definition

PURE_TYPES: Final = frozenset({"set", "decision", "join", "end", "fail", "emit"})
WAIT_TYPES: Final = frozenset({"wait", "human"})

Paths = Iterable[tuple[str, ...]]


@dataclass(slots=True, frozen=True)
class Edge:
    """A connection. `index` is its position in the document; it names the connection in facts and in the state."""

    index: int
    source: int
    target: int
    source_id: str
    target_id: str
    is_error: bool
    otherwise: bool
    when: Expression | None
    tokens: int | Template


@dataclass(slots=True, frozen=True)
class ForeachSpec:
    """A compiled `foreach`."""

    items: Template
    item_name: str
    index_name: str
    concurrency: Template
    is_failing: bool


@dataclass(slots=True)
class NodeSpec:
    """A compiled node. `keeps_output`: some expression reads `steps.<id>.output`, so the state must hold it."""

    index: int
    id: str
    type: str
    arguments: Template
    output: Template | None
    assign: tuple[tuple[str, Template], ...]
    join: str
    count: int
    foreach: ForeachSpec | None
    retry: RetryPolicy | None
    timeout: Template | None
    signal_when: Expression | None
    priority: int | None
    wait_kind: str | None = None
    keeps_output: bool = False
    incoming: tuple[Edge, ...] = ()
    on_success: tuple[Edge, ...] = ()
    on_error: tuple[Edge, ...] = ()
    is_split_conditional: bool = False
    may_end_path: bool = True

    @property
    def is_io(self) -> bool:
        """Whether a handler outside the transition does the work."""
        return self.type not in PURE_TYPES and self.type not in WAIT_TYPES


@dataclass(slots=True)
class Graph:
    """A compiled definition."""

    workflow_id: str
    nodes: tuple[NodeSpec, ...]
    edges: tuple[Edge, ...]
    by_id: dict[str, NodeSpec]
    starts: tuple[str, ...]
    output: Template | None
    variables: Template
    timeout: Template | None
    _sources: list[int] = field(default_factory=list)
    _targets: list[int] = field(default_factory=list)
    _upstream: dict[int, int] = field(default_factory=dict)
    _downstream: dict[int, int] = field(default_factory=dict)

    def upstream(self, edge: Edge) -> int:
        """The nodes from which a token can still come to `edge` without passing through its target, as a bit mask."""
        mask = self._upstream.get(edge.index)
        if mask is None:
            mask = _closure(self._sources, edge.source, without=edge.target)
            self._upstream[edge.index] = mask
        return mask

    def downstream(self, node: int) -> int:
        """The node itself and all that a token there can still come to, as a bit mask."""
        mask = self._downstream.get(node)
        if mask is None:
            mask = self._downstream[node] = _closure(self._targets, node, without=None)
        return mask


def bits(mask: int) -> Iterator[int]:
    """The positions of the bits that are set, from low to high."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def _closure(neighbours: list[int], origin: int, *, without: int | None) -> int:
    barrier = 0 if without is None else 1 << without
    seen = (1 << origin) & ~barrier
    frontier = seen
    while frontier:
        found = 0
        for node in bits(frontier):
            found |= neighbours[node]
        frontier = found & ~seen & ~barrier
        seen |= frontier
    return seen


def compile_graph(definition: Definition) -> Graph:
    """Compile a definition that `validate` has found to be without errors."""
    nodes = tuple(_node(index, node) for index, node in enumerate(definition.nodes))
    by_id = {node.id: node for node in nodes}
    edges = tuple(_edge(index, connection, by_id) for index, connection in enumerate(definition.connections))
    graph = Graph(
        workflow_id=definition.id,
        nodes=nodes,
        edges=edges,
        by_id=by_id,
        starts=_starts(definition),
        output=compile_template(definition.output) if definition.is_given("output") else None,
        variables=compile_template(dict(definition.variables)),
        timeout=compile_template(definition.timeout) if definition.timeout is not None else None,
    )
    _connect(graph)
    _mark_kept_outputs(graph)
    return graph


def _starts(definition: Definition) -> tuple[str, ...]:
    if definition.start is not None:
        return tuple(definition.start)
    targets = {connection.target for connection in definition.connections}
    return tuple(node.id for node in definition.nodes if node.id not in targets)


def _arguments(node: NodeBase) -> dict[str, Any]:
    given: dict[str, Any] = node.with_.model_dump(by_alias=True, exclude_unset=True)
    if isinstance(node, WaitNode):
        given.pop("when", None)
    return given


def _node(index: int, node: Node) -> NodeSpec:
    arguments = _arguments(node)
    return NodeSpec(
        index=index,
        id=node.id,
        type=node.type,
        arguments=compile_template(arguments),
        output=compile_template(node.output) if node.has_output else None,
        assign=tuple((name, compile_template(value)) for name, value in node.assign.items()),
        join="count" if isinstance(node.join, CountJoin) else node.join,
        count=node.join.count if isinstance(node.join, CountJoin) else 0,
        foreach=_foreach(node),
        retry=effective_retry(node),
        timeout=compile_template(node.timeout) if node.timeout is not None else None,
        signal_when=compile_expression(node.with_.when) if isinstance(node, WaitNode) and node.with_.when else None,
        priority=node.priority,
        wait_kind=next(iter(arguments)) if node.type == "wait" else None,
    )


def _foreach(node: NodeBase) -> ForeachSpec | None:
    if node.foreach is None:
        return None
    return ForeachSpec(
        items=compile_template(node.foreach.items),
        item_name=node.foreach.item_name,
        index_name=node.foreach.index_name,
        concurrency=compile_template(node.foreach.concurrency),
        is_failing=node.foreach.on_error == "fail",
    )


def _edge(index: int, connection: Connection, by_id: dict[str, NodeSpec]) -> Edge:
    tokens = connection.tokens
    return Edge(
        index=index,
        source=by_id[connection.source].index,
        target=by_id[connection.target].index,
        source_id=connection.source,
        target_id=connection.target,
        is_error=connection.on == "error",
        otherwise=connection.otherwise,
        when=compile_expression(connection.when) if connection.when is not None else None,
        tokens=tokens if isinstance(tokens, int) else compile_template(tokens),
    )


def _connect(graph: Graph) -> None:
    incoming: list[list[Edge]] = [[] for _ in graph.nodes]
    on_success: list[list[Edge]] = [[] for _ in graph.nodes]
    on_error: list[list[Edge]] = [[] for _ in graph.nodes]
    graph._sources = [0] * len(graph.nodes)
    graph._targets = [0] * len(graph.nodes)
    for edge in graph.edges:
        incoming[edge.target].append(edge)
        (on_error if edge.is_error else on_success)[edge.source].append(edge)
        graph._sources[edge.target] |= 1 << edge.source
        graph._targets[edge.source] |= 1 << edge.target
    for node in graph.nodes:
        node.incoming = tuple(incoming[node.index])
        node.on_success = tuple(on_success[node.index])
        node.on_error = tuple(on_error[node.index])
        node.is_split_conditional = any(edge.when is not None or edge.otherwise for edge in node.on_success)
        node.may_end_path = all(edge.when is not None for edge in node.on_success) or any(
            not isinstance(edge.tokens, int) or edge.tokens == 0 for edge in node.on_success
        )


def _mark_kept_outputs(graph: Graph) -> None:
    for path in _references(graph):
        if path[0] != "steps":
            continue
        if len(path) == 1:
            named: Iterable[NodeSpec] = graph.nodes
        elif len(path) == 2 or path[2] == "output":
            named = (graph.by_id[path[1]],) if path[1] in graph.by_id else ()
        else:
            continue
        for node in named:
            node.keeps_output = True


def _references(graph: Graph) -> Iterator[tuple[str, ...]]:
    if graph.output is not None:
        yield from graph.output.references
    yield from graph.variables.references
    if graph.timeout is not None:
        yield from graph.timeout.references
    for node in graph.nodes:
        for template in (node.arguments, node.output, node.timeout, *(value for _, value in node.assign)):
            if template is not None:
                yield from template.references
        if node.foreach is not None:
            yield from node.foreach.items.references
            yield from node.foreach.concurrency.references
        if node.signal_when is not None:
            yield from node.signal_when.references
    for edge in graph.edges:
        if edge.when is not None:
            yield from edge.when.references
        if isinstance(edge.tokens, Template):
            yield from edge.tokens.references
