import re
from pathlib import Path

from workflow_engine.config.settings import Settings

DOCS = Path(__file__).parents[2] / "docs" / "operation.md"


def test_every_setting_is_documented_and_every_documented_one_exists() -> None:
    text = DOCS.read_text()
    table = text[text.index("## Settings") : text.index("## Health")]
    rows = re.findall(r"^\| `([A-Z_]+)` \|", table, re.MULTILINE)
    assert sorted(rows) == sorted(name.upper() for name in Settings.model_fields)
