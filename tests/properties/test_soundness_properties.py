"""The verdict on random scopes against an oracle that plays every game out, and against the engine itself."""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from soundness_graphs import random_scope
from soundness_oracle import Oracle, Play
from soundness_run import Run, playable

from workflow_engine.engine.validation.outline import outline_of
from workflow_engine.engine.validation.soundness import ScopeVerdict, soundness_of

IS_LONG = os.environ.get("PROPERTIES") == "long"
SCOPES = 20_000 if IS_LONG else 500
GAMES_MAX = 3_000 if IS_LONG else 800
RUNS = 20 if IS_LONG else 8

STUCK = {"deadlock", "tokens_left_behind", "join_never_fires"}


def verdict_of(scope: dict[str, Any], *, is_first: bool) -> ScopeVerdict:
    """The verdict on a scope as a definition, or as the body of a group that ends with its first path."""
    group = {"id": "group", "type": "group", "finish": "first", **scope}
    document = {"id": "random", "nodes": [group]} if is_first else {"id": "random", **scope}
    return soundness_of(outline_of(document))[-1]


def scopes() -> Iterator[tuple[int, dict[str, Any], bool]]:
    """Seeds and their scopes; every tenth ends with its first path."""
    for seed in range(SCOPES):
        yield seed, random_scope(seed), seed % 10 == 0


def stuck_joins(scope: dict[str, Any], verdict: ScopeVerdict) -> dict[str, str]:
    """The joins of which a search said that they wait for ever, with its code."""
    found = {}
    for finding in verdict.findings:
        if finding.code in STUCK and not finding.path.endswith("/join/count"):
            found[scope["nodes"][int(finding.path.rpartition("/nodes/")[2])]["id"]] = finding.code
    return found


def check(scope: dict[str, Any], verdict: ScopeVerdict, play: Play) -> None:
    """Nothing is called sound that is not, and nothing is found that is not there."""
    stuck = stuck_joins(scope, verdict)
    assert not (play.deadlocks and verdict.verdict == "sound"), f"deadlock of {play.deadlocks} missed"
    assert bool(verdict.findings) == (verdict.verdict != "sound")
    if play.is_complete:
        assert stuck.keys() <= play.deadlocks, "a deadlock that can't come about"
        assert all(finding.code != "unbounded_tokens" for finding in verdict.findings), "tokens do not grow"
        never = {name for name, code in stuck.items() if code == "join_never_fires"}
        assert never.isdisjoint(play.fired), "a join fires that is said never to"


@pytest.mark.timeout(3600)
def test_no_scope_with_a_deadlock_is_called_sound_and_no_sound_one_is_said_to_deadlock(
    capsys: pytest.CaptureFixture[str],
) -> None:
    counts: Counter[tuple[str, str]] = Counter()
    for seed, scope, is_first in scopes():
        verdict = verdict_of(scope, is_first=is_first)
        play = Oracle(scope, is_first=is_first).play(GAMES_MAX)
        try:
            check(scope, verdict, play)
        except AssertionError as error:
            error.add_note(f"{seed=} {is_first=} {scope=}\n{verdict}\n{play}")
            raise
        counts["deadlock" if play.deadlocks else "sound" if play.is_complete else "unknown", verdict.verdict] += 1
    sound = sum(count for (truth, _), count in counts.items() if truth == "sound")
    share = counts["sound", "not_proved"] / sound
    with capsys.disabled():
        sys.stdout.write(f"\nnot proved: {share:.2%} of {sound} scopes without a deadlock; {dict(counts)}\n")
    assert counts["deadlock", "unsound"] > SCOPES // 10
    assert counts["sound", "sound"] > SCOPES // 3
    assert counts["sound", "not_proved"] <= sound // 50


@pytest.mark.timeout(3600)
def test_an_execution_of_a_definition_called_sound_never_ends_in_a_deadlock() -> None:
    deadlocked: Counter[str] = Counter()
    for seed, scope, _ in scopes():
        verdict = verdict_of(scope, is_first=False)
        document = playable(scope)
        for run in range(RUNS):
            if Run(document, run).ends_in_deadlock():
                deadlocked[verdict.verdict] += 1
                assert verdict.verdict != "sound", f"{seed=} {run=} {document}"
                break
    assert deadlocked["unsound"] > SCOPES // 20, "the runs find no deadlock at all"
