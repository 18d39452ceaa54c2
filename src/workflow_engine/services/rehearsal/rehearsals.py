"""Tests of definitions that tenants send: one tenant at a time, in a thread, within a time that nobody can move."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any, Final
from weakref import WeakValueDictionary

from workflow_engine.models.errors import DefinitionInvalid
from workflow_engine.models.json_value import JsonValue
from workflow_engine.models.workflow import Definition
from workflow_engine.services.rehearsal.rehearsal import Bounds
from workflow_engine.services.rehearsal.suite import Seed, Suite, chosen_tests
from workflow_engine.services.workflow_manager import WorkflowManager

REQUEST_S_MAX: Final = 10.0
"""For all tests of one request."""
TRANSITIONS_MAX: Final = 10_000
STEPS_MAX: Final = 50_000
"""Of one run of one test."""


class Rehearsals:
    """Runs the tests of definitions for all tenants."""

    def __init__(self, workflows: WorkflowManager) -> None:
        self._workflows = workflows
        # One: the runs hold the interpreter's lock anyway, and a second would only slow down the event loop.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="workflow-engine-tests")
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def run(
        self, tenant_id: str, document: JsonValue, *, seeds: Sequence[Seed], name: str | None
    ) -> dict[str, Any]:
        """Run the tests of a definition that need not be published; gives what came of them as the API shows it.

        A tenant has one turn at a time, so that many requests of one do not hold up another's.

        Raises:
            DefinitionInvalid.
        """
        validation = await self._workflows.validate(document)
        if validation.definition is None:
            raise DefinitionInvalid(validation.problems)
        turn = self._turns.get(tenant_id)
        if turn is None:
            turn = self._turns[tenant_id] = asyncio.Lock()
        async with turn:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, _run, validation.definition, seeds, name)

    def close(self) -> None:
        """Run nothing more; what is under way is left to itself."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _run(definition: Definition, seeds: Sequence[Seed], name: str | None) -> dict[str, Any]:
    bounds = Bounds(TRANSITIONS_MAX, STEPS_MAX, ends_at_s=monotonic() + REQUEST_S_MAX)
    suite = Suite(definition)
    reports = [suite.run(test, seeds, bounds=bounds) for test in chosen_tests(suite, name)]
    return {
        "passed": bool(reports) and all(report.passed for report in reports),
        "tests": [report.to_dict() for report in reports],
        "coverage": suite.coverage.to_dict(),
    }
