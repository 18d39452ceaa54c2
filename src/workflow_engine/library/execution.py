"""One execution, as a program holds it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

from workflow_engine.library.door import CLOSED_MEANWHILE, PAGE, Door
from workflow_engine.library.errors import EngineClosed, ExecutionEnded
from workflow_engine.models.command import AddItems, AnyCommand, CompleteByHand, Skip
from workflow_engine.models.errors import InputInvalid
from workflow_engine.models.execution import COMPLETED, TERMINAL
from workflow_engine.models.problem import Problem
from workflow_engine.services.attributes import REASON_CHARS_MAX, check_text
from workflow_engine.services.bulk import Action, steering_command

ITEMS_MAX: Final = 10_000
"""Items added at once, as over HTTP."""


class Execution:
    """A handle on one execution; `Engine.start` and `Engine.execution` give it.

    Whatever changes the execution returns once its effect is durable, with the execution as it is then: the dict that
    `get` gives. All of it raises NotFound for an execution that does not exist, EngineClosed once the engine is closed,
    and StoreUnavailable while the database takes no writes.
    """

    def __init__(self, door: Door, execution_id: str) -> None:
        self._door = door
        self.id: Final = execution_id

    def __repr__(self) -> str:
        return f"<Execution {self.id!r} of tenant {self._door.tenant_id!r}>"

    @property
    def _key(self) -> tuple[str, str]:
        return self._door.tenant_id, self.id

    # --- looking

    async def get(self) -> dict[str, Any]:
        """The execution as `GET /api/v1/executions/{id}` shows it.

        `{execution_id, workflow_id, version, status, reason, input, output, error, variables, progress_percentage,
        sequence, active_nodes, priority, metadata, labels, created_at, started_at, finished_at}`; instants are RFC 3339
        text, `reason` (`input`, `timer` or `operator`) says what a paused one waits for.
        """
        return await self._door.ask(lambda services: services.executions.get(*self._key))

    async def result(self) -> Any:
        """The output, once the execution has completed. To wait for so long only: `asyncio.timeout`.

        Raises:
            ExecutionEnded: it failed or was cancelled. EngineClosed: the engine was closed before its end.
        """
        ended = await self.wait()
        if ended["status"] != COMPLETED:
            raise ExecutionEnded(self.id, ended["status"], ended["error"])
        return ended["output"]

    async def wait(self) -> dict[str, Any]:
        """What `get` gives, once the execution has ended in whatever way.

        Raises:
            EngineClosed: the engine was closed before its end.
        """
        ended = await self._door.ask(lambda services: services.executions.wait(*self._key))
        if ended["status"] not in TERMINAL:
            raise EngineClosed(CLOSED_MEANWHILE)
        return ended

    async def events(self, *, after: int = 0, follow: bool = True) -> AsyncIterator[dict[str, Any]]:
        """Its events after a sequence, in order, each once.

        `{event, service, sequence, task_id, global_task_id, tenant_id, timestamp, data}`, as over the wire.

        Args:
            follow: go on live until the execution has ended; False: only the history, what there is.

        Raises:
            CursorAhead: it has not come to `after` yet. ResyncRequired: what follows `after` is not kept any more.
            EngineClosed: the engine was closed before its end.
        """
        found = self._door.services.executions.events(*self._key, after=after, follow=follow)
        async with aclosing(found) as events:  # type: ignore[type-var]
            while (event := await self._door.ask(lambda _services: anext(events, None))) is not None:
                yield event

    async def explain(self) -> dict[str, Any]:
        """Why it is where it is: `{execution_id, status, reason, summary, nodes, total, decisions}`; docs/explain.md
        has the shapes of the parts.
        """
        return await self._door.ask(lambda services: services.executions.explain(*self._key))

    def steps(self) -> AsyncIterator[dict[str, Any]]:
        """Its steps in the order of activation, also those of items, iterations and groups.

        `{step_id, node_id, type, status, attempts, input, output, error, worker, scheduled_at, started_at,
        finished_at}`. They are read page by page.
        """
        return self._door.each(
            lambda services, after: services.steps.page(*self._key, after=after or (0, 0), limit=PAGE)
        )

    async def step(self, step_id: str) -> dict[str, Any]:
        """One step, as `steps` gives it; raises NotFound.

        Args:
            step_id: its path, such as `fetch.1`, `each.1:3` or `group.1~fetch.1`.
        """
        return await self._door.ask(lambda services: services.steps.get(*self._key, step_id))

    # --- messages

    async def signal(self, name: str, payload: Any = None) -> dict[str, Any]:
        """Send a signal; it is kept until a wait takes it.

        Raises:
            InputInvalid: the name is not 1 to 256 characters. LimitExceeded: the payload is too large, or no JSON.
            CommandRejected: the execution has ended.
        """
        return await self._door.ask(lambda services: services.executions.signal(*self._key, name, payload))

    async def answer(self, asked: str, output: Any) -> None:
        """Answer a `human` node as a person would.

        Args:
            asked: the node, or where it asks more than once, the step. `Engine.complete_task` answers by task id.

        Raises:
            InputInvalid: the answer does not fit the form. CommandRejected: nobody is asked there, or more than once.
        """
        await self._door.ask(lambda services: services.executions.answer(*self._key, asked, output))

    async def set_variables(self, changed: Mapping[str, Any]) -> dict[str, Any]:
        """Merge into the variables.

        Raises:
            InputInvalid: a name is not 1 to 128 characters. LimitExceeded: a value is too large, or no JSON.
            CommandRejected: the execution has ended.
        """
        return await self._door.ask(lambda services: services.executions.set_variables(*self._key, changed))

    # --- control

    async def pause(self) -> dict[str, Any]:
        """Start nothing new; running steps finish and are recorded. Raises CommandRejected."""
        return await self._steer("pause")

    async def resume(self) -> dict[str, Any]:
        """Go on after `pause`; raises CommandRejected where nobody paused it."""
        return await self._steer("resume")

    async def cancel(self, reason: str = "cancelled", *, compensate: bool = False) -> dict[str, Any]:
        """Withdraw everything; running calls are cancelled. Raises CommandRejected.

        Args:
            reason: for people, 1 to 1,000 characters.
            compensate: undo what was completed, in reverse order; it is `cancelled` once that is over.
        """
        return await self._steer("cancel", reason, compensate=compensate)

    async def terminate(self, reason: str = "terminated") -> dict[str, Any]:
        """Stop at once, without compensation; the status is `cancelled`. Raises CommandRejected.

        Args:
            reason: for people, 1 to 1,000 characters.
        """
        return await self._steer("terminate", reason)

    async def retry(self) -> dict[str, Any]:
        """Continue a failed execution at its failed steps, which begin anew; raises CommandRejected."""
        return await self._steer("retry")

    async def fork(
        self, *, sequence: int | None = None, version: int | None = None, variables: Mapping[str, Any] | None = None
    ) -> "Execution":
        """Start a new execution that goes on from an event of this one, which stays as it is.

        Args:
            sequence: the event, rounded up to the end of its transition; None: the latest.
            version: of the definition to go on with; None: the one that it had then.
            variables: merged into those of that moment.

        Raises:
            InputInvalid: no such event or version. CommandRejected: it was cancelled, undone or not begun there.
            Conflict: a token or step has no place in that version, or the workflow is archived.
        """
        forked = await self._door.ask(
            lambda services: services.forks.fork(
                *self._key,
                sequence=sequence,
                version=version,
                variables=services.executions.checked_variables(variables or {}),
            )
        )
        return Execution(self._door, forked["execution_id"])

    async def migrate(
        self, version: int, *, nodes: Mapping[str, str] | None = None, dry_run: bool = False
    ) -> dict[str, Any]:
        """Go on where it stands, by another version of the definition.

        Args:
            nodes: new node ids by old ones, where they differ.
            dry_run: change nothing; gives `{possible, problems, steps}`: what is in the way, and of each active step
                `{step_id, from, to}`.

        Raises:
            InputInvalid: no such version. CommandRejected: it has ended, or a token or step has no place there.
        """
        renamed = dict(nodes or {})
        if dry_run:
            return await self._door.ask(
                lambda services: services.migrations.rehearse(*self._key, version=version, nodes=renamed)
            )
        return await self._door.ask(
            lambda services: services.migrations.migrate(*self._key, version=version, nodes=renamed)
        )

    # --- steps by hand

    async def complete_step(self, step_id: str, output: Any = None) -> dict[str, Any]:
        """Give the output of an active step, or of a failed one of a failed execution, which then goes on.

        Raises:
            NotFound: there never was such a step. CommandRejected: it is over. LimitExceeded: too large, or no JSON.
        """
        checked = self._door.services.executions.checked(output, "output")
        return await self._give_to_step(CompleteByHand(step_id, checked))

    async def skip_step(self, step_id: str) -> dict[str, Any]:
        """Pass over an active step, or a failed one: its output is null, and what follows its success follows.

        Raises:
            NotFound: there never was such a step. CommandRejected: it is over.
        """
        return await self._give_to_step(Skip(step_id))

    async def add_items(self, step_id: str, items: Sequence[Any]) -> dict[str, Any]:
        """Give a `foreach` step that is under way 1 to 10,000 more items; its list of results grows with them.

        Raises:
            NotFound: there never was such a step. CommandRejected: it is no `foreach`, or is over.
            InputInvalid: no items, or too many. LimitExceeded: they are too large, or no JSON.
        """
        added = list(items)
        if not 1 <= len(added) <= ITEMS_MAX:
            message = f"must be 1 to {ITEMS_MAX:,} items, not {len(added):,}"
            raise InputInvalid(
                [Problem(severity="error", code="invalid_field", path="/items", message=message)], "request"
            )
        return await self._give_to_step(AddItems(step_id, self._door.services.executions.checked(added, "items")))

    async def _give_to_step(self, command: CompleteByHand | Skip | AddItems) -> dict[str, Any]:
        async with self._door.services.steps.named(*self._key, command.step):
            return await self._give(command)

    async def _steer(self, action: Action, reason: str | None = None, *, compensate: bool = False) -> dict[str, Any]:
        if reason is not None:
            check_text(reason, "/reason", chars_max=REASON_CHARS_MAX)
        return await self._give(steering_command(action, reason, compensate=compensate))

    async def _give(self, command: AnyCommand) -> dict[str, Any]:
        return await self._door.ask(lambda services: services.executions.give(*self._key, command))
