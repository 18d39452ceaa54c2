"""The log: one line an entry on stderr, ours and that of the libraries alike, as JSON or for people's eyes.

Whatever stands in a field, it can't begin a line of its own or move the cursor: control characters are escaped.
"""

import json
import logging
import re
import sys
from typing import Any, Final, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor

from workflow_engine.config.settings import Settings

QUIET: Final = {
    **dict.fromkeys(("asyncio", "websockets", "aiohttp", "alembic"), logging.WARNING),
    # It warns of every malformed request, which anybody can send by the thousand; they are counted instead.
    **dict.fromkeys(("uvicorn", "uvicorn.error", "uvicorn.access"), logging.ERROR),
}
"""Libraries that have less to say than their own level lets through."""

_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_TRACEBACK_PREFIX: Final = "    | "


class _Stderr:
    """Standard error that takes what it can: a full disk or a reader that is gone must not stop whoever logs."""

    def __init__(self) -> None:
        self._stream = sys.stderr

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError):
            return 0

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            pass


def configure_logging(settings: Settings) -> None:
    """Send everything that is logged in this process to stderr, as the settings say."""
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: Processor = _render_json if settings.log_format == "json" else _render_line
    level = getattr(logging, settings.log_level.upper())
    stream = _Stderr()
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, stream)),
        cache_logger_on_first_use=False,
    )
    _adopt_libraries([*shared, structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer], level, stream)


def pass_logs_on() -> None:
    """Hand the engine's log to `logging`, under the names of its modules: what a library does.

    A process that has configured structlog keeps what it has. Left alone, structlog would print everything on stdout,
    tracebacks with the values of all variables.
    """
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[_record_of],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _adopt_libraries(processors: list[Processor], level: int, stream: _Stderr) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=processors))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, least in QUIET.items():
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(max(level, least))
    logging.captureWarnings(True)


def _render_json(logger: Any, method: str, event: EventDict) -> str:
    # Only ASCII leaves: line separators and halves of surrogate pairs of any kind are escaped.
    return json.dumps(event, default=repr)


def _render_line(logger: Any, method: str, event: EventDict) -> str:
    exception = event.pop("exception", None)
    head = f"{event.pop('timestamp', '')} {event.pop('level', method):7} {escaped(str(event.pop('event', '')))}"
    line = " ".join([head, *(f"{name}={_shown(value)}" for name, value in event.items())])
    if exception is None:
        return line
    return "\n".join([line, *(_TRACEBACK_PREFIX + escaped(part) for part in str(exception).split("\n"))])


def _record_of(logger: Any, method: str, event: EventDict) -> tuple[tuple[str], dict[str, Any]]:
    """The arguments of a method of `logging.Logger`."""
    exc_info = event.pop("exc_info", None)
    head = escaped(str(event.pop("event", "")))
    return (" ".join([head, *(f"{name}={_shown(value)}" for name, value in event.items())]),), {"exc_info": exc_info}


def _shown(value: Any) -> str:
    text = escaped(value if isinstance(value, str) else repr(value))
    return json.dumps(text, ensure_ascii=False) if text == "" or " " in text or '"' in text else text


def escaped(text: str) -> str:
    r"""The text with control and invisible characters written out.

    >>> escaped("a\nb\x1b[31m")
    'a\\nb\\x1b[31m'
    """
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
