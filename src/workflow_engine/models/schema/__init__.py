"""The JSON Schema of the definition language, as published: `workflow.json` in this package.

It is generated from the typed model; after a change of the model run `python -m workflow_engine.models.schema`.
"""

from functools import cache
from importlib.resources import files
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from workflow_engine.models.json_value import decode_json
from workflow_engine.models.workflow import Definition

FILE_NAME = "workflow.json"


@cache
def workflow_schema_bytes() -> bytes:
    """The published JSON Schema as it is served."""
    return files(__package__).joinpath(FILE_NAME).read_bytes()


def workflow_schema() -> dict[str, Any]:
    """The published JSON Schema."""
    return decode_json(workflow_schema_bytes())  # type: ignore[return-value]


def generate_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) that the typed model gives now."""
    generated = Definition.model_json_schema(mode="validation", schema_generator=_WithoutFieldTitles)
    return {"$schema": GenerateJsonSchema.schema_dialect, **generated, "title": "Workflow definition"}


class _WithoutFieldTitles(GenerateJsonSchema):
    """Leaves out titles that only repeat the fields' names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def generate(self, schema: Any, mode: JsonSchemaMode = "validation") -> dict[str, Any]:
        generated = super().generate(schema, mode=mode)
        for part in generated.get("$defs", {}).values():
            part.pop("title", None)
        return generated
