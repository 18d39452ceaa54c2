"""The commands of the event socket: read strictly, done by the services, answered one by one."""

from typing import Any

import msgspec

from workflow_engine.models.command import Cancel, Pause, Resume
from workflow_engine.models.document import DocumentInvalid, parse_json
from workflow_engine.models.duration import parse_duration
from workflow_engine.models.errors import AlreadyExists, WorkflowEngineError
from workflow_engine.services.engine_services import EngineServices

ID_CHARS_MAX = 128


class CommandInvalid(WorkflowEngineError):
    """The message is no command."""

    code = "invalid_command"


class SocketCommand(msgspec.Struct, tag_field="command", forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The base of all: `id` comes back in the reply."""

    id: str | int


class Subscribe(SocketCommand, tag="subscribe", frozen=True, kw_only=True):
    """Follow one execution (`after` a sequence), one workflow, or, without either, all of the tenant."""

    execution_id: str | None = None
    workflow_id: str | None = None
    after: int = 0


class Unsubscribe(SocketCommand, tag="unsubscribe", frozen=True, kw_only=True):
    """Undo the subscription with the same target."""

    execution_id: str | None = None
    workflow_id: str | None = None


class StartExecution(SocketCommand, tag="start", frozen=True, kw_only=True):
    """As `POST /api/v1/workflows/{id}/executions`; with an `execution_id` it may be sent again."""

    workflow_id: str
    input: Any = None
    version: int | None = None
    execution_id: str | None = None
    variables: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    labels: dict[str, Any] = {}
    priority: int = 5
    delay: str | None = None


class SendSignal(SocketCommand, tag="signal", frozen=True, kw_only=True):
    """As `POST .../signals/{name}`."""

    execution_id: str
    name: str
    payload: Any = None


class PauseExecution(SocketCommand, tag="pause", frozen=True, kw_only=True):
    """As `POST .../pause`."""

    execution_id: str


class ResumeExecution(SocketCommand, tag="resume", frozen=True, kw_only=True):
    """As `POST .../resume`."""

    execution_id: str


class CancelExecution(SocketCommand, tag="cancel", frozen=True, kw_only=True):
    """As `POST .../cancel`."""

    execution_id: str
    reason: str = "cancelled"
    compensate: bool = False


Steering = StartExecution | SendSignal | PauseExecution | ResumeExecution | CancelExecution
AnySocketCommand = Subscribe | Unsubscribe | Steering


def read_message(text: str) -> Any:
    """The JSON value of a message; raises CommandInvalid for what is no strict JSON."""
    try:
        data = text.encode()
        return parse_json(data, bytes_max=len(data))
    except UnicodeEncodeError:
        raise CommandInvalid("the message is not UTF-8") from None
    except DocumentInvalid as error:
        raise CommandInvalid(f"the message can't be read: {error.problem.message}", code=error.problem.code) from None


def id_of(value: Any) -> str | int | None:
    """The id that a reply can name, of a message that may be anything."""
    found = value.get("id") if isinstance(value, dict) else None
    is_id = (isinstance(found, str) and len(found) <= ID_CHARS_MAX) or (type(found) is int)
    return found if is_id else None


def command_of(value: Any) -> AnySocketCommand:
    """The command that a message is; raises CommandInvalid, which names the field."""
    if id_of(value) is None:
        raise CommandInvalid(f"a command has an `id`, an integer or a text of at most {ID_CHARS_MAX} characters")
    try:
        command: AnySocketCommand = msgspec.convert(value, AnySocketCommand)
    except msgspec.ValidationError as error:
        raise CommandInvalid(f"the command is not valid: {error}") from None
    return command


async def steer(services: EngineServices, tenant_id: str, command: Steering) -> dict[str, Any]:
    """Do a command; gives the execution as the API shows it. Raises what the service does."""
    executions = services.executions
    match command:
        case StartExecution():
            return await _start(services, tenant_id, command)
        case SendSignal():
            return await executions.signal(tenant_id, command.execution_id, command.name, command.payload)
        case PauseExecution():
            return await executions.give(tenant_id, command.execution_id, Pause())
        case ResumeExecution():
            return await executions.give(tenant_id, command.execution_id, Resume())
        case CancelExecution():
            return await executions.give(tenant_id, command.execution_id, Cancel(command.reason, command.compensate))


async def _start(services: EngineServices, tenant_id: str, command: StartExecution) -> dict[str, Any]:
    try:
        return await services.executions.start(
            tenant_id,
            command.workflow_id,
            command.input,
            version=command.version,
            execution_id=command.execution_id,
            variables=command.variables,
            metadata=command.metadata,
            labels=command.labels,
            priority=_priority(command.priority),
            delay_s=_delay_s(command.delay),
        )
    except AlreadyExists:
        return await _repeated(services, tenant_id, command)


async def _repeated(services: EngineServices, tenant_id: str, command: StartExecution) -> dict[str, Any]:
    """The execution that an earlier `start` with this id made; raises AlreadyExists where it is another one."""
    assert command.execution_id is not None
    found = await services.executions.get(tenant_id, command.execution_id)
    if (found["workflow_id"], found["input"]) != (command.workflow_id, command.input):
        raise AlreadyExists(f"the execution {command.execution_id} exists already, with another workflow or input")
    return found


def _priority(priority: int) -> int:
    if not 0 <= priority <= 9:
        raise CommandInvalid("`priority` is 0 to 9")
    return priority


def _delay_s(delay: str | None) -> float:
    try:
        return parse_duration(delay) if delay is not None else 0.0
    except ValueError as error:
        raise CommandInvalid(f"`delay`: {error}") from None
