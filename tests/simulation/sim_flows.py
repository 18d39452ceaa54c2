"""Definitions whose end is known: what their executions give, and how often they touch the world outside."""

from typing import Any, NamedTuple

PATIENT = {"max_attempts": 100, "initial": "1s", "factor": 1, "jitter": 0}
INPUT = {"k": 2, "list": [3, 1, 2], "status": "failed"}


class Flow(NamedTuple):
    """A definition, and how its executions end where nobody disturbs them; None: whatever follows."""

    document: dict[str, Any]
    output: Any = None
    effects: int | None = None
    status: str = "completed"
    needs: tuple[dict[str, Any], ...] = ()
    """Definitions that must be there before."""
    input: dict[str, Any] = INPUT

    @property
    def is_known(self) -> bool:
        """Whether its end is."""
        return bool(self.status)


def _add(name: str, to: Any = "${ vars.n }", **fields: Any) -> dict[str, Any]:
    arguments = {"name": "add", "arguments": {"to": to}}
    return {"id": name, "type": "function", "with": arguments, "retry": PATIENT, **fields}


def _flow(name: str, nodes: list[dict[str, Any]], connections: list[Any], **fields: Any) -> dict[str, Any]:
    ways = [{"from": way[0], "to": way[1], **(way[2] if len(way) > 2 else {})} for way in connections]
    return {"id": name, "variables": {"n": 0}, "nodes": nodes, "connections": ways, **fields}


_N = {"assign": {"n": "${ output }"}}

CHAIN = Flow(
    _flow("chain", [_add("a", **_N), _add("b", **_N), _add("c", **_N)], [("a", "b"), ("b", "c")]), output=3, effects=3
)
CYCLE = Flow(
    _flow(
        "cycle",
        [_add("step", timeout="20s", **_N), {"id": "done", "type": "set", "output": "${ vars.n }"}],
        [("step", "step", {"when": "vars.n < 5"}), ("step", "done", {"otherwise": True})],
        start=["step"],
    ),
    output=5,
    effects=5,
)
EACH = Flow(
    _flow(
        "each",
        [
            _add("each", to="${ item }", foreach={"items": [1, 2, 3, 4, 5, 6], "concurrency": 2}),
            _add("after", to="${ steps.each.output.size() }"),
        ],
        [("each", "after")],
        output={"list": "${ steps.each.output }", "last": "${ steps.after.output }"},
    ),
    output={"list": [2, 3, 4, 5, 6, 7], "last": 7},
    effects=7,
)
JOINS = Flow(
    _flow(
        "joins",
        [_add("a"), _add("b"), _add("c"), _add("d"), _add("both", to="${ steps.b.count + steps.d.count }")],
        [
            ("a", "b"),
            ("a", "c"),
            ("a", "both", {"when": "input.k > 100"}),
            ("c", "d"),
            ("b", "both"),
            ("d", "both"),
        ],
    ),
    output=3,
    effects=5,
)
QUOTES = Flow(
    _flow(
        "quotes",
        [_add("ask"), _add("q1"), _add("q2"), _add("q3"), _add("choose", join={"count": 2})],
        [("ask", "q1"), ("ask", "q2"), ("ask", "q3"), ("q1", "choose"), ("q2", "choose"), ("q3", "choose")],
    ),
    output=1,
    effects=5,
)
SIGNAL = Flow(
    _flow(
        "signal",
        [
            {"id": "wait", "type": "wait", "with": {"signal": "go"}, "assign": {"n": 10}},
            _add("after"),
            {"id": "more", "type": "wait", "with": {"signal": "go", "when": "signal.payload.n > 1"}},
            _add("last"),
        ],
        [("wait", "after"), ("after", "more"), ("more", "last")],
    ),
    output=11,
    effects=2,
)
TIMERS = Flow(
    _flow(
        "timers",
        [
            {"id": "first", "type": "wait", "with": {"for": "45s"}},
            _add("a", **_N),
            {"id": "second", "type": "wait", "with": {"for": "3s"}},
            _add("b", **_N),
            {"id": "third", "type": "wait", "with": {"for": "300ms"}},
            _add("c", **_N),
        ],
        [("first", "a"), ("a", "second"), ("second", "b"), ("b", "third"), ("third", "c")],
    ),
    output=3,
    effects=3,
)
PEOPLE = Flow(
    _flow(
        "people",
        [
            {"id": "ask", "type": "human", "with": {"title": "Well?", "due": "1h"}},
            {"id": "which", "type": "decision"},
            _add("yes"),
            _add("no"),
        ],
        [
            ("ask", "which"),
            ("which", "yes", {"when": "steps.ask.output.approved"}),
            ("which", "no", {"otherwise": True}),
        ],
    ),
    output=1,
    effects=1,
)
ERRORS = Flow(
    _flow(
        "errors",
        [
            {
                "id": "try",
                "type": "function",
                "with": {"name": "refuse"},
                "retry": {"max_attempts": 100, "on": ["unavailable"]},
            },
            _add("mend", to="${ error.attempt > 0 ? 41 : 0 }"),
        ],
        [("try", "mend", {"on": "error", "when": "error.type == 'refused'"})],
    ),
    output=42,
    effects=2,
)
DEADLINE = Flow(
    _flow(
        "deadline",
        [
            {"id": "try", "type": "function", "with": {"name": "work"}, "timeout": "2s", "retry": {"max_attempts": 2}},
            _add("good", to=1),
            _add("bad", to=1),
        ],
        [("try", "good"), ("try", "bad", {"on": "error"})],
    )
)
EXPIRES = Flow(
    _flow("expires", [{"id": "wait", "type": "wait", "with": {"signal": "never"}}], [], timeout="90s"), status="failed"
)
POSTS = Flow(
    _flow(
        "posts",
        [
            {
                "id": "post",
                "type": "http",
                "with": {"method": "POST", "url": "http://example.org/${ input.k }", "json": {"k": "${ input.k }"}},
                "retry": {**PATIENT, "on": ["unavailable", "rate_limited", "timeout"]},
            },
            {"id": "done", "type": "set", "output": "${ steps.post.output.status }"},
        ],
        [("post", "done")],
    ),
    output=200,
    effects=1,
)
SPIN = Flow(
    _flow(
        "spin",
        [
            {"id": "count", "type": "set", "assign": {"n": "${ vars.n + 1 }"}},
            _add("tell", **_N),
            {"id": "done", "type": "set", "output": "${ vars.n }"},
        ],
        [
            ("count", "count", {"when": "vars.n % 7 != 0"}),
            ("count", "tell", {"otherwise": True}),
            ("tell", "count", {"when": "vars.n < 20"}),
            ("tell", "done", {"otherwise": True}),
        ],
        start=["count"],
    ),
    output=22,
    effects=3,
)

RACE = Flow(
    _flow(
        "race",
        [
            {
                "id": "call",
                "type": "function",
                "with": {"name": "strike"},
                "timeout": "10s",
                "retry": {"max_attempts": 2},
            },
            {"id": "go", "type": "wait", "with": {"signal": "go"}, "timeout": "10s"},
            {"id": "clock", "type": "wait", "with": {"for": "10s"}},
            {"id": "meet", "type": "join", "join": "all"},
            {"id": "mend", "type": "set"},
            _add("last"),
        ],
        [
            ("call", "meet"),
            ("go", "meet"),
            ("clock", "meet"),
            ("go", "mend", {"on": "error"}),
            ("meet", "last"),
        ],
        timeout="10s",
    ),
    status="",
)

GROUP = Flow(
    _flow(
        "group",
        [
            {
                "id": "g",
                "type": "group",
                "variables": {"m": 1},
                "nodes": [
                    _add("x", to="${ vars.m }", assign={"m": "${ output }"}),
                    _add("y", to="${ vars.m }"),
                    _add("z"),
                ],
                "connections": [{"from": "x", "to": "y"}],
                "output": "${ steps.y.output }",
                "timeout": "7d",
            },
            _add("after", to="${ steps.g.output }"),
        ],
        [("g", "after")],
    ),
    output=4,
    effects=4,
)
GROUPS = Flow(
    _flow(
        "groups",
        [
            {
                "id": "g",
                "type": "group",
                "foreach": {"items": [1, 2, 3], "concurrency": 2},
                "nodes": [_add("x", to="${ item }"), {"id": "rest", "type": "wait", "with": {"for": "2s"}}],
                "connections": [{"from": "x", "to": "rest"}],
                "output": "${ steps.x.output }",
            },
            {"id": "done", "type": "set", "output": "${ steps.g.output }"},
        ],
        [("g", "done")],
    ),
    output=[2, 3, 4],
    effects=3,
)
FIRST = Flow(
    _flow(
        "first",
        [
            {
                "id": "g",
                "type": "group",
                "finish": "first",
                "nodes": [_add("x"), {"id": "slow", "type": "wait", "with": {"signal": "never"}}],
                "connections": [],
            },
            _add("after"),
        ],
        [("g", "after")],
    ),
    output=1,
    effects=2,
)
REPEAT = Flow(
    _flow(
        "repeat",
        [
            _add("again", repeat={"until": "vars.n >= 3", "max": 10, "delay": "1s"}, **_N),
            {"id": "done", "type": "set", "output": "${ vars.n }"},
        ],
        [("again", "done")],
    ),
    output=3,
    effects=3,
)
LOCK = Flow(
    _flow(
        "lock",
        [
            *[_add(name, lock="desk", assign={"n": "${ vars.n + 1 }"}) for name in "abc"],
            {"id": "done", "type": "set", "output": "${ vars.n }"},
        ],
        [("a", "done"), ("b", "done"), ("c", "done")],
    ),
    output=3,
    effects=3,
)
LIMIT = Flow(
    _flow(
        "limit",
        [
            _add(
                "each",
                to="${ item }",
                foreach={"items": [1, 2, 3, 4]},
                limit={"key": "desk", "concurrency": 2},
                timeout="20s",
            ),
            {"id": "done", "type": "set", "output": "${ steps.each.output }"},
        ],
        [("each", "done")],
    ),
    output=[2, 3, 4, 5],
    effects=4,
)
CHILD = Flow(
    _flow(
        "child",
        [
            {"id": "a", "type": "workflow", "with": {"workflow_id": "chain"}},
            {"id": "b", "type": "workflow", "with": {"workflow_id": "timers"}},
            _add("sum", to="${ steps.a.output + steps.b.output }"),
        ],
        [("a", "sum"), ("b", "sum")],
    ),
    output=7,
    effects=1,
    needs=(CHAIN.document, TIMERS.document),
)
FAILING_CHILD = Flow(
    _flow(
        "failing_child",
        [
            {"id": "a", "type": "workflow", "with": {"workflow_id": "expires"}},
            _add("mend", to="${ error.type == 'timeout' ? 1 : 0 }"),
        ],
        [("a", "mend", {"on": "error"})],
    ),
    output=2,
    effects=1,
    needs=(EXPIRES.document,),
)
ASKING_CHILD = Flow(
    _flow(
        "asking_child",
        [{"id": "a", "type": "workflow", "with": {"workflow_id": "people"}}, _add("after", to="${ steps.a.output }")],
        [("a", "after")],
    ),
    output=2,
    effects=1,
    needs=(PEOPLE.document,),
)
DETACHED_CHILD = Flow(
    _flow(
        "detached_child",
        [{"id": "a", "type": "workflow", "with": {"workflow_id": "chain", "mode": "detach"}}, _add("after")],
        [("a", "after")],
    ),
    output=1,
    effects=1,
    needs=(CHAIN.document,),
)
ANY = Flow(
    _flow(
        "any",
        [
            {"id": "wait", "type": "wait", "with": {"any": [{"signal": "go"}, {"for": "50s"}]}},
            _add("after"),
        ],
        [("wait", "after")],
    ),
    output=1,
    effects=1,
)
CONDITION = Flow(
    _flow(
        "condition",
        [
            {"id": "wait", "type": "wait", "with": {"condition": "vars.n == 2"}},
            _add("a", **_N),
            _add("b", **_N),
            _add("after"),
        ],
        [("a", "b"), ("wait", "after")],
        output="${ steps.after.output }",
    ),
    output=3,
    effects=3,
)
COMPENSATE = Flow(
    _flow(
        "compensate",
        [
            _add("a", compensate="undo_a"),
            _add("b", compensate="undo_b"),
            {
                "id": "fails",
                "type": "function",
                "with": {"name": "refuse"},
                "retry": {"max_attempts": 100, "on": ["unavailable"]},
            },
            _add("undo_a"),
            _add("undo_b"),
        ],
        [("a", "b"), ("b", "fails")],
        on_failure="compensate",
        start=["a"],
    ),
    effects=5,
    status="failed",
)
ONCE = Flow(
    _flow(
        "once",
        [
            {"id": "once", "type": "function", "with": {"name": "once"}, "delivery": "at_most_once"},
            _add("good", to=1),
            _add("lost", to=1),
        ],
        [("once", "good"), ("once", "lost", {"on": "error"})],
    ),
    output=2,
)

FLOWS = (
    CHAIN,
    CYCLE,
    EACH,
    JOINS,
    QUOTES,
    SIGNAL,
    TIMERS,
    PEOPLE,
    ERRORS,
    DEADLINE,
    EXPIRES,
    POSTS,
    SPIN,
    GROUP,
    GROUPS,
    FIRST,
    REPEAT,
    LOCK,
    LIMIT,
    LIMIT,
    CHILD,
    CHILD,
    FAILING_CHILD,
    ASKING_CHILD,
    DETACHED_CHILD,
    ANY,
    CONDITION,
    COMPENSATE,
    ONCE,
)
