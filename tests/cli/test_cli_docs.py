"""The examples of docs/cli.md: each command is run, in order, and says what the page says."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

from cli_command import Ran

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
BROKEN = (
    "id: broken\nnodes:\n  - {id: pay, type: functoin, with: {name: pay}}\nconnections:\n  - {from: pay, to: nowhere}\n"
)

VARYING = [
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+Z)?", "<instant>"),
    (r"\d\d:\d\d:\d\d", "<time>"),
    (r"\d+(\.\d)? m?s\b", "<duration>"),
    (r"(/[^\s\"']+)+/(?=expense\.)", "/home/me/"),
    (r" +$", ""),
    (r"  +", "  "),
]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def steady(text: str) -> str:
    for pattern, replacement in VARYING:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text.strip()


def printed(ran: Ran, line: str) -> str:
    return ran.out if "2>/dev/null" in line else ran.err + ran.out


def test_every_example_says_what_the_page_says(cli: Callable[..., Ran]) -> None:
    Path("expense.yaml").write_text(blocks("yaml")[0])
    Path("expense.py").write_text(blocks("python")[0])
    Path("broken.yaml").write_text(BROKEN)
    assert "an error in the workflow engine" not in PAGE.read_text()
    for block in blocks("console"):
        line, _, expected = block.partition("\n")
        ran = cli(*shlex.split(line.removeprefix("$ workflow-engine ").removesuffix(" 2>/dev/null")))
        assert steady(printed(ran, line)) == steady(expected), line
