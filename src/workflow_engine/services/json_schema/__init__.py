"""JSON Schema 2020-12 for schemas that strangers write: every evaluated keyword costs a step, and steps run out.

Ours because the library's validator has no limit that a hostile schema could not pass: it fetches remote references,
runs `pattern` on a backtracking engine, compares `uniqueItems` pair by pair, and puts the whole value into every
message. `format` is an annotation, as the specification has it by default.
"""

from workflow_engine.services.json_schema.run import SchemaUnusable, StepsExceeded
from workflow_engine.services.json_schema.schema import Schema

__all__ = ["Schema", "SchemaUnusable", "StepsExceeded"]
