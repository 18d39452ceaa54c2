"""Random definitions: small, but with everything in them that can stand in each other's way."""

from typing import Any

from hypothesis import strategies as st

from workflow_engine.engine.graph import Graph, compile_graph
from workflow_engine.engine.validation import validate

NODES_MAX = 8

CONDITIONS = (
    "true",
    "false",
    "vars.n < 3",
    "vars.n % 2 == 0",
    "vars.n > 1",
    "input.k > 1",
    "steps.a.status == 'completed'",
    "steps.b.count < 2",
    "steps.c.output == null",
    "steps.a.error == null",
)
BROKEN_CONDITIONS = ("1 / vars.zero == 1", "vars.missing", "vars.n")
ERROR_CONDITIONS = ("error.type == 'unavailable'", "error.attempt > 1", "error.message.size() > 0", "true")
TOKENS: tuple[Any, ...] = (0, 2, 3, "${ vars.n }", "${ input.k }", "${ steps.a.count }")
BROKEN_TOKENS = ("${ vars.n - 1 }", "${ 1.5 }")
ASSIGNS: tuple[dict[str, Any], ...] = (
    {"n": "${ vars.n + 1 }"},
    {"n": "${ vars.n + 1 }", "m": "${ vars.n }"},
    {"all": "${ vars.n }", "seen": "${ steps.a.status }"},
    {"whole": "${ vars.size() < 6 ? vars : {} }"},
    {"views": "${ steps.a }"},
)
OUTPUTS: tuple[Any, ...] = ("${ output }", "${ vars }", "${ steps.b }", {"n": "${ vars.n }"}, 7)
JOINS: tuple[Any, ...] = ("auto", "all", "any", {"count": 1}, {"count": 2}, {"count": 3})
RETRIES: tuple[dict[str, Any], ...] = (
    {"max_attempts": 1},
    {"max_attempts": 2, "initial": "1s", "jitter": 0},
    {"max_attempts": 3, "initial": "100ms", "on": ["unavailable"]},
)
ITEMS: tuple[Any, ...] = ([], [1], [1, 2, 3], "${ [vars.n, 2, 3, 4, 5] }", "${ input.list }")
WORK = {"type": "function", "with": {"name": "work"}}
BODIES: tuple[dict[str, Any], ...] = (
    {"type": "set"},
    {"type": "set", "assign": ASSIGNS[0]},
    {"type": "set", "assign": ASSIGNS[0]},
    {"type": "decision"},
    {"type": "join"},
    {"type": "join"},
    {"type": "emit", "with": {"event": "seen", "data": "${ vars }"}},
    WORK,
    WORK,
    WORK,
    {"type": "function", "with": {"name": "work", "arguments": {"n": "${ vars.n }"}}},
    {"type": "function", "with": {"name": "work", "arguments": {"error": "${ steps.a.error }"}}},
    {"type": "http", "with": {"method": "POST", "url": "http://example.org/${ vars.n }"}},
    {"type": "wait", "with": {"for": "10s"}},
    {"type": "wait", "with": {"for": "500ms"}},
    {"type": "wait", "with": {"for": "${ vars.n }s"}},
    {"type": "wait", "with": {"signal": "go"}},
    {"type": "wait", "with": {"signal": "go", "when": "signal.payload.n > vars.n"}, "timeout": "1m"},
    {"type": "human", "with": {"title": "Well?"}, "timeout": "20s"},
    {"type": "human", "with": {"title": "Well? ${ vars.n }"}},
)
ENDINGS: tuple[dict[str, Any], ...] = (
    {"type": "end"},
    {"type": "end", "with": {"status": "failed", "message": "${ vars.n }"}},
    {"type": "end", "with": {"status": "${ input.status }"}},
    {"type": "end", "with": {"status": "cancelled", "terminate": "${ vars.n > 1 }"}},
    {"type": "end", "with": {"status": "${ vars.n }"}},
    {"type": "fail", "with": {"type": "${ vars.n }", "message": "${ vars.n }", "details": "${ vars }"}},
    {"type": "fail", "with": {"type": "deadlock"}},
    {"type": "wait", "with": {"until": "2020-01-01T00:00:00Z"}},
    {"type": "wait", "with": {"until": "2025-06-16T00:00:00Z"}},
    {"type": "wait", "with": {"until": "9999-12-31T23:59:59-23:59"}},
    {"type": "set", "assign": {"broken": "${ vars.missing }"}},
    {"type": "function", "with": {"name": "work", "arguments": {"n": "${ vars.missing }"}}},
    {"type": "set", "foreach": {"items": "${ vars.n }"}},
)
"""What ends a path early or fails: rarer, or most executions would end before anything happens in them."""
KIND_BODIES = {"all": BODIES, "joins": ({"type": "set"}, WORK, {"type": "decision"}), "failures": BODIES[7:]}
KINDS = tuple(KIND_BODIES)
"""Which part of the language a definition is made of: all of it, or little in which much meets."""


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """A document that may or may not be a valid definition."""
    ids = "abcdefgh"[: draw(st.integers(1, NODES_MAX))]
    kind = draw(st.sampled_from(KINDS))
    nodes = [_node(draw, name, kind) for name in ids]
    count = draw(st.integers(len(ids) - 1, 2 * len(ids)))
    connections = [_connection(draw, ids) for _ in range(count)]
    document: dict[str, Any] = {
        "id": "random",
        "variables": {"n": 0, "zero": 0},
        "nodes": nodes,
        "connections": connections,
    }
    if draw(st.integers(0, 2)):
        document["start"] = draw(st.lists(st.sampled_from(ids), min_size=1, max_size=2, unique=True))
    if draw(st.integers(0, 3)) == 0:
        document["output"] = draw(st.sampled_from(OUTPUTS[1:]))
    if draw(st.integers(0, 5)) == 0:
        document["timeout"] = "5m"
    return document


def _node(draw: st.DrawFn, name: str, kind: str) -> dict[str, Any]:
    is_rare = draw(st.integers(0, 7)) == 7 and kind == "all"
    node = {"id": name, **draw(st.sampled_from(ENDINGS if is_rare else KIND_BODIES[kind]))}
    node["join"] = draw(st.sampled_from(JOINS))
    if draw(st.integers(0, 3)) == 0:
        node["assign"] = draw(st.sampled_from(ASSIGNS))
    if draw(st.integers(0, 5)) == 0 and node["type"] != "decision":
        node["output"] = draw(st.sampled_from(OUTPUTS))
    if node["type"] in ("function", "http") and draw(st.booleans()):
        node["retry"] = draw(st.sampled_from(RETRIES))
    one_in = {"all": 4, "joins": 40, "failures": 1}[kind]
    if node["type"] not in ("end", "fail", "join") and "foreach" not in node and draw(st.integers(0, one_in)) == one_in:
        node["foreach"] = {
            "items": draw(st.sampled_from(ITEMS)),
            "concurrency": draw(st.sampled_from((1, 2, 16, "${ vars.n + 1 }"))),
            "on_error": draw(st.sampled_from(("fail", "continue"))),
        }
    return node


def _connection(draw: st.DrawFn, ids: str) -> dict[str, Any]:
    source, target = draw(st.integers(0, len(ids) - 1)), draw(st.integers(0, len(ids) - 1))
    if source > target and draw(st.booleans()):
        source, target = target, source
    made: dict[str, Any] = {"from": ids[source], "to": ids[target]}
    is_broken = draw(st.integers(0, 30)) == 30
    match draw(st.integers(0, 9)):
        case 0:
            made["on"] = "error"
        case 1:
            made.update(on="error", when="error.nothing" if is_broken else draw(st.sampled_from(ERROR_CONDITIONS)))
        case 2 | 3:
            made["when"] = draw(st.sampled_from(BROKEN_CONDITIONS if is_broken else CONDITIONS))
        case 4:
            made["otherwise"] = True
        case 5:
            made["tokens"] = draw(st.sampled_from(BROKEN_TOKENS if is_broken else TOKENS))
        case _:
            pass
    return made


def compiled(document: dict[str, Any]) -> Graph | None:
    """The graph of a document; None where the document is no definition."""
    definition = validate(document).definition
    return compile_graph(definition) if definition is not None else None
