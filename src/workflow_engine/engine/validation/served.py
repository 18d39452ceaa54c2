"""What a later release serves: known to the language and its schema, refused at publish until then."""

from typing import Any

from workflow_engine.engine.validation.outline import NodeView, Outline
from workflow_engine.engine.validation.report import Report
from workflow_engine.models.problem import pointer

# The one table: whoever builds a part deletes its word here.
LATER_NODE_TYPES = {"group", "worker", "tool", "agent", "query", "conversation", "workflow"}
LATER_ATTRIBUTES = {
    "definition": {"callbacks", "budget", "tests", "expose"},
    "node": {"repeat", "cancel", "compensate", "lock", "limit", "heartbeat", "delivery"},
    "foreach": {"complete_after", "complete_when", "rest"},
    "wait": {"condition", "any"},
}
LATER_VALUES: dict[str, dict[str, Any]] = {
    "definition": {"on_failure": "compensate"},
    "foreach": {"wait": False},
    "wait": {"durable": False},
}
LATER_NAMES = {"secrets"}


def check_served(outline: Outline, report: Report) -> None:
    """Names everything that this release does not serve."""
    _check_part(outline.scopes[0].raw, "definition", "", report)
    for node in outline.nodes:
        _check_node(node, report)


def _check_node(node: NodeView, report: Report) -> None:
    if node.type in LATER_NODE_TYPES:
        _refuse(report, node.path + "/type", f"the node type `{node.type}`")
    _check_part(node.raw, "node", node.path, report)
    _check_part(node.part("foreach"), "foreach", node.path + "/foreach", report)
    if node.type == "wait":
        _check_part(node.part("with"), "wait", node.path + "/with", report)


def _check_part(raw: dict[str, Any], kind: str, path: str, report: Report) -> None:
    for name in sorted(LATER_ATTRIBUTES[kind] & raw.keys()):
        _refuse(report, path + pointer(name), f"the attribute `{name}`")
    for name, value in LATER_VALUES.get(kind, {}).items():
        if name in raw and type(raw[name]) is type(value) and raw[name] == value:
            _refuse(report, path + pointer(name), f"`{name}: {str(value).lower()}`")


def _refuse(report: Report, path: str, what: str) -> None:
    report.error("not_supported_yet", path, f"{what} comes in a later release", "leave it out for now")
