"""What the documents show is what happens: their programs and commands are run, and print what stands there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from example_runs import COMMAND, EXAMPLES, ROOT, environment

from workflow_engine.library.published import read_document

READMES = ["README.md", "README.es.md"]
DOCUMENTS = [*(ROOT / name for name in (*READMES, "CHANGELOG.md")), *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\((?!https?://)([^)#]*)(?:#([^)]*))?\)")
TIMES = [
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z"), "INSTANT"),
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "TIME"),
    (re.compile(r"\bin \d+(\.\d+)? (ms|s)\b"), "in DURATION"),
]


def blocks(document: str, language: str) -> list[str]:
    """The code blocks of a document in one language."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)


def without_times(text: str) -> str:
    """The text with what differs from run to run, and from machine to machine, taken out."""
    for pattern, word in TIMES:
        text = pattern.sub(word, text)
    return text.replace(f"{ROOT}/", "")


def test_the_definition_in_the_readme_is_the_one_in_the_example() -> None:
    (shown,) = blocks("README.md", "yaml")
    assert read_document(shown) == read_document(EXAMPLES / "expense_approval.yaml")


def test_the_commands_in_the_readme_print_what_stands_there(tmp_path: Path) -> None:
    """What goes to stdout to the letter; of the notes on stderr those that are shown, in their order."""
    (shown,) = blocks("README.md", "console")
    (tmp_path / "examples").symlink_to(EXAMPLES)
    for typed, printed in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", shown, re.MULTILINE):
        program, *arguments = shlex.split(typed)
        assert program == ".venv/bin/workflow-engine"
        ended = subprocess.run(
            [COMMAND, *arguments],
            cwd=tmp_path,
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert printed.endswith(ended.stdout)
        said = iter(without_times(ended.stderr.replace(f"{tmp_path}/", "")).splitlines())
        notes = without_times(printed.removesuffix(ended.stdout)).splitlines()
        assert [note for note in notes if note not in said] == []


def test_both_readmes_show_the_same_code() -> None:
    english, spanish = (
        [block for language in ("sh", "yaml", "console") for block in blocks(name, language)] for name in READMES
    )
    assert english == spanish


def test_the_program_in_the_library_document_prints_what_stands_there(tmp_path: Path) -> None:
    (program,) = blocks("docs/library.md", "python")
    (printed,) = blocks("docs/library.md", "text")
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert [line.rstrip() for line in ended.stdout.splitlines()] == printed.splitlines(), ended.stderr


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_inside_the_documents_lead_somewhere(document: Path) -> None:
    broken = [
        f"{target}#{anchor}"
        for target, anchor in LINK.findall(document.read_text())
        if not _exists((document.parent / target) if target else document, anchor)
    ]
    assert broken == []


def test_the_architecture_names_files_and_functions_that_are_there() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    package = ROOT / "src/workflow_engine"
    files = set(re.findall(r"`(\w+/\w+\.py)`", text))
    sources = "".join(path.read_text() for path in package.rglob("*.py"))
    functions = {name.rpartition(".")[2] for name in re.findall(r"`((?:\w+\.)?_?[a-z]\w*)`", text)}
    private = {name for name in functions if name.startswith("_")}
    assert [name for name in files if not (package / name).exists()] == []
    assert [name for name in private if f"def {name}(" not in sources] == []


def _exists(target: Path, anchor: str) -> bool:
    return target.exists() and (not anchor or anchor in _anchors(target))


def _anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
