"""What is played: F01, a bit of everything, and F49, commands and clocks that meet at one instant."""

import asyncio
from random import Random

from sim_flows import FLOWS, RACE, Flow
from sim_loop import Pace
from sim_nemesis import Plan
from sim_scene import Scene
from sim_target import Temper
from sim_workload import patterns, random_flow

from workflow_engine.models.instant import MICROSECONDS

TENANTS = ("acme", "globex")
FRIENDLY = ("signal", "signal", "answer", "answer")
HOSTILE = (
    *("signal", "answer", "variables", "items", "skip", "retry", "retry"),
    *("pause", "resume", "pause", "resume", "cancel", "undo", "terminate"),
)

RACERS = ("cancel", "undo", "terminate", "pause", "resume", "signal", "variables", "skip", "retry", "result", "result")
RACE_S = 10.0
"""When they meet: the time-outs in the definition `RACE`, after the begin of the execution."""


async def everything(scene: Scene) -> None:
    """Some known definitions and some random ones, friendly and hostile clients, and trouble all along."""
    random = scene.random
    flows = list(scene.flows) or _flows(scene)
    lives = []
    for flow in flows:
        tenant_id = random.choice(TENANTS)
        for _ in range(random.randint(1, 2)):
            lives.append(_life(scene, tenant_id, flow, at_s=random.random() * scene.plan.trouble_s / 2))
    work = asyncio.gather(*lives)
    await asyncio.wait([work], timeout=scene.plan.trouble_s)
    await scene.heal()
    await work


def _flows(scene: Scene) -> list[Flow]:
    random = scene.random
    flows = [random.choice(FLOWS) for _ in range(random.randint(1, 3))]
    flows += [random_flow(scene.seed, random, f"random-{index}") for index in range(random.randint(1, 2))]
    if random.random() < 0.5:
        flows.append(random.choice(patterns()))
    return flows


async def _life(scene: Scene, tenant_id: str, flow: Flow, *, at_s: float) -> None:
    random, clients = scene.random, scene.clients
    is_friendly = flow.is_known and random.random() < 0.6
    kinds = random.choices(FRIENDLY if is_friendly else HOSTILE, k=random.randint(0, 5))
    pauses = [random.expovariate(1 / 4.0) for _ in kinds]
    delay_s = 7.0 if random.random() < 0.2 else 0.0
    await asyncio.sleep(at_s)
    await clients.publish(tenant_id, flow)
    started = await clients.start(tenant_id, flow, is_friendly=is_friendly, delay_s=delay_s)
    if started.op.started_id is None:
        return  # its input was not what the definition asks for
    for pause_s, kind in zip(pauses, kinds, strict=True):
        await asyncio.sleep(pause_s)
        await clients.send(clients.op(kind, tenant_id, started.op.started_id))


def race_plan(random: Random) -> Plan:
    """Little trouble, and much disorder; everything is so quick that it meets."""
    disk_s = random.choice((1e-6, 1e-5, 1e-3))
    return Plan(
        pace=Pace(disorder=random.choice((0.5, 1.0)), step_s=random.choice((0.0, 1e-6)), disk_s=disk_s),
        temper=Temper(fails=0.0, slow_s=0.01, hangs=0.0),
        trouble_s=30.0,
        commit_kills=0.03 if random.random() < 0.3 else 0.0,
        commit_faults=0.05 if random.random() < 0.3 else 0.0,
        step_kills=0.0,
        stalls=0,
        restarts=0,
        outages=0,
        jumps=0,
        repeats=0.5 if random.random() < 0.3 else 0.0,
        delays=0.0,
        losses=0.0,
        concurrency=16,
        snapshot_bytes=400,
    )


async def races(scene: Scene) -> None:
    """The end of the calls, three time-outs, and commands, all at one instant."""
    await scene.clients.publish("acme", RACE)
    await asyncio.gather(*[_race(scene) for _ in range(3)])
    await scene.heal()


async def _race(scene: Scene) -> None:
    random, clients = scene.random, scene.clients
    started = await clients.start("acme", RACE, is_friendly=False)
    key = ("acme", started.op.started_id or "")
    begun_at = scene.auditor.history(key).state.started_at
    assert begun_at is not None
    host = scene.supervisor.host
    now = host.services.store.now() if host is not None else begun_at
    meets_s = scene.loop.time() + RACE_S + (begun_at - now) / MICROSECONDS

    async def run(racer: str) -> None:
        disk_s = scene.plan.pace.disk_s
        await asyncio.sleep(meets_s - scene.loop.time() + random.choice((0.0, 0.0, -disk_s, -2 * disk_s, disk_s, -0.5)))
        if racer == "result":
            scene.target.strike(key[1])
        else:
            await clients.send(clients.op(racer, *key))

    await asyncio.gather(*[run(racer) for racer in random.sample(RACERS, random.randint(2, 6))])
    scene.target.strike(key[1])
