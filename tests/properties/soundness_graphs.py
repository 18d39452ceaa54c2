"""Random scopes for the soundness checks: small, drawn from a seed, and rich in joins."""

from random import Random
from typing import Any

JOINS: tuple[Any, ...] = ("auto", "auto", "auto", "all", "all", "any", {"count": 1}, {"count": 2}, {"count": 3})
BODIES: tuple[dict[str, Any], ...] = (
    {"type": "set"},
    {"type": "set"},
    {"type": "decision"},
    {"type": "decision"},
    {"type": "function", "with": {"name": "work"}},
    {"type": "function", "with": {"name": "work"}},
    {"type": "wait", "with": {"signal": "go"}},
    {"type": "join"},
)
ENDINGS: tuple[dict[str, Any], ...] = (
    {"type": "end"},
    {"type": "end", "with": {"terminate": True}},
    {"type": "end", "with": {"terminate": "${ vars.n > 1 }"}},
    {"type": "fail", "with": {"type": "broken"}},
)


def random_scope(seed: int) -> dict[str, Any]:
    """`nodes`, `connections` and, at times, `start` of a scope: the same for the same seed."""
    draw = Random(seed)
    kind = draw.choice(("blocks", "forward", "tangled"))
    if kind == "blocks":
        return _blocks(draw)
    return _drawn(draw, is_forward=kind == "forward")


def _node(draw: Random, name: str) -> dict[str, Any]:
    node = {"id": name, **draw.choice(ENDINGS if draw.random() < 0.08 else BODIES)}
    if draw.random() < 0.75:
        node["join"] = draw.choice(JOINS)
    return node


def _drawn(draw: Random, *, is_forward: bool) -> dict[str, Any]:
    """Connections between any two nodes; `is_forward`: hardly any leads back."""
    ids = "abcdefg"[: draw.randint(3, 7)]
    nodes = [_node(draw, name) for name in ids]
    connections = []
    for target in range(1, len(ids)):
        connections.append(_way(draw, nodes[draw.randrange(target)], ids[target]))
    for _ in range(draw.randint(1, len(ids))):
        source, target = draw.randrange(len(ids)), draw.randrange(1, len(ids))
        if source >= target and (is_forward or draw.random() < 0.5):
            source, target = min(source, target), max(source, target)
        if source != target or not is_forward:
            connections.append(_way(draw, nodes[source], ids[target]))
    draw.shuffle(connections)
    scope: dict[str, Any] = {"nodes": nodes, "connections": _checked(connections)}
    if draw.random() < 0.15:
        for node in draw.sample(nodes, 1):
            node["cancel"] = draw.sample(ids, draw.randint(1, 2))
    if draw.random() < 0.15:
        scope["start"] = sorted({ids[0], draw.choice(ids)})
    return scope


def _way(draw: Random, source: dict[str, Any], target: str) -> dict[str, Any]:
    way: dict[str, Any] = {"from": source["id"], "to": target}
    pick = draw.random()
    is_conditional = source["type"] == "decision" and pick < 0.5
    if is_conditional or pick < 0.12:
        way["when"] = "vars.n > 1"
    elif pick < 0.2 or (source["type"] == "decision" and pick < 0.95):
        way["otherwise"] = True
    elif pick < 0.3:
        way["on"] = "error"
        if draw.random() < 0.3:
            way["when"] = "error.type == 'timeout'"
    elif pick < 0.34:
        way["tokens"] = draw.choice((0, 2, 2, 3))
    elif pick < 0.35:
        way["tokens"] = "${ vars.n }"
    if source["type"] in ("end", "fail"):
        way = {"from": source["id"], "to": target, "on": "error"}
    return way


def _checked(connections: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most one `otherwise` per node and outcome."""
    seen: set[tuple[str, str]] = set()
    for way in connections:
        if way.get("otherwise"):
            key = (way["from"], way.get("on", "success"))
            if key in seen:
                del way["otherwise"]
            seen.add(key)
    return connections


def _blocks(draw: Random) -> dict[str, Any]:
    """Blocks within blocks, as people draw them; then perhaps one connection that breaks the order."""
    nodes: list[dict[str, Any]] = []
    connections: list[dict[str, Any]] = []

    def add(**fields: Any) -> str:
        nodes.append({"id": f"n{len(nodes)}", "type": "set", **fields})
        return str(nodes[-1]["id"])

    def link(source: str, target: str, **fields: Any) -> None:
        connections.append({"from": source, "to": target, **fields})

    def block(depth: int) -> tuple[str, str]:
        kind = draw.choice(("step", "call", "series", "choice", "parallel", "loop", "guarded")) if depth else "call"
        if kind in ("step", "call"):
            name = add(type="set") if kind == "step" else add(type="function", **{"with": {"name": "work"}})
            return name, name
        first = add(type="decision" if kind == "choice" else "set")
        if kind == "loop":
            inner, last = block(depth - 1)
            head, gate = add(join=draw.choice(("auto", "any"))), add(type="decision")
            link(first, head)
            link(head, inner)
            link(last, gate)
            link(gate, head, when="vars.n > 1")
            after = add()
            link(gate, after, otherwise=True)
            return first, after
        join = draw.choice(("auto", "auto", "all" if kind == "parallel" else "any", {"count": draw.randint(1, 2)}))
        last = add(join=join)
        for number in range(1 if kind in ("series", "guarded") else 2):
            inner, end = block(depth - 1)
            conditional = {"when": "vars.n > 1"} if number == 0 else {"otherwise": True}
            link(first, inner, **(conditional if kind == "choice" else {}))
            link(end, last)
            if kind == "guarded":
                link(end, last, on="error")
        return first, last

    block(2 if draw.random() < 0.7 else 3)
    names = [node["id"] for node in nodes]
    if len(names) > 2 and draw.random() < 0.5:
        source = draw.choice(nodes)
        connections.append(_way(draw, source, draw.choice(names[1:])))
    return {"nodes": nodes, "connections": _checked(connections)}
