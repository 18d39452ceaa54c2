"""The steps of an execution so far, folded from its log: the step resource of the API."""

from typing import Any

from workflow_engine.models.event import (
    StepAttempted,
    StepCancelled,
    StepCompleted,
    StepFailed,
    StepReopened,
    StepRetrying,
    StepStarted,
    decode_facts,
)
from workflow_engine.models.instant import rfc3339
from workflow_engine.store import Store

LOG_PAGE = 500

Steps = dict[str, dict[str, Any]]


async def steps_of(store: Store, tenant_id: str, execution_id: str, types: dict[str, str]) -> list[dict[str, Any]]:
    """`{step_id, node_id, type, status, attempts, input, output, error, worker, scheduled_at, started_at, finished_at}`
    of every step, in the order in which they began. `types` are the nodes' types.
    """
    steps: Steps = {}
    items: dict[str, dict[int, Any]] = {}
    sequence = 0
    while rows := await store.log(tenant_id, execution_id, after_sequence=sequence, limit=LOG_PAGE):
        for row in rows:
            for fact in decode_facts(row.events):
                _fold(steps, items, fact, rfc3339(row.at), types)
            sequence = max(sequence, row.last_sequence)
    return list(steps.values())


def _fold(steps: Steps, items: dict[str, dict[int, Any]], fact: Any, at: str, types: dict[str, str]) -> None:
    match fact:
        case StepStarted():
            steps[fact.step] = _begun(fact, at, types)
        case StepReopened():
            steps[fact.step] |= {"status": fact.status, "attempts": 1, "error": None, "finished_at": None}
        case StepAttempted():
            steps[fact.step]["attempts"] = fact.attempt
        case StepRetrying():
            steps[fact.step]["error"] = fact.error
        case StepCompleted():
            output = _listed(items.pop(fact.step, {}), steps[fact.step]) if fact.is_list else fact.output
            steps[fact.step] |= {"status": "completed", "output": output, "error": None, "finished_at": at}
            parent, _, index = fact.step.rpartition(":")
            if parent in steps and index.isdigit():
                items.setdefault(parent, {})[int(index)] = fact.output
        case StepFailed():
            steps[fact.step] |= {"status": "failed", "error": fact.error, "finished_at": at}
        case StepCancelled():
            steps[fact.step] |= {"status": "cancelled", "finished_at": at}


def _begun(fact: StepStarted, at: str, types: dict[str, str]) -> dict[str, Any]:
    return {
        "step_id": fact.step,
        "node_id": fact.node,
        "type": types.get(fact.node),
        "status": fact.status,
        "attempts": 1,
        "input": fact.input if fact.items is None else {"items": fact.items},
        "output": None,
        "error": None,
        "worker": None,
        "scheduled_at": at,
        "started_at": at if fact.status != "pending" else None,
        "finished_at": None,
    }


def _listed(outputs: dict[int, Any], step: dict[str, Any]) -> list[Any]:
    return [outputs.get(index) for index in range(len(step["input"]["items"]))]
