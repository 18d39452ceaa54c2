"""What a later release serves: known to the language and its schema, refused at publish until then."""

from workflow_engine.engine.validation.outline import Outline
from workflow_engine.engine.validation.report import Report
from workflow_engine.models.problem import pointer

# The one table: whoever builds a part deletes its word here.
LATER_NODE_TYPES = {"worker", "tool", "agent", "query", "conversation"}
LATER_ATTRIBUTES = {"callbacks", "budget", "expose"}
LATER_NAMES = {"secrets"}


def check_served(outline: Outline, report: Report) -> None:
    """Names everything that this release does not serve."""
    for name in sorted(LATER_ATTRIBUTES & outline.scopes[0].raw.keys()):
        _refuse(report, pointer(name), f"the attribute `{name}`")
    for node in outline.nodes:
        if node.type in LATER_NODE_TYPES:
            _refuse(report, node.path + "/type", f"the node type `{node.type}`")


def _refuse(report: Report, path: str, what: str) -> None:
    report.error("not_supported_yet", path, f"{what} comes in a later release", "leave it out for now")
