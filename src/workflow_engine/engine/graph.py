"""A definition, compiled: nodes and connections by number, expressions as closures, reachability as bit masks.

A graph is immutable and shared by all executions of a definition version. Masks have one bit per node; they are made
when a join first asks, because most graphs never do.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from workflow_engine.engine.expressions import Expression, Meter, Template, compile_expression, compile_template
from workflow_engine.models.duration import parse_duration
from workflow_engine.models.node import (
    Connection,
    CountJoin,
    GroupNode,
    Node,
    NodeBase,
    RetryPolicy,
    WaitNode,
    effective_retry,
)
from workflow_engine.models.node_input import WaitChoice
from workflow_engine.models.workflow import Definition

PURE_TYPES: Final = frozenset({"set", "decision", "join", "end", "fail", "emit"})
WAIT_TYPES: Final = frozenset({"wait", "human"})

Path = tuple[str, ...]

ROOT_PATH: Final = ""
"""The path of the outermost scope; that of a group's body ends in the group's id, as in `outer/inner`."""


@dataclass(slots=True, frozen=True)
class Edge:
    """A connection. `index` is its position in its scope; it names the connection in facts and in the state."""

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
    complete_after: Template | None
    complete_when: Expression | None
    continues_rest: bool
    is_awaited: bool


@dataclass(slots=True, frozen=True)
class RepeatSpec:
    """A compiled `repeat`."""

    while_holds: Expression | None
    until_holds: Expression | None
    max: Template
    delay: Template | None

    @property
    def is_conditional(self) -> bool:
        """Whether a condition ends it, and `max` is no more than a guard."""
        return self.while_holds is not None or self.until_holds is not None


@dataclass(slots=True, frozen=True)
class WaitSpec:
    """One compiled thing to wait for. `watches` are the keys of what its condition reads; see `change_keys`."""

    kind: str
    value: Template | None
    when: Expression | None
    condition: Expression | None
    watches: frozenset[str]
    is_durable: bool


@dataclass(slots=True, frozen=True)
class LimitSpec:
    """A compiled `limit`."""

    key: Template
    concurrency: Template


@dataclass(slots=True)
class NodeSpec:
    """A compiled node.

    `is_io`: a handler outside the transition does the work. `is_queued`: it may have to wait for a lock or a slot
    before it starts. `keeps_output`: some expression reads `steps.<id>.output`, so the state must hold it.
    `puts`: the connections that get tokens from a success, and how many, where no expression has a say in it.
    """

    index: int
    id: str
    type: str
    arguments: Template
    output: Template | None
    assign: tuple[tuple[str, Template], ...]
    join: str
    count: int
    foreach: ForeachSpec | None
    repeat: RepeatSpec | None
    retry: RetryPolicy | None
    timeout: Template | None
    heartbeat_s: float | None
    is_at_most_once: bool
    waits: tuple[WaitSpec, ...]
    is_any: bool
    lock: Template | None
    limit: LimitSpec | None
    cancel: tuple[str, ...]
    compensate: str | None
    priority: int | None
    is_io: bool
    is_queued: bool
    body: "Graph | None" = None
    finishes_first: bool = False
    keeps_output: bool = False
    incoming: tuple[Edge, ...] = ()
    on_success: tuple[Edge, ...] = ()
    on_error: tuple[Edge, ...] = ()
    is_split_conditional: bool = False
    may_end_path: bool = True
    puts: tuple[tuple[int, int], ...] | None = None
    undo_names: frozenset[str] = frozenset()


@dataclass(slots=True)
class Graph:
    """A compiled scope: the whole definition, or the body of a group.

    `output` is the expression that gives the scope's output, None where that is made of its last nodes' outputs. What
    stands below `timeout` belongs to the whole definition. `has_children`: a node of it runs other workflows. `bodies`
    are all scopes of the definition by path.
    """

    path: str
    nodes: tuple[NodeSpec, ...]
    edges: tuple[Edge, ...]
    by_id: dict[str, NodeSpec]
    starts: tuple[str, ...]
    variables: Template
    declared: frozenset[str]
    needs_default_output: bool
    output: Template | None = None
    timeout: Template | None = None
    workflow_id: str = ""
    is_compensating: bool = False
    has_children: bool = False
    transient_signals: frozenset[str] = frozenset()
    bodies: dict[str, "Graph"] = field(default_factory=dict)
    _sources: list[int] = field(default_factory=list)
    _targets: list[int] = field(default_factory=list)
    _upstream: dict[int, int] = field(default_factory=dict)
    _downstream: dict[int, int] = field(default_factory=dict)

    def upstream(self, edge: Edge) -> int:
        """The nodes from which a token can still come to `edge` without passing through its target, as a bit mask."""
        mask = self._upstream.get(edge.index)
        if mask is None and self.nodes[edge.source].type == "end" and not edge.is_error:
            mask = self._upstream[edge.index] = 0
        elif mask is None:
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
    bodies: dict[str, Graph] = {}
    root = _scope(definition, ROOT_PATH, bodies, needs_default_output=not definition.is_given("output"))
    root.bodies = bodies
    root.workflow_id = definition.id
    root.output = compile_template(definition.output) if definition.is_given("output") else None
    root.timeout = compile_template(definition.timeout) if definition.timeout is not None else None
    root.is_compensating = definition.on_failure == "compensate"
    root.has_children = any(node.type == "workflow" for graph in bodies.values() for node in graph.nodes)
    root.transient_signals = _transient_signals(bodies)
    _mark_kept_outputs(root)
    return root


def _scope(part: Definition | GroupNode, path: str, bodies: dict[str, Graph], *, needs_default_output: bool) -> Graph:
    nodes = tuple(_node(index, node) for index, node in enumerate(part.nodes))
    by_id = {node.id: node for node in nodes}
    edges = tuple(_edge(index, connection, by_id) for index, connection in enumerate(part.connections))
    graph = bodies[path] = Graph(
        path=path,
        nodes=nodes,
        edges=edges,
        by_id=by_id,
        starts=_starts(part),
        variables=compile_template(dict(part.variables)),
        declared=frozenset(part.variables),
        needs_default_output=needs_default_output,
    )
    for node, spec in zip(part.nodes, nodes, strict=True):
        if isinstance(node, GroupNode):
            needs = spec.output is None or any(reference[0] == "output" for reference in spec.output.references)
            inside = f"{path}/{node.id}" if path else node.id
            spec.body = _scope(node, inside, bodies, needs_default_output=needs)
            spec.finishes_first = node.finish == "first"
    _connect(graph)
    for spec in nodes:
        if spec.compensate is not None:
            spec.undo_names = _names_read(by_id[spec.compensate])
    return graph


def _starts(part: Definition | GroupNode) -> tuple[str, ...]:
    if part.start is not None:
        return tuple(part.start)
    aside = {connection.target for connection in part.connections} | {node.compensate for node in part.nodes}
    return tuple(node.id for node in part.nodes if node.id not in aside)


def _node(index: int, node: Node) -> NodeSpec:
    return NodeSpec(
        index=index,
        id=node.id,
        type=node.type,
        arguments=compile_template(_arguments(node)),
        output=compile_template(node.output) if node.has_output else None,
        assign=tuple((name, compile_template(value)) for name, value in node.assign.items()),
        join="count" if isinstance(node.join, CountJoin) else node.join,
        count=node.join.count if isinstance(node.join, CountJoin) else 0,
        foreach=_foreach(node),
        repeat=_repeat(node),
        retry=effective_retry(node),
        timeout=_template(node.timeout),
        heartbeat_s=parse_duration(node.heartbeat) if node.heartbeat is not None else None,
        is_at_most_once=node.delivery == "at_most_once",
        waits=_waits(node),
        is_any=isinstance(node, WaitNode) and node.with_.any is not None,
        lock=_template(node.lock),
        limit=_limit(node),
        cancel=tuple(node.cancel),
        compensate=node.compensate,
        priority=node.priority,
        is_io=node.type not in PURE_TYPES and node.type not in WAIT_TYPES and node.type != "group",
        is_queued=node.lock is not None or node.limit is not None,
    )


def _template(value: Any) -> Template | None:
    return None if value is None else compile_template(value)


def _expression(source: str | None) -> Expression | None:
    return None if source is None else compile_expression(source)


def _arguments(node: NodeBase) -> dict[str, Any]:
    return {} if isinstance(node, WaitNode) else node.with_.model_dump(by_alias=True, exclude_unset=True)


def _waits(node: NodeBase) -> tuple[WaitSpec, ...]:
    if not isinstance(node, WaitNode):
        return ()
    choices: list[WaitChoice] = node.with_.any if node.with_.any is not None else [node.with_]
    return tuple(_wait(choice) for choice in choices)


def _wait(choice: WaitChoice) -> WaitSpec:
    condition = _expression(choice.condition)
    value = {"for": choice.for_, "until": choice.until, "signal": choice.signal}.get(choice.kind)
    return WaitSpec(
        kind=choice.kind,
        value=_template(value),
        when=_expression(choice.when),
        condition=condition,
        watches=frozenset() if condition is None else watched_keys(condition),
        is_durable=choice.durable,
    )


ANY_CHANGE: Final = "*"


def watched_keys(condition: Expression) -> frozenset[str]:
    """What a condition reads that can change: `vars.<name>`, `steps.<node>`, `vars` or `steps` as a whole, or `*`."""
    keys = set()
    for path in condition.references:
        if path[0] in ("vars", "steps"):
            keys.add(".".join(path[:2]))
        elif path[0] == "now":
            keys.add(ANY_CHANGE)
    return frozenset(keys)


def _foreach(node: NodeBase) -> ForeachSpec | None:
    if node.foreach is None:
        return None
    return ForeachSpec(
        items=compile_template(node.foreach.items),
        item_name=node.foreach.item_name,
        index_name=node.foreach.index_name,
        concurrency=compile_template(node.foreach.concurrency),
        is_failing=node.foreach.on_error == "fail",
        complete_after=_template(node.foreach.complete_after),
        complete_when=_expression(node.foreach.complete_when),
        continues_rest=node.foreach.rest == "continue",
        is_awaited=node.foreach.wait,
    )


def _repeat(node: NodeBase) -> RepeatSpec | None:
    if node.repeat is None:
        return None
    return RepeatSpec(
        while_holds=_expression(node.repeat.while_),
        until_holds=_expression(node.repeat.until),
        max=compile_template(node.repeat.max),
        delay=_template(node.repeat.delay),
    )


def _limit(node: NodeBase) -> LimitSpec | None:
    if node.limit is None:
        return None
    return LimitSpec(compile_template(node.limit.key), compile_template(node.limit.concurrency))


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
        when=_expression(connection.when),
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
        if graph.nodes[edge.source].type == "end" and not edge.is_error:
            continue  # its path has ended
        (on_error if edge.is_error else on_success)[edge.source].append(edge)
        graph._sources[edge.target] |= 1 << edge.source
        graph._targets[edge.source] |= 1 << edge.target
    for node in graph.nodes:
        node.incoming = tuple(incoming[node.index])
        node.on_success = tuple(on_success[node.index])
        node.on_error = tuple(on_error[node.index])
        if all(edge.when is None and not edge.otherwise and type(edge.tokens) is int for edge in node.on_success):
            node.puts = tuple((edge.index, edge.tokens) for edge in node.on_success if edge.tokens)  # type: ignore[misc]
        node.is_split_conditional = any(edge.when is not None or edge.otherwise for edge in node.on_success)
        node.may_end_path = all(edge.when is not None for edge in node.on_success) or any(
            not isinstance(edge.tokens, int) or edge.tokens == 0 for edge in node.on_success
        )


def _transient_signals(bodies: dict[str, Graph]) -> frozenset[str]:
    """The names of signals that every wait for them takes only if it waits when they come."""
    transient: set[str] = set()
    durable: set[str] = set()
    for graph in bodies.values():
        for wait in (wait for node in graph.nodes for wait in node.waits if wait.kind == "signal"):
            assert wait.value is not None
            if not wait.value.is_constant:
                return frozenset()
            (durable if wait.is_durable else transient).add(str(wait.value.evaluate({}, Meter(0))))
    return frozenset(transient - durable)


def _mark_kept_outputs(root: Graph) -> None:
    by_id = {id: node for graph in root.bodies.values() for id, node in graph.by_id.items()}  # noqa: A001
    for path in _all_references(root):
        if path[0] != "steps":
            continue
        if len(path) == 1:
            named: Iterable[NodeSpec] = by_id.values()
        elif len(path) == 2 or path[2] == "output":
            named = (by_id[path[1]],) if path[1] in by_id else ()
        else:
            continue
        for node in named:
            node.keeps_output = True


def _all_references(root: Graph) -> Iterator[Path]:
    yield from _references(root.output, root.timeout)
    for graph in root.bodies.values():
        yield from graph.variables.references
        for node in graph.nodes:
            yield from _node_references(node)
        for edge in graph.edges:
            yield from _references(edge.when, edge.tokens if isinstance(edge.tokens, Template) else None)


def _node_references(node: NodeSpec) -> Iterator[Path]:
    yield from _references(node.arguments, node.output, node.timeout, node.lock, *(value for _, value in node.assign))
    if node.limit is not None:
        yield from _references(node.limit.key, node.limit.concurrency)
    if node.foreach is not None:
        foreach = node.foreach
        yield from _references(foreach.items, foreach.concurrency, foreach.complete_after, foreach.complete_when)
    if node.repeat is not None:
        repeat = node.repeat
        yield from _references(repeat.while_holds, repeat.until_holds, repeat.max, repeat.delay)
    for wait in node.waits:
        yield from _references(wait.value, wait.when, wait.condition)


def _references(*parts: Template | Expression | None) -> Iterator[Path]:
    for part in parts:
        if part is not None:
            yield from part.references


def _names_read(node: NodeSpec) -> frozenset[str]:
    """The names that a node's expressions begin with, those of a group's inside included."""
    found = {path[0] for path in _node_references(node)}
    if node.body is not None:
        found.update(path[0] for path in node.body.variables.references)
        for inner in node.body.nodes:
            found |= _names_read(inner)
        for edge in node.body.edges:
            found.update(path[0] for path in _references(edge.when))
    return frozenset(found)
