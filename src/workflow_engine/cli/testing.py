"""`test`: run the tests that definitions carry, on a virtual clock and without any call."""

from collections.abc import Iterator
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from workflow_engine.cli.failure import EXIT_COMPLETED, EXIT_FAILED, EXIT_REFUSED
from workflow_engine.cli.options import Json, output_of
from workflow_engine.cli.text import duration, visible

if TYPE_CHECKING:
    from workflow_engine.cli.definition import DefinitionFile
    from workflow_engine.cli.output import Output
    from workflow_engine.services.rehearsal import CaseReport, Coverage

HELP = """
Run the tests that definitions carry under `tests`: on a virtual clock, with stubs in the place of every call.

Exit code 0 if all pass, 1 if one fails, 2 if a definition is not valid or nothing was run at all. With --seeds each
test runs under so many seeds, from which the order of whatever is simultaneous is drawn; every one must pass, and a
seed must give the same log again. A failed one is named: --seed N runs it alone.

\b
Examples:
  workflow-engine test order.yaml
  workflow-engine test flows/*.yaml --seeds 100
  workflow-engine test order.yaml --filter refund --json
"""

MISSED_MAX: Final = 8
"""Nodes and connections that no test went through, named for each file."""

PROGRESS_S: Final = 2.0
"""How often long work says how far it is."""

SEEDS_MAX: Final = 100_000


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("test", help=HELP)(run_tests)


def run_tests(
    ctx: typer.Context,
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Definitions, YAML or JSON; - reads stdin.")],
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, max=SEEDS_MAX, metavar="N", help="Run each test under N seeds.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, metavar="S", help="The seed, or the first one.")] = None,
    filter_: Annotated[
        str | None, typer.Option("--filter", metavar="NAME", help="Only tests whose name holds this text.")
    ] = None,
    json_: Json = False,
) -> None:
    from workflow_engine.cli.definition import read_definition
    from workflow_engine.services.rehearsal import seeds_of

    output = output_of(ctx, json_)
    session = _Session(output, seeds_of(seeds, seed), filter_)
    for name in files:
        session.take(read_definition(name))
    session.conclude()
    raise typer.Exit(session.exit_code)


class _Session:
    """The files of one command, one after the other."""

    def __init__(self, output: "Output", seeds: Any, name: str | None) -> None:
        self._output = output
        self._seeds = seeds
        self._name = name
        self._documents: list[dict[str, Any]] = []
        self._passed = self._failed = self._invalid = 0
        self._told_s = monotonic()

    @property
    def exit_code(self) -> int:
        """What the command says in the end."""
        if self._invalid or not (self._passed or self._failed):
            return EXIT_REFUSED
        return EXIT_FAILED if self._failed else EXIT_COMPLETED

    def take(self, file: "DefinitionFile") -> None:
        """Run the tests of one file and tell what came of them."""
        from workflow_engine.cli.definition import problem_lines
        from workflow_engine.services.rehearsal import Suite, chosen_tests

        if file.definition is None:
            self._invalid += 1
            errors = [problem for problem in file.problems if problem.severity == "error"]
            self._tell([f"{file.name}: not valid", *(f"  {line}" for line in problem_lines(file.name, errors))])
            self._document(file, False, [], None)
            return
        suite = Suite(file.definition)
        chosen = list(chosen_tests(suite, self._name))
        if not chosen:
            what = "no tests" if not suite.tests else f"no test whose name holds {visible(self._name)!r}"
            self._output.note(f"warning: {file.name} has {what}")
            self._document(file, True, [], None)
            return
        self._tell([file.name])
        reports = []
        for test in chosen:
            report = suite.run(test, self._seeds)
            reports.append(report)
            self._passed += report.passed
            self._failed += not report.passed
            self._tell(_report_lines(report))
            self._progress()
        self._tell(_coverage_lines(suite.coverage))
        self._document(file, all(report.passed for report in reports), reports, suite.coverage)

    def conclude(self) -> None:
        """The summary."""
        files = len(self._documents)
        count = self._passed + self._failed
        if self._output.is_json:
            summary = {
                "invalid": self._invalid,
                "tests": count,
                "passed_tests": self._passed,
                "failed_tests": self._failed,
                "seeds": len(self._seeds) if self._seeds[0] is not None else 0,
            }
            self._output.json({"passed": self.exit_code == EXIT_COMPLETED, "files": self._documents, **summary})
            return
        parts = [f"{self._passed} passed", *([f"{self._failed} failed"] if self._failed else [])]
        line = f"{_counted(files, 'file')}, {_counted(count, 'test')}: {', '.join(parts)}{self._under()}"
        if self._invalid:
            line += f"; {_counted(self._invalid, 'file')} not valid"
        self._output.text(line)
        if not count and not self._invalid:
            self._output.note("nothing was run: give a definition `tests`, or another --filter")

    def _under(self) -> str:
        if self._seeds[0] is None:
            return ""
        return f" (each over {_counted(len(self._seeds), 'seed')})" if len(self._seeds) > 1 else " (with a seed)"

    def _tell(self, lines: list[str]) -> None:
        if not self._output.is_json:
            for line in lines:
                self._output.text(line)

    def _progress(self) -> None:
        if monotonic() - self._told_s >= PROGRESS_S:
            self._told_s = monotonic()
            self._output.note(f"... {self._passed + self._failed} tests done, {self._failed} failed")

    def _document(
        self, file: "DefinitionFile", passed: bool, reports: "list[CaseReport]", coverage: "Coverage | None"
    ) -> None:
        document: dict[str, Any] = {
            "file": file.name,
            "valid": file.is_valid,
            "passed": passed,
            "tests": [report.to_dict() for report in reports],
            "coverage": coverage.to_dict() if coverage is not None else None,
        }
        if not file.is_valid:
            document["problems"] = [problem.to_dict() for problem in file.problems]
        self._documents.append(document)


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _report_lines(report: "CaseReport") -> list[str]:
    from workflow_engine.services.rehearsal.verdict import shown_path
    from workflow_engine.services.rehearsal.virtual_time import duration_text

    took = duration(report.duration_s)
    span = f"{duration_text(report.span_us)} in " if report.span_us else ""
    seed = f", seed {report.seed}" if report.seed is not None and not report.passed else ""
    lines = [f"  {'ok    ' if report.passed else 'FAILED'}  {visible(report.name)} ({span}{took}{seed})"]
    if not report.passed:
        lines += [f"          {finding.what}: {visible(finding.message, 1_000)}" for finding in report.findings]
        if all(finding.what != "path" for finding in report.findings):
            lines.append(f"          path: {shown_path(report.path)}")
        lines.append("          last events:")
        lines += [f"            {visible(moment, 400)}" for moment in report.moments]
    return lines


def _coverage_lines(coverage: "Coverage") -> list[str]:
    lines = []
    parts = {"nodes": coverage.nodes, "connections": coverage.connections}
    counts = [f"{word} {len(covered)} of {len(covered) + len(missed)}" for word, (covered, missed) in parts.items()]
    lines.append(f"  covered: {', '.join(counts)}")
    for word, (_, missed) in parts.items():
        lines += [
            f"    not taken: {line}" if word == "connections" else f"    not visited: {line}" for line in _some(missed)
        ]
    return lines


def _some(names: list[str]) -> Iterator[str]:
    yield from (visible(name) for name in names[:MISSED_MAX])
    if len(names) > MISSED_MAX:
        yield f"… and {len(names) - MISSED_MAX} more"
