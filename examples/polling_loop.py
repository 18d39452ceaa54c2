"""The job that `polling_loop.yaml` asks for."""

from workflow_engine import function

ROUNDS = 3


@function
def job_state(job: str, asked: int) -> dict[str, object]:
    """Busy for the first looks, then done."""
    if asked < ROUNDS:
        return {"state": "busy"}
    return {"state": "done", "result": f"{job}: 12 pages"}
