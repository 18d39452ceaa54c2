"""Random definitions, and the catalogue of patterns: whatever their executions do, the promises hold."""

import sys
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from sim_flows import INPUT, Flow

TESTS = Path(__file__).parent.parent
sys.path.insert(0, str(TESTS / "properties"))

from graphs import compiled, documents  # noqa: E402

CHUNK = 50
"""Random documents that are drawn together."""

SEEDS_PER_CHUNK = 200
"""Seeds that draw from the same ones: to make them costs as much as to play twenty schedules."""


@cache
def _chunk(number: int) -> list[dict[str, Any]]:
    """Random definitions, always the same for a number."""
    found: list[dict[str, Any]] = []

    @seed(number)
    @settings(
        max_examples=CHUNK,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(documents())
    def collect(document: dict[str, Any]) -> None:
        if compiled(document) is not None:
            found.append(document)

    collect()
    return found


def random_flow(number: int, random: Random, name: str) -> Flow:
    """One of the random definitions that belong to a seed."""
    chunk = _chunk(number // SEEDS_PER_CHUNK)
    return Flow({**chunk[random.randrange(len(chunk))], "id": name}, status="")


@cache
def patterns() -> list[Flow]:
    """The definitions of the catalogue, without their tests."""
    found = []
    for path in sorted((TESTS.parent / "examples" / "patterns").glob("*.yaml")):
        document = yaml.safe_load(path.read_text())
        example = document.pop("tests")[0].get("input")
        if compiled(document) is not None:
            found.append(Flow(document, status="", input=example if isinstance(example, dict) else INPUT))
    return found
