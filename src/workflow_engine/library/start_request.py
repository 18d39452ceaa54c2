"""What a start asks for, checked field by field before anything is done."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, NoReturn

import msgspec

from workflow_engine.models.duration import DurationInvalid, parse_duration
from workflow_engine.models.errors import InputInvalid
from workflow_engine.models.problem import Problem, pointer
from workflow_engine.services.starts import Wanted

_PLACE = re.compile(r"^(.*) - at `\$(.*)`$", re.DOTALL)


class StartRequest(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The fields of a start, as those of `POST /api/v1/workflows/{id}/executions`."""

    input: Any = None
    version: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] | None = None
    execution_id: str | None = None
    variables: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    labels: dict[str, Any] = {}
    priority: Annotated[int, msgspec.Meta(ge=0, le=9)] = 5
    delay: str | None = None


def read_start(fields: Mapping[str, Any]) -> Wanted:
    """What the fields of a start ask for; raises InputInvalid, which names the field."""
    try:
        request = msgspec.convert(dict(fields), StartRequest)
    except msgspec.ValidationError as error:
        found = _PLACE.match(str(error))
        _refuse(*((found[2].replace(".", "/"), found[1]) if found else ("", str(error))))
    return Wanted(
        request.input,
        request.version,
        request.execution_id,
        request.variables,
        request.metadata,
        request.labels,
        request.priority,
        _delay_s(request.delay),
    )


def _delay_s(delay: str | None) -> float:
    try:
        return parse_duration(delay) if delay is not None else 0.0
    except DurationInvalid as error:
        _refuse(pointer("delay"), str(error))


def _refuse(path: str, message: str) -> NoReturn:
    raise InputInvalid([Problem(severity="error", code="invalid_field", path=path, message=message)], "start")
