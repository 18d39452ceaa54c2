"""Publishing a definition: a small write that runs in the writer's transaction."""

from typing import Any, Literal

import msgspec
from sqlalchemy import bindparam, insert, literal_column, select, update

from workflow_engine.models.errors import AlreadyExists, NotFound, Outdated
from workflow_engine.store.records import Publishing
from workflow_engine.store.schema import definitions, workflows
from workflow_engine.store.statements import Connection, Statement

Expected = Literal["new", "existing", "any"]


class Publication(msgspec.Struct, frozen=True):
    """One definition on its way into the store."""

    tenant_id: str
    workflow_id: str
    name: str
    labels: dict[str, Any]
    content_hash: str
    definition: bytes
    expected: Expected
    expected_version: int | None = None
    """The latest version must be this one; None: whatever it is."""


_KEY = (workflows.c.tenant_id == bindparam("tenant_id"), workflows.c.workflow_id == bindparam("workflow_id"))
_LATEST = Statement(
    select(workflows.c.latest_version, definitions.c.content_hash, definitions.c.created_at)
    .join(
        definitions,
        (definitions.c.tenant_id == workflows.c.tenant_id)
        & (definitions.c.workflow_id == workflows.c.workflow_id)
        & (definitions.c.version == workflows.c.latest_version),
    )
    .where(*_KEY)
)
_INSERT_WORKFLOW = Statement(insert(workflows))
_UPDATE_WORKFLOW = Statement(
    update(workflows)
    .values(
        name=bindparam("name"),
        labels=bindparam("labels"),
        archived=bindparam("archived"),
        latest_version=bindparam("latest_version"),
    )
    .where(*_KEY)
)
_ARCHIVE = Statement(update(workflows).values(archived=literal_column("1")).where(*_KEY))
_INSERT_DEFINITION = Statement(insert(definitions))


def publish(connection: Connection, publication: Publication, at: int) -> Publishing:
    """Write the next version, or find that the latest has the same content.

    An archived workflow comes back to life, unless a new one was expected.

    Raises:
        AlreadyExists: a new workflow was expected.
        NotFound: an existing one was expected.
        Outdated: another version is the latest.
    """
    latest, content_hash, created_at = _latest(connection, publication)
    if publication.expected_version not in (None, latest):
        raise Outdated(f"the latest version of {publication.workflow_id!r} is {latest}", version=latest)
    is_new_content = content_hash != publication.content_hash
    version = latest + 1 if is_new_content else latest
    _put_workflow(connection, publication, version=version, at=at, exists=latest > 0)
    if is_new_content:
        _insert_definition(connection, publication, version, at)
    return Publishing(version, is_new_content, at if is_new_content else created_at)


def _latest(connection: Connection, publication: Publication) -> tuple[int, str | None, int]:
    key = {"tenant_id": publication.tenant_id, "workflow_id": publication.workflow_id}
    found = _LATEST.run(connection, key).fetchone()
    if found is None and publication.expected == "existing":
        raise NotFound(f"there is no workflow {publication.workflow_id!r}")
    if found is not None and publication.expected == "new":
        raise AlreadyExists(f"a workflow {publication.workflow_id!r} exists already")
    return found or (0, None, 0)


def _put_workflow(connection: Connection, publication: Publication, *, version: int, at: int, exists: bool) -> None:
    row = {
        "tenant_id": publication.tenant_id,
        "workflow_id": publication.workflow_id,
        "name": publication.name,
        "labels": msgspec.json.encode(publication.labels).decode(),
        "archived": 0,
        "latest_version": version,
    }
    if exists:
        _UPDATE_WORKFLOW.run(connection, row)
    else:
        _INSERT_WORKFLOW.run(connection, row | {"created_at": at})


def _insert_definition(connection: Connection, publication: Publication, version: int, at: int) -> None:
    _INSERT_DEFINITION.run(
        connection,
        {
            "tenant_id": publication.tenant_id,
            "workflow_id": publication.workflow_id,
            "version": version,
            "content_hash": publication.content_hash,
            "definition": publication.definition,
            "created_at": at,
        },
    )


def archive(connection: Connection, tenant_id: str, workflow_id: str) -> None:
    """Take no new executions; a workflow that is archived already stays so. Raises NotFound."""
    key = {"tenant_id": tenant_id, "workflow_id": workflow_id}
    if _ARCHIVE.run(connection, key).rowcount == 0:
        raise NotFound(f"there is no workflow {workflow_id!r}")
