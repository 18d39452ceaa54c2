"""Definitions: publishing them, and having them compiled when an execution needs one."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workflow_engine.engine.graph import Graph, compile_graph
from workflow_engine.engine.validation import Validation, validate
from workflow_engine.models.errors import DefinitionInvalid, InputInvalid
from workflow_engine.models.json_value import JsonValue, decode_json
from workflow_engine.models.problem import Problem, pointer
from workflow_engine.models.workflow import Definition
from workflow_engine.store import Store

COMPILED_MAX = 512
"""Compiled definitions held in memory; those used longest ago go first."""

PROBLEMS_MAX = 100
"""Problems of one input that are named."""

MESSAGE_CHARS_MAX = 500
"""The validator quotes the value, which may be large."""


@dataclass(slots=True, frozen=True)
class Published:
    """A definition version, ready to run."""

    workflow_id: str
    version: int
    definition: Definition
    graph: Graph
    input_problems: Callable[[Any], list[Problem]]


def _no_problems(value: Any) -> list[Problem]:
    return []


def input_checker(schema: dict[str, Any] | None) -> Callable[[Any], list[Problem]]:
    """A function that lists what is wrong with an input by a JSON Schema (2020-12); everything is right without one."""
    if schema is None:
        return _no_problems
    # Imported here because it is slow, and many workflows have no schema.
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(schema)

    def problems(value: Any) -> list[Problem]:
        found = sorted(validator.iter_errors(value), key=lambda error: list(map(str, error.absolute_path)))
        return [
            Problem(
                severity="error",
                code="invalid_input",
                path=pointer(*error.absolute_path),
                message=error.message[:MESSAGE_CHARS_MAX],
                hint=None,
            )
            for error in found[:PROBLEMS_MAX]
        ]

    return problems


class WorkflowManager:
    """Publishes definitions and hands out compiled ones."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._compiled: OrderedDict[tuple[str, str, int], Published] = OrderedDict()

    def check(self, document: JsonValue) -> Definition:
        """The definition that a document holds; raises DefinitionInvalid with every problem."""
        validation: Validation = validate(document)
        if validation.definition is None:
            raise DefinitionInvalid(validation.problems)
        return validation.definition

    async def publish(self, tenant_id: str, document: JsonValue, *, expected: str = "any") -> tuple[Published, bool]:
        """Publish a document as the next version, and whether it is new: the same content keeps its version.

        Args:
            expected: `new` refuses an id that exists, `existing` one that does not, `any` takes both.

        Raises:
            DefinitionInvalid, AlreadyExists, NotFound.
        """
        definition = self.check(document)
        version, is_new = await self._store.publish(
            tenant_id,
            definition.id,
            name=definition.name or definition.id,
            labels=definition.labels,
            content_hash=definition.content_hash(),
            definition=definition.canonical(),
            expected=expected,  # type: ignore[arg-type]
        )
        return self._remember(tenant_id, version, definition), is_new

    async def version(self, tenant_id: str, workflow_id: str, version: int | None) -> Published:
        """A version (None: the latest), compiled; raises NotFound."""
        if version is not None:
            found = self._compiled.get((tenant_id, workflow_id, version))
            if found is not None:
                self._compiled.move_to_end((tenant_id, workflow_id, version))
                return found
        row = await self._store.definition(tenant_id, workflow_id, version)
        found = self._compiled.get((tenant_id, workflow_id, row.version))
        if found is not None:
            return found
        # Published means validated: nothing is checked again, so that an older definition runs under a stricter
        # release.
        return self._remember(tenant_id, row.version, Definition.model_validate(decode_json(row.definition)))

    def _remember(self, tenant_id: str, version: int, definition: Definition) -> Published:
        key = (tenant_id, definition.id, version)
        published = self._compiled.get(key)
        if published is None:
            graph = compile_graph(definition)
            published = Published(definition.id, version, definition, graph, input_checker(definition.input))
            self._compiled[key] = published
            if len(self._compiled) > COMPILED_MAX:
                self._compiled.popitem(last=False)
        return published

    @staticmethod
    def check_input(published: Published, value: Any) -> None:
        """Raises InputInvalid with every problem of the input."""
        problems = published.input_problems(value)
        if problems:
            raise InputInvalid(problems)
