"""The types of single fields of the definition language, and the base of its models."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    StringConstraints,
    Tag,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from workflow_engine.models.duration import DurationInvalid, TimestampInvalid, parse_duration, parse_timestamp
from workflow_engine.models.json_value import JsonValue

# Union branches are named so that validation can tell them from the keys of a document, which never hold NUL.
TAG_MARK = "\0"
_LITERAL, _TEMPLATE = f"{TAG_MARK}literal", f"{TAG_MARK}template"

TEMPLATE_PATTERN = r"\$\{"


class DefinitionPart(BaseModel):
    """Base of every part of a definition: immutable, unknown fields are errors, nothing is coerced.

    Documents are read and written by the language's words; attributes whose word Python reserves end in `_`.
    """

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        validate_by_alias=True,
        validate_by_name=False,
        serialize_by_alias=True,
        protected_namespaces=(),
        allow_inf_nan=False,
        # Only whole definitions are validated; building the parts' own validators too would triple the import time.
        defer_build=True,
    )

    def is_given(self, attribute: str) -> bool:
        """Whether the document names the attribute (Python name), be it with null or its default."""
        return attribute in self.model_fields_set


def is_template(value: object) -> bool:
    """Whether the value is a string that holds `${`, so that its final value is known only at run time."""
    return isinstance(value, str) and "${" in value


def _literal_or_template(value: object) -> str:
    return _TEMPLATE if is_template(value) else _LITERAL


def _checked(check: Callable[[str], Any], error: type[ValueError], code: str) -> AfterValidator:
    def accept(text: str) -> str:
        try:
            check(text)
        except error as problem:
            raise PydanticCustomError(code, "{reason}", {"reason": str(problem)}) from None
        return text

    return AfterValidator(accept)


def _unless_template(check: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda text: None if is_template(text) else check(text)


def _positive(text: str) -> float:
    return parse_duration(text, positive=True)


def _instant_or_duration(text: str) -> None:
    try:
        parse_duration(text) if not text[:4].isdigit() or "-" not in text else parse_timestamp(text)
    except DurationInvalid as error:
        raise TimestampInvalid(f"{error}; or a timestamp as 2026-01-31T08:00:00Z") from None


def _number_between(low: float | None, high: float | None) -> PlainValidator:
    def accept(value: object) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise PydanticCustomError("number_type", "Input should be a number")
        if (low is not None and value < low) or (high is not None and value > high):
            bounds = f"from {low} to {high}" if high is not None else f"at least {low}"
            raise PydanticCustomError("number_range", "Input should be {bounds}", {"bounds": bounds})
        return value

    return PlainValidator(accept)


def _scalar(value: object) -> Any:
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise PydanticCustomError("scalar_type", "Input should be text, a number, true, false or null")


def _scalar_or_list(value: object) -> Any:
    if isinstance(value, list):
        for item in value:
            _scalar(item)
        return value
    return _scalar(value)


if TYPE_CHECKING:
    Json = JsonValue
else:
    # Documents are JSON by the time they come here; walking every payload again would only cost time.
    Json = Any

WorkflowId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,127}$")]
NodeId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
ScopeName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
VariableName = Annotated[str, StringConstraints(min_length=1, max_length=128)]
ErrorType = Annotated[str, StringConstraints(min_length=1, max_length=128)]
NonEmpty = Annotated[str, StringConstraints(min_length=1)]
Labels = dict[Annotated[str, StringConstraints(min_length=1, max_length=128)], str]

# Bare CEL, without `${ }`.
Expression = Annotated[str, StringConstraints(min_length=1), Field(json_schema_extra={"format": "cel"})]

# A string that holds `${ CEL }`.
Template = Annotated[str, StringConstraints(pattern=TEMPLATE_PATTERN)]

T = TypeVar("T")

# The literal type, or a template that becomes one at run time.
OrTemplate = Annotated[
    Annotated[T, Tag(_LITERAL)] | Annotated[Template, Tag(_TEMPLATE)], Discriminator(_literal_or_template)
]

_DURATION_EXAMPLES = {"examples": ["30s", "5m", "1h30m", "7d", "PT1H30M"]}
Duration = Annotated[
    str, _checked(parse_duration, DurationInvalid, "invalid_duration"), Field(json_schema_extra=_DURATION_EXAMPLES)
]
PositiveDuration = Annotated[
    str, _checked(_positive, DurationInvalid, "invalid_duration"), Field(json_schema_extra=_DURATION_EXAMPLES)
]
DurationOrTemplate = Annotated[
    str,
    _checked(_unless_template(parse_duration), DurationInvalid, "invalid_duration"),
    Field(json_schema_extra=_DURATION_EXAMPLES),
]
PositiveDurationOrTemplate = Annotated[
    str,
    _checked(_unless_template(_positive), DurationInvalid, "invalid_duration"),
    Field(json_schema_extra=_DURATION_EXAMPLES),
]
TimestampOrTemplate = Annotated[
    str,
    _checked(_unless_template(parse_timestamp), TimestampInvalid, "invalid_timestamp"),
    Field(json_schema_extra={"examples": ["2026-01-31T08:00:00Z"]}),
]
DueOrTemplate = Annotated[
    str,
    _checked(_unless_template(_instant_or_duration), TimestampInvalid, "invalid_timestamp"),
    Field(json_schema_extra={"examples": ["48h", "2026-01-31T08:00:00Z"]}),
]

Number = Annotated[int | float, _number_between(None, None), WithJsonSchema({"type": "number"})]
NonNegative = Annotated[int | float, _number_between(0, None), WithJsonSchema({"type": "number", "minimum": 0})]
AtLeastOne = Annotated[int | float, _number_between(1, None), WithJsonSchema({"type": "number", "minimum": 1})]
Fraction = Annotated[int | float, _number_between(0, 1), WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1})]
_SCALAR_TYPES = ["string", "number", "boolean", "null"]
ScalarOrList = Annotated[
    str | int | float | bool | list[str | int | float | bool | None] | None,
    PlainValidator(_scalar_or_list),
    WithJsonSchema({"type": [*_SCALAR_TYPES, "array"], "items": {"type": _SCALAR_TYPES}}),
]
Scalar = Annotated[
    str | int | float | bool | None,
    PlainValidator(_scalar),
    WithJsonSchema({"type": _SCALAR_TYPES}),
]
