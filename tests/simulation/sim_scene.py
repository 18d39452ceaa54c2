"""Everything that one schedule is made of, and what every schedule ends with: the tail, in which all must end."""

import asyncio
from pathlib import Path
from random import Random

from sim_auditor import Auditor, is_asked
from sim_client import Clients
from sim_disk import Disk
from sim_flows import CHAIN, Flow
from sim_host import Supervisor, WallClock
from sim_loop import BEGINS_S, SimLoop, current_process
from sim_nemesis import Nemesis, Plan
from sim_target import Target

from workflow_engine.config.settings import Settings
from workflow_engine.engine.working import CALL
from workflow_engine.models.limits import Limits
from workflow_engine.services.timer_service import HORIZON_S, POLL_S

MAX_STEPS = 80
"""Of one execution, so that definitions that go round for ever end as well."""

QUIET_S = 2 * HORIZON_S + POLL_S
"""After trouble, until everything that can be waited for must have been noticed: a lost wake-up is found by a poll."""

TAIL_S = 4 * 3_600.0
"""All that can end has ended by then, by the monotonic clock."""

FAR_S = 2 * 3_600
"""A timer as far off as this is a named thing to wait for."""


HELP_MAX = 100
"""Rounds of help after which an execution is cancelled that waits for what nobody gives."""


class Scene:
    """The stage, the players and the trouble."""

    def __init__(self, seed: int, path: Path, plan: Plan) -> None:
        def lot(purpose: str) -> Random:
            return Random(f"{seed} {purpose}")  # what one draws must not move what another draws

        self.seed = seed
        self.plan = plan
        self.random = lot("script")
        self.ids = lot("ids")
        self.loop = SimLoop(lot("loop"), plan.pace)
        self.disk = Disk()
        self.wall = WallClock(self.loop)
        self.target = Target(self.loop, lot("target"), plan.temper)
        settings = Settings(
            _env_file=None,  # type: ignore[call-arg]
            worker_concurrency=plan.concurrency,
            shutdown_grace=5.0,
            max_steps=MAX_STEPS,
        )
        self.supervisor = Supervisor(self.loop, lot("supervisor"), path, self.target, settings, self.note)
        self.clients = Clients(self.loop, lot("clients"), self.supervisor)
        self.auditor = Auditor(path, Limits(max_steps=MAX_STEPS), self.clients, self.target, self.note)
        self.nemesis = Nemesis(self.loop, lot("nemesis"), plan, self.disk, self.wall, self.supervisor)
        self.flows: tuple[Flow, ...] = ()
        """What is to be executed; empty: whatever the script draws."""
        self.alarms: list[str] = []
        self.journal: list[str] = []
        self.disk.note = self.note

    def note(self, line: str) -> None:
        """Write a line into the journal."""
        process = current_process()
        self.journal.append(
            f"{self.loop.time() - BEGINS_S:12.6f} {self.loop.steps:6} {process.name if process else '-':9} {line}"
        )

    async def heal(self) -> None:
        """End all trouble."""
        await self.nemesis.stop()
        self.target.heal()

    async def finish(self) -> None:
        """The tail: everything must end now, or wait for a named thing that then comes; new work is done at once."""
        await asyncio.sleep(QUIET_S)
        host = self.supervisor.host
        if host is None:
            self.auditor.fails("P2", "the service", "does not come up again")
            return
        self.auditor.check_rest(host, host.services.store.now(), POLL_S)
        ends_s = self.loop.time() + TAIL_S
        round_number = 0
        while (left := self._unfinished()) and self.loop.time() < ends_s:
            round_number += 1
            for key in left:
                await self._help(key, round_number)
            await asyncio.sleep(10.0)
        for key in left:
            state = self.auditor.history(key).state
            self.auditor.fails("P2", key, f"does not end: {state.status} {state.reason} {list(state.steps)}")
        async with asyncio.timeout(60.0):
            await self._serve_once_more()
        await self.supervisor.stop()
        await asyncio.sleep(QUIET_S)  # an effect may come after its answer
        self.auditor.check_end()

    def _unfinished(self) -> list[tuple[str, str]]:
        return [key for key in self.auditor.everybody() if not self.auditor.history(key).has_ended]

    async def _help(self, key: tuple[str, str], round_number: int) -> None:
        """Give what it waits for, whatever name that has; after some rounds a cancellation must do."""
        working = self.auditor.working(self.auditor.history(key))
        state, due_at = working.state, working.next_due_at()
        if state.is_operator_paused:
            await self._ask("resume", key)
        elif round_number < HELP_MAX and any(is_asked(working, step) for step in state.steps.values()):
            await self._ask("answer", key)
        elif round_number > HELP_MAX and not working.counts[CALL]:
            await self._ask("cancel", key)
        elif "go" in working.signal_waits:
            await self._ask("signal", key)
        elif working.signal_waits and round_number > HELP_MAX // 3:
            await self._ask("signal", key, min(working.signal_waits))
        elif due_at is not None and due_at - state.at > FAR_S * 1_000_000 and not working.counts[CALL]:
            await self._ask("cancel", key)

    async def _ask(self, kind: str, key: tuple[str, str], value: object = None) -> None:
        await self.clients.send(self.clients.op(kind, *key, value))

    async def _serve_once_more(self) -> None:
        await self.clients.publish("acme", CHAIN)
        started = await self.clients.start("acme", CHAIN, is_friendly=True)
        key = ("acme", started.op.started_id or "")
        while not self.auditor.history(key).has_ended:  # noqa: ASYNC110 - the auditor looks at the disk
            await asyncio.sleep(0.1)
