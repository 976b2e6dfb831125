"""kill -9 after every single step from a claim to a live call, and back: nobody is stranded, doubled, or loses the place.

Each pair has one person on a hub that dies at a step of its own and one on a hub that lives; timers, the pool's owner and
a worker's sweep put right what the dead one left. The steps are the Lua scripts that Redis is asked to run.
"""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field

import pytest
from redis.asyncio import Redis

from base.ids import CallId, TicketId, UserId
from loadtests.swarm.client import Client, Closed, Message, RequestRefused
from matchmaker.activity import InCall, Queued
from matchmaker.ports import TicketState
from signaling.call.record import Call, decode
from signaling.call.states import State
from storage.redis.activities import RedisActivities
from storage.redis.client import connect
from storage.redis.keys import CALL_PARTITIONS, Keys
from storage.redis.queues import RedisQueues
from tests.e2e.waiting import history
from tests.fixtures.deployment import Deploy, Deployment, People
from tests.fixtures.sdp import VOICE
from tests.integration.hub.mortal_hub import DeadlyProxy, Doom, deadly_proxy, load_all_scripts

CONFIG = """
[intents.dating]
proposed_s = 10
connecting_s = 12
call_seconds = 6
reconnecting_s = 5
deciding_s = 2
decide_after_s = 600
recent_partner_s = 0
paused_s = 60
ip_privacy = "off"
# A couple's region is its own: nobody may meet somebody of another couple, however long this takes.
widen_after_s = [0]
"""
SETTLED_S = 90.0
"""The pool's owner gives a match up after 12 s; timers of a call take as long at most."""

UP_TO_LIVE = [
    Doom("call_create", before=True),
    Doom("call_create"),
    Doom("user_enter_call"),
    Doom("queue_ack", before=True),
    Doom("queue_ack"),
    Doom("call_commit"),
]
LIVE = [Doom("call_commit", nth=2), Doom("queue_settle", before=True), Doom("queue_settle")]
"""The first may be the commit that makes the call live, or one that another hub's was quicker than."""
AND_BACK = [
    Doom("user_free", before=True),
    Doom("user_free"),
    Doom("queue_resolve"),
    Doom("user_return"),
    Doom("queue_resolve", nth=2),
]


@dataclass
class Couple:
    """One on a hub that dies, one on a hub that lives."""

    doom: Doom
    mortal: Client
    steady: Client
    proxy: DeadlyProxy
    places: dict[str, Message] = field(default_factory=dict)
    found: list[str] = field(default_factory=list)
    trying: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def people(self) -> Mapping[str, Client]:
        return {"mortal": self.mortal, "steady": self.steady}

    def user_id(self, who: str) -> UserId:
        return UserId(self.people[who].account["user"]["id"])

    def soon(self, work: asyncio.Task[None]) -> None:
        self.trying.add(work)
        work.add_done_callback(self.trying.discard)


async def quietly(client: Client, type_: str, data: Message) -> None:
    """What a client does without minding the answer: its server may be dead by then."""
    with suppress(RequestRefused, Closed, TimeoutError, ConnectionError):
        await client.request(type_, data)


def accepts(couple: Couple, client: Client) -> None:
    """Takes every call, as the SDK does by itself."""

    def found(data: Message) -> None:
        couple.found.append(data["call_id"])
        call = {"call_id": data["call_id"]}
        couple.soon(asyncio.ensure_future(quietly(client, "call.accept", call)))

    client.handlers["match.found"] = found


def declines(client: Client, couple: Couple) -> None:
    def found(data: Message) -> None:
        call = {"call_id": data["call_id"]}
        couple.soon(asyncio.ensure_future(quietly(client, "call.decline", call)))

    client.handlers["match.found"] = found


def goes_live(couple: Couple) -> None:
    """Both say that media flows, the mortal one last, so that its hub makes the call live."""

    async def connect_media(call_id: str) -> None:
        call = {"call_id": call_id}
        with suppress(RequestRefused, Closed, TimeoutError, ConnectionError):
            for client in (couple.mortal, couple.steady):
                await client.wait_for("call.ice_servers", call_id=call_id)
            offerer, answerer = couple.mortal, couple.steady
            state = await offerer.wait_for("call.state", call_id=call_id, state="connecting")
            if not state["offerer"]:
                offerer, answerer = answerer, offerer
            await offerer.request("call.offer", {**call, "negotiation": 1, "sdp": VOICE})
            await answerer.wait_for("call.offer", call_id=call_id)
            await answerer.request("call.answer", {**call, "negotiation": 1, "of": "peer", "sdp": VOICE})
            await offerer.wait_for("call.answer", call_id=call_id)
            for client in (couple.steady, couple.mortal):
                await client.request("call.media", {**call, "state": "connected"})

    accepted = couple.mortal.handlers["match.found"]

    def found(data: Message) -> None:
        accepted(data)
        couple.soon(asyncio.ensure_future(connect_media(data["call_id"])))

    couple.mortal.handlers["match.found"] = found


async def comes_back(couple: Couple, url: str) -> None:
    """The mortal one's device, a second after its hub died: on the other hub, as its SDK would."""
    client = couple.mortal
    await client.wait_closed(30)
    await asyncio.sleep(1.0)
    client._url = url.replace("http", "ws", 1) + "/v1/ws"
    client._socket = None
    await client.resume(client.account["access_token"])


class Ledger:
    """What Redis says in the end."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.keys = Keys()
        self.activities = RedisActivities(redis, self.keys)
        self.queues = RedisQueues(redis, self.keys)

    async def calls(self) -> dict[str, Call]:
        """All calls of which there is a record."""
        found: dict[str, Call] = {}
        async for key in self.redis.scan_iter(match=f"{self.keys.prefix}*:call:*", count=1_000):
            payload = await self.redis.hget(key, "payload")
            if payload is not None:
                call = decode(payload)
                found[call.call_id] = call
        return found

    async def open_ends(self) -> list[str]:
        """Every call that goes on, match that is open, and change that is still to be told."""
        calls = await self.calls()
        left = [f"{call.call_id} is {call.state}" for call in calls.values() if call.state is not State.ENDED]
        left += [f"match {match!r}" for match in await self.redis.hkeys(self.keys.matches("dating"))]
        for partition in range(CALL_PARTITIONS):
            for key in (self.keys.call_deadlines(partition), self.keys.calls_untold(partition)):
                left += [f"{key}: {member!r}" for member in await self.redis.zrange(key, 0, -1)]
        return left

    async def settles(self) -> None:
        """Returns when nothing is open any more."""
        left = [""]
        try:
            async with asyncio.timeout(SETTLED_S):
                while left := await self.open_ends():
                    await asyncio.sleep(0.1)
        except TimeoutError:
            pytest.fail(f"still open after {SETTLED_S:.0f} s: {left}")

    async def went_live(self, couple: Couple) -> bool:
        calls = await self.calls()
        return any(call_id in calls and calls[call_id].live_since for call_id in couple.found)

    async def check_slot(self, couple: Couple, who: str) -> TicketState | None:
        """The state of the ticket that somebody's slot names; a slot that names anything else names what is over."""
        slot = await self.activities.read(couple.user_id(who))
        match slot.activity:
            case InCall(call_id):
                call = (await self.calls()).get(CallId(call_id))
                assert call is None or call.state is State.ENDED, str(couple.doom)
                return None
            case Queued(pool, ticket_id):
                place = couple.places[who]
                assert ticket_id == place["ticket_id"], f"{couple.doom}: {who} has another ticket"
                assert slot.queued_at == place["queued_at"], f"{couple.doom}: {who} has lost the place"
                return await self.queues.state(pool, TicketId(ticket_id))
        return None


async def started(
    stack: AsyncExitStack, deployment: Deployment, people: People, dooms: list[Doom]
) -> list[Couple]:
    """A hub for each doom, behind a proxy of its own, and a couple for each hub."""
    couples = []
    for start in range(0, len(dooms), 3):
        proxies = [
            await stack.enter_async_context(deadly_proxy(deployment.environment["MINUET_REDIS_URL"], doom))
            for doom in dooms[start : start + 3]
        ]
        hubs = [
            Deployment({**deployment.environment, "MINUET_REDIS_URL": proxy.url}, deployment.folder)
            for proxy in proxies
        ]
        await asyncio.gather(*(hub.start_all("serve") for hub in hubs))
        for proxy, hub in zip(proxies, hubs, strict=True):
            deployment.processes += hub.processes
            process = hub.processes[0]
            proxy.kill = process.child.kill
            region = people.client(hub.url).device_id[:12]
            mortal = await people.online(hub.url, "female", region=region)
            steady = await people.online(deployment.url, "male", codec="msgpack", region=region)
            couples.append(Couple(proxy.doom, mortal, steady, proxy))
            couples[-1].places["region"] = {"regions": [region]}
    return couples


async def meet(couple: Couple) -> None:
    """Both wait; the mortal one came first, so that it sits on seat a."""
    wishes = couple.places.pop("region")
    for who, client in couple.people.items():
        with suppress(Closed):
            couple.places[who] = await client.request(
                "queue.join", {"intent": "dating", "preferences": wishes}
            )


async def test_no_step_from_match_to_call_and_back_strands_anybody(
    deploy: Deploy, people: People, redis_url: str
) -> None:
    """Whoever lives and did not cause it waits at the old place, with one ticket; calls that were live are in history once."""
    deployment = await deploy("serve", "matchmaker", "worker", config=CONFIG)
    redis = connect(redis_url)
    await load_all_scripts(redis)
    async with AsyncExitStack() as stack:
        couples = await started(stack, deployment, people, [*UP_TO_LIVE, *LIVE, *AND_BACK])
        for couple in couples:
            accepts(couple, couple.steady)
            if couple.doom in AND_BACK:
                declines(couple.mortal, couple)
            else:
                accepts(couple, couple.mortal)
            if couple.doom in LIVE:
                goes_live(couple)
            await meet(couple)
        async with asyncio.timeout(60):
            await asyncio.gather(*(couple.proxy.died.wait() for couple in couples))
        await asyncio.gather(*(comes_back(couple, deployment.url) for couple in couples))
        ledger = Ledger(redis)
        await ledger.settles()
        for couple in couples:
            states = {who: await ledger.check_slot(couple, who) for who in couple.people}
            went_live = await ledger.went_live(couple)
            assert went_live or couple.doom not in LIVE[1:], str(couple.doom)
            if went_live:
                rows = [
                    await history(people.http, deployment.url, client.account, at_least=1)
                    for client in couple.people.values()
                ]
                assert [len(mine) for mine in rows] == [1, 1], str(couple.doom)
                assert states == {"mortal": None, "steady": None}, str(couple.doom)
            else:
                assert states["steady"] is TicketState.WAITING, str(couple.doom)
            if couple.doom in AND_BACK:
                assert states["mortal"] is None, f"{couple.doom}: whoever declines does not go back"
        depths = await ledger.queues.depths("dating")
        assert (
            sum(
                count
                for side in depths.values()
                for state, count in side.items()
                if state is TicketState.MATCHED
            )
            == 0
        )
    await redis.aclose()


@pytest.mark.parametrize("before", [True, False], ids=["before the claim", "after the claim"])
async def test_a_matchmaker_that_dies_with_its_claim_is_followed(
    deploy: Deploy, people: People, redis_url: str, before: bool
) -> None:
    """Whether the claim was made or not: the next owner finishes it, the two hear of one call, and both go back from it."""
    deployment = await deploy("serve", "worker", config=CONFIG)
    redis = connect(redis_url)
    await load_all_scripts(redis)
    async with deadly_proxy(redis_url, Doom("queue_claim", before=before)) as proxy:
        mortal = Deployment({**deployment.environment, "MINUET_REDIS_URL": proxy.url}, deployment.folder)
        await mortal.start_all("matchmaker")
        deployment.processes += mortal.processes
        proxy.kill = mortal.processes[0].child.kill
        her = await people.online(deployment.url, "female")
        him = await people.online(deployment.url, "male", codec="msgpack")
        couple = Couple(proxy.doom, her, him, proxy, {"region": {}})
        for client in couple.people.values():
            accepts(couple, client)
        await meet(couple)
        async with asyncio.timeout(60):
            await proxy.died.wait()
        await deployment.start("matchmaker")
        for client in couple.people.values():
            await client.wait_for("match.found", 60)
            await client.wait_for("call.ended", 60, reason="connect_timeout", requeued=True)
        ledger = Ledger(redis)
        await ledger.settles()

        assert len(set(couple.found)) == 1
        assert len(couple.found) == 2
        for who in couple.people:
            assert await ledger.check_slot(couple, who) is TicketState.WAITING
    await redis.aclose()
