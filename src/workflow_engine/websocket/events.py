"""What goes out over a WebSocket, as frames."""

from typing import Any

from workflow_engine.models.errors import WorkflowEngineError
from workflow_engine.routes.problems import TITLES, encode_body, status_of
from workflow_engine.services.event_stream import StreamEvent


def text_frame(payload: bytes) -> bytes:
    """One text message as a server sends it (RFC 6455, section 5.2): whole and unmasked.

    >>> text_frame(b"{}")
    b'\\x81\\x02{}'
    """
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


def event_frame(event: StreamEvent) -> bytes:
    """The frame of an event; the same for all who get it."""
    return text_frame(event.encoded)


def message_frame(message: Any) -> bytes:
    """The frame of any other message."""
    return text_frame(encode_body(message))


def succeeded(command_id: str | int, result: Any) -> dict[str, Any]:
    """The reply to a command that was done."""
    return {"reply_to": command_id, "ok": True, "result": result}


def failed(command_id: str | int | None, error: WorkflowEngineError) -> dict[str, Any]:
    """The reply to a command that was not done: the problem as the HTTP routes would show it."""
    status = status_of(error)
    code = error.data.get("code", error.code)
    problem: dict[str, Any] = {
        "type": f"urn:workflow-engine:problem:{code}",
        "title": TITLES.get(status, "Error"),
        "status": status,
        "detail": error.message,
        **error.data,
        "code": code,
    }
    problems = getattr(error, "problems", ())
    if problems:
        problem["problems"] = [found.to_dict() for found in problems]
    return {"reply_to": command_id, "ok": False, "error": problem}
