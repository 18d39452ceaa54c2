"""`executions watch`: follow an execution on a server, live."""

import asyncio
from collections.abc import Awaitable
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from workflow_engine.cli import arguments
from workflow_engine.cli.display import REFRESH_S, Display, display_for
from workflow_engine.cli.ending import exit_code_of, tell_ending
from workflow_engine.cli.entry import EXIT_INTERRUPTED
from workflow_engine.cli.interrupts import Interrupts
from workflow_engine.cli.options import ExecutionId, Json, output_of
from workflow_engine.cli.output import Output
from workflow_engine.cli.progress import Progress
from workflow_engine.cli.remote import Server, Tenant, Token, Url
from workflow_engine.cli.text import duration
from workflow_engine.models.execution import TERMINAL

if TYPE_CHECKING:
    from workflow_engine.client import Client

HELP = """
Follow an execution on a server until it ends, with the same display as `run`.

All that happened before is shown first, or with --after N what followed event N. A lost connection is made anew and
goes on where it stopped: no event is missing, none comes twice. Stopping the command does nothing to the execution.

--json prints the events as they come, one JSON document a line, as `jq` reads them.

Exit codes: 0 completed, 1 failed or cancelled, or the server can't be reached, 2 refused, 130 interrupted.

\b
Examples:
  workflow-engine executions watch order-7
  workflow-engine executions watch order-7 --json | jq -r 'select(.event == "workflow_step_failed") | .data.step_id'
"""

STATUS_OF: Final = {
    "workflow_completed": "completed",
    "workflow_failed": "failed",
    "workflow_cancelled": "cancelled",
}
TOTALS_S: Final = 0.5
"""How often is looked for a `foreach` whose number of items is not known yet."""


def register(group: typer.Typer) -> None:
    """Add the command to the group `executions`."""
    group.command("watch", help=HELP)(watch)


def watch(
    ctx: typer.Context,
    execution: ExecutionId,
    after: Annotated[int, typer.Option("--after", metavar="N", min=0, help="Only what followed event N.")] = 0,
    url: Url = None,
    token: Token = None,
    tenant: Tenant = None,
    json_: Json = False,
) -> None:
    output, server = output_of(ctx, json_), Server(url, token, tenant)
    id_ = arguments.execution_id(execution)

    raise typer.Exit(server.call(lambda client: _watch(client, id_, after, output)))


async def _watch(client: "Client", execution_id: str, after: int, output: Output) -> int:
    found = await client.execution(execution_id)
    watching = Watching(client, found, after, output)
    interrupts = Interrupts()
    try:
        is_over = await watching.run(interrupts.wait())
    finally:
        interrupts.close()
    if not is_over:
        output.note(f"stopped after event {watching.position}; the execution goes on")
        return EXIT_INTERRUPTED
    if not output.is_json:
        found = await client.execution(execution_id)
        tell_ending(output, found)
    return exit_code_of(watching.status or found["status"])


class JsonLines:
    """A display for programs: the events themselves."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def take(self, event: dict[str, Any]) -> None:
        """Print it."""
        self._output.text(msgspec.json.encode(event).decode())

    def draw(self) -> None:
        """There is nothing to bring up to date."""

    def close(self) -> None:
        """There is nothing to leave behind."""


class Watching:
    """Follows one execution and shows it."""

    def __init__(self, client: "Client", execution: dict[str, Any], after: int, output: Output) -> None:
        self._client = client
        self._execution = execution
        self._output = output
        self.position = after
        """The last event that was shown."""
        self.status: str | None = execution["status"] if execution["status"] in TERMINAL else None
        """How it ended, once it has."""

    async def run(self, interruption: Awaitable[None]) -> bool:
        """Until the end of the execution (True), or until interrupted or nobody reads any more (False)."""
        if self._output.is_json:
            return await self._show(JsonLines(self._output), interruption)
        progress = await self._progress()
        learner = asyncio.create_task(self._learn_totals(progress))
        try:
            return await self._show(display_for(progress), interruption)
        finally:
            learner.cancel()
            await asyncio.gather(learner, return_exceptions=True)

    async def _progress(self) -> Progress:
        """The nodes as the definition has them; without them where this release does not know the definition."""
        from pydantic import ValidationError

        from workflow_engine.models.workflow import Definition

        execution = self._execution
        document = await self._client.definition(execution["workflow_id"], execution["version"])
        try:
            progress = Progress.of(execution["execution_id"], Definition.model_validate(document))
        except ValidationError:
            progress = Progress(execution["execution_id"], execution["workflow_id"], {})
        if self.position:
            progress.status, progress.reason = execution["status"], execution["reason"]
            progress.percent = execution["progress_percentage"]
        return progress

    async def _show(self, display: Display, interruption: Awaitable[None]) -> bool:
        reader = asyncio.create_task(self._read(display))
        interrupted = asyncio.ensure_future(interruption)
        try:
            while not reader.done() and not interrupted.done():
                await asyncio.wait({reader, interrupted}, timeout=REFRESH_S, return_when=asyncio.FIRST_COMPLETED)
                display.draw()
            return reader.result() if reader.done() else False
        finally:
            for task in (reader, interrupted):
                task.cancel()
            await asyncio.gather(reader, interrupted, return_exceptions=True)
            display.close()

    async def _read(self, display: Display) -> bool:
        events = self._client.follow(self._execution["execution_id"], after=self.position, on_lost=self._tell_lost)
        async with aclosing(events):
            async for event in events:
                display.take(event)
                self.position, self.status = event["sequence"], STATUS_OF.get(event["event"])
                if self._output.is_unread:
                    return False
        return True

    def _tell_lost(self, reason: str, pause_s: float) -> None:
        self._output.note(f"{reason}; the next attempt comes in {duration(pause_s)}")

    async def _learn_totals(self, progress: Progress) -> None:
        """Learn how many items the open `foreach` steps have: no event says it."""
        from workflow_engine.client import ClientError

        while True:
            await asyncio.sleep(TOTALS_S)
            for node in progress.needs_totals():
                try:
                    step = await self._client.step(self._execution["execution_id"], node.step_id)
                    node.items_total = len(step["input"]["items"])
                except ClientError:
                    continue  # the display does without
