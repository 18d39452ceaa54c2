"""Writes workflow.json anew from the typed model."""

import json
from pathlib import Path

from workflow_engine.models.schema import FILE_NAME, generate_schema

if __name__ == "__main__":
    text = json.dumps(generate_schema(), indent=1, ensure_ascii=False)
    Path(__file__).with_name(FILE_NAME).write_text(text + "\n", encoding="utf-8")
