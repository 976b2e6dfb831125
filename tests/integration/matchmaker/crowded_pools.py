"""Pools of as many people as a test wants, put there faster than any of them could join."""

import random

from base.ids import NodeId, UserId
from base.policy import Gender
from matchmaker.ticket import encode_ticket
from tests.integration.matchmaker.scene import NODE, Scene
from tests.unit.matchmaker.people import ticket_of, wanting


async def fill(scene: Scene, count: int, *, node: NodeId = NODE, exclusions: int = 40) -> None:
    """Women who wait for men of 30, one a millisecond, the newest first in what is stored."""
    strangers = [UserId(f"{number:036}") for number in range(2_000)]
    tickets = {}
    for number in reversed(range(count)):
        ticket = ticket_of(
            f"{number:06}",
            queued_at=1_700_000_000_000 + number,
            side=Gender.FEMALE,
            intent="dating",
            node_id=node,
            wants=wanting(sides=frozenset({Gender.MALE}), age_min=30, age_max=30),
            exclusions=frozenset(random.sample(strangers, exclusions)),
        )
        tickets[ticket.ticket_id] = b"w|female||" + encode_ticket(ticket)
        if len(tickets) == 1_000 or not number:
            await scene.redis.hset(scene.keys.tickets("dating"), mapping=tickets)
            tickets.clear()
    await scene.redis.hset(scene.keys.pool_counts("dating"), "female:w", count)
