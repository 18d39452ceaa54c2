"""Every example in docs/expressions.md is executed."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from workflow_engine.engine.expressions import (
    ExpressionFailed,
    Meter,
    Timestamp,
    compile_expression,
    compile_template,
    to_json,
)
from workflow_engine.engine.expressions.functions import GLOBALS, METHODS

TEXT = (Path(__file__).parents[3] / "docs" / "expressions.md").read_text()
EXAMPLES = re.findall(r"`([^`]+)` → (`[^`]+`|fails)", TEXT)
TEMPLATES = re.findall(r"^\| `(\"[^`]+\")` \| `([^`]+)`", TEXT, re.MULTILINE)


def context() -> dict[str, Any]:
    values = json.loads(re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)[0])
    return {**values, "now": Timestamp.parse("2026-01-31T12:00:00Z")}


@pytest.mark.parametrize(("source", "result"), EXAMPLES)
def test_example_gives_what_the_guide_says(source: str, result: str) -> None:
    expression = compile_expression(source)
    if result == "fails":
        with pytest.raises(ExpressionFailed):
            expression.evaluate(context(), Meter())
        return
    value = to_json(expression.evaluate(context(), Meter()))
    wanted = json.loads(result.strip("`"))
    assert (value, type(value)) == (wanted, type(wanted))


@pytest.mark.parametrize(("source", "result"), TEMPLATES)
def test_template_gives_what_the_guide_says(source: str, result: str) -> None:
    assert compile_template(json.loads(source)).evaluate(context(), Meter()) == json.loads(result)


def test_the_guide_has_examples_at_all() -> None:
    assert len(EXAMPLES) > 100
    assert len(TEMPLATES) == 5


@pytest.mark.parametrize("name", sorted({*GLOBALS, *METHODS}))
def test_function_is_in_the_guide(name: str) -> None:
    assert re.search(rf"`[^`]*{re.escape(name)}\(", TEXT)
