"""Options and arguments that several commands share, and the settings that each begins with."""

from typing import TYPE_CHECKING, Annotated

import typer

from workflow_engine.cli.failure import CommandFailed
from workflow_engine.cli.output import Output

if TYPE_CHECKING:
    from workflow_engine.config.settings import Settings

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")]
Db = Annotated[str | None, typer.Option("--db", metavar="FILE", help="The database, a file or a URL.")]
Functions = Annotated[
    list[str] | None,
    typer.Option(
        "--functions", metavar="MODULE|FILE.py", help="Python that registers functions with @function. Repeatable."
    ),
]
ExecutionId = Annotated[str, typer.Argument(metavar="EXECUTION", help="The execution's id.")]


def output_of(ctx: typer.Context, is_json: bool) -> Output:
    """The command's output; the process made it before the options were read."""
    output: Output = ctx.obj if isinstance(ctx.obj, Output) else Output(is_json)
    output.is_json = is_json
    return output


def prepared_settings() -> "Settings":
    """The settings, with the log configured as they say; raises CommandFailed for a wrong one."""
    from workflow_engine.cli.logs import configure_logs
    from workflow_engine.config.settings import SettingsInvalid, load_settings

    try:
        settings = load_settings()
    except SettingsInvalid as error:
        raise CommandFailed(
            f"a setting can't be used:\n{error}", code="settings_invalid", hint="settings: environment and .env"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"the file .env can't be read: {error}", code="settings_invalid") from None
    configure_logs(settings)
    return settings
