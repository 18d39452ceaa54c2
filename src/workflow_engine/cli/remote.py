"""Commands that talk to a server: where it is, who asks, and what its refusals mean to the person who typed them."""

import asyncio
import shlex
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from workflow_engine.cli.failure import EXIT_FAILED, EXIT_REFUSED, CommandFailed

if TYPE_CHECKING:
    from workflow_engine.client import Client, ClientError, ClientSettings

Url = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="The server. Default: WORKFLOW_ENGINE_URL, else http://127.0.0.1:8000."),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token", metavar="TOKEN", help="Who asks. Others see options in `ps`; better set WORKFLOW_ENGINE_TOKEN."
    ),
]
Tenant = Annotated[
    str | None,
    typer.Option("--tenant", metavar="T", help="Whose, where the server asks for no token. Default: default."),
]

PAYLOAD_BYTES_MAX: Final = 64 * 1024 * 1024
"""What the most generous server takes; each has its own limit and says so."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Server:
    """The server that a command was told to ask."""

    url: str | None = None
    token: str | None = None
    tenant: str | None = None

    @property
    def is_given(self) -> bool:
        """Whether an option names it."""
        return (self.url, self.token) != (None, None)

    def command(self, name: str, execution_id: str) -> str:
        """A command to go on with, at the same server; the token is never printed."""
        options = {"--url": self.url, "--tenant": self.tenant}
        words = [f" {option} {shlex.quote(value)}" for option, value in options.items() if value is not None]
        return f"workflow-engine {name} {execution_id}{''.join(words)}"

    def call(self, work: "Callable[[Client], Awaitable[Result]]") -> Result:
        """Do the work with a client of this server; raises CommandFailed."""
        from workflow_engine.client import Client, ClientError

        settings = _settings()

        async def called() -> Result:
            client = Client(self.url or settings.url, token=self.token or settings.token, tenant_id=self.tenant)
            async with client:
                return await work(client)

        try:
            return asyncio.run(called())
        except ClientError as error:
            raise failure_of(error) from None


def _settings() -> "ClientSettings":
    from workflow_engine.client import ClientSettings

    try:
        return ClientSettings()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"the file .env can't be read: {error}", code="settings_invalid") from None


def failure_of(error: "ClientError") -> CommandFailed:
    """What went wrong, as the command reports it."""
    from workflow_engine.client import RequestRefused, ServerUnreachable

    match error:
        case ServerUnreachable():
            return CommandFailed(
                error.message,
                code="server_unreachable",
                hint="start one with `workflow-engine serve`, or name another: --url URL or WORKFLOW_ENGINE_URL",
                exit_code=EXIT_FAILED,
            )
        case RequestRefused():
            return CommandFailed(
                error.message,
                code=error.code,
                hint="say who asks: --token TOKEN or WORKFLOW_ENGINE_TOKEN" if error.status == 401 else None,
                problems=error.problems,
                exit_code=EXIT_FAILED if error.is_passing else EXIT_REFUSED,
            )
        case _:
            return CommandFailed(error.message)
