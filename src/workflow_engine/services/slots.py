"""Passes the slots of tenant-wide limits on to the steps that got them.

The store grants them, in the commits that ask for and free them; a grant is a command to the execution of its owner.
"""

from collections.abc import Callable

from workflow_engine.models.command import GrantSlot
from workflow_engine.models.errors import DependencyUnavailable
from workflow_engine.models.instant import MICROSECONDS
from workflow_engine.services.background import Background
from workflow_engine.services.measures import LimitMeasures
from workflow_engine.store import Grant, Store

Key = tuple[str, str]
"""Tenant and execution."""


class Slots:
    """Tells owners of their slots. Telling one twice does no harm: the second is stale."""

    def __init__(self, store: Store, post: Callable[[Key, GrantSlot], None]) -> None:
        self._store = store
        self._post = post
        self._background = Background()
        self.measures = LimitMeasures()
        store.on_granted(self._granted)

    def _granted(self, grants: list[Grant]) -> None:
        now = self._store.now()
        for grant in grants:
            self.measures.wait_seconds.observe((now - grant.asked_at) / MICROSECONDS)
        self._tell(grants)

    def _tell(self, grants: list[Grant]) -> None:
        for grant in grants:
            command = GrantSlot(grant.step_id, grant.attempt, grant.generation)
            self._post((grant.tenant_id, grant.execution_id), command)

    def remind(self, key: Key | None = None) -> None:
        """Tell an execution of its slots once more, None: everybody; a process that ended may not have done it."""
        self._background.spawn(self._remind(key))

    async def _remind(self, key: Key | None) -> None:
        try:
            self._tell(await self._store.granted_slots(key))
        except DependencyUnavailable:
            pass  # all are reminded when the outage is over

    async def close(self) -> None:
        """Tell nobody any more."""
        await self._background.close()
