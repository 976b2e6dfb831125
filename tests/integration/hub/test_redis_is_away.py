"""Redis is away for longer than a lease: killed, or there and silent. Sockets stay, who talks talks on, nobody is let go."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from loadtests.swarm.client import Client
from minuet.embedded import EmbeddedValkey
from tests.compat.talking import negotiate
from tests.fixtures.deployment import Deploy, People
from tests.fixtures.patience import SETTLED_S, ends_in_history, patiently, told
from tests.fixtures.refusals import refusal
from tests.fixtures.sdp import VOICE
from tests.integration.bus.stalling_proxy import StallingProxy
from tests.integration.hub.couples import meet, talk

CONFIG = """
[intents.dating]
call_seconds = 60.0
decide_after_s = 30.0
"""
LEASE_AND_MORE_S = 5.0

Step = Callable[[], Awaitable[None]]


@dataclass
class Outage:
    url: str
    begin: Step
    end: Step


@pytest.fixture(params=["killed", "silent"])
async def outage(request: pytest.FixtureRequest, private_valkey: EmbeddedValkey) -> AsyncIterator[Outage]:
    """Both ways to be away: nobody listens, or nobody answers on connections that stay open."""
    async with StallingProxy(private_valkey.url).running() as proxy:

        async def stall() -> None:
            proxy.stall()

        async def flow() -> None:
            proxy.flow()

        async def start() -> None:
            await private_valkey.start()

        if request.param == "killed":
            yield Outage(private_valkey.url, private_valkey.kill, start)
        else:
            yield Outage(proxy.url, stall, flow)


@dataclass
class Away:
    """Those who talk on one hub, somebody who waits, and an idle one."""

    here: str
    people: People
    her: Client
    him: Client
    call_id: str
    waiting: Client
    idle: Client


@pytest.fixture
async def evening(deploy: Deploy, people: People, outage: Outage) -> Away:
    house = await deploy(
        "serve",
        "matchmaker",
        "worker",
        config=CONFIG,
        MINUET_REDIS_URL=outage.url,
        MINUET_MAX_LOOP_LAG_S="60",
    )
    her, him, call_id = await meet(people, house.url)
    await talk(her, him, call_id)
    waiting, idle = await people.online(house.url), await people.online(house.url, "male", region="elsewhere")
    await waiting.request("queue.join", {"intent": "dating", "preferences": {"regions": ["nowhere"]}})
    # What a server that is killed has written to its file by then.
    await asyncio.sleep(1.2)
    return Away(house.url, people, her, him, call_id, waiting, idle)


async def test_who_talks_talks_on_and_nobody_is_let_go(evening: Away, outage: Outage) -> None:
    """Descriptions and candidates pass, what grants something may be tried again, and afterwards all is as it was."""
    her, him, call = evening.her, evening.him, {"call_id": evening.call_id}
    await outage.begin()
    refused = [
        await _refused(evening.idle, "queue.join", {"intent": "dating"}),
        await _refused(him, "call.extend", call),
    ]
    await negotiate(her, him, evening.call_id, 2, VOICE)
    await asyncio.sleep(LEASE_AND_MORE_S)
    await negotiate(her, him, evening.call_id, 3, VOICE)
    still_refused = await _refused(evening.idle, "queue.join", {"intent": "dating"})
    await outage.end()
    joined = await patiently(evening.idle, "queue.join", {"intent": "dating"})
    await patiently(him, "call.extend", call)
    asked = await her.wait_for("call.extend.requested", timeout_s=SETTLED_S, call_id=evening.call_id)

    assert all(code == "unavailable" for code in (*refused, still_refused))
    assert joined["ticket_id"]
    assert asked["call_id"] == evening.call_id
    assert await patiently(evening.waiting, "queue.leave") == {}
    for client in (her, him, evening.waiting, evening.idle):
        assert told(client, "queue.left", "call.ended", "session.superseded", "session.drain") == []


async def test_hanging_up_takes_effect_at_once_and_is_written_later(evening: Away, outage: Outage) -> None:
    """Both are told while it is away; when it is back history has the call once, and both may queue again."""
    her, him = evening.her, evening.him
    await outage.begin()
    hanging_up = asyncio.create_task(him.request("call.hangup", {"call_id": evening.call_id}))
    ended = await her.wait_for("call.ended", call_id=evening.call_id)
    await hanging_up
    await asyncio.sleep(LEASE_AND_MORE_S)
    await outage.end()
    for client in (her, him):
        await patiently(client, "queue.join", {"intent": "dating", "preferences": {"regions": ["void"]}})

    assert ended["reason"] == "hangup"
    for client in (her, him):
        assert await ends_in_history(evening.people, evening.here, client, evening.call_id) == ["hangup"]


async def _refused(client: Client, type_: str, data: dict[str, str]) -> str:
    """The code of a refusal, which says that it may go better the next time."""
    error = await refusal(client, type_, data)
    assert error.data["retryable"]
    return error.code
