"""`serve`: the HTTP service."""

import gc
from typing import Annotated, Final

import typer

from workflow_engine.cli.failure import EXIT_COMPLETED, CommandFailed
from workflow_engine.cli.options import Db, output_of, prepared_settings

PORT_MAX: Final = 65_535


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve", help="Serve the API until the process is asked to stop (Ctrl-C, SIGTERM).")(serve)


def serve(
    ctx: typer.Context,
    host: Annotated[str, typer.Option("--host", help="Address to listen on; without authentication a local one.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option("--port", min=0, max=PORT_MAX, help="0: one that is free.")] = 8000,
    database: Db = None,
) -> None:
    # What a server needs takes a while to import; other commands do without it. Most of what is made meanwhile stays:
    # looking it through for garbage would cost a fifth of the start now, and pauses later.
    gc.disable()
    from workflow_engine.cli.databases import database_url
    from workflow_engine.cli.interrupts import Interrupts
    from workflow_engine.cli.session import run_on_loop
    from workflow_engine.config.logging import configure_logging
    from workflow_engine.config.settings import SettingsInvalid
    from workflow_engine.server import serve as serve_until

    gc.freeze()
    gc.enable()
    settings = prepared_settings()
    configure_logging(settings)
    if database is not None:
        settings = settings.model_copy(update={"database_url": database_url(database)})
    output = output_of(ctx, False)

    def announce(url: str) -> None:
        output.text(f"Workflow Engine listens on {url} (documentation: {url}/docs)")

    async def serving() -> None:
        interrupts = Interrupts()
        try:
            await serve_until(settings, host, port, announce=announce, until=interrupts.wait)
        finally:
            interrupts.close()

    try:
        run_on_loop(serving)
    except SettingsInvalid as error:
        raise CommandFailed(str(error), code="settings_invalid") from None
    raise typer.Exit(EXIT_COMPLETED)
