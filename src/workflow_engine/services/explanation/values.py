"""Values of sub-expressions, as an explanation shows them: bounded."""

from typing import Any, Final

from workflow_engine.models.json_value import encode_json

VALUE_BYTES_MAX: Final = 2_000
"""JSON of one value; a larger one is replaced by a text that says so."""
VALUES_MAX: Final = 50
"""Sub-expressions of one expression, the outermost first."""


def shown_trace(trace: list[tuple[str, Any]]) -> list[dict[str, Any]]:
    """`{expression, value}` of each evaluated sub-expression; the value of one that failed is the error's text."""
    return [{"expression": source, "value": _bounded(value)} for source, value in trace[:VALUES_MAX]]


def _bounded(value: Any) -> Any:
    size_bytes = len(encode_json(value))
    return value if size_bytes <= VALUE_BYTES_MAX else f"({size_bytes:,} bytes of JSON, left out)"
