"""Settings: from the environment (`WORKFLOW_ENGINE_...`) and `.env`, checked once at the start."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from workflow_engine.config.period import parse_period, parse_retention
from workflow_engine.config.size import parse_size

PREFIX = "WORKFLOW_ENGINE_"


class SettingsInvalid(ValueError):
    """A setting has a value that can't be used; the message names the variable and what it takes."""


def data_folder() -> Path:
    """Where the user's databases go unless told otherwise; not made here."""
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "workflow-engine"


def _default_database_url() -> str:
    return f"sqlite:///{data_folder() / 'workflow-engine.db'}"


def _words(value: object) -> object:
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


def _retentions(value: object) -> object:
    """`orders=7d,audit=forever` as a map."""
    if not isinstance(value, str):
        return value
    pairs = [word.partition("=") for word in value.split(",") if word.strip()]
    if not all(workflow_id.strip() and period.strip() for workflow_id, _, period in pairs):
        raise ValueError("write it as workflow=period, by comma: orders=7d,audit=forever")
    return {workflow_id.strip(): parse_retention(period) for workflow_id, _, period in pairs}


Words = Annotated[tuple[str, ...], NoDecode]
Retentions = Annotated[dict[str, float | None], NoDecode]


class Settings(BaseSettings):
    """What an operator may set. Each field is read from `WORKFLOW_ENGINE_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True)

    database_url: str = Field(default_factory=_default_database_url)
    """SQLAlchemy URL of the database, SQLite or PostgreSQL; default: an SQLite file under the user's data folder."""
    functions: Words = ()
    """Modules, by comma, that are imported at the start and register functions."""
    http_allow: Words = ()
    """Hosts or CIDRs, by comma, that `http` nodes may call although they are private."""
    worker_concurrency: int = Field(default=100, ge=1, le=100_000)
    """I/O steps that run at a time in this process."""
    function_threads: int = Field(default=32, ge=1, le=1_000)
    """Threads in which synchronous functions run."""
    shutdown_grace: float = Field(default=25.0, ge=0, le=3600)
    """Seconds that running steps and requests get when the process is asked to stop; `25`, `25s` or `1m30s`."""
    retention: float | None = Field(default=None, gt=0)
    """Seconds that an execution is kept after its end; `30d`, or `forever` (None)."""
    retention_by_workflow: Retentions = Field(default_factory=dict)
    """The same for single workflows of whatever tenant, by id: `orders=7d,audit=forever`."""
    idempotency_retention: float = Field(default=86_400.0, ge=60.0)
    """Seconds that the answer to an `Idempotency-Key` is kept; `24h`."""
    max_steps: int = Field(default=1_000_000, ge=1)
    """Steps of one execution, items included; more ends it with `limit_exceeded`."""
    max_depth: int = Field(default=8, ge=0, le=100)
    """How deep executions may call each other by `workflow` nodes; a deeper call fails with `limit_exceeded`."""
    payload_max_bytes: int = Field(default=1024 * 1024, ge=1024, le=64 * 1024 * 1024)
    """JSON of one input, output, variable or signal; `1MiB` or plain bytes."""
    body_max_bytes: int = Field(default=4 * 1024 * 1024, ge=1024, le=256 * 1024 * 1024)
    """Body of one request; `4MiB` or plain bytes."""
    streams_max: int = Field(default=4_000, ge=1, le=1_000_000)
    """Live streams (WebSockets and server-sent events) that one tenant may have open."""
    subscriptions_max: int = Field(default=100, ge=1, le=10_000)
    """Subscriptions that one WebSocket may have."""
    stream_stall: float = Field(default=30.0, gt=0, le=3600)
    """Seconds after which a live stream is closed whose client takes nothing; `30s`."""
    auth_mode: Literal["none"] = "none"
    """How callers prove who they are. `none`: not at all, so only this machine may call."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "console"

    @field_validator("functions", "http_allow", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return _words(value)

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("payload_max_bytes", "body_max_bytes", mode="before")
    @classmethod
    def _bytes(cls, value: object) -> object:
        return parse_size(value) if isinstance(value, str) else value

    @field_validator("shutdown_grace", "idempotency_retention", "stream_stall", mode="before")
    @classmethod
    def _seconds(cls, value: object) -> object:
        return parse_period(value) if isinstance(value, str) else value

    @field_validator("retention", mode="before")
    @classmethod
    def _retention(cls, value: object) -> object:
        return parse_retention(value) if isinstance(value, str) else value

    @field_validator("retention_by_workflow", mode="before")
    @classmethod
    def _retention_by_workflow(cls, value: object) -> object:
        return _retentions(value)


def load_settings(**overrides: Any) -> Settings:
    """The settings of this process; raises SettingsInvalid with one line per wrong value."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        lines = [
            f"{PREFIX}{'_'.join(map(str, problem['loc'])).upper()}: {problem['msg']} (got {problem['input']!r})"
            for problem in error.errors()
        ]
        raise SettingsInvalid("\n".join(lines)) from None
