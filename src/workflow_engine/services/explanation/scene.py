"""What an explanation is made from: an execution, what its log tells, and what stands around it in the store."""

from typing import Any, Final
from urllib.parse import quote

import msgspec

from workflow_engine.engine.graph import NodeSpec
from workflow_engine.engine.transition import Transition
from workflow_engine.engine.working import Place, Working
from workflow_engine.models.errors import NotFound
from workflow_engine.models.event import DecisionMade
from workflow_engine.models.execution import ExecutionState, Step
from workflow_engine.services.state_manager import Names
from workflow_engine.store import ExecutionRow, Store

LOOK_UPS_MAX: Final = 50
"""Limits and child executions that are looked up for one explanation."""

Cause = dict[str, Any]
"""`{kind, sentence, node_id, step_id, who_can_unblock, how}` and what belongs to the kind; see docs/explain.md."""

SlotHolder = tuple[str, str, bool, int]
"""`(execution_id, step_id, is_granted, asked_at)`, as the store gives it."""


def cause(
    kind: str,
    sentence: str,
    *,
    node_id: str | None = None,
    step_id: str | None = None,
    who: str | None = None,
    how: str | None = None,
    **details: Any,
) -> Cause:
    """One cause; `how` is the call of the API by which `who` moves it on."""
    return {
        "kind": kind,
        "sentence": sentence,
        "node_id": node_id,
        "step_id": step_id,
        "who_can_unblock": who,
        "how": how,
        **details,
    }


def address(step_id: str) -> tuple[str, str]:
    """The scope's key and the node of an activation.

    >>> address("fetch.1"), address("each.1:3~ship.2")
    (('', 'fetch'), ('each.1:3~', 'ship'))
    """
    scope, mark, last = step_id.rpartition("~")
    return scope + mark, last.rpartition(".")[0]


class Told(msgspec.Struct):
    """What the log tells beyond the state: the latest decision by scope and node, and why steps were withdrawn."""

    decisions: dict[tuple[str, str], DecisionMade] = {}
    reasons: dict[str, str] = {}


class Scene:
    """An execution as it is explained.

    What stands around it is looked up in two rounds: whoever explains asks for limits and children, `look_up` fetches
    what was asked for, and the explanation is made again.
    """

    def __init__(self, working: Working, row: ExecutionRow, names: Names, told: Told) -> None:
        self.working = working
        self.row = row
        self.names = names
        self.told = told
        self.transition = Transition(working, working.state.at)
        """To evaluate with, as the execution stands."""
        self._holders: dict[str, list[SlotHolder] | None] = {}
        self._children: dict[str, ExecutionRow | None] = {}

    @property
    def state(self) -> ExecutionState:
        """The folded state."""
        return self.working.state

    def spec(self, step: Step) -> NodeSpec:
        """The compiled node of a step."""
        return self.working.spec(step)

    def steps_on(self, place: Place, node_id: str) -> list[Step]:
        """The active activations of a node."""
        steps = (self.state.steps[step_id] for step_id in place.steps)
        return [step for step in steps if step.node == node_id and not step.is_detached]

    def call(self, method: str, *parts: str, execution_id: str | None = None) -> str:
        """A call of the API about an execution (this one by default)."""
        path = "/".join(quote(part, safe="/:~.") for part in (execution_id or self.row.execution_id, *parts))
        return f"{method} /api/v1/executions/{path}"

    def holders(self, key: str) -> list[SlotHolder]:
        """The owners of a limit's slots, then who waits for one."""
        return self._holders.setdefault(key, None) or []

    def child(self, child_id: str) -> ExecutionRow | None:
        """A child execution, if it exists by now."""
        return self._children.setdefault(child_id, None)

    async def look_up(self, store: Store) -> None:
        """Fetch what was asked for."""
        for key in list(self._holders)[:LOOK_UPS_MAX]:
            self._holders[key] = await store.slot_holders(self.row.tenant_id, key)
        for child_id in list(self._children)[:LOOK_UPS_MAX]:
            try:
                self._children[child_id] = await store.execution(self.row.tenant_id, child_id)
            except NotFound:
                pass  # its start is under way
