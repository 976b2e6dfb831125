"""Redis loses everything in the middle of an evening, on two hubs: nobody is thrown out, and places stay what they were.

Nothing here may be told to anybody but what says "try again".
"""

import asyncio
import shutil
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis.asyncio import Redis

from loadtests.swarm.client import Client, Message
from minuet.embedded import EmbeddedValkey
from tests.compat.talking import negotiate
from tests.fixtures.deployment import Deploy, Deployment, People
from tests.fixtures.patience import SETTLED_S, ends_in_history, patiently, told
from tests.fixtures.sdp import VOICE
from tests.integration.hub.couples import talk

CONFIG = """
[intents.dating]
proposed_s = 60.0
call_seconds = {call_s}
decide_after_s = 1.0
deciding_s = {deciding_s}
paused_s = 90.0
widen_after_s = [0]
widen_age_years = [0]
"""
# Long enough that people still talk when all is put back, also on a busy machine that starts its servers slowly.
CALL_S = 24.0
LONG_CALLS = {"call_s": 120.0, "deciding_s": 10.0}
"""Calls that somebody ends, however long it takes until they can."""
CALLS_TO_THEIR_CLOCK = {"call_s": CALL_S, "deciding_s": 90.0}

REVOKED = 4506

Lose = Callable[[], Awaitable[None]]


class Evening:
    """Two hubs, a matchmaker and a worker, and people who meet nobody but each other."""

    def __init__(self, house: Deployment, people: People) -> None:
        self.here, self.there = (process.public for process in house.processes if process.public)
        self.house, self.people = house, people
        self.region = f"town-{uuid.uuid4().hex[:12]}"
        self.admins = [process.admin for process in house.processes]

    async def she(self, hub: str) -> Client:
        return await self.people.online(hub, "female", region=self.region)

    async def he(self, hub: str) -> Client:
        return await self.people.online(hub, "male", codec="msgpack", region=self.region)

    async def join(self, client: Client) -> Message:
        request = {"intent": "dating", "preferences": {"regions": [self.region]}}
        return await patiently(client, "queue.join", request)

    async def restored(self, before: float = 0) -> None:
        """Returns when every process has noticed a loss, and grants again."""
        async with asyncio.timeout(SETTLED_S):
            while True:
                counts = await asyncio.gather(*map(self._restorations, self.admins))
                if all(noticed > before and seconds > 0 for noticed, seconds in counts):
                    return
                await asyncio.sleep(0.1)

    async def put_back(self, kind: str) -> float:
        """How many of a kind all processes have put back."""
        name = f'minuet_put_back_total{{kind="{kind}"}}'
        return sum([(await self._metrics(admin)).get(name, 0.0) for admin in self.admins])

    async def _restorations(self, admin: str) -> tuple[float, float]:
        metrics = await self._metrics(admin)
        return metrics["minuet_restorations_total"], metrics["minuet_restoring_seconds_total"]

    async def _metrics(self, admin: str) -> dict[str, float]:
        async with self.people.http.get(f"{admin}/metrics") as response:
            lines = (await response.text()).splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name.replace(',role="hub"', ""): float(value) for name, value in pairs}


@pytest.fixture
async def evening(
    request: pytest.FixtureRequest, deploy: Deploy, private_valkey: EmbeddedValkey, people: People
) -> Evening:
    """On a Valkey of its own, that may be killed. Calls last as long as a test asks for."""
    lengths = getattr(request, "param", LONG_CALLS)
    house = await deploy(
        "serve",
        "serve",
        "matchmaker",
        "worker",
        config=CONFIG.format(**lengths),
        MINUET_REDIS_URL=private_valkey.url,
        # The machine may be busy with other tests: that is not what is looked at here.
        MINUET_MAX_LOOP_LAG_S="60",
    )
    return Evening(house, people)


EVERY_WAY = pytest.mark.parametrize(
    "lose", ["flushed", "restarted empty", "restarted with its data"], indirect=True
)
"""Where it makes a difference how; else the store is flushed."""


@pytest.fixture
def lose(request: pytest.FixtureRequest, private_valkey: EmbeddedValkey) -> Lose:
    """Has the store lose something, in each of the ways it can."""

    async def flushed() -> None:
        redis = Redis.from_url(private_valkey.url)
        await redis.flushall()
        await redis.aclose()

    async def restarted(empty: bool) -> None:
        redis = Redis.from_url(private_valkey.url)
        folder = (await redis.config_get("dir"))["dir"]
        await redis.aclose()
        await private_valkey.kill()
        if empty:
            await asyncio.to_thread(_empty, folder)
        await private_valkey.start()

    how: dict[str, Lose] = {
        "flushed": flushed,
        "restarted empty": lambda: restarted(True),
        "restarted with its data": lambda: restarted(False),
    }
    return how[getattr(request, "param", "flushed")]


def _empty(folder: str) -> None:
    for each in Path(folder).iterdir():
        shutil.rmtree(each) if each.is_dir() else each.unlink()


@EVERY_WAY
async def test_everybody_keeps_session_and_place(evening: Evening, lose: Lose) -> None:
    """Those who wait, who are away and who have lost their socket: in the order in which they came."""
    queued: list[Client] = []
    for number in range(6):
        client = await evening.she((evening.here, evening.there)[number % 2])
        await evening.join(client)
        queued.append(client)
    first, second, away, lost, last, leaver = queued
    await away.request("presence.set", {"away": True})
    await lost.drop()
    # What is flushed to disk each second is what a restart may keep.
    await asyncio.sleep(1.2)
    await lose()
    await evening.restored()
    back = await lost.resume(lost.account["access_token"])
    await away.request("presence.set", {"away": False})
    await patiently(leaver, "queue.leave")
    partners = []
    for place in (first, second, away, lost, last):
        him = await evening.he(evening.there)
        await evening.join(him)
        found = await him.wait_for("match.found", timeout_s=SETTLED_S)
        assert await place.wait_for("match.found", call_id=found["call_id"])
        partners.append(him)

    assert back["type"] == "session.resumed"
    for client in queued:
        assert told(client, "queue.left", "session.superseded", "session.ready") == []
    assert told(leaver, "match.found") == []
    assert await evening.put_back("session") >= 6


async def test_a_command_that_comes_at_the_wrong_moment_may_be_repeated(evening: Evening, lose: Lose) -> None:
    """Joins that come while nobody has noticed yet, and while things are put back: each is granted in the end, once."""
    women = [await evening.she((evening.here, evening.there)[number % 2]) for number in range(4)]
    men = [await evening.he((evening.there, evening.here)[number % 2]) for number in range(4)]
    losing = asyncio.create_task(lose())
    await asyncio.gather(*(evening.join(client) for client in (*women, *men)))
    await losing
    await evening.restored()
    found = await asyncio.gather(
        *(client.wait_for("match.found", timeout_s=SETTLED_S) for client in (*women, *men))
    )

    assert sorted(each["call_id"] for each in found[:4]) == sorted(each["call_id"] for each in found[4:])
    assert len({each["call_id"] for each in found}) == 4
    for client in (*women, *men):
        assert told(client, "queue.left", "match.found", "error") == []


async def test_whoever_connects_meanwhile_finds_everything(evening: Evening, lose: Lose) -> None:
    """A device whose socket is lost with the data comes back to another node, and finds the place it had."""
    her = await evening.she(evening.here)
    joined = await evening.join(her)
    await asyncio.sleep(1.2)
    await her.drop()
    await lose()
    ready = await _reconnected(her)
    again = await evening.join(her)

    assert ready["type"] in ("session.resumed", "session.ready")
    assert again["ticket_id"] == joined["ticket_id"]
    assert again["queued_at"] == joined["queued_at"]


async def _reconnected(client: Client) -> Message:
    """As a client does it: again after each close that allows it."""
    async with asyncio.timeout(SETTLED_S):
        while True:
            try:
                return await client.resume(client.account["access_token"])
            except Exception as error:
                code = getattr(error, "code", None)
                assert code is None or 4000 <= code < 4500, error
                await asyncio.sleep(0.3)


@EVERY_WAY
@pytest.mark.parametrize("evening", [CALLS_TO_THEIR_CLOCK], indirect=True)
async def test_calls_go_on_and_end_when_they_would_have(evening: Evening, lose: Lose) -> None:
    """Proposed, live and deciding on two hubs: no call ends because of it, the clocks run on, and history has each once."""
    deciding = await _couple(evening)
    await talk(deciding.her, deciding.him, deciding.call_id)
    # By then there is something to decide.
    await asyncio.sleep(1.2)
    await deciding.him.request("call.hangup", {"call_id": deciding.call_id})
    await deciding.her.wait_for("connect.prompt", call_id=deciding.call_id, timeout_s=SETTLED_S)
    live = await _couple(evening)
    await talk(live.her, live.him, live.call_id)
    live_at = asyncio.get_running_loop().time()
    proposed = await _couple(evening)
    await asyncio.sleep(1.2)
    lost_after_s = asyncio.get_running_loop().time() - live_at
    await lose()
    hung_up = asyncio.create_task(patiently(proposed.him, "call.decline", {"call_id": proposed.call_id}))
    await evening.restored()
    await hung_up
    await patiently(deciding.her, "connect.request", {"call_id": deciding.call_id})
    await negotiate(live.her, live.him, live.call_id, 2, VOICE)
    completed = await live.him.wait_for("call.ended", call_id=live.call_id, timeout_s=SETTLED_S)
    lasted_s = asyncio.get_running_loop().time() - live_at

    assert completed["reason"] == "completed"
    # A clock that had begun anew would have run for as long again as the call had lasted before the loss.
    assert CALL_S - 1 <= min(lasted_s, completed["duration_ms"] / 1000) < CALL_S + lost_after_s
    declined = await proposed.her.wait_for("call.ended", call_id=proposed.call_id)
    assert (declined["reason"], declined["requeued"]) == ("declined", True)
    for couple in (deciding, live, proposed):
        for client in (couple.her, couple.him):
            assert told(client, "queue.left", "session.superseded", "error") == []
    # She waits again at her place, also where the pool had lost it: nobody else comes before her.
    him = await evening.he(evening.here)
    await evening.join(him)
    found = await him.wait_for("match.found", timeout_s=SETTLED_S)
    assert await proposed.her.wait_for("match.found", call_id=found["call_id"])


@EVERY_WAY
async def test_history_has_each_call_once(evening: Evening, lose: Lose) -> None:
    """Those that end right before the loss, during it and after it, with the reason that their people were told."""
    couples = [await _couple(evening) for _ in range(3)]
    for couple in couples:
        await talk(couple.her, couple.him, couple.call_id)
    before, during, after = couples
    await before.him.request("call.hangup", {"call_id": before.call_id})
    losing = asyncio.create_task(lose())
    await patiently(during.him, "call.hangup", {"call_id": during.call_id})
    await losing
    await evening.restored()
    await patiently(after.him, "call.hangup", {"call_id": after.call_id})

    for couple in couples:
        ended = await couple.her.wait_for("call.ended", call_id=couple.call_id, timeout_s=SETTLED_S)
        for client in (couple.her, couple.him):
            assert await ends_in_history(evening.people, evening.here, client, couple.call_id) == [
                ended["reason"]
            ]


async def test_nobody_is_stuck(evening: Evening, lose: Lose) -> None:
    """Whatever somebody did when it happened: afterwards everybody can queue again, and meets somebody."""
    couples = [await _couple(evening) for _ in range(2)]
    talking, proposed = couples
    await talk(talking.her, talking.him, talking.call_id)
    leaver = await evening.she(evening.here)
    await evening.join(leaver)
    await patiently(leaver, "queue.leave")
    await lose()
    await patiently(proposed.him, "call.decline", {"call_id": proposed.call_id})
    await patiently(talking.her, "call.hangup", {"call_id": talking.call_id})
    await evening.restored()
    everybody = [leaver, talking.her, proposed.her, talking.him, proposed.him]
    for client in everybody:
        await evening.join(client)
    extra = await evening.he(evening.there)
    await evening.join(extra)
    found = await asyncio.gather(
        *(client.wait_for("match.found", timeout_s=SETTLED_S) for client in (*everybody, extra))
    )

    assert len({each["call_id"] for each in found}) == 3


async def test_sign_outs_hold(evening: Evening, lose: Lose) -> None:
    """Of the moment before the loss, whose message may be lost with it, as of an hour before: looked up in the archive.

    The other hub closes the socket, and the token lets nobody in again; while nobody can say, the answer is "try again".
    """
    her, him = await evening.she(evening.there), await evening.he(evening.here)
    bystander = await evening.she(evening.there)
    earlier = await evening.he(evening.there)
    # The clocks of two nodes agree to some milliseconds, and a token that is newer than a sign-out outlives it.
    await asyncio.sleep(0.5)
    await _sign_out_everywhere(evening, earlier)
    assert await earlier.wait_closed(SETTLED_S) == REVOKED
    await asyncio.sleep(1.2)
    signing_out = asyncio.create_task(_sign_out_everywhere(evening, her))
    await lose()
    await signing_out
    closed_with = await her.wait_closed(SETTLED_S)
    refused = [await _way_in(evening, client) for client in (her, earlier)]
    await evening.restored()

    assert closed_with == REVOKED
    assert refused == [(401, "unauthenticated")] * 2
    for client in (him, bystander):
        assert await client.request("queue.leave") == {}
        assert await _way_in(evening, client) == (200, "")
    assert await evening.put_back("revocation") >= 2


async def _sign_out_everywhere(evening: Evening, client: Client) -> None:
    status, code = await _rest(evening, client, "POST", "/auth/logout-all")
    # Where the answer to the first try was lost, or was "try again", it may have been done all the same.
    assert status in (200, 204, 401), code


async def _way_in(evening: Evening, client: Client) -> tuple[int, str]:
    """What the token is answered, once somebody can say."""
    return await _rest(evening, client, "GET", "/auth/me")


async def _rest(evening: Evening, client: Client, method: str, path: str) -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {client.account['access_token']}"}
    async with asyncio.timeout(SETTLED_S):
        while True:
            url = f"{evening.here}/api/v1{path}"
            async with evening.people.http.request(method, url, headers=headers) as answer:
                error = {} if answer.status == 204 else (await answer.json()).get("error") or {}
            if answer.status != 503:
                return answer.status, error.get("code", "")
            await asyncio.sleep(0.2)


@dataclass
class Couple:
    her: Client
    him: Client
    call_id: str


async def _couple(evening: Evening) -> Couple:
    """Two who have been shown each other, on different hubs."""
    her, him = await evening.she(evening.here), await evening.he(evening.there)
    await evening.join(her)
    await evening.join(him)
    found = await her.wait_for("match.found", timeout_s=SETTLED_S)
    await him.wait_for("match.found", call_id=found["call_id"])
    return Couple(her, him, found["call_id"])
