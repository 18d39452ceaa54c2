"""A version of a workflow as the API shows it, and the tag that tells one state of it from another."""

from typing import Any

import msgspec

from workflow_engine.services.execution_resource import shown_instant
from workflow_engine.store import DefinitionRow


class _Head(msgspec.Struct):
    """What of a definition stands beside it."""

    id: str
    name: str | None = None
    labels: dict[str, str] = {}


_heads = msgspec.json.Decoder(_Head)


class WorkflowView(msgspec.Struct, frozen=True):
    """A workflow resource, `{id, version, name, labels, definition, archived, created_at}`, and its entity tag."""

    resource: dict[str, Any]
    """`definition` is JSON text as it stands in the store."""
    etag: str
    """With its quotation marks."""

    @property
    def version(self) -> int:
        """The version that is shown."""
        version: int = self.resource["version"]
        return version


def workflow_view(row: DefinitionRow, *, archived: bool) -> WorkflowView:
    """One version; the definition is not parsed beyond its name and labels, however large it is."""
    head = _heads.decode(row.definition)
    resource = {
        "id": row.workflow_id,
        "version": row.version,
        "name": head.name or head.id,
        "labels": head.labels,
        "definition": msgspec.Raw(row.definition),
        "archived": archived,
        "created_at": shown_instant(row.created_at),
    }
    state = "-archived" if archived else ""
    return WorkflowView(resource, f'"{row.version}-{row.content_hash[:16]}{state}"')
