"""The steps of an execution in a database that is opened for reading only."""

from typing import Any

from workflow_engine.models.limits import Limits
from workflow_engine.services.state_manager import StateManager
from workflow_engine.services.steps_view import Position, StepsView
from workflow_engine.services.workflow_manager import WorkflowManager
from workflow_engine.store import Store

PAGE = 500


async def steps_of(store: Store, tenant_id: str, execution_id: str) -> list[dict[str, Any]]:
    """Every step as the API shows it, in the order of activation; raises NotFound."""
    workflows = WorkflowManager(store)
    view = StepsView(store, workflows, StateManager(store, workflows, Limits()))
    steps: list[dict[str, Any]] = []
    after: Position | None = (0, 0)
    while after is not None:
        page, after = await view.page(tenant_id, execution_id, after=after, limit=PAGE)
        steps += page
    return steps
