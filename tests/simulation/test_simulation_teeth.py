"""Each protection, switched off once: a simulation that does not notice proves nothing about it."""

import pytest
from sim_teeth import TEETH

from simulation import Tooth, run, run_race

SEEDS_MAX = 40


@pytest.mark.parametrize("tooth", [pytest.param(tooth, id=tooth.name) for tooth in TEETH])
def test_without_its_protection_a_promise_is_seen_to_break(tooth: Tooth) -> None:
    play = run_race if tooth.is_race else run
    for seed in range(1, SEEDS_MAX + 1):
        if any(tooth.finds in problem for problem in play(seed, tooth=tooth).problems):
            return
    pytest.fail(f"not noticed in {SEEDS_MAX} schedules: {tooth.name}")
