"""Renews what patterns.md takes from examples/patterns: each pattern's description, drawing and definition.

.venv/bin/python docs/patterns.py [--check]     --check: changes nothing, exit code 1 where the page is out of date
"""

import re
import sys
import textwrap
from pathlib import Path

from workflow_engine.cli.mermaid import flowchart
from workflow_engine.library.published import read_document
from workflow_engine.models.workflow import Definition

PAGE = Path(__file__).with_suffix(".md")
PATTERNS = PAGE.parent.parent / "examples" / "patterns"
SECTION = re.compile(r"<!-- (wcp\d\d) -->\n.*?<!-- /\1 -->", re.DOTALL)
BODY = re.compile(r"^description: >-\n.*?\n\n(.*?)\n\ntests:\n", re.DOTALL | re.MULTILINE)


def renewed(page: str) -> str:
    """The page with every part between its marks as the files have it now."""
    return SECTION.sub(lambda section: _section(section[1]), page)


def _section(name: str) -> str:
    file = PATTERNS / f"{name}.yaml"
    body = BODY.search(file.read_text())
    assert body is not None, f"{file.name}: between the description and the tests stands the definition, apart by lines"
    definition = Definition.model_validate(read_document(file))
    description = textwrap.fill(definition.description or "", 120, break_on_hyphens=False)
    drawing = flowchart(definition).rpartition("---\n")[2]
    link = f"[{name}.yaml](../examples/patterns/{name}.yaml)"
    return "\n\n".join(
        [
            f"<!-- {name} -->\n{description}",
            f"```mermaid\n{drawing}\n```",
            f"```yaml\n{body[1]}\n```",
            f"The whole file with its tests: {link}.\n<!-- /{name} -->",
        ]
    )


def main() -> int:
    """Renew the page, or look whether it is up to date."""
    page = PAGE.read_text()
    now = renewed(page)
    if "--check" in sys.argv[1:]:
        return 0 if now == page else 1
    PAGE.write_text(now)
    return 0


if __name__ == "__main__":
    sys.exit(main())
