"""Tests that definitions carry, run on the core alone: a virtual clock, stubs in the place of calls, no store."""

from workflow_engine.services.rehearsal.coverage import Coverage
from workflow_engine.services.rehearsal.rehearsal import Bounds, Rehearsal, rehearse
from workflow_engine.services.rehearsal.suite import CaseReport, Suite, chosen_tests, seeds_of

__all__ = [
    "Bounds",
    "CaseReport",
    "Coverage",
    "Rehearsal",
    "Rehearsals",
    "Suite",
    "chosen_tests",
    "rehearse",
    "seeds_of",
]
