"""The examples of docs/testing-workflows.md: each command is run and says what the page says."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

from cli_command import Ran

PAGE = Path(__file__).parents[2] / "docs" / "testing-workflows.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def steady(text: str) -> str:
    return re.sub(r"\b\d+(\.\d)? m?s\)", "DURATION)", text).strip()


def test_every_example_says_what_the_page_says(cli: Callable[..., Ran]) -> None:
    (definition,) = blocks("yaml")
    Path("refund.yaml").write_text(definition)
    Path("wrong.yaml").write_text(definition.replace("path: [policy, approve, pay]", "path: [policy, pay]"))
    shown = blocks("console")
    assert len(shown) == 3
    for block in shown:
        line, _, expected = block.partition("\n")
        ran = cli(*shlex.split(line.removeprefix("$ workflow-engine ")))
        assert steady(ran.out) == steady(expected), line
