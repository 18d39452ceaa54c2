"""The table of `bulk_import.yaml`."""

from typing import Any

from workflow_engine import StepFailed, function


@function
def import_row(number: int, row: dict[str, Any]) -> str:
    """Check a row and give it an id."""
    if "@" not in row.get("email", ""):
        raise StepFailed("bad_row", f"row {number} has no e-mail address", {"row": row})
    return f"customer-{number}"
