"""How far an execution is: finished nodes among those finished or still reachable."""

from workflow_engine.engine.working import Working

ALMOST = 99
"""The most that an execution shows before it has completed."""


def progress_percent(working: Working) -> int:
    """Percent of the way, 0 to 99, never less than before; a `foreach` counts by the share of its items."""
    place = working.places[""]
    ahead = place.reachable()
    done = (place.done & ~ahead).bit_count()
    total = done + ahead.bit_count()
    if working.open_foreach:
        share = sum([_share(working, step_id) for step_id in working.open_foreach])
        percent = int(100 * (done + share) / total) if total else 0
    else:
        percent = 100 * done // total if total else 0
    before = working.state.progress
    return before if percent <= before else percent if percent < ALMOST else ALMOST


def _share(working: Working, step_id: str) -> float:
    step = working.state.steps[step_id]
    return step.finished / len(step.items) if step.items else 0.0
