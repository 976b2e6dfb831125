"""`presence.set` on two real hubs: whoever is away keeps the place in the queue and is not matched."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from loadtests.swarm.client import Client, Message, RequestRefused
from matchmaker.ports import TicketState
from storage.redis.client import connect
from storage.redis.keys import Keys
from storage.redis.queues import RedisQueues
from tests.fixtures.deployment import Deployment, Lasting, People
from tests.fixtures.staff import staff_token
from tests.fixtures.waiting import until
from tests.integration.hub.neighbours import Neighbours

CONFIG = """
[intents.dating]
proposed_s = 20.0
paused_s = 5.0
away_s = 60.0
widen_after_s = [0]
widen_age_years = [0]
[intents.friends]
control = "mutual"
proposed_s = 20.0
paused_s = 2.0
away_s = 4.0
widen_after_s = [0]
widen_age_years = [0]
"""
# Longer than a device that has lost its socket would keep its place.
PAUSE_AND_MORE_S = 7.0


@pytest.fixture(scope="module")
def house(lasting: Lasting) -> Iterator[Deployment]:
    with lasting("serve", "serve", "matchmaker", "worker", config=CONFIG) as deployment:
        yield deployment


class Town(Neighbours):
    """Two hubs; and what operators see."""

    def __init__(self, house: Deployment, people: People) -> None:
        super().__init__(house, people)
        self.here, self.there = self.hubs
        self.admin = ""


@pytest.fixture
def town(house: Deployment, people: People) -> Town:
    return Town(house, people)


async def away(client: Client, is_away: bool = True) -> Message:
    return await client.request("presence.set", {"away": is_away})


async def is_not_matched(client: Client, seconds: float) -> None:
    with pytest.raises(TimeoutError):
        await client.wait_for("match.found", timeout_s=seconds)


async def test_who_is_away_is_passed_over_and_has_the_old_place_again(town: Town) -> None:
    """Longer than a lost device would keep it, and before those who came later."""
    first, second = await town.he(town.here), await town.he(town.there)
    await town.join(first)
    answers = [await away(first), await away(first)]
    await town.join(second)
    await asyncio.sleep(PAUSE_AND_MORE_S)
    her = await town.she(town.there)
    await town.join(her)
    found = await second.wait_for("match.found")
    await is_not_matched(first, 0.5)
    await her.request("call.decline", {"call_id": found["call_id"]})
    await second.wait_for("call.ended", requeued=True)
    back = await away(first, False)
    another = await town.she(town.here)
    await town.join(another)

    assert answers == [{"presence": "away", "away": True}] * 2
    assert back == {"presence": "queued", "away": False}
    await first.wait_for("match.found")
    await is_not_matched(second, 0.3)


async def test_coming_back_is_tried_at_once(town: Town) -> None:
    """Somebody who waits is found without anybody joining; the ticket is the same."""
    him, her = await town.he(town.here), await town.she(town.there)
    ticket = await town.join(him)
    await away(him)
    await town.join(her)
    await is_not_matched(her, 0.5)
    back = await away(him, False)
    found = await her.wait_for("match.found")

    assert back["presence"] in {"queued", "call"}
    assert (await him.wait_for("match.found"))["call_id"] == found["call_id"]
    await her.request("call.decline", {"call_id": found["call_id"]})
    await him.wait_for("call.ended", requeued=True)
    again = await town.join(him)
    assert (again["ticket_id"], again["queued_at"]) == (ticket["ticket_id"], ticket["queued_at"])


async def test_being_away_survives_the_network_and_a_new_page(town: Town) -> None:
    """A resumed session is away as before; a new one of the device too, and its snapshot says so."""
    him, her = await town.he(town.here), await town.she(town.there)
    ticket = await town.join(him)
    await away(him)
    await town.join(her)
    await him.drop()
    await asyncio.sleep(0.5)
    resumed = await him.resume(him.account["access_token"])
    await asyncio.sleep(PAUSE_AND_MORE_S)
    page = town.people.client(town.here, device_id=him.device_id)
    ready = await page.start(him.account["access_token"])
    await is_not_matched(her, 0.5)
    await away(page, False)

    assert resumed["type"] == "session.resumed"
    assert ready["snapshot"]["presence"] == "away"
    assert ready["snapshot"]["ticket"]["ticket_id"] == ticket["ticket_id"]
    assert ready["snapshot"]["ticket"]["queued_at"] == ticket["queued_at"]
    found = await her.wait_for("match.found")
    await page.wait_for("match.found", call_id=found["call_id"])


async def test_a_lost_device_that_was_away_keeps_its_place_no_longer_than_others(town: Town) -> None:
    """From when it was lost, not from when it went away."""
    him = await town.he(town.here)
    ticket = await town.join(him)
    await away(him)
    await him.drop()
    await until(lambda: is_gone(town, ticket), timeout_s=30)
    await him.resume(him.account["access_token"])
    left = await him.wait_for("queue.left")

    assert left == {"intent": "dating", "reason": "expired"}


async def test_nobody_is_away_for_ever(town: Town) -> None:
    """After the policy's time the place goes, and the client is told why; being away goes on."""
    him = await town.he(town.here)
    ticket = await town.join(him, "friends")
    await away(him)
    left = await him.wait_for("queue.left", timeout_s=30)
    still = await away(him)
    anew = await town.join(him, "friends")

    assert left == {"intent": "friends", "reason": "away"}
    assert still == {"presence": "away", "away": True}
    assert anew["ticket_id"] != ticket["ticket_id"]
    assert anew["queued_at"] > ticket["queued_at"]


async def test_joining_is_coming_back(town: Town) -> None:
    """Nobody waits for somebody without being there."""
    him, her = await town.he(town.here), await town.she(town.there)
    idle = await away(him)
    await town.join(him)
    await town.join(her)
    found = await him.wait_for("match.found")
    page = town.people.client(town.here, device_id=him.device_id)
    ready = await page.start(him.account["access_token"])

    assert idle == {"presence": "away", "away": True}
    assert found["call_id"]
    assert ready["snapshot"]["presence"] == "call"


async def test_in_a_call_it_has_no_effect_until_the_queue_has_them_back(town: Town) -> None:
    """Nothing is told to the other; who goes back to the queue while away waits there unmatched, at the old place."""
    him, her = await town.he(town.here), await town.she(town.there)
    ticket = await town.join(him)
    await town.join(her)
    found = await him.wait_for("match.found")
    call = {"call_id": found["call_id"]}
    in_call = await away(him)
    await him.request("call.accept", call)
    await her.wait_for("call.state", state="proposed")
    other = await town.she(town.here)
    await town.join(other)
    await her.request("call.decline", call)
    ended = await him.wait_for("call.ended", call_id=call["call_id"])
    await is_not_matched(him, PAUSE_AND_MORE_S)
    await away(him, False)

    assert in_call == {"presence": "call", "away": True}
    assert ended["requeued"]
    matched = await him.wait_for("match.found")
    await other.wait_for("match.found", call_id=matched["call_id"])
    await other.request("call.decline", {"call_id": matched["call_id"]})
    await him.wait_for("call.ended", call_id=matched["call_id"])
    again = await town.join(him)
    assert (again["ticket_id"], again["queued_at"]) == (ticket["ticket_id"], ticket["queued_at"])


async def test_operators_see_who_is_away(town: Town) -> None:
    """Apart from those who wait; the ticket counts as paused."""
    him = await town.he(town.there)
    await town.join(him)
    async with asyncio.timeout(90):
        # Those of the tests before are still on their way out.
        while (await picture(town))["users"]["away"]:
            await asyncio.sleep(0.1)
        await away(him)
        # What nodes say of themselves, and the queues, are not counted in the same moment.
        while not (now := await picture(town))["users"]["away"] or not paused_men(now):
            await asyncio.sleep(0.1)

    assert sum(node["users"].get("away", 0) for node in now["nodes"]) == now["users"]["away"]
    assert now["users"]["online"] >= now["users"]["away"]


def paused_men(now: Any) -> int:
    count: int = now["queues"]["dating"]["male"]["paused"]
    return count


async def is_gone(town: Town, ticket: Message) -> bool:
    """Whether the store has nothing of a ticket any more."""
    environment = town.house.environment
    redis = connect(environment["MINUET_REDIS_URL"])
    queues = RedisQueues(redis, Keys(environment["MINUET_REDIS_PREFIX"]))
    state = await queues.state("dating", ticket["ticket_id"])
    await redis.aclose()
    return state is TicketState.ABSENT


class Restless:
    """A man who goes and comes back all the time, and what he was shown meanwhile."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.is_away = False
        self.shown_away: list[str] = []
        self.shown_here: list[str] = []
        self.over: list[str] = []
        client.handlers["match.found"] = self._found
        client.handlers["call.ended"] = lambda ended: self.over.append(ended["call_id"])

    def _found(self, match: Message) -> None:
        (self.shown_away if self.is_away else self.shown_here).append(match["call_id"])

    def waits(self) -> bool:
        """Whether each call that he was shown is over."""
        return set(self.shown_here + self.shown_away) <= set(self.over)

    async def live(self, dice: random.Random, until: float) -> None:
        # As quick as the hub lets anybody change: once a second, and a few more at first.
        while asyncio.get_running_loop().time() < until:
            await away(self.client)
            self.is_away = True
            await asyncio.sleep(dice.uniform(0.9, 1.3))
            self.is_away = False
            await away(self.client, False)
            await asyncio.sleep(dice.uniform(0.7, 1.1))


async def test_no_match_is_shown_to_anybody_who_is_away(town: Town) -> None:
    """Men who go and come back all the time, women who decline them: between `ok` and coming back nothing is shown."""
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    men = [Restless(await town.he(town.hubs[number % 2])) for number in range(8)]
    for man in men:
        await town.join(man.client)
    end = asyncio.get_running_loop().time() + 8
    lives = [asyncio.create_task(man.live(dice, end)) for man in men]
    while asyncio.get_running_loop().time() < end:
        her = await town.she(dice.choice(town.hubs))
        await town.join(her)
        while True:
            try:
                found = await her.wait_for("match.found", timeout_s=1)
            except TimeoutError:
                break
            # Where he had gone in between, his hub has undone it already, and she waits again.
            with suppress(RequestRefused):
                await her.request("call.decline", {"call_id": found["call_id"]})
            if not (await her.wait_for("call.ended", call_id=found["call_id"]))["requeued"]:
                break
        await her.close()
    await asyncio.gather(*lives)
    for man in men:
        await away(man.client, False)
    # The last of the women may have left a match behind, which has to come to its end.
    await until(lambda: all(man.waits() for man in men), timeout_s=60)
    waiting = [await town.join(man.client) for man in men]

    assert [man.shown_away for man in men] == [[]] * 8, seed
    assert sum(len(man.shown_here) for man in men) > 3, "hardly anybody was matched at all"
    assert sorted(ticket["queued_at"] for ticket in waiting) == [ticket["queued_at"] for ticket in waiting]


async def picture(town: Town) -> Any:
    """What operators see now."""
    if not town.admin:
        town.admin = await staff_token(town.house, town.people)
    headers = {"Authorization": f"Bearer {town.admin}"}
    async with town.people.http.get(f"{town.here}/api/v1/admin/presence", headers=headers) as answer:
        return (await answer.json())["data"]
