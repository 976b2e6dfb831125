"""The swarm on a deployment whose servers are well: people lose their own networks, and nothing else goes wrong."""

import asyncio
from collections import Counter

import pytest

from tests.chaos.checker import Mode, Verdict, check
from tests.chaos.readings import read_final
from tests.chaos.swarm import Habits, Swarm, World, settle_people
from tests.chaos.swarm_world import CONFIG
from tests.fixtures.deployment import Deploy, Deployment

pytestmark = pytest.mark.e2e

PEOPLE = 40
# What is missed is looked for here, not what is late: other tests run beside this one.
LATE_MS = 15_000.0
LONG_S = 120.0


async def live(deployment: Deployment, addresses: list[str], seed: int) -> Verdict:
    """Some seconds of life, in the middle of which half of the sockets are cut; more, until it has shown something."""
    environment = deployment.environment
    people = await settle_people(
        environment["MINUET_DATABASE_URL"], environment["MINUET_AUTH_SECRET"], PEOPLE
    )
    swarm = Swarm(World(people, addresses), seed, habits=Habits(cuts_every_s=10.0), arrive_s=1.0)
    await swarm.run(3.0)
    await swarm.cut(0.5)
    await swarm.run(5.0)
    async with asyncio.timeout(LONG_S):
        while not says_enough(swarm.counts()):
            await swarm.run(1.0)
    await swarm.settle(LONG_S)
    final = await read_final(
        swarm, environment["MINUET_DATABASE_URL"], environment["MINUET_REDIS_URL"], patience_s=60.0
    )
    return check(swarm.history, final, Mode(sessions_survive=True, late_ms=LATE_MS))


def says_enough(counts: Counter[str]) -> bool:
    """Whether people were cut off and came back, talked and wrote."""
    often = counts["heard session.resumed"], counts["calls live"]
    return min(often) >= PEOPLE // 4 and counts["heard chat.message"] > 0


async def test_people_who_lose_their_networks_miss_nothing(deploy: Deploy) -> None:
    """One hub: every session is resumed, every call goes on or ends as it should, every message arrives."""
    deployment = await deploy("serve --all-in-one", config=CONFIG)

    verdict = await live(deployment, [deployment.url], seed=1)

    assert verdict.ok, verdict.report()


async def test_people_who_come_back_to_another_hub_miss_nothing(deploy: Deploy) -> None:
    """Two hubs, and each socket leads to either: sessions go from one to the other."""
    deployment = await deploy("serve --all-in-one", "serve", config=CONFIG)
    addresses = [process.public for process in deployment.processes]

    verdict = await live(deployment, addresses, seed=2)

    assert verdict.ok, verdict.report()
