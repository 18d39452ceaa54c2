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
    {"type": "wait", "with": {"condition": "vars.n > 3"}},
    {"type": "wait", "with": {"condition": "steps.b.count > 1"}, "timeout": "30s"},
    {"type": "wait", "with": {"any": [{"signal": "go"}, {"for": "15s"}, {"condition": "vars.n > 2"}]}},
    {"type": "wait", "with": {"signal": "go", "durable": False}},
    {"type": "workflow", "with": {"workflow_id": "child"}},
    {"type": "workflow", "with": {"workflow_id": "child"}, "timeout": "25s", "retry": {"max_attempts": 2}},
    {"type": "function", "with": {"name": "work"}, "delivery": "at_most_once"},
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


REPEATS: tuple[dict[str, Any], ...] = (
    {"max": 3},
    {"while": "vars.n < 3", "max": 4},
    {"until": "iteration > 1", "delay": "5s"},
    {"until": "vars.n > 2", "max": 2},
    {"while": "iteration < 2", "delay": "${ vars.n }s"},
    {"max": "${ vars.n }"},
)
LOCKS = ("one", "two", "${ vars.n }")
LIMITS: tuple[dict[str, Any], ...] = (
    {"key": "k", "concurrency": 1},
    {"key": "${ vars.n }", "concurrency": 2},
    {"key": "k", "concurrency": "${ vars.n }"},
)
FOREACHES: tuple[dict[str, Any], ...] = (
    {"complete_after": 1},
    {"complete_after": 2, "rest": "continue"},
    {"complete_when": "completed > 1"},
    {"complete_when": "completed >= vars.n", "rest": "continue"},
    {"wait": False},
    {"wait": False, "complete_after": 1},
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """A document that may or may not be a valid definition."""
    ids = list("abcdefgh"[: draw(st.integers(1, NODES_MAX))])
    kind = draw(st.sampled_from(KINDS))
    document: dict[str, Any] = {"id": "random", "variables": {"n": 0, "zero": 0}, **_scope(draw, ids, kind, depth=0)}
    if draw(st.integers(0, 4)) == 0:
        document["on_failure"] = "compensate"
    if draw(st.integers(0, 3)) == 0:
        document["output"] = draw(st.sampled_from(OUTPUTS[1:]))
    if draw(st.integers(0, 5)) == 0:
        document["timeout"] = "5m"
    return document


def _scope(draw: st.DrawFn, ids: list[str], kind: str, *, depth: int) -> dict[str, Any]:
    """The nodes and connections of one scope; a group's nodes are named after it."""
    scope: dict[str, Any] = {"nodes": [_node(draw, name, kind, depth=depth) for name in ids]}
    count = draw(st.integers(len(ids) - 1, 2 * len(ids)))
    scope["connections"] = [_connection(draw, ids) for _ in range(count)]
    if draw(st.integers(0, 2)):
        scope["start"] = draw(st.lists(st.sampled_from(ids), min_size=1, max_size=2, unique=True))
    for node in scope["nodes"] if kind == "all" else ():
        if draw(st.integers(0, 9)) == 0:
            node["cancel"] = draw(st.lists(st.sampled_from(ids), min_size=1, max_size=2, unique=True))
    if kind == "all" and draw(st.integers(0, 2)) == 0:
        undoing = f"{ids[0]}u"
        for node in scope["nodes"]:
            if draw(st.booleans()):
                node["compensate"] = undoing
        scope["nodes"].append(_node(draw, undoing, "all", depth=2))
    return scope


def _group(draw: st.DrawFn, name: str, kind: str, *, depth: int) -> dict[str, Any]:
    ids = [f"{name}{number}" for number in range(1, draw(st.integers(1, 4)) + 1)]
    group: dict[str, Any] = {"type": "group", **_scope(draw, ids, kind, depth=depth + 1)}
    if draw(st.integers(0, 2)) == 0:
        group["variables"] = draw(st.sampled_from(({"n": 1}, {"n": "${ vars.n }", "m": 0}, {"own": "${ steps.b }"})))
    if draw(st.integers(0, 3)) == 0:
        group["finish"] = "first"
    if draw(st.integers(0, 4)) == 0:
        group["timeout"] = "40s"
    if draw(st.integers(0, 4)) == 0:
        group["retry"] = {"max_attempts": 2, "initial": "1s"}
    return group


def _body(draw: st.DrawFn, name: str, kind: str, *, depth: int) -> dict[str, Any]:
    if depth < 2 and kind != "failures" and draw(st.integers(0, 4 + 4 * depth)) == 0:
        return _group(draw, name, kind, depth=depth)
    is_rare = draw(st.integers(0, 7)) == 7 and kind == "all"
    return dict(draw(st.sampled_from(ENDINGS if is_rare else KIND_BODIES[kind])))


def _node(draw: st.DrawFn, name: str, kind: str, *, depth: int) -> dict[str, Any]:
    node = {"id": name, **_body(draw, name, kind, depth=depth)}
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
        if draw(st.integers(0, 2)) == 0:
            node["foreach"] |= draw(st.sampled_from(FOREACHES))
    if node["type"] not in ("end", "fail", "join") and draw(st.integers(0, 2 * one_in)) == 2 * one_in:
        node["repeat"] = draw(st.sampled_from(REPEATS))
    if draw(st.integers(0, 2 * one_in)) == 2 * one_in:
        node["lock"] = draw(st.sampled_from(LOCKS))
    if draw(st.integers(0, 2 * one_in)) == 2 * one_in:
        node["limit"] = draw(st.sampled_from(LIMITS))
    return node


def _connection(draw: st.DrawFn, ids: list[str]) -> dict[str, Any]:
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
