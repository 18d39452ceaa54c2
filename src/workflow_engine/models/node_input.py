"""What stands under `with`: one model per node type."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PlainValidator, StringConstraints, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from workflow_engine.models.field import (
    DefinitionPart,
    DueOrTemplate,
    DurationOrTemplate,
    ErrorType,
    Expression,
    Json,
    NonEmpty,
    OrTemplate,
    Scalar,
    ScalarOrList,
    TimestampOrTemplate,
    is_template,
)

_STATUS_RANGE = re.compile(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?")
_STATUS_RANGE_SCHEMA = {"type": "string", "pattern": r"^[1-5][0-9]{2}(-[1-5][0-9]{2})?$"}


def parse_expected_statuses(expect: list[int | str] | str) -> list[range]:
    """The ranges of HTTP statuses that an evaluated `expect` names: `[200, "300-303"]` or `"200-299"`.

    Raises:
        ValueError: something else than statuses from 100 to 599.

    >>> parse_expected_statuses([200, 404])
    [range(200, 201), range(404, 405)]
    """
    found = []
    for item in [expect] if isinstance(expect, str) else expect:
        match = _STATUS_RANGE.fullmatch(str(item)) if isinstance(item, int | str) else None
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise ValueError(f"{item!r} is no HTTP status; write [200, 404] or 200-299")
        found.append(range(int(match[1]), int(match[2] or match[1]) + 1))
    return found


def _expect(value: object) -> Any:
    try:
        if not isinstance(value, list | str):
            raise ValueError("Input should be a list of HTTP statuses or a range; write [200, 404] or 200-299")
        literal = value if isinstance(value, str) else [item for item in value if not is_template(item)]
        if not is_template(value):
            parse_expected_statuses(literal)
    except ValueError as error:
        raise PydanticCustomError("invalid_status", "{reason}", {"reason": str(error)}) from None
    return value


Expect = Annotated[
    list[int | str] | str,
    PlainValidator(_expect),
    WithJsonSchema(
        {
            "anyOf": [
                {
                    "type": "array",
                    "items": {
                        "anyOf": [
                            {"type": "integer", "minimum": 100, "maximum": 599},
                            _STATUS_RANGE_SCHEMA,
                            {"type": "string", "pattern": r"\$\{"},
                        ]
                    },
                },
                _STATUS_RANGE_SCHEMA,
                {"type": "string", "pattern": r"\$\{"},
            ]
        }
    ),
]
Assignee = Annotated[str, StringConstraints(pattern=r"^(user|role|group):.+|\$\{")]


class NodeInput(DefinitionPart):
    """Base of what stands under `with`."""


class NoInput(NodeInput):
    """For node types that take nothing under `with`."""


class EndInput(NodeInput):
    """How a path ends."""

    status: OrTemplate[Literal["completed", "failed", "cancelled"]] = Field(
        default="completed", description="How this path ends; when all paths have ended the worst status wins."
    )
    message: str | None = Field(default=None, description="Says why; becomes the message of the error.")
    terminate: OrTemplate[bool] = Field(
        default=False, description="true ends the whole execution now; false (default) ends this path only."
    )


class FailInput(NodeInput):
    """The error that a `fail` node raises."""

    type: ErrorType = Field(default="failed", description="The error's type, which `on: error` connections look at.")
    message: str = Field(default="", description="The error's message.")
    details: Json = Field(default=None, description="Anything more about the error.")


WaitKind = Literal["for", "until", "signal", "condition", "any"]
_WAIT_ATTRIBUTES: dict[WaitKind, str] = {
    "for": "for_",
    "until": "until",
    "signal": "signal",
    "condition": "condition",
    "any": "any",
}


class WaitChoice(NodeInput):
    """One thing to wait for."""

    for_: DurationOrTemplate | None = Field(default=None, alias="for", description="Wait this long.")
    until: TimestampOrTemplate | None = Field(
        default=None, description="Wait until this instant (RFC 3339 with a zone); one in the past fires at once."
    )
    signal: NonEmpty | None = Field(default=None, description="Wait for a signal of this name.")
    when: Expression | None = Field(default=None, description="CEL over signal.payload: takes only a signal that fits.")
    durable: bool = Field(default=True, description="false: a signal that comes while nobody waits for it is lost.")
    condition: Expression | None = Field(
        default=None, description="CEL, looked at again whenever the execution's state changes."
    )

    @property
    def kind(self) -> WaitKind:
        """Which of the ways of waiting the document names; exactly one."""
        return self._kinds()[0]

    def _kinds(self) -> list[WaitKind]:
        return [kind for kind, attribute in _WAIT_ATTRIBUTES.items() if getattr(self, attribute, None) is not None]

    @model_validator(mode="after")
    def _names_exactly_one(self) -> Self:
        kinds = self._kinds()
        if len(kinds) != 1:
            raise PydanticCustomError(
                "wait_choice",
                "{reason}",
                {
                    "reason": f"names {' and '.join(kinds)} together" if kinds else "does not say what to wait for",
                    "hint": "give exactly one of `for`, `until`, `signal`, `condition`, `any`; several ways to wake up "
                    "go as a list under `any`",
                },
            )
        for name in ("when", "durable"):
            if self.is_given(name) and self.signal is None:
                raise PydanticCustomError(
                    "wait_choice", "{reason}", {"reason": f"`{name}` goes with `signal` only", "hint": "remove it"}
                )
        return self


class WaitInput(WaitChoice):
    """What a `wait` node waits for: exactly one of `for`, `until`, `signal`, `condition`, `any`."""

    any: list[WaitChoice] | None = Field(default=None, min_length=1, description="Several of these; the first wins.")


class HumanInput(NodeInput):
    """A task for a person."""

    title: str | None = Field(default=None, description="One line that says what to do; default: the node's name.")
    instructions: str | None = Field(default=None, description="More about it.")
    form: OrTemplate[dict[str, Json]] | None = Field(
        default=None, description="JSON Schema (2020-12) of the answer; without it any answer is taken."
    )
    assignees: OrTemplate[list[Assignee]] = Field(
        default=[], description="Who may answer: user:x, role:y, group:z. Empty: everybody in the tenant."
    )
    due: DueOrTemplate | None = Field(default=None, description="When it should be done: a duration or a timestamp.")


class BasicAuth(DefinitionPart):
    """A user and a password."""

    user: str
    password: str


class HttpAuth(DefinitionPart):
    """How an HTTP call authenticates: `bearer` or `basic`."""

    bearer: str | None = Field(default=None, description='A token, usually "${ secrets.name }".')
    basic: BasicAuth | None = None

    @model_validator(mode="after")
    def _is_exactly_one(self) -> Self:
        if (self.bearer is None) == (self.basic is None):
            raise PydanticCustomError("http_auth", "give either `bearer` or `basic`")
        return self


class HttpInput(NodeInput):
    """An HTTP call."""

    method: NonEmpty = Field(default="GET", description="GET, POST, PUT, PATCH, DELETE, HEAD or OPTIONS.")
    url: NonEmpty = Field(description="An http or https address.")
    headers: OrTemplate[dict[str, Scalar]] = Field(default={}, description="Request headers.")
    query: OrTemplate[dict[str, ScalarOrList]] = Field(
        default={}, description="Query parameters; a list repeats the parameter."
    )
    json_: Json = Field(default=None, alias="json", description="Body, sent as JSON. Excludes form and body.")
    form: OrTemplate[dict[str, ScalarOrList]] | None = Field(
        default=None, description="Body, sent as application/x-www-form-urlencoded. Excludes json and body."
    )
    body: str | None = Field(default=None, description="Body, sent as text. Excludes json and form.")
    auth: HttpAuth | None = Field(default=None, description="{bearer: ..} or {basic: {user, password}}.")
    expect: Expect = Field(default="200-299", description="Statuses that count as success.")
    response: OrTemplate[Literal["json", "text", "auto"]] = Field(
        default="auto", description="How the body is read; auto goes by its content type."
    )

    @property
    def body_kind(self) -> Literal["json", "form", "body"] | None:
        """Which kind of body the document names, if any; `json: null` is a body."""
        given = [kind for kind in ("json", "form", "body") if self.is_given("json_" if kind == "json" else kind)]
        return given[0] if given else None  # type: ignore[return-value]

    @model_validator(mode="after")
    def _has_at_most_one_body(self) -> Self:
        if len(self.model_fields_set & {"json_", "form", "body"}) > 1:
            raise PydanticCustomError(
                "http_body", "`json`, `form` and `body` exclude each other", {"hint": "keep the one that is to be sent"}
            )
        return self


class FunctionInput(NodeInput):
    """A call of a Python function that is registered in the worker's process."""

    name: NonEmpty = Field(description="The name under which the function is registered.")
    arguments: OrTemplate[dict[str, Json]] = Field(default={}, description="Keyword arguments.")


class EmitInput(NodeInput):
    """A custom event on the execution's stream."""

    event: NonEmpty = Field(description="Its name; sent as custom:<name>.")
    data: Json = Field(default=None, description="Anything; found under data.data of the event.")


class WorkerInput(NodeInput):
    """Work for an outside worker."""

    queue: NonEmpty = Field(description="Workers poll for this name.")
    input: Json = Field(default=None, description="What the worker gets.")


class ToolInput(NodeInput):
    """A call of a tool through the orchestrator."""

    tool: NonEmpty
    arguments: OrTemplate[dict[str, Json]] = {}


class AgentInput(NodeInput):
    """A call of an agent through the orchestrator."""

    agent_id: NonEmpty
    input: Json = None


class QueryInput(NodeInput):
    """A query of a collection through the orchestrator."""

    collection: NonEmpty
    query: Json = None


class ConversationInput(NodeInput):
    """A message to a conversation through the orchestrator."""

    conversation_id: NonEmpty
    message: Json = None


class WorkflowInput(NodeInput):
    """A start of another workflow."""

    workflow_id: NonEmpty
    version: OrTemplate[Annotated[int, Field(ge=1)]] | None = Field(
        default=None, description="Default: the newest at the moment of the call."
    )
    input: Json = Field(default={}, description="The child's input.")
    mode: OrTemplate[Literal["wait", "detach"]] = Field(
        default="wait", description="wait: the output is the child's; detach: it is the child's execution_id."
    )
