"""Going on with another version of a definition."""

from typing import Any

from workflow_engine.engine.decide import decide
from workflow_engine.engine.migration import plan_migration
from workflow_engine.models.command import Migrate
from workflow_engine.models.errors import InputInvalid, NotFound
from workflow_engine.models.problem import Problem
from workflow_engine.services.execution_resource import execution_resource
from workflow_engine.services.recorded_outputs import recorded_outputs
from workflow_engine.services.state_manager import StateManager
from workflow_engine.services.workflow_executor import Receipt, WorkflowExecutor
from workflow_engine.services.workflow_manager import Published, WorkflowManager
from workflow_engine.store import Store


class Migrations:
    """Moves executions to other versions, or tells what would come of it."""

    def __init__(
        self, store: Store, workflows: WorkflowManager, states: StateManager, executor: WorkflowExecutor
    ) -> None:
        self._store = store
        self._workflows = workflows
        self._states = states
        self._executor = executor

    async def migrate(
        self,
        tenant_id: str,
        execution_id: str,
        *,
        version: int,
        nodes: dict[str, str],
        receipt: Receipt | None = None,
    ) -> dict[str, Any]:
        """Let an execution go on with another version; gives it as the API shows it once that is durable.

        Args:
            nodes: new node ids by old ones, where they differ.

        Raises:
            NotFound: no such execution. InputInvalid: no such version.
            CommandRejected: it has ended, or a token or step has no place in that version. StoreUnavailable.
        """
        published = await self._target(tenant_id, execution_id, version)
        held = await self._states.load(tenant_id, execution_id)
        before, after = held.working.graph, published.graph
        outputs = await recorded_outputs(self._store, held.working.state, before, after, nodes)
        command = Migrate(published.version, after, nodes, outputs)
        return await self._executor.ask((tenant_id, execution_id), command, execution_resource, receipt)

    async def rehearse(
        self, tenant_id: str, execution_id: str, *, version: int, nodes: dict[str, str]
    ) -> dict[str, Any]:
        """What `migrate` would come to: decided on a copy that is thrown away.

        Gives `{possible, problems, steps}`: `problems` as those of a validation, `steps` the active ones as `{step_id,
        from, to}`, where `to` is null for a node that the version does not have.

        Raises:
            NotFound: no such execution. InputInvalid: no such version.
        """
        published = await self._target(tenant_id, execution_id, version)
        held = await self._states.load(tenant_id, execution_id)
        state, before, after = held.working.state, held.working.graph, published.graph
        known = {node for graph in after.bodies.values() for node in graph.by_id}
        steps = [
            {
                "step_id": step.step_id,
                "from": step.node,
                "to": to if (to := nodes.get(step.node, step.node)) in known else None,
            }
            for step in state.steps.values()
        ]
        outputs = await recorded_outputs(self._store, state, before, after, nodes)
        messages = plan_migration(state, before, after, published.version, nodes, outputs=outputs).problems
        problems = [_problem("cannot_migrate", "", message) for message in messages]
        if not problems:
            command = Migrate(published.version, after, nodes, outputs)
            (rejection,) = decide(held.working, [command], now=max(self._store.now(), state.at)).rejections
            problems = [_problem(rejection.code, "", rejection.message)] if rejection is not None else []
        return {"possible": not problems, "problems": [one.to_dict() for one in problems], "steps": steps}

    async def _target(self, tenant_id: str, execution_id: str, version: int) -> Published:
        row = await self._store.execution(tenant_id, execution_id)
        try:
            return await self._workflows.version(tenant_id, row.workflow_id, version)
        except NotFound as error:
            raise InputInvalid([_problem("not_found", "/version", error.message)], "request") from None


def _problem(code: str, path: str, message: str) -> Problem:
    return Problem(severity="error", code=code, path=path, message=message)
