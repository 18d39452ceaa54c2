"""The database files of executions that run in this process, and which one holds an execution."""

import glob
from pathlib import Path

from workflow_engine.cli.failure import CommandFailed
from workflow_engine.config.settings import data_folder


def runs_folder() -> Path:
    """Where `run` makes a database for each execution unless `--db` says otherwise."""
    return data_folder() / "runs"


def fresh_database(workflow_id: str, execution_id: str) -> str:
    """The path of a new database for one execution; its folder is made, for the user alone.

    Raises:
        CommandFailed: the folder can't be made, or the execution has been run before.
    """
    folder = runs_folder()
    path = folder / f"{workflow_id}-{execution_id}.db"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CommandFailed(
            f"the folder {folder} can't be made: {error.strerror}", hint="say where the data goes with --db FILE"
        ) from None
    if path.exists():
        raise CommandFailed(
            f"the execution {execution_id} exists already, in {path}",
            code="already_exists",
            hint=f"go on with it by: workflow-engine resume {execution_id} --db {path}",
        )
    return str(path)


def database_url(database: str) -> str:
    """The URL of a database that is named by its file or by its URL."""
    return database if "://" in database else f"sqlite:///{Path(database).absolute()}"


def without_password(url: str) -> str:
    """The URL as it may be shown.

    >>> without_password("postgresql://anna:secret@db/engine")
    'postgresql://anna:***@db/engine'
    """
    from sqlalchemy import make_url

    return make_url(url).render_as_string(hide_password=True)


def existing_database(database: str) -> str:
    """The URL of a database that must be there already."""
    path = Path(database)
    if "://" not in database and not path.is_file():
        found = f"there is no database at {database}" if not path.exists() else f"{database} is no file"
        raise CommandFailed(found, code="not_found", hint="`workflow-engine run` names the database when it starts")
    return database_url(database)


def database_of(execution_id: str) -> str:
    """The database in the user's data folder that `run` made for this execution."""
    found = sorted(runs_folder().glob(f"*-{glob.escape(execution_id)}.db"))
    if len(found) == 1:
        return str(found[0])
    if not found:
        raise CommandFailed(
            f"{runs_folder()} holds no database of the execution {execution_id}",
            code="not_found",
            hint="name its database: --db FILE",
        )
    raise CommandFailed(
        f"several databases may hold the execution {execution_id}: {', '.join(str(path) for path in found[:5])}",
        hint="name one of them: --db FILE",
    )
