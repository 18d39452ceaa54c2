"""`db`: what an operator does with a database."""

from pathlib import Path
from typing import Annotated

import typer

from workflow_engine.cli.failure import EXIT_COMPLETED
from workflow_engine.cli.options import Db, Json, output_of, prepared_settings

Target = Annotated[Path, typer.Argument(metavar="PATH", help="The file to make; it must not exist.")]


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    group = typer.Typer(name="db", help="Care for the database.", no_args_is_help=True, rich_markup_mode=None)
    group.command("upgrade", help="Bring the schema up to date, as `serve` and `run` do by themselves.")(upgrade)
    group.command("backup", help="Copy the database to one file, also while a server works on it.")(backup)
    app.add_typer(group)


def upgrade(ctx: typer.Context, database: Db = None, json_: Json = False) -> None:
    from workflow_engine.cli.databases import without_password
    from workflow_engine.cli.session import run_on_loop
    from workflow_engine.store import HEAD, Store

    output = output_of(ctx, json_)
    url = _url(database)

    async def upgraded() -> None:
        await (await Store.open(url)).close()

    run_on_loop(upgraded)
    if output.is_json:
        output.json({"database": without_password(url), "schema": HEAD})
    else:
        output.text(f"{without_password(url)} is at schema {HEAD}")
    raise typer.Exit(EXIT_COMPLETED)


def backup(ctx: typer.Context, path: Target, database: Db = None, json_: Json = False) -> None:
    from workflow_engine.store import backup_database

    output = output_of(ctx, json_)
    url = _url(database)
    backup_database(url, path)
    size_bytes = path.stat().st_size
    if output.is_json:
        output.json({"database": url, "backup": str(path), "bytes": size_bytes})
    else:
        output.text(f"{path} holds {size_bytes} bytes, the whole database as it stood")
    raise typer.Exit(EXIT_COMPLETED)


def _url(database: str | None) -> str:
    from workflow_engine.cli.databases import database_url

    settings = prepared_settings()
    return database_url(database) if database is not None else settings.database_url
