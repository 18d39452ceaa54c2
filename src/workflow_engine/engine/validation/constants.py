"""What can be checked in a definition because it is written out: JSON Schemas, addresses, methods, retries."""

import re
from typing import Any
from urllib.parse import urlsplit

from workflow_engine.engine.validation.json_schema import schema_problems
from workflow_engine.engine.validation.outline import NodeView, Outline
from workflow_engine.engine.validation.report import Report
from workflow_engine.models.field import is_template

_METHOD = re.compile(r"[A-Za-z]{1,32}")


def check_constants(outline: Outline, report: Report) -> None:
    """Tells what is wrong with literal values that the schema alone can't judge."""
    _check_json_schema(outline.scopes[0].raw.get("input"), "/input", report)
    for node in outline.nodes:
        given = node.part("with")
        if node.type == "human":
            _check_json_schema(given.get("form"), node.path + "/with/form", report)
        if node.type == "http":
            _check_url(given.get("url"), node.path + "/with/url", report)
            _check_method(given.get("method"), node.path + "/with/method", report)
            _check_body(given, node.path + "/with", report)
        _check_retry(node, report)
        _check_repeat(node, report)


def _check_json_schema(schema: Any, path: str, report: Report) -> None:
    if isinstance(schema, dict):
        for place, message, hint in schema_problems(schema):
            report.error("invalid_json_schema", path + place, message, hint)


def _check_url(url: object, path: str, report: Report) -> None:
    if not isinstance(url, str) or not url or url.startswith("${"):
        return
    fixed = url.partition("${")[0]
    if is_template(url) and "://" not in fixed:
        return
    scheme, separator, rest = fixed.partition("://")
    if scheme.lower() not in {"http", "https"} or not separator:
        report.error("invalid_url", path, "the address must begin with http:// or https://")
    elif not is_template(url) and not _has_host(url):
        report.error("invalid_url", path, "the address names no host, or a wrong port")
    elif "@" in rest.partition("/")[0]:
        report.error("invalid_url", path, "the address holds a user or password", "use `auth: {basic: ...}`")


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0) and not re.search(r"\s", parts.netloc)
    except ValueError:
        return False


def _check_method(method: object, path: str, report: Report) -> None:
    if isinstance(method, str) and method and not is_template(method) and not _METHOD.fullmatch(method):
        report.error("invalid_method", path, "the method must be a word such as GET or POST")


def _check_body(given: dict[str, Any], path: str, report: Report) -> None:
    # The model says the same, in the same words, but is silent about it once another field of the call is wrong.
    if len(given.keys() & {"json", "form", "body"}) > 1:
        message = "`with`: `json`, `form` and `body` exclude each other"
        report.error("http_body", path, message, "keep the one that is to be sent")


def _check_retry(node: NodeView, report: Report) -> None:
    retry = node.part("retry")
    on, not_on = retry.get("on"), retry.get("not_on")
    if isinstance(on, list) and isinstance(not_on, list):
        both = [item for item in on if isinstance(item, str) and item in not_on]
        if both:
            report.error(
                "contradiction", node.path + "/retry", f"`{both[0]}` is in both `on` and `not_on`", "keep one of them"
            )


def _check_repeat(node: NodeView, report: Report) -> None:
    repeat = node.part("repeat")
    if repeat.get("while") is not None and repeat.get("until") is not None:
        report.error(
            "contradiction",
            node.path + "/repeat",
            "`while` and `until` exclude each other",
            "`while` is looked at before an iteration, `until` after it: keep one",
        )
