"""The engine's log of a command: on stderr, and only what someone must know unless more is asked for."""

import logging
import sys

import structlog

from workflow_engine.config.settings import Settings


def configure_logs(settings: Settings) -> None:
    """Send the log to stderr; at `warning`, or what `WORKFLOW_ENGINE_LOG_LEVEL` says if it is set."""
    level = settings.log_level if "log_level" in settings.model_fields_set else "warning"
    renderer = structlog.processors.JSONRenderer() if settings.log_format == "json" else _lines
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),  # stderr as it is then, not now
        cache_logger_on_first_use=False,
    )


def _lines(logger: object, method: str, event: structlog.typing.EventDict) -> str:
    exception = event.pop("exception", None)
    head = f"{event.pop('timestamp', '')} {event.pop('level', method)}: {event.pop('event', '')}"
    fields = " ".join(f"{name}={value}" for name, value in event.items())
    return " ".join(filter(None, [head, fields])) + (f"\n{exception}" if exception else "")
