"""CEL, the Common Expression Language: compiled to closures, metered in deterministic units.

See docs/expressions.md for the language. This package stands alone: it imports nothing else of the product.
"""

from workflow_engine.engine.expressions.convert import to_json
from workflow_engine.engine.expressions.errors import ExpressionFailed, ExpressionInvalid, TemplateInvalid
from workflow_engine.engine.expressions.expression import Expression, compile_expression, evaluate_condition
from workflow_engine.engine.expressions.meter import Meter
from workflow_engine.engine.expressions.size import too_large
from workflow_engine.engine.expressions.template import Template, compile_template, split_template
from workflow_engine.engine.expressions.values import Duration, Timestamp, Uint

__all__ = [
    "Duration",
    "Expression",
    "ExpressionFailed",
    "ExpressionInvalid",
    "Meter",
    "Template",
    "TemplateInvalid",
    "Timestamp",
    "Uint",
    "compile_expression",
    "compile_template",
    "evaluate_condition",
    "split_template",
    "to_json",
    "too_large",
]
