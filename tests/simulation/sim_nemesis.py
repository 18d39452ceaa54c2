"""The nemesis: what goes wrong in a schedule, drawn from its seed."""

import asyncio
from collections import Counter
from random import Random
from typing import Any, NamedTuple

import pytest
from sim_disk import FINE, FULL, KILL_AFTER, KILL_BEFORE, LANDED, LANDED_UNSEEN, LOST, Disk
from sim_host import Host, Supervisor, WallClock
from sim_loop import Pace, Process, SimLoop, current_process
from sim_target import Temper

from workflow_engine.models.errors import WorkflowEngineError
from workflow_engine.models.instant import MICROSECONDS
from workflow_engine.services.workflow_executor import WorkflowExecutor

HOUR_S = 3_600


class Plan(NamedTuple):
    """How bad a schedule gets. Each seed has some kinds of trouble and not others, so that no kind hides another."""

    pace: Pace
    temper: Temper
    trouble_s: float
    """How long it lasts, by the monotonic clock."""
    commit_kills: float
    """The share of commits at which the process dies, right before or right after."""
    commit_faults: float
    """The share of commits that fail, or land and seem to fail."""
    step_kills: float
    """The share of the loop's steps before which the process dies."""
    stalls: int
    """How often the process is stopped, replaced, and let go on beside its successor."""
    restarts: int
    """How often it ends in good order."""
    outages: int
    """How often the disk takes no writes for a while."""
    jumps: int
    """How often the database's clock is moved."""
    repeats: float
    """The share of news (results, timers) that comes more than once."""
    delays: float
    """The share that comes late."""
    losses: float
    """The share of wake-ups of timers that never come."""
    concurrency: int
    snapshot_bytes: int


def plan_of(random: Random) -> Plan:
    """Draw one."""

    def some(share: float, value: Any, otherwise: Any = 0) -> Any:
        return value if random.random() < share else otherwise

    return Plan(
        pace=Pace(
            disorder=random.choice((0.0, 0.1, 0.5, 1.0)),
            step_s=random.choice((0.0, 1e-6, 1e-4)),
            disk_s=random.choice((1e-4, 1e-3, 2e-2, 0.3)),
        ),
        temper=Temper(
            fails=random.choice((0.0, 0.1, 0.4)),
            slow_s=random.choice((0.01, 0.5, 5.0)),
            hangs=some(0.3, 0.05, 0.0),
        ),
        trouble_s=random.choice((5.0, 30.0, 120.0)),
        commit_kills=some(0.6, random.choice((0.02, 0.1)), 0.0),
        commit_faults=some(0.4, random.choice((0.05, 0.2)), 0.0),
        step_kills=some(0.5, random.choice((0.0005, 0.005)), 0.0),
        stalls=some(0.3, random.randint(1, 2)),
        restarts=some(0.2, 1),
        outages=some(0.3, random.randint(1, 2)),
        jumps=some(0.3, random.randint(1, 3)),
        repeats=some(0.5, random.choice((0.1, 0.5)), 0.0),
        delays=some(0.5, random.choice((0.1, 0.5)), 0.0),
        losses=some(0.2, 0.3, 0.0),
        concurrency=random.choice((1, 2, 16)),
        snapshot_bytes=random.choice((400, 2_000, 65_536)),
    )


KILLS_MAX = 8
"""A schedule has to get somewhere."""


class Nemesis:
    """Makes it happen, until it is told to stop."""

    def __init__(
        self, loop: SimLoop, random: Random, plan: Plan, disk: Disk, wall: WallClock, supervisor: Supervisor
    ) -> None:
        self._loop = loop
        self._random = random
        self._plan = plan
        self._disk = disk
        self._wall = wall
        self._supervisor = supervisor
        self._is_over = False
        self._works: list[asyncio.Task[None]] = []
        self._zombies: list[Host] = []
        self._news: list[tuple[Any, int, Any]] = []
        self._kills = 0
        self.happened: Counter[str] = disk.happened

    def start(self, patch: pytest.MonkeyPatch) -> None:
        """Begin."""
        self._disk.fate = self._fate
        self._loop.before_step = self._before_step
        self._stand_between(patch)
        plan = self._plan
        works = [self._stall() for _ in range(plan.stalls)]
        works += [self._restart() for _ in range(plan.restarts)]
        works += [self._outage() for _ in range(plan.outages)]
        works += [self._jump() for _ in range(plan.jumps)]
        if plan.repeats:
            works.append(self._repeat_old_news())
        self._works = [self._loop.create_task(work) for work in works]

    async def stop(self) -> None:
        """Let everything be well from now on; what stands is one healthy process."""
        self._is_over = True
        self._disk.note("*** no more trouble")
        for work in self._works:
            work.cancel()
        await asyncio.gather(*self._works, return_exceptions=True)
        self._disk.is_out = self._disk.reads_fail = False
        self._disk.blind = 0
        for zombie in self._zombies:
            self._loop.kill(zombie.process)
        if self._zombies:
            # What a second process did is known to the log alone; one that starts takes it up.
            host = self._supervisor.host
            if host is not None:
                self._loop.kill(host.process)

    # --- the end of processes

    def _may_kill(self, process: Process | None) -> bool:
        if self._is_over or process is None or self._kills >= KILLS_MAX:
            return False
        self._kills += 1
        return True

    def _fate(self) -> str:
        lot = self._random.random()
        plan = self._plan
        if lot < plan.commit_kills and self._may_kill(current_process()):
            return KILL_BEFORE if self._random.random() < 0.5 else KILL_AFTER
        if not self._is_over and lot < plan.commit_kills + plan.commit_faults:
            return self._random.choice((LOST, LANDED, LANDED_UNSEEN, FULL))
        return FINE

    def _before_step(self, process: Process | None) -> None:
        share = self._plan.step_kills
        if share and process is not None and self._random.random() < share and self._may_kill(process):
            self.happened["killed between two steps"] += 1
            self._loop.kill(process)

    async def _some_time(self) -> None:
        await asyncio.sleep(self._random.random() * self._plan.trouble_s)

    async def _stall(self) -> None:
        """SIGSTOP; another process takes over; SIGCONT; later the end of the first one."""
        await self._some_time()
        host = self._supervisor.host
        if host is None:
            return
        host.process.is_frozen = True
        self._zombies.append(host)
        self._supervisor.replace()
        self.happened["stopped and replaced"] += 1
        self._disk.note(f"*** {host.process.name} is stopped")
        await asyncio.sleep(self._random.expovariate(1 / 10.0))
        self.happened["went on beside the successor"] += not host.process.is_dead
        self._disk.note(f"*** {host.process.name} goes on")
        self._loop.thaw(host.process)
        await asyncio.sleep(self._random.expovariate(1 / 10.0))
        self._loop.kill(host.process)

    async def _restart(self) -> None:
        await self._some_time()
        host = self._supervisor.retire()
        if host is None:
            return
        self.happened["ended in good order"] += 1
        try:
            async with asyncio.timeout(60.0):
                await self._loop.call(host.process, host.engine.__aexit__(None, None, None))
        except (ConnectionError, TimeoutError, WorkflowEngineError):
            pass
        finally:
            self._loop.kill(host.process)
            self._supervisor.replace()

    # --- disk and clock

    async def _outage(self) -> None:
        await self._some_time()
        self._disk.is_out = True
        self._disk.reads_fail = self._random.random() < 0.4
        self.happened["outages of the disk"] += 1
        self._disk.note("*** no disk")
        await asyncio.sleep(self._random.expovariate(1 / 5.0))
        self._disk.is_out = self._disk.reads_fail = False
        self._disk.note("*** the disk is back")

    async def _jump(self) -> None:
        await self._some_time()
        ahead = self._random.random() < 0.75
        seconds = self._random.choice((1.0, 40.0, HOUR_S)) if ahead else -self._random.choice((1.0, 20.0))
        self.happened["clock moved ahead" if ahead else "clock moved back"] += 1
        self._wall.offset_at += int(seconds * MICROSECONDS)

    # --- news

    def _stand_between(self, patch: pytest.MonkeyPatch) -> None:
        """Between those who bring news and the executor."""
        report, wake, nemesis = WorkflowExecutor._report, WorkflowExecutor._wake, self

        def reported(executor: WorkflowExecutor, call: Any, generation: int, outcome: Any) -> None:
            if nemesis._plan.repeats:
                nemesis._news.append((call, generation, outcome))
            nemesis._bring("result", 0.0, report, executor, call, generation, outcome)

        def woke(executor: WorkflowExecutor, tenant_id: str, execution_id: str) -> None:
            nemesis._bring("wake-up", nemesis._plan.losses, wake, executor, tenant_id, execution_id)

        for name, kind in (("_deliver", "news"), ("_grant", "grant")):
            patch.setattr(WorkflowExecutor, name, self._between(kind, getattr(WorkflowExecutor, name)))
        patch.setattr(WorkflowExecutor, "_report", reported)
        patch.setattr(WorkflowExecutor, "_wake", woke)
        self._report, self._wake = report, wake

    def _between(self, kind: str, news: Any) -> Any:
        return lambda *arguments: self._bring(kind, 0.0, news, *arguments)

    def _bring(self, kind: str, losses: float, news: Any, *arguments: Any) -> None:
        random, plan = self._random, self._plan
        if self._is_over:
            news(*arguments)
            return
        if random.random() < losses:
            self.happened[f"{kind} lost"] += 1
            return
        if random.random() < plan.repeats:
            self.happened[f"{kind} repeated"] += 1
            for _ in range(random.randint(1, 3)):
                self._loop.call_later(random.expovariate(1 / 2.0), news, *arguments)
        if random.random() < plan.delays:
            self.happened[f"{kind} delayed"] += 1
            self._loop.call_later(random.expovariate(1 / 3.0), news, *arguments)
        else:
            news(*arguments)

    async def _repeat_old_news(self) -> None:
        """Results of any time, also of dead processes, and wake-ups before their time, brought to whoever serves."""
        while True:
            await asyncio.sleep(self._random.expovariate(1 / 2.0))
            host = self._supervisor.host
            if host is None or not self._news:
                continue
            call, generation, outcome = self._random.choice(self._news)
            executor = host.services.executor
            if self._random.random() < 0.5:
                self.happened["old result repeated"] += 1
                arguments: tuple[Any, ...] = (self._report, executor, call, generation, outcome)
            else:
                self.happened["wake-up before its time"] += 1
                arguments = (self._wake, executor, call.tenant_id, call.execution_id)
            self._loop.call_soon(*arguments, context=host.process.context)
