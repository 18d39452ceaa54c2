"""The services of one open engine, as the doors (library, HTTP, WebSocket) get them."""

from dataclasses import dataclass

from workflow_engine.models.limits import Limits
from workflow_engine.services.bulk import Bulk
from workflow_engine.services.executions import Executions
from workflow_engine.services.forks import Forks
from workflow_engine.services.live_events import LiveEvents
from workflow_engine.services.migrations import Migrations
from workflow_engine.services.people_tasks import PeopleTasks
from workflow_engine.services.rehearsal.rehearsals import Rehearsals
from workflow_engine.services.retention import Retention
from workflow_engine.services.steps_view import StepsView
from workflow_engine.services.workflow_executor import WorkflowExecutor
from workflow_engine.services.workflow_manager import WorkflowManager
from workflow_engine.store import Store


@dataclass(slots=True, frozen=True)
class EngineServices:
    """What a door may call."""

    store: Store
    workflows: WorkflowManager
    executor: WorkflowExecutor
    executions: Executions
    forks: Forks
    migrations: Migrations
    bulk: Bulk
    steps: StepsView
    people_tasks: PeopleTasks
    rehearsals: Rehearsals
    live: LiveEvents
    limits: Limits
    retention: Retention
