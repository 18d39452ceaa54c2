"""Definitions drawn as Mermaid flowcharts."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from workflow_engine.models.node import Connection, GroupNode, Node
from workflow_engine.models.workflow import Definition

_SHAPES: Final = {
    "decision": ("{", "}"),
    "join": ("{{", "}}"),
    "end": ("([", "])"),
    "fail": (">", "]"),
    "emit": (">", "]"),
    "wait": ("(", ")"),
    "human": ("[/", "\\]"),
    "set": ("[", "]"),
}
_CALL: Final = ("[[", "]]")
"""Nodes that call something outside."""

_COLOURS: Final = {
    "completed": "fill:#d3f9d8,stroke:#2b8a3e,color:#000",
    "processing": "fill:#d0ebff,stroke:#1864ab,color:#000",
    "waiting": "fill:#e5dbff,stroke:#5f3dc4,color:#000",
    "retrying": "fill:#fff3bf,stroke:#e67700,color:#000",
    "failed": "fill:#ffe3e3,stroke:#c92a2a,color:#000",
    "cancelled": "fill:#f1f3f5,stroke:#868e96,color:#000,stroke-dasharray:4",
    "skipped": "fill:#f8f9fa,stroke:#ced4da,color:#868e96",
    "pending": "fill:#fff,stroke:#adb5bd,color:#000",
}

_RESERVED: Final = frozenset(
    {"end", "graph", "flowchart", "subgraph", "direction", "tb", "td", "bt", "lr", "rl", "style", "linkstyle"}
    | {"classdef", "class", "click", "call", "href", "default"}
)
"""Words that Mermaid reads as its own."""

LABEL_CHARS_MAX: Final = 120
_ENTITIES: Final = {"#": "#35;", "&": "#amp;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "`": "#96;", "\\": "#92;"}
_ESCAPED: Final = re.compile(r'[#&"<>`\\]')


def escaped(text: str) -> str:
    """Text as a Mermaid label takes it between quotes.

    >>> escaped('a < "b"')
    'a #lt; #quot;b#quot;'
    """
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    line = line if len(line) <= LABEL_CHARS_MAX else line[: LABEL_CHARS_MAX - 1] + "…"
    return _ESCAPED.sub(lambda match: _ENTITIES[match[0]], line)


def flowchart(definition: Definition, states: Mapping[str, str] | None = None) -> str:
    """The definition as a Mermaid flowchart; `states` are the statuses of its nodes, which become their classes."""
    names = _names(definition.nodes)
    lines = ["---", f'title: "{escaped(definition.name or definition.id)}"', "---", "flowchart TD"]
    lines += _scope(definition.nodes, definition.connections, names, "    ")
    if states is not None:
        lines += _classes(names, states)
    return "\n".join(lines)


def _all_nodes(nodes: Iterable[Node]) -> Iterator[Node]:
    for node in nodes:
        yield node
        if isinstance(node, GroupNode):
            yield from _all_nodes(node.nodes)


def _names(nodes: Iterable[Node]) -> dict[str, str]:
    """Names that Mermaid takes, by node id: the id itself wherever that is possible."""
    ids = [node.id for node in _all_nodes(nodes)]
    taken = set(ids)
    names: dict[str, str] = {}
    for node_id in ids:
        name = node_id
        while name.lower() in _RESERVED or (name != node_id and name in taken):
            name += "_"
        names[node_id] = name
        taken.add(name)
    return names


def _scope(
    nodes: Iterable[Node], connections: Iterable[Connection], names: dict[str, str], indent: str
) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, GroupNode):
            yield f'{indent}subgraph {names[node.id]}["{_label(node)}"]'
            yield from _scope(node.nodes, node.connections, names, indent + "    ")
            yield f"{indent}end"
        else:
            opening, closing = _SHAPES.get(node.type, _CALL)
            yield f'{indent}{names[node.id]}{opening}"{_label(node)}"{closing}'
    for connection in connections:
        yield indent + _arrow(connection, names)


def _label(node: Node) -> str:
    marks: list[str] = [node.type]
    if node.foreach is not None:
        marks.append("foreach")
    if node.repeat is not None:
        marks.append("repeat")
    title = escaped(node.name or node.id)
    return f"{title}<br/><small>{' · '.join(marks)}</small>"


def _arrow(connection: Connection, names: dict[str, str]) -> str:
    is_error = connection.on == "error"
    parts = ["on error"] if is_error else []
    parts += [text for text in (connection.label, connection.when) if text]
    if connection.otherwise:
        parts.append("otherwise")
    if connection.tokens != 1:
        parts.append(f"{connection.tokens} tokens")
    line = "-.->" if is_error else "-->"
    label = f'|"{escaped(": ".join(parts))}"|' if parts else ""
    source, target = (names.get(node_id, node_id) for node_id in (connection.source, connection.target))
    return f"{source} {line}{label} {target}"


def _classes(names: dict[str, str], states: Mapping[str, str]) -> Iterator[str]:
    by_status: dict[str, list[str]] = {}
    for node_id, name in names.items():
        by_status.setdefault(states.get(node_id, "pending"), []).append(name)
    for status, members in by_status.items():
        if status in _COLOURS:
            yield f"    classDef {status} {_COLOURS[status]}"
        yield f"    class {','.join(members)} {status}"
