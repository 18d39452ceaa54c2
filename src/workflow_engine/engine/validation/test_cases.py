"""The tests of a definition: their names, what their scripts do, and the nodes that they name."""

from collections.abc import Iterator
from typing import Any

from workflow_engine.engine.validation.outline import NodeView, Outline
from workflow_engine.engine.validation.report import Report
from workflow_engine.models.node import IO_TYPES
from workflow_engine.models.problem import pointer
from workflow_engine.models.test_case import SCRIPT_ACTIONS

# Fields of a script's entry that go with some actions only.
_BELONGS_TO = {
    "payload": ("signal",),
    "output": ("answer", "complete"),
    "error": ("decline",),
    "values": ("items",),
}
_NEEDS = {"decline": "error", "items": "values"}
_STEP_ACTIONS = ("answer", "decline", "complete", "skip", "items")


def check_test_cases(outline: Outline, report: Report) -> None:
    """Tells names that stand twice, entries that do nothing or two things, and nodes that are not there."""
    seen: dict[str, str] = {}
    for path, case in _objects(outline.scopes[0].raw.get("tests"), "/tests"):
        name = case.get("name")
        if isinstance(name, str):
            first = seen.setdefault(name, path)
            if first != path:
                report.error(
                    "duplicate_test_name",
                    path + "/name",
                    f"the name `{name[:80]}` is taken by {first}",
                    "name each test differently",
                )
        _check_stubs(case, path, outline, report)
        for place, entry in _objects(case.get("script"), path + "/script"):
            _check_entry(entry, place, outline, report)
        _check_expectation(case.get("expect"), path + "/expect", outline, report)


def _check_stubs(case: dict[str, Any], path: str, outline: Outline, report: Report) -> None:
    stubs = case.get("stubs")
    for name, given in stubs.items() if isinstance(stubs, dict) else ():
        place = path + pointer("stubs", name)
        node = _node(name, place, outline, report)
        if node is not None and node.type not in IO_TYPES:
            report.error(
                "stub_without_call",
                place,
                f"`{name}` is of type `{node.type}`, which makes no call",
                "people, signals and clocks belong in `script`; everything else happens by itself",
            )
        for at, stub in _objects(given, place) if isinstance(given, list) else ((place, given),):
            if isinstance(stub, dict) and ("output" in stub) == ("error" in stub):
                report.error(
                    "stub_outcome", at, "a call gives either `output` or `error`", "give one of them: {output: null}"
                )


def _check_entry(entry: dict[str, Any], path: str, outline: Outline, report: Report) -> None:
    actions = [name for name in SCRIPT_ACTIONS if name in entry]
    if len(actions) != 1:
        said = f"does {' and '.join(actions)} together" if actions else "does nothing"
        hint = "make an entry of each" if actions else f"give one of {', '.join(SCRIPT_ACTIONS)}"
        report.error("script_action", path, f"the entry {said}", hint)
        return
    action = actions[0]
    if entry[action] is None:
        report.error("script_action", path + pointer(action), f"`{action}` is null", "say what is meant, or remove it")
    for field, owners in _BELONGS_TO.items():
        if field in entry and action not in owners:
            report.error(
                "script_action", path + pointer(field), f"`{field}` goes with {' or '.join(owners)}", "remove it"
            )
    if action in _NEEDS and _NEEDS[action] not in entry:
        report.error("missing_field", path, f"`{_NEEDS[action]}` is missing", f"`{action}` needs it")
    if action in _STEP_ACTIONS and isinstance(entry[action], str):
        node = _node(_node_id(entry[action]), path + pointer(action), outline, report)
        if node is not None:
            _check_target(action, node, path + pointer(action), report)


def _check_target(action: str, node: NodeView, path: str, report: Report) -> None:
    if action in ("answer", "decline") and node.type != "human":
        report.error(
            "script_target",
            path,
            f"`{node.id}` is of type `{node.type}`: no person is asked there",
            "a call is a stub, a message a `signal`; an operator may `complete` or `skip` any step",
        )
    if action == "items" and "foreach" not in node.raw:
        report.error("script_target", path, f"`{node.id}` has no `foreach`", "only a foreach takes more items")


def _check_expectation(expect: Any, path: str, outline: Outline, report: Report) -> None:
    if not isinstance(expect, dict):
        return
    if "reason" in expect and expect.get("status") != "paused":
        report.error("contradiction", path + "/reason", "only a paused execution has a reason", "add `status: paused`")
    for place, name in _named(expect, path):
        _node(name, place, outline, report)


def _named(expect: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
    """The nodes that an expectation names, with their places."""
    for field in ("path", "visited", "not_visited"):
        for place, name in _items(expect.get(field), path + pointer(field)):
            for inner, one in _items(name, place) if isinstance(name, list) else ((place, name),):
                if isinstance(one, str):
                    yield inner, one
    counts = expect.get("counts")
    for name in counts if isinstance(counts, dict) else ():
        yield path + pointer("counts", name), name


def _node(node_id: str, path: str, outline: Outline, report: Report) -> NodeView | None:
    found = outline.by_id.get(node_id)
    if found is None:
        hint = report.suggestion(node_id, outline.by_id)
        report.error("unknown_node", path, f"there is no node `{node_id[:80]}`", hint)
    return found


def _node_id(name: str) -> str:
    """The node of a step's id; a node's id is its own."""
    return name.rpartition("~")[2].partition(".")[0]


def _items(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    for index, item in enumerate(value if isinstance(value, list) else ()):
        yield path + pointer(index), item


def _objects(value: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((place, item) for place, item in _items(value, path) if isinstance(item, dict))
