"""Query strings: only known parameters, each once, within bounds; everything else is refused by name."""

from collections.abc import Collection
from typing import Final

from starlette.requests import Request

from workflow_engine.models.duration import DurationInvalid, TimestampInvalid, parse_duration, parse_timestamp
from workflow_engine.models.problem import Problem
from workflow_engine.routes.problems import HttpProblem

VALUE_CHARS_MAX: Final = 512
FILTERS_MAX: Final = 8
"""Labels and keys of metadata in one request: each is one more join."""

WAIT_S_MAX: Final = 60.0
"""Longer waits belong to the event stream."""

LABEL: Final = "label"
METADATA: Final = "metadata."


class Query:
    """The query parameters of one request; reading one that is not valid raises HttpProblem (422)."""

    def __init__(self, request: Request, names: Collection[str], *, takes_metadata: bool = False) -> None:
        """
        Args:
            names: the parameters that the route knows; `label` may come more than once.
            takes_metadata: `metadata.<key>` is known too.
        """
        self._values: dict[str, str] = {}
        self.labels: dict[str, str] = {}
        self.metadata: dict[str, str] = {}
        for name, value in request.query_params.multi_items():
            if len(value) > VALUE_CHARS_MAX and name != "cursor":
                raise refused(name, f"is longer than {VALUE_CHARS_MAX} characters")
            if name == LABEL and LABEL in names:
                key, colon, text = value.partition(":")
                if not colon or not key:
                    raise refused(name, "must be written as label=key:value")
                self._put(self.labels, name, key, text)
            elif takes_metadata and name.startswith(METADATA) and name != METADATA:
                self._put(self.metadata, name, name.removeprefix(METADATA), value)
            elif name in names:
                self._put(self._values, name, name, value)
            else:
                known = ", ".join(sorted(names)) + (", metadata.<key>" if takes_metadata else "")
                raise refused(name, f"is not known here; known: {known or 'none'}")
        if len(self.labels) + len(self.metadata) > FILTERS_MAX:
            raise refused(LABEL, f"together with metadata at most {FILTERS_MAX} may be given")

    @staticmethod
    def _put(values: dict[str, str], name: str, key: str, value: str) -> None:
        if key in values:
            raise refused(name, "is given twice")
        if "\0" in value or "\0" in key:
            raise refused(name, "holds a NUL character")
        values[key] = value

    def text(self, name: str) -> str | None:
        """The parameter as it came; None without it."""
        return self._values.get(name)

    def one_of(self, name: str, choices: Collection[str]) -> str | None:
        """One of a few words."""
        value = self._values.get(name)
        if value is not None and value not in choices:
            raise refused(name, f"must be one of {', '.join(choices)}")
        return value

    def flag(self, name: str) -> bool:
        """`true` or `false`, which is the default."""
        return self.one_of(name, ("true", "false")) == "true"

    def instant(self, name: str) -> int | None:
        """Microseconds since 1970 of an RFC 3339 timestamp."""
        value = self._values.get(name)
        try:
            # In a query string a + is a blank, and offsets are written with one.
            return parse_timestamp(value.replace(" ", "+")) if value is not None else None
        except TimestampInvalid as error:
            raise refused(name, str(error)) from None

    def wait_s(self, name: str) -> float:
        """Seconds of a duration of at most a minute; 0 without one."""
        value = self._values.get(name)
        try:
            seconds = parse_duration(value) if value is not None else 0.0
        except DurationInvalid as error:
            raise refused(name, str(error)) from None
        if seconds > WAIT_S_MAX:
            raise refused(name, f"must be at most {WAIT_S_MAX:.0f}s; the event stream follows for longer")
        return seconds

    def identity(self) -> str:
        """The filters in one order, for the name that cursors are signed with; the page's size and place apart."""
        filters = {name: value for name, value in self._values.items() if name not in ("limit", "cursor")}
        parts = [*filters.items(), *((f"label.{key}", value) for key, value in self.labels.items())]
        parts += [(METADATA + key, value) for key, value in self.metadata.items()]
        return "\0".join(f"{name}\0{value}" for name, value in sorted(parts))


def refused(name: str, message: str) -> HttpProblem:
    """The refusal (422) of a query parameter."""
    problem = Problem(severity="error", code="invalid_parameter", path=f"?{name[:128]}", message=message)
    return HttpProblem(422, f"`{name[:128]}` {message}", code="invalid_parameter", problems=[problem])
