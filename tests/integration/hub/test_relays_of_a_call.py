"""Credentials and allocations of a call, from hub to worker, with a real coturn."""

import asyncio
from collections.abc import Iterator

import pytest

from base.ids import CallId
from loadtests.swarm.client import Message
from minuet.embedded.coturn import EmbeddedCoturn
from tests.e2e.scripted import Pair, pair_up
from tests.fixtures.deployment import Deploy, People
from tests.fixtures.refusals import refused
from tests.fixtures.turn import running_coturn, turn_settings
from tests.fixtures.turn_client import TurnClient, TurnRefused
from tests.fixtures.waiting import until

CONFIG = """
[intents.dating]
call_seconds = 60.0
decide_after_s = 0.0
deciding_s = 30.0
[intents.friends]
decide_after_s = 600.0
ip_privacy = "off"
"""
GONE_S = 30.0
LATER_S = 30.0


@pytest.fixture(scope="module")
def coturn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedCoturn]:
    with running_coturn(tmp_path_factory.mktemp("coturn")) as server:
        yield server


@pytest.fixture
def settings(coturn: EmbeddedCoturn) -> dict[str, str]:
    return turn_settings(coturn.access)


def client_of(coturn: EmbeddedCoturn, servers: Message) -> TurnClient:
    """A TURN client with what `call.ice_servers` said."""
    [turn] = servers["ice_servers"]
    return TurnClient(("127.0.0.1", coturn.port), turn["username"], turn["credential"])


async def allocations(coturn: EmbeddedCoturn, call_id: str) -> int:
    return len((await coturn.admin.sessions(CallId(call_id))).session_ids)


async def is_listed(coturn: EmbeddedCoturn, call_id: str) -> bool:
    return await allocations(coturn, call_id) == 1


async def until_refused(client: TurnClient, within_s: float) -> None:
    """Until a client that still holds its credential cannot go on with its allocation."""
    async with asyncio.timeout(within_s):
        while True:
            try:
                await asyncio.to_thread(client.refresh)
            except TurnRefused:
                return
            await asyncio.sleep(0.1)


async def until_gone(coturn: EmbeddedCoturn, call_id: str, within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while await allocations(coturn, call_id):
            await asyncio.sleep(0.1)


async def holding(coturn: EmbeddedCoturn, pair: Pair) -> TurnClient:
    """A live call, of which she has an allocation."""
    await pair.talk()
    client = client_of(coturn, await pair.her.request("call.ice_servers", pair.call))
    await asyncio.to_thread(client.allocate)
    # coturn's list follows what its relay threads have answered.
    await until(lambda: is_listed(coturn, pair.call_id))
    return client


async def test_who_has_taken_the_call_gets_credentials_for_as_long_as_there_is_media(
    deploy: Deploy, people: People, settings: dict[str, str], coturn: EmbeddedCoturn
) -> None:
    """Told when both have accepted, and new ones on request; to whoever may still decline, and after the end, nothing."""
    deployment = await deploy("serve --all-in-one", config=CONFIG, **settings)
    pair = await pair_up(people, deployment.url)
    await pair.her.request("call.accept", pair.call)
    early = [await refused(side, "call.ice_servers", pair.call) for side in pair.both]
    await pair.him.request("call.accept", pair.call)
    state = await pair.her.wait_for("call.state", **pair.call, state="connecting")
    told = [await side.wait_for("call.ice_servers", **pair.call) for side in pair.both]
    fresh = await pair.her.request("call.ice_servers", pair.call)
    for servers in (*told, fresh):
        client = client_of(coturn, servers)
        await asyncio.to_thread(client.allocate)
        client.close()
    await pair.him.request("call.hangup", pair.call)
    await pair.her.wait_for("call.ended", **pair.call)

    assert early == ["bad_state", "bad_state"]
    assert {servers["ice_servers"][0]["username"][-2:] for servers in told} == {".a", ".b"}
    assert all(servers["expires_at"] > state["server_now"] for servers in (*told, fresh))
    assert state["ice_transport_policy"] == "relay"
    assert [await refused(side, "call.ice_servers", pair.call) for side in pair.both] == ["call_ended"] * 2


async def test_where_an_intent_hides_nothing_relays_are_one_way_among_others(
    deploy: Deploy, people: People, settings: dict[str, str]
) -> None:
    """For people whose networks let nothing else through."""
    deployment = await deploy("serve --all-in-one", config=CONFIG, **settings)
    pair = await pair_up(people, deployment.url, intent="friends")
    for side in pair.both:
        await side.request("call.accept", pair.call)
    state = await pair.her.wait_for("call.state", **pair.call, state="connecting")

    assert state["ice_transport_policy"] == "all"
    assert (await pair.her.request("call.ice_servers", pair.call))["ice_servers"]


async def test_allocations_end_when_media_does_and_so_do_those_made_right_after(
    deploy: Deploy, people: People, settings: dict[str, str], coturn: EmbeddedCoturn
) -> None:
    """On entering `deciding`, while she still decides; and a credential that still holds makes no lasting one."""
    deployment = await deploy("serve --all-in-one", config=CONFIG, **settings)
    pair = await pair_up(people, deployment.url)
    client = await holding(coturn, pair)
    await pair.him.request("call.hangup", pair.call)
    await pair.her.wait_for("call.state", **pair.call, state="deciding")
    await until_gone(coturn, pair.call_id, GONE_S)
    with pytest.raises(TurnRefused):
        await asyncio.to_thread(client.refresh)
    # Until the first visit is over: it looks again when it has ended something.
    await asyncio.sleep(1)
    again = TurnClient(client.server, client.username, client.password)
    await asyncio.to_thread(again.allocate)
    await until_refused(again, GONE_S)
    await until_gone(coturn, pair.call_id, GONE_S)
    client.close()
    again.close()

    assert await refused(pair.her, "call.ice_servers", pair.call) == "bad_state"


async def test_they_end_though_the_worker_was_dead_and_the_hub_dies_at_once(
    deploy: Deploy, people: People, settings: dict[str, str], coturn: EmbeddedCoturn
) -> None:
    """What is to be done was stored with the end of the call; whoever comes next does it."""
    deployment = await deploy("serve", "matchmaker", "worker", config=CONFIG, **settings)
    pair = await pair_up(people, deployment.url)
    client = await holding(coturn, pair)
    await deployment.of("worker").kill()
    await pair.him.request("call.hangup", pair.call)
    await deployment.of("serve").kill()
    await asyncio.sleep(1)
    waiting = await allocations(coturn, pair.call_id)
    await deployment.start("worker")
    await until_gone(coturn, pair.call_id, LATER_S)
    client.close()

    assert waiting == 1


async def test_they_end_when_the_turn_servers_admin_interface_is_back(
    deploy: Deploy, people: People, settings: dict[str, str], coturn: EmbeddedCoturn
) -> None:
    """It was silent when the call ended."""
    deployment = await deploy("serve --all-in-one", config=CONFIG, **settings)
    pair = await pair_up(people, deployment.url)
    client = await holding(coturn, pair)
    coturn.pause()
    try:
        await pair.him.request("call.hangup", pair.call)
        await pair.her.wait_for("call.state", **pair.call, state="deciding")
        await asyncio.sleep(2)
    finally:
        coturn.resume()
    await until_gone(coturn, pair.call_id, LATER_S)
    client.close()
