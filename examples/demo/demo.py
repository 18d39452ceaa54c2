"""A real workflow, killed half-way with SIGKILL, that finishes all the same: `make demo`.

It runs `audit.yaml` (next to this file) over the `email` package of Python's standard library with the command that
everybody uses, kills that process once half of the modules are measured, resumes, and then proves from the event log
and from a ledger that the functions kept themselves that nothing was lost and nothing was applied twice.
"""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

ROOT = Path(__file__).resolve().parents[2]
DEFINITION = "examples/demo/audit.yaml"
COMMAND = Path(sys.executable).parent / "workflow-engine"
PACKAGE = "email"
LOOK_S = 0.02
"""Between two looks at the event log."""
RUN_S_MAX = 25.0
"""Each of the two runs takes some two seconds; a demo that hangs must end as well."""

console = Console(highlight=False, width=None if sys.stdout.isatty() else 118)


class DemoFailed(Exception):
    """The demo could not show what it is there to show."""


# -------------------------------------------------------------------------------------------------------------------
# what can be known from outside


class Transition(NamedTuple):
    """One row of the log: what was committed together."""

    number: int
    first_sequence: int
    last_sequence: int
    facts: str


@dataclass(slots=True)
class History:
    """What the log of an execution says."""

    execution_id: str = ""
    log: list[Transition] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    """Steps, once for each time that the log says they started."""
    completed: list[str] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    """Per completed step."""
    result: dict[str, Any] | None = None
    """The execution's output, once it has completed."""

    def __post_init__(self) -> None:
        for transition in self.log:
            for fact in json.loads(transition.facts):
                match fact["fact"]:
                    case "step_started":
                        self.started.append(fact["step"])
                    case "step_completed":
                        self.completed.append(fact["step"])
                        self.outputs[fact["step"]] = fact.get("output")
                    case "execution_completed":
                        self.result = fact["output"]

    @property
    def events(self) -> int:
        """How many events there are."""
        return self.log[-1].last_sequence if self.log else 0

    @property
    def modules(self) -> list[str]:
        """The modules to measure, known once they are listed."""
        return self.outputs.get("list_modules.1") or []

    @property
    def measured(self) -> dict[str, Any]:
        """What is known of modules, by the step that measured them."""
        return {step: output for step, output in self.outputs.items() if step.startswith("measure.1:")}


def read_history(database: Path) -> History:
    """The only execution in a database, read beside the process that writes it, by Python's own SQLite alone: no code
    of the engine has a say in what is proved here.
    """
    if not database.exists():
        return History()
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        try:
            found = connection.execute("SELECT execution_id FROM executions").fetchone()
            columns = ", ".join(Transition._fields[:3])
            rows = connection.execute(f"SELECT {columns}, CAST(events AS TEXT) FROM transitions ORDER BY number")
            return History(found[0] if found else "", [Transition(*row) for row in rows])
        except sqlite3.OperationalError:
            return History()  # the other process is just making it


@dataclass(slots=True, frozen=True)
class Call:
    """One line of the ledger: a function was called."""

    key: str
    step: str
    pid: int


class Demo:
    """The folder in which everything happens."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "demo.db"
        self.ledger = folder / "calls.jsonl"
        self.output = folder / "output.txt"

    def history(self) -> History:
        """What is on disk now."""
        return read_history(self.database)

    def calls(self) -> list[Call]:
        """What the functions noted; each line was one write, so a kill cuts none short."""
        lines = self.ledger.read_text().splitlines() if self.ledger.exists() else []
        return [Call(**json.loads(line)) for line in lines]


# ------------------------------------------------------------------------------------------------------------------
# the two runs


def start(demo: Demo, *arguments: str) -> "subprocess.Popen[bytes]":
    """Start the command, and show it as one would type it."""
    typed = [f"'{part}'" if '"' in part else part.replace(f"{demo.folder}/", "") for part in arguments]
    console.print(Text.assemble(("$ ", "dim"), ("workflow-engine " + " ".join(typed), "bold")), soft_wrap=True)
    environment = {**os.environ, "AUDIT_LEDGER": str(demo.ledger)}
    with demo.output.open("ab") as output:
        return subprocess.Popen([COMMAND, *arguments], env=environment, stdout=output, stderr=output, cwd=ROOT)


def follow(demo: Demo, process: "subprocess.Popen[bytes]", until: Callable[[History], bool]) -> None:
    """Watch the event log until it says what we wait for, or the process has ended."""
    deadline = time.monotonic() + RUN_S_MAX
    columns = (TextColumn("  modules measured"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=None)
        while True:
            has_ended = process.poll() is not None
            history = demo.history()
            progress.update(bar, completed=len(history.measured), total=len(history.modules) or None)
            if has_ended or until(history):
                return
            if time.monotonic() > deadline:
                raise DemoFailed(f"the process did not get there within {RUN_S_MAX:.0f} s:\n{said_by(demo)}")
            time.sleep(LOOK_S)


def run_and_kill(demo: Demo) -> tuple[History, int]:
    """The first process: killed once half of the modules are measured and others are under way."""

    def is_half_way(history: History) -> bool:
        is_half = bool(history.modules) and len(history.measured) * 2 >= len(history.modules)
        return is_half and any(call.step not in history.outputs for call in demo.calls())

    package = json.dumps({"package": PACKAGE})
    process = start(demo, "run", DEFINITION, "--input", package, "--db", str(demo.database), "--json")
    try:
        follow(demo, process, is_half_way)
    finally:
        process.send_signal(signal.SIGKILL)
        status = process.wait()
    if status != -signal.SIGKILL:
        raise DemoFailed(f"the first process ended before it could be killed:\n{said_by(demo)}")
    return demo.history(), process.pid


def resume(demo: Demo, execution_id: str) -> tuple[History, int]:
    """The second process: goes on where the log ends."""
    process = start(demo, "resume", execution_id, "--db", str(demo.database), "--json")
    try:
        follow(demo, process, lambda history: history.result is not None)
        status = process.wait(timeout=RUN_S_MAX)
    finally:
        process.kill()
    if status != 0:
        raise DemoFailed(f"the resumed process failed:\n{said_by(demo)}")
    return demo.history(), process.pid


def said_by(demo: Demo) -> str:
    """The end of what the commands printed."""
    return demo.output.read_text()[-2_000:]


# ----------------------------------------------------------------------------------------------------------------
# the report


def show_modules(history: History, before: History, in_flight: set[str]) -> None:
    """The modules, longest first, and which of the two processes measured them."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("module")
    for name in ("lines", "functions", "branches"):
        table.add_column(name, justify="right")
    table.add_column("longest function")
    table.add_column("measured")
    for step, measured in sorted(history.measured.items(), key=lambda entry: -entry[1]["lines"]):
        if step in before.outputs:
            when = Text("before the kill", "green")
        elif step in in_flight:
            when = Text("cut off, repeated", "yellow")
        else:
            when = Text("after the kill", "cyan")
        longest = measured["longest"]
        name = f"{longest['name']} ({longest['lines']} lines)" if longest else "-"
        counts = [f"{measured[key]:,}" for key in ("lines", "functions", "branches")]
        table.add_row(measured["module"], *counts, name, when)
    console.print(table)


def show_result(output: dict[str, Any]) -> None:
    """The heavy modules, and the totals."""
    console.print("\n[bold]The heavy ones[/], with their most branching functions")
    for module in output["heavy"]:
        named = ", ".join(f"{found['name']} ({found['branches']})" for found in module["functions"])
        console.print(f"  {module['module']:<26}{named}")
    totals = output["totals"]
    console.print(
        f"\n[bold]In all[/]  {totals['modules']} modules, {totals['lines']:,} lines, {totals['functions']} functions, "
        f"{output['branches_per_function']:.1f} branches a function"
    )


def proof(history: History, before: History, calls: list[Call], in_flight: set[str]) -> Iterable[tuple[bool, str]]:
    """Each promise with whether it held, from the event log and from the ledger."""
    ends = [0, *(transition.last_sequence for transition in history.log)]
    yield (
        [transition.number for transition in history.log] == list(range(1, len(history.log) + 1))
        and [transition.first_sequence for transition in history.log] == [end + 1 for end in ends[:-1]],
        f"{len(history.log)} commits hold the events 1 to {history.events}: no number missing, none twice",
    )
    yield (
        sorted(history.started) == sorted(history.completed) == sorted(set(history.started)),
        f"{len(history.started)} steps: each started once and completed once",
    )
    yield (
        history.log[: len(before.log)] == before.log,
        f"the {before.events} events that were on disk at the kill still stand there, unchanged",
    )
    keys_of: dict[str, list[str]] = defaultdict(list)
    for call in calls:
        keys_of[call.step].append(call.key)
    twice = {step: keys for step, keys in keys_of.items() if len(keys) != 1}
    yield (
        not twice.keys() - in_flight,
        f"{len(keys_of) - len(twice)} steps called their function once; nothing that was finished was done again",
    )
    yield (
        bool(in_flight) and twice.keys() == in_flight and all(len(keys) == 2 for keys in twice.values()),
        f"{len(twice)} calls were under way at the kill: made again after it",
    )
    yield (
        len({key for keys in keys_of.values() for key in keys}) == len(keys_of),
        f"{len(calls)} calls, {len(keys_of)} idempotency keys: a repeated call had the key of the first",
    )


def show_proof(lines: Iterable[tuple[bool, str]]) -> bool:
    """Print each line with its mark; whether all of them hold."""
    held = list(lines)
    for is_true, line in held:
        console.print(Text.assemble(("  ✓ ", "bold green") if is_true else ("  ✗ ", "bold red"), line))
    return all(is_true for is_true, _ in held)


def show(demo: Demo) -> bool:
    """The whole demo; whether everything that it promises was seen."""
    begun = time.monotonic()
    console.print(Rule("[bold]A workflow that survives kill -9", align="left"))
    console.print(
        f"It audits Python's package [bold]{PACKAGE}[/]: list the modules, measure each (four at a time), decide which"
        " are heavy,\nlook closer at those, add it all up. Half-way we kill the process that runs it.\n"
    )
    before, first_pid = run_and_kill(demo)
    in_flight = {call.step for call in demo.calls()} - before.outputs.keys()
    console.print(Text.assemble(("$ ", "dim"), (f"kill -9 {first_pid}", "bold red")))
    console.print(
        f"  Gone. On disk are {len(before.measured)} of {len(before.modules)} results, {before.events} events; "
        f"{len(in_flight)} measurements were under way.\n"
    )
    history, second_pid = resume(demo, before.execution_id)
    if history.result is None:
        raise DemoFailed(f"the execution did not complete:\n{said_by(demo)}")
    console.print(f"  Completed, by process {second_pid}.\n")
    show_modules(history, before, in_flight)
    show_result(history.result)
    console.print("\n[bold]What the event log says, and the ledger that the functions kept[/]")
    is_proved = show_proof(proof(history, before, demo.calls(), in_flight))
    console.print(
        f"\n{time.monotonic() - begun:.1f} seconds. Each measurement takes a quarter of one, so that one can watch."
    )
    return is_proved


def main() -> int:
    """Run the demo in a folder of its own, which goes afterwards; the exit code says whether all was proved."""
    with tempfile.TemporaryDirectory(prefix="workflow-engine-demo-") as folder:
        try:
            return 0 if show(Demo(Path(folder))) else 1
        except DemoFailed as error:
            console.print(Text.assemble(("The demo failed: ", "bold red"), str(error)))
            return 1


if __name__ == "__main__":
    sys.exit(main())
