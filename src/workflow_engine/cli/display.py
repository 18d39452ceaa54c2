"""The live view of a running execution, on stderr: a table on a terminal, plain lines elsewhere.

Events are folded as they come and drawn a few times a second at most, so a fast execution pays for its display with
a few per cent of its time, however many events there are.
"""

import os
import sys
from collections import deque
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol

from workflow_engine.cli.progress import PROCESSING, Progress, event_text, is_item
from workflow_engine.cli.text import duration, visible
from workflow_engine.engine.graph import PURE_TYPES

if TYPE_CHECKING:
    from rich.console import RenderableType

REFRESH_S: Final = 0.125
"""Drawn at most so often."""
QUIET_S: Final = 1.0
"""And at least so often, for the seconds that run."""
SHARE: Final = 10
"""Drawing takes at most one part in so many of the time."""
RECENT: Final = 6
PLAIN_LINES: Final = 20
"""Lines of plain text at a time; what is more is counted."""

_COLOURS: Final = {
    "completed": "green",
    "failed": "bold red",
    "cancelled": "magenta",
    "skipped": "dim",
    "compensated": "magenta",
    "processing": "bold cyan",
    "retrying": "yellow",
    "waiting": "blue",
    "pending": "dim",
    "paused": "blue",
    "running": "bold cyan",
}


class Display(Protocol):
    """Shows an execution while it runs."""

    def take(self, event: dict[str, Any]) -> None:
        """Note an event; cheap."""

    def draw(self) -> None:
        """Bring what is shown up to date."""

    def close(self) -> None:
        """Show how it stands at the end, and leave the terminal as it was."""


def display_for(progress: Progress) -> Display:
    """A live table if stderr is a terminal, else plain lines."""
    if sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return LiveDisplay(progress)
    return PlainDisplay(progress)


class PlainDisplay:
    """A line per event worth telling; of a burst the last ones, of a `foreach` its share."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lines: deque[dict[str, Any]] = deque(maxlen=PLAIN_LINES)
        self._left_out = 0
        self._shares: dict[str, int] = {}
        self._drawn_s = 0.0

    def take(self, event: dict[str, Any]) -> None:
        self._progress.take(event)
        if self._is_news(event):
            self._left_out += len(self._lines) == PLAIN_LINES
            self._lines.append(event)

    def _is_news(self, event: dict[str, Any]) -> bool:
        step_id = event["data"]["step_id"]
        if step_id is None:
            return True
        if is_item(step_id):
            return event["event"] in ("workflow_step_failed", "workflow_step_retrying")
        if event["event"] == "workflow_step_started":
            node = self._progress.nodes.get(event["data"]["node_id"])
            return node is None or node.type not in PURE_TYPES
        return True

    def draw(self) -> None:
        now_s = monotonic()
        if self._left_out:
            _say(f"  ... {self._left_out} more events")
        for event in self._lines:
            _say(f"  {event['timestamp'][11:19]}  {visible(event_text(event))}")
        self._lines.clear()
        self._left_out = 0
        if now_s - self._drawn_s >= QUIET_S:
            self._drawn_s = now_s
            self._draw_shares()

    def _draw_shares(self) -> None:
        for node in self._progress.nodes.values():
            if node.is_foreach and node.active and self._shares.get(node.node_id) != node.items_done:
                self._shares[node.node_id] = node.items_done
                _say(f"            {node.node_id}: {_share(node.items_done, node.items_total)} items")

    def close(self) -> None:
        self.draw()


def _say(line: str) -> None:
    encoding = sys.stderr.encoding or "utf-8"
    print(line.encode(encoding, "replace").decode(encoding), file=sys.stderr, flush=True)


def _share(done: int, total: int | None) -> str:
    return f"{done}/{total if total is not None else '?'}"


class LiveDisplay:
    """A table that is drawn anew in place; never higher than the terminal."""

    def __init__(self, progress: Progress) -> None:
        from rich.console import Console
        from rich.live import Live

        self._progress = progress
        self._recent: deque[dict[str, Any]] = deque(maxlen=RECENT)
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")
        self._opened_s = monotonic()
        self._seen = -1
        self._drawn_s = 0.0
        self._not_before_s = 0.0
        self._live.start()

    def take(self, event: dict[str, Any]) -> None:
        self._progress.take(event)
        self._recent.append(event)

    def draw(self) -> None:
        now_s = monotonic()
        is_news = self._seen != self._progress.events
        if now_s < self._not_before_s or (not is_news and now_s - self._drawn_s < QUIET_S):
            return
        self._seen = self._progress.events
        self._live.update(self._picture(), refresh=True)
        self._drawn_s = monotonic()
        self._not_before_s = self._drawn_s + SHARE * (self._drawn_s - now_s)

    def close(self) -> None:
        self._live.update(self._picture(), refresh=True)
        self._live.stop()

    def _picture(self) -> "RenderableType":
        from rich.console import Group
        from rich.text import Text

        rows_max = max(3, self._console.height - RECENT - 7)
        nodes = self._progress.foremost(rows_max)
        parts: list[RenderableType] = [self._head(), self._bar(), self._table(nodes)]
        if len(nodes) < len(self._progress.nodes):
            parts.append(Text(self._rest(nodes), style="dim"))
        for event in self._recent:
            line = f"{event['timestamp'][11:19]}  {visible(event_text(event))}"
            parts.append(Text(line, style="dim", no_wrap=True, overflow="ellipsis"))
        return Group(*parts)

    def _head(self) -> "RenderableType":
        from rich.text import Text

        progress = self._progress
        status = f"{progress.status} ({progress.reason})" if progress.reason else progress.status
        return Text.assemble(
            (progress.workflow_id, "bold"),
            f"  {progress.execution_id}  ",
            (status, _COLOURS.get(progress.status, "")),
            no_wrap=True,
            overflow="ellipsis",
        )

    def _bar(self) -> "RenderableType":
        from rich.columns import Columns
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        progress = self._progress
        numbers = f"{progress.percent:3d} %  {progress.steps} steps  {duration(monotonic() - self._opened_s)}"
        return Columns([ProgressBar(total=100, completed=progress.percent, width=32), Text(numbers)])

    def _table(self, nodes: list[Any]) -> "RenderableType":
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
        for _ in range(6):
            table.add_column(no_wrap=True, overflow="ellipsis")
        now = datetime.now(UTC)
        for node in nodes:
            elapsed_s = node.elapsed_s(now)
            table.add_row(
                Text(node.node_id),
                Text(node.type, style="dim"),
                Text(node.status, style=_COLOURS.get(node.status, "")),
                Text(_counts(node)),
                Text(duration(elapsed_s) if elapsed_s is not None else "", style="dim"),
                Text(visible(node.note, 100), style="red" if node.status == "failed" else "dim"),
            )
        return table

    def _rest(self, shown: list[Any]) -> str:
        counts: dict[str, int] = {}
        names = {node.node_id for node in shown}
        for node in self._progress.nodes.values():
            if node.node_id not in names:
                counts[node.status] = counts.get(node.status, 0) + 1
        return "... and " + ", ".join(f"{count} {status}" for status, count in counts.items())


def _counts(node: Any) -> str:
    parts = []
    if node.is_foreach and node.activations:
        parts.append(_share(node.items_done, node.items_total))
    if node.attempt > 1:
        parts.append(f"attempt {node.attempt}")
    if node.activations > 1:
        parts.append(f"x{node.activations}")
    if node.active > 1 and node.status == PROCESSING:
        parts.append(f"{node.active} active")
    return ", ".join(parts)
