"""Who is there, for those who are connected and for nobody else."""

import uuid

import pytest

from loadtests.swarm.client import Client
from tests.fixtures.deployment import Deployment, People
from tests.fixtures.refusals import refused
from tests.integration.chat.couples import Couple, asked, device_of, hears_nothing

SOON_S = 30.0
"""Mostly within a second; on a busy machine later."""


async def watch(client: Client, couple: Couple) -> None:
    answer = await client.request("presence.watch", {"connection_ids": [couple.connection_id]})
    assert answer == {"watching": [couple.connection_id]}


async def seen(client: Client, couple: Couple, presence: str) -> None:
    await client.wait_for("presence.update", SOON_S, connection_id=couple.connection_id, presence=presence)


async def test_coming_and_going_is_told_to_who_watches(
    house: Deployment, people: People, couple: Couple
) -> None:
    """At first as it is, then each change; without a number, since it is worth nothing later."""
    await watch(couple.her, couple)
    first = await couple.her.wait_until(lambda message: message["type"] == "presence.update")
    await couple.him.close()
    await seen(couple.her, couple, "offline")
    back = await device_of(people, house.url, couple.him)
    await seen(couple.her, couple, "online")
    tablet = await device_of(people, house.url, couple.him)
    await back.close()

    assert first["data"] == {"connection_id": couple.connection_id, "presence": "online"}
    assert "seq" not in first
    await hears_nothing(couple.her, "presence.update", for_s=2.5)
    await hears_nothing(tablet, "presence.update", for_s=0.1)
    (listed,) = await asked(people, house.url, couple.her, "GET /connections")
    assert listed["presence"] == "online"


async def test_who_does_not_watch_any_more_is_told_nothing(couple: Couple) -> None:
    """One by one, or all at once."""
    await watch(couple.her, couple)
    await seen(couple.her, couple, "online")

    assert await couple.her.request("presence.unwatch", {"connection_ids": [couple.connection_id]}) == {
        "watching": []
    }
    await couple.him.close()
    await hears_nothing(couple.her, "presence.update", for_s=2.5)
    await watch(couple.her, couple)
    await seen(couple.her, couple, "offline")
    assert await couple.her.request("presence.unwatch") == {"watching": []}


@pytest.mark.parametrize("how", ["her block", "his block", "her end", "his end"])
async def test_after_a_block_or_the_end_nobody_learns_any_more(
    house: Deployment, people: People, couple: Couple, how: str
) -> None:
    """The last that is told is `offline`, which says nothing; then he comes and goes unseen, and so does she."""
    for side in (couple.her, couple.him):
        await watch(side, couple)
        await seen(side, couple, "online")
    by = couple.her if how.startswith("her") else couple.him
    if how.endswith("block"):
        await by.request("safety.block", couple.named)
    else:
        await asked(people, house.url, by, f"DELETE /connections/{couple.connection_id}")

    for side in (couple.her, couple.him):
        await seen(side, couple, "offline")
    await couple.him.close()
    other = await device_of(people, house.url, couple.him)
    await hears_nothing(couple.her, "presence.update", for_s=2.5)
    assert await other.request("presence.watch", {"connection_ids": [couple.connection_id]}) == {
        "watching": []
    }


async def test_a_device_that_comes_back_is_told_again(couple: Couple) -> None:
    """What was told while it was away never came."""
    await watch(couple.her, couple)
    await seen(couple.her, couple, "online")
    await couple.her.drop()
    await couple.him.close()
    await couple.her.resume(couple.her.account["access_token"])

    await seen(couple.her, couple, "offline")


async def test_a_session_watches_no_more_than_a_hundred(
    house: Deployment, people: People, couple: Couple
) -> None:
    """More in one message is malformed."""
    many = [str(uuid.uuid4()) for _ in range(101)]

    assert await refused(couple.her, "presence.watch", {"connection_ids": many}) == "invalid_message"
    answer = await couple.her.request(
        "presence.watch", {"connection_ids": [couple.connection_id, *many[:99]]}
    )
    assert answer == {"watching": [couple.connection_id]}
