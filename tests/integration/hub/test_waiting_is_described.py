"""What people see while they wait, on real servers: `queue.status`, `cooldown`, and the operators' queues."""

import asyncio
from collections.abc import Iterator

import pytest

from loadtests.swarm.client import RequestRefused
from tests.fixtures.deployment import Deployment, Lasting, People
from tests.fixtures.staff import staff_token
from tests.integration.hub.neighbours import Neighbours

CONFIG = """
[intents.dating]
widen_after_s = [0]
widen_age_years = [0]
decline_pause_s = [0, 30]
[intents.friends]
control = "mutual"
widen_after_s = [0]
widen_age_years = [0]
"""


@pytest.fixture(scope="module")
def house(lasting: Lasting) -> Iterator[Deployment]:
    with lasting("serve", "matchmaker", "worker", config=CONFIG) as deployment:
        yield deployment


@pytest.fixture
def town(house: Deployment, people: People) -> Neighbours:
    return Neighbours(house, people)


async def test_who_waits_is_told_how_they_stand(town: Neighbours, house: Deployment) -> None:
    """Soon after joining, without an estimate while nobody is matched; said once, as long as nothing changes."""
    him = await town.he(house.url)
    joined = await town.join(him)
    status = await him.wait_for("queue.status", timeout_s=15)

    assert status["intent"] == "dating"
    assert status["position_band"] in ("next", "near")
    assert status["queued_at"] == joined["queued_at"]
    assert status["eta_ms"] is None
    with pytest.raises(TimeoutError):
        await him.wait_for("queue.status", timeout_s=7)


async def test_an_estimate_comes_when_people_are_matched(town: Neighbours, house: Deployment) -> None:
    """Another couple meets, and so his side moves: told not sooner than five seconds after the last time."""
    him = await town.he(house.url)
    await town.join(him, "friends")
    first = await him.wait_for("queue.status", timeout_s=15)
    elsewhere = Neighbours(house, town.people)
    for client in (await elsewhere.he(house.url), await elsewhere.she(house.url)):
        await elsewhere.join(client, "friends")
    status = first
    while status["eta_ms"] is None:
        before, status = status, await him.wait_for("queue.status", timeout_s=30)

    assert 0 < status["eta_ms"] <= status["eta_p90_ms"]
    assert status["server_now"] - before["server_now"] >= 4_900


async def test_whoever_is_away_is_told_nothing(town: Neighbours, house: Deployment) -> None:
    """Their place is kept, and nobody is called to them."""
    him = await town.he(house.url)
    await town.join(him)
    await him.request("presence.set", {"away": True})
    with pytest.raises(TimeoutError):
        await him.wait_for("queue.status", timeout_s=3)
    await him.request("presence.set", {"away": False})

    assert (await him.wait_for("queue.status", timeout_s=15))["intent"] == "dating"


async def test_whoever_declines_again_and_again_has_to_wait(town: Neighbours, house: Deployment) -> None:
    """The second time costs half a minute here; the other side waits on at the old place."""
    him = await town.he(house.url)
    for _ in range(2):
        her = await town.she(house.url)
        await town.join(her)
        await town.join(him)
        found = await him.wait_for("match.found", timeout_s=15)
        await him.request("call.decline", {"call_id": found["call_id"]})
        await him.wait_for("call.ended", timeout_s=15)
        ended = await her.wait_for("call.ended", timeout_s=15)
        assert ended["requeued"]
        await her.request("queue.leave", {})
    with pytest.raises(RequestRefused) as refused:
        await town.join(him)

    assert refused.value.code == "cooldown"


async def test_admins_see_the_queue_fill(town: Neighbours, house: Deployment) -> None:
    """Somebody who waits is in the depth at once, and in the waits when the owner has said so."""
    him = await town.he(house.url)
    await town.join(him, "friends")
    headers = {"Authorization": f"Bearer {await staff_token(house, town.people)}"}
    async with asyncio.timeout(60):
        while True:
            async with town.people.http.get(f"{house.url}/api/v1/admin/queues", headers=headers) as answer:
                queue = (await answer.json())["data"]["queues"]["friends"]
            if queue["sides"]["male"]["waiting_s"]["p50"] > 0:
                break
            await asyncio.sleep(0.2)

    assert queue["sides"]["male"]["depth"]["waiting"] >= 1
    assert queue["seen_at"] is not None
