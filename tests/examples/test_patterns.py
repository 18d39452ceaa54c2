"""The catalogue of the 43 control-flow patterns: each is there, sound, and passes its own tests in any order of events.

`workflow-engine test examples/patterns/*.yaml --seeds 100` runs the same with more seeds.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from example_runs import EXAMPLES, ROOT

from workflow_engine.library.published import read_document
from workflow_engine.models.workflow import Definition
from workflow_engine.services.rehearsal import Suite, seeds_of

PATTERNS = sorted((EXAMPLES / "patterns").glob("*.yaml"))
SEEDS = seeds_of(5, None)


@pytest.fixture(params=PATTERNS, ids=lambda path: path.stem)
def pattern(request: pytest.FixtureRequest) -> Path:
    """The file of a pattern."""
    path: Path = request.param
    return path


def definition_of(path: Path) -> Definition:
    """The definition in a file."""
    return Definition.model_validate(read_document(path))


def test_the_catalogue_has_each_of_the_43_patterns_once() -> None:
    assert [path.stem for path in PATTERNS] == [f"wcp{number:02}" for number in range(1, 44)]
    definitions = [definition_of(path) for path in PATTERNS]
    assert [definition.id.partition("-")[0] for definition in definitions] == [path.stem for path in PATTERNS]
    assert [(definition.name or "").partition(":")[0] for definition in definitions] == [
        f"WCP-{number}" for number in range(1, 44)
    ]


def test_the_pattern_passes_its_tests_under_each_seed(pattern: Path) -> None:
    suite = Suite(definition_of(pattern))
    reports = [suite.run(test, SEEDS) for test in suite.tests]
    assert len(reports) >= 2
    failed = [
        f"{report.name} (seed {report.seed}): {'; '.join(finding.message for finding in report.findings)}"
        for report in reports
        if not report.passed
    ]
    assert failed == []


def test_the_tests_of_the_pattern_reach_every_node_and_connection(pattern: Path) -> None:
    suite = Suite(definition_of(pattern))
    for test in suite.tests:
        suite.run(test)
    missed = (suite.coverage.nodes[1], suite.coverage.connections[1])
    assert missed == ([], [])


# What turns a pattern into a neighbour of it, or into none: words of its definition, and others to put there.
NEIGHBOURS = [
    ("wcp02", "{from: admit, to: insurer}", "{from: bed, to: insurer}"),
    ("wcp03", "join: all", "join: any"),
    ("wcp04", "type: decision", "type: set"),
    ("wcp06", "call, type: set", "call, type: decision"),
    ("wcp07", "{name: settle_claim}", "{name: settle_claim}, join: any"),
    ("wcp08", "join: any", "join: auto"),
    ("wcp09", "join: {count: 1}", "join: any"),
    ("wcp09", "join: {count: 1}", "join: {count: 1}, cancel: [north, south, west]"),
    ("wcp10", "{from: draft, to: revise, otherwise: true}", "{from: draft, to: write, otherwise: true}"),
    ("wcp11", "{id: invoice, ", "{id: invoice, cancel: [deliver, feedback], "),
    ("wcp12", "wait: false", "wait: true"),
    ("wcp13", "[legal, finance, security]", "[legal, finance]"),
    ("wcp14", '"${ input.lines }"', "[pen]"),
    ("wcp15", '{items: "${ input.witnesses }"}', '{items: "${ input.witnesses }", complete_after: 2}'),
    ("wcp16", "cancel: [retracted, lapsed]", "cancel: [retracted]"),
    ("wcp16", "cancel: [accepted, retracted]", "cancel: [accepted]"),
    ("wcp17", "{name: make_xray}, lock: patient", "{name: make_xray}"),
    ("wcp18", ", durable: false", ""),
    ("wcp18", ", cancel: [change_wanted]", ""),
    ("wcp19", ", cancel: [inspect]", ""),
    ("wcp20", ", terminate: true", ""),
    ("wcp21", "{while: vars.stock", "{until: vars.stock"),
    ("wcp21", "{until: vars.difference", "{while: vars.difference"),
    ("wcp23", ", durable: false", ""),
    ("wcp24", "{signal: payment}", "{signal: payment, durable: false}"),
    ("wcp25", "witnesses, settle]", "witnesses]"),
    ("wcp25", "cancel: [assess, quote, witnesses", "cancel: [car_on_loan, assess, quote, witnesses"),
    ("wcp26", "cancel: [examine, award]", "cancel: [award]"),
    ("wcp27", "finish: first", "finish: all"),
    ("wcp28", "join: {count: 1}", "join: any"),
    ("wcp28", "join: {count: 1}", "join: all"),
    ("wcp28", "join: {count: 1}", "join: {count: 1}, cancel: [scale, camera]"),
    ("wcp29", ", cancel: [north, south, west]", ""),
    ("wcp30", "join: {count: 2}", "join: {count: 1}"),
    ("wcp30", "join: {count: 2}", "join: {count: 2}, cancel: [north, south, west]"),
    ("wcp31", "join: {count: 2}", "join: {count: 1}"),
    ("wcp31", "join: {count: 2}", "join: all"),
    ("wcp32", ", cancel: [ada, ben, cleo]", ""),
    ("wcp33", "join: all", "join: any"),
    ("wcp33", "join: all", "join: {count: 1}"),
    ("wcp34", "rest: continue", "rest: cancel"),
    ("wcp35", "rest: cancel", "rest: continue"),
    ("wcp36", "rest: continue", "rest: cancel"),
    ("wcp36", "complete_when: vars.yes >= 2, ", ""),
    ("wcp37", "{name: ask_guarantor}", "{name: ask_guarantor}, join: any"),
    ("wcp37", "{name: make_offer}", "{name: make_offer}, join: any"),
    ("wcp38", "{name: make_layout}", "{name: make_layout}, join: any"),
    ("wcp38", "{name: make_layout}", "{name: make_layout}, join: all"),
    ("wcp39", "id: board\n    type: group\n    lock: aircraft", "id: board\n    type: group"),
    ("wcp40", "{name: test_lights}, lock: car", "{name: test_lights}"),
    ("wcp41", "join: {count: 3}", "join: any"),
    ("wcp42", 'tokens: "${ input.copies }"', "tokens: 1"),
    ("wcp43", "terminate: true", "terminate: false"),
]


@pytest.mark.parametrize(("name", "words", "others"), NEIGHBOURS)
def test_the_tests_tell_the_pattern_from_its_neighbour(name: str, words: str, others: str) -> None:
    source = (EXAMPLES / "patterns" / f"{name}.yaml").read_text()
    assert source.count(words) == 1
    suite = Suite(Definition.model_validate(read_document(source.replace(words, others))))
    assert not all(suite.run(test).passed for test in suite.tests)


def test_the_page_shows_the_definitions_as_they_are() -> None:
    page = subprocess.run([sys.executable, ROOT / "docs" / "patterns.py", "--check"], check=False)
    assert page.returncode == 0, "docs/patterns.md is out of date: .venv/bin/python docs/patterns.py renews it"
