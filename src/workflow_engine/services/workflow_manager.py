"""Definitions: publishing them, showing them, and having them compiled when an execution needs one."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from workflow_engine.engine.graph import Graph, compile_graph
from workflow_engine.engine.validation import Validation, validate
from workflow_engine.models.errors import Conflict, DefinitionInvalid, Outdated
from workflow_engine.models.json_value import JsonValue, decode_json
from workflow_engine.models.problem import Problem
from workflow_engine.models.workflow import Definition
from workflow_engine.services.input_schema import InputSchema
from workflow_engine.services.shared_reads import SharedReads
from workflow_engine.services.workflow_resource import WorkflowView, workflow_view
from workflow_engine.store import DefinitionRow, IdempotencyRow, Publishing, Store, WorkflowRow

COMPILED_MAX = 512
"""Compiled definitions held in memory; those used longest ago go first."""

VersionKey = tuple[str, str, int]
"""Tenant, workflow and version."""

Expected = Literal["new", "existing", "any"]

PublishReceipt = Callable[[WorkflowView, bool], IdempotencyRow]
"""Makes, of the published version and whether it is new, the answer to keep under a request's `Idempotency-Key`."""


@dataclass(slots=True, frozen=True)
class Published:
    """A definition version, ready to run."""

    workflow_id: str
    version: int
    definition: Definition
    graph: Graph
    input_schema: InputSchema


class WorkflowManager:
    """Publishes definitions, shows them, and hands out compiled ones."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._compiled: OrderedDict[VersionKey, Published] = OrderedDict()
        self._heads = SharedReads[tuple[str, str], WorkflowRow](lambda key: store.workflow(*key))
        self._versions = SharedReads[VersionKey, Published](self._read_version)

    # --- publishing

    async def validate(self, document: JsonValue, *, strict: bool = False) -> Validation:
        """What validation finds in a document; `strict` makes errors of warnings."""
        # In a thread: a large definition takes up to a second.
        validation = await asyncio.to_thread(validate, document)
        return _strictly(validation) if strict else validation

    async def publish(
        self, tenant_id: str, document: JsonValue, *, expected: Expected = "any"
    ) -> tuple[Published, bool]:
        """Publish a document as the next version, and whether it is new: the same content keeps its version.

        Args:
            expected: `new` refuses an id that exists, `existing` one that does not, `any` takes both.

        Raises:
            DefinitionInvalid, AlreadyExists, NotFound.
        """
        definition = _definition_of(await self.validate(document))
        publishing = await self._store_definition(tenant_id, definition, expected)
        return await self._remember(tenant_id, publishing.version, definition), publishing.is_new

    async def put(
        self,
        tenant_id: str,
        document: JsonValue,
        *,
        workflow_id: str | None = None,
        if_match: Collection[str] | None = None,
        strict: bool = False,
        receipt: PublishReceipt | None = None,
    ) -> tuple[WorkflowView, bool]:
        """Publish a first version, or the next one of a workflow; gives it, and whether it is new.

        Args:
            workflow_id: the workflow that must exist and whose id the document must have; None: it must be new.
            if_match: entity tags of which the latest version must have one.
            strict: warnings forbid publishing too.

        Raises:
            DefinitionInvalid, AlreadyExists, NotFound. Outdated: the latest version has another tag.
        """
        validation = await self.validate(document, strict=strict)
        definition = _definition_of(validation)
        if workflow_id is not None and definition.id != workflow_id:
            raise DefinitionInvalid([_wrong_id(workflow_id)])
        version = await self._matched(tenant_id, workflow_id, if_match) if workflow_id and if_match else None
        view_of = _view_of(definition)

        def receipt_of(publishing: Publishing) -> IdempotencyRow | None:
            return receipt(view_of(publishing), publishing.is_new) if receipt is not None else None

        publishing = await self._store_definition(
            tenant_id,
            definition,
            "new" if workflow_id is None else "existing",
            expected_version=version,
            receipt=receipt_of,
        )
        return view_of(publishing), publishing.is_new

    async def _matched(self, tenant_id: str, workflow_id: str, if_match: Collection[str]) -> int | None:
        """The version that has one of the tags."""
        latest = await self.latest(tenant_id, workflow_id)
        if "*" in if_match:
            return None
        if latest.etag not in if_match:
            raise Outdated(f"the workflow {workflow_id!r} has changed: its tag is {latest.etag}")
        return latest.version

    async def _store_definition(
        self, tenant_id: str, definition: Definition, expected: Expected, **more: Any
    ) -> Publishing:
        return await self._store.publish(
            tenant_id,
            definition.id,
            name=definition.name or definition.id,
            labels=definition.labels,
            content_hash=definition.content_hash(),
            definition=definition.canonical(),
            expected=expected,
            **more,
        )

    async def archive(self, tenant_id: str, workflow_id: str) -> None:
        """Take no new executions; running ones finish, and publishing revives it. Raises NotFound."""
        await self._store.archive(tenant_id, workflow_id)

    # --- looking

    async def latest(self, tenant_id: str, workflow_id: str) -> WorkflowView:
        """The latest version; raises NotFound."""
        workflow = await self._store.workflow(tenant_id, workflow_id)
        row = await self._store.definition(tenant_id, workflow_id, workflow.latest_version)
        return workflow_view(row, archived=workflow.archived)

    async def one(self, tenant_id: str, workflow_id: str, version: int) -> WorkflowView:
        """One version; raises NotFound."""
        workflow = await self._store.workflow(tenant_id, workflow_id)
        row = await self._store.definition(tenant_id, workflow_id, version)
        return workflow_view(row, archived=workflow.archived)

    async def page(
        self, tenant_id: str, *, after: str = "", labels: dict[str, str], limit: int
    ) -> tuple[list[WorkflowView], str | None]:
        """The latest versions of the workflows that are not archived, by id, and the last id if there may be more."""
        found = await self._store.workflows(tenant_id, after=after, labels=labels, limit=limit)
        views = [workflow_view(one.definition, archived=False) for one in found]
        last = found[-1].workflow.workflow_id if found else None
        if last is None or not await self._store.workflows(tenant_id, after=last, labels=labels, limit=1):
            return views, None
        return views, last

    async def versions(
        self, tenant_id: str, workflow_id: str, *, before: int | None, limit: int
    ) -> tuple[list[WorkflowView], int | None]:
        """The versions of a workflow, newest first, and the last one's number if there are more; raises NotFound."""
        workflow = await self._store.workflow(tenant_id, workflow_id)
        rows = await self._store.versions(tenant_id, workflow_id, before=before, limit=limit)
        views = [workflow_view(row, archived=workflow.archived) for row in rows]
        last = rows[-1].version if rows else 1
        return views, last if last > 1 else None

    # --- running

    async def startable(self, tenant_id: str, workflow_id: str, version: int | None) -> Published:
        """The version to start (None: the latest), compiled; raises NotFound, and Conflict where it is archived."""
        workflow = await self._heads.get((tenant_id, workflow_id))
        if workflow.archived:
            raise Conflict(f"the workflow {workflow_id!r} is archived; publish it again to start it", code="archived")
        return await self.version(tenant_id, workflow_id, version if version is not None else workflow.latest_version)

    async def version(self, tenant_id: str, workflow_id: str, version: int | None) -> Published:
        """A version (None: the latest), compiled; raises NotFound."""
        if version is None:
            version = (await self._heads.get((tenant_id, workflow_id))).latest_version
        key = (tenant_id, workflow_id, version)
        found = self._compiled.get(key)
        if found is None:
            return await self._versions.get(key)
        self._compiled.move_to_end(key)
        return found

    async def _read_version(self, key: VersionKey) -> Published:
        found = self._compiled.get(key)
        if found is not None:
            return found  # by the read that was under way when this one was asked for
        row = await self._store.definition(*key)
        # Published means validated: nothing is checked again, so that an older definition runs under a stricter
        # release.
        return await self._remember(key[0], row.version, Definition.model_validate(decode_json(row.definition)))

    async def _remember(self, tenant_id: str, version: int, definition: Definition) -> Published:
        key = (tenant_id, definition.id, version)
        published = self._compiled.get(key)
        if published is None:
            graph = await asyncio.to_thread(compile_graph, definition)
            published = Published(definition.id, version, definition, graph, InputSchema(definition.input))
            self._compiled[key] = published
            if len(self._compiled) > COMPILED_MAX:
                self._compiled.popitem(last=False)
        return published


def _definition_of(validation: Validation) -> Definition:
    if validation.definition is None:
        raise DefinitionInvalid(validation.problems)
    return validation.definition


def _strictly(validation: Validation) -> Validation:
    if not validation.problems:
        return validation
    return Validation([msgspec.structs.replace(one, severity="error") for one in validation.problems], None)


def _wrong_id(workflow_id: str) -> Problem:
    return Problem(
        severity="error",
        code="wrong_id",
        path="/id",
        message=f"must be {workflow_id[:128]!r}, as in the address",
        hint="publish another workflow with POST",
    )


def _view_of(definition: Definition) -> Callable[[Publishing], WorkflowView]:
    content_hash, canonical = definition.content_hash(), definition.canonical()

    def view_of(publishing: Publishing) -> WorkflowView:
        row = DefinitionRow(definition.id, publishing.version, content_hash, canonical, publishing.created_at)
        return workflow_view(row, archived=False)

    return view_of
