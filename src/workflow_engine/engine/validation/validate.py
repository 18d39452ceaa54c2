"""`validate`: a document in, all its problems and the typed definition out."""

from dataclasses import dataclass
from typing import Any

from workflow_engine.engine.validation.constants import check_constants
from workflow_engine.engine.validation.limits import Limits
from workflow_engine.engine.validation.names import NameCheck
from workflow_engine.engine.validation.outline import outline_of
from workflow_engine.engine.validation.report import Report
from workflow_engine.engine.validation.schema import check_schema
from workflow_engine.engine.validation.served import check_served
from workflow_engine.engine.validation.soundness import check_soundness
from workflow_engine.engine.validation.structure import check_structure
from workflow_engine.engine.validation.test_cases import check_test_cases
from workflow_engine.models.json_value import JsonInvalid, JsonValue, check_json
from workflow_engine.models.problem import Problem
from workflow_engine.models.workflow import Definition


@dataclass(frozen=True, slots=True)
class Validation:
    """What validation found."""

    problems: list[Problem]
    """Errors first, then warnings."""
    definition: Definition | None
    """None when there is an error."""

    @property
    def valid(self) -> bool:
        """Whether the definition can be published; warnings do not forbid it."""
        return self.definition is not None


def validate(document: JsonValue, *, limits: Limits = Limits()) -> Validation:  # noqa: B008 - immutable
    """Everything that is wrong with a definition, each problem with its place and the way out.

    The document may come from anywhere: what is no JSON, too large or too deep is told, not raised.
    """
    report = Report(limits.problems_max)
    definition = _check(document, limits, report)
    problems = report.problems
    if any(problem.severity == "error" for problem in problems):
        definition = None
    return Validation(problems, definition)


def _check(document: JsonValue, limits: Limits, report: Report) -> Definition | None:
    try:
        check_json(document, bytes_max=limits.definition_bytes_max, depth_max=limits.depth_max)
    except JsonInvalid as error:
        code = "definition_too_large" if error.code == "too_large" else error.code
        report.error(code, error.path, f"the definition {error.reason}" if not error.path else error.reason)
        return None
    if not isinstance(document, dict):
        report.error("wrong_type", "", "a definition must be an object", "give at least `id` and `nodes`")
        return None
    if not _check_counts(document, limits, report):
        return None
    outline = outline_of(document)
    definition = check_schema(document, outline, report)
    check_served(outline, report)
    check_structure(outline, report)
    check_test_cases(outline, report)
    check_constants(outline, report)
    NameCheck(outline, report, expression_bytes_max=limits.expression_bytes_max).run()
    check_soundness(outline, report)
    return definition


def _check_counts(document: dict[str, Any], limits: Limits, report: Report) -> bool:
    nodes, connections = _counts(document)
    for code, count, maximum, word in (
        ("too_many_nodes", nodes, limits.nodes_max, "nodes"),
        ("too_many_connections", connections, limits.connections_max, "connections"),
    ):
        if count > maximum:
            report.error(
                code,
                f"/{word}",
                f"the definition has {count:,} {word}, more than {maximum:,}",
                "split it into several workflows, or let a `foreach` do what repeats",
            )
    return nodes <= limits.nodes_max and connections <= limits.connections_max


def _counts(document: dict[str, Any]) -> tuple[int, int]:
    """Nodes and connections, those in groups included; tolerant of any shape."""
    totals = {"nodes": 0, "connections": 0}
    pending: list[Any] = [document]
    while pending:
        scope = pending.pop()
        for word in totals:
            items = scope.get(word)
            totals[word] += len(items) if isinstance(items, list) else 0
        nodes = scope.get("nodes")
        pending += (
            [node for node in nodes if isinstance(node, dict) and "nodes" in node] if isinstance(nodes, list) else []
        )
    return totals["nodes"], totals["connections"]
