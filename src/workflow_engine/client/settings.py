"""Where the server is and how to prove who calls: from the environment (`WORKFLOW_ENGINE_...`) and `.env`."""

from pydantic_settings import BaseSettings, SettingsConfigDict

from workflow_engine.config.settings import PREFIX


class ClientSettings(BaseSettings):
    """What a command needs to talk to a server. Apart from the server's settings: it may be another machine."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True)

    url: str = "http://127.0.0.1:8000"
    """The server, with the path under which a proxy shows it, if there is one."""
    token: str | None = None
    """Sent as `Authorization: Bearer`."""
