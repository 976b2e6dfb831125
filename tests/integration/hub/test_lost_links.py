"""What lost frames between two nodes mean for a call: its record is loaded, and who still looks for the other begins anew."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from base.ids import CallId, NodeId
from base.policy import IntentPolicy
from minuet.embedded import EmbeddedValkey
from signaling.call import events
from signaling.links import AT_ONCE, Links
from signaling.metrics import LinkMetrics
from signaling.ports import Gap, StoredCall
from tests.fixtures.sdp import VOICE
from tests.fixtures.waiting import until
from tests.integration.hub.town import Node, Town, opened_town

ELSEWHERE = NodeId("another node")


class Watched:
    """The links of one node, running, and what they count."""

    def __init__(self, node: Node, calls: Any = None) -> None:
        self.registry = CollectorRegistry()
        self.links = Links(
            calls or node.calls, node.local, node.router, LinkMetrics(self.registry), Random(1)
        )

    def counted(self, what: str) -> float:
        return self.registry.get_sample_value(f"minuet_call_links_{what}_total") or 0.0

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Watched"]:
        running = asyncio.create_task(self.links.run())
        yield self
        running.cancel()
        await asyncio.wait({running})


@pytest.fixture
async def talking(redis_url: str) -> AsyncIterator[Town]:
    async with opened_town(redis_url, IntentPolicy()) as town:
        yield town


@pytest.fixture
async def connecting(redis_url: str) -> AsyncIterator[Town]:
    async with opened_town(redis_url, IntentPolicy(), talking=False) as town:
        yield town


def lost_by(town: Town) -> Gap:
    """His node has lost frames of hers."""
    return Gap(town.his.id, town.hers.id, 1)


async def test_a_call_whose_two_hear_each_other_learns_what_it_missed_and_goes_on(talking: Town) -> None:
    """Her permission was among what was lost; nobody's media is touched."""
    town = talking
    await town.hers.calls.decide(town.call_at(town.hers), events.VideoApproved("a", "both"))
    town.bus.way.clear()
    async with Watched(town.his).running() as his:
        his.links.lost(lost_by(town))
        await until(lambda: his.counted("lost") == 1)
        await until(lambda: town.call_at(town.his).allowance("b").send_video)

    assert town.call_at(town.his).view.version == town.call_at(town.hers).view.version
    assert town.his.person.of("call.reset") == []
    assert his.counted("reset") == 0


async def test_two_who_still_connect_begin_anew(connecting: Town) -> None:
    """Her offer was lost with the rest: it would never be answered."""
    town = connecting
    town.hers.send(town.offer(1, VOICE))
    town.bus.way.clear()
    async with Watched(town.his).running() as his:
        his.links.lost(lost_by(town))
        await until(lambda: his.counted("reset") == 1)
    await town.deliver()

    assert len(town.his.person.of("call.reset")) == 1
    assert len(town.hers.person.of("call.reset")) == 1
    assert not town.call_at(town.hers).negotiations.is_open


async def test_an_offer_that_nobody_answered_is_begun_anew_also_in_a_talk(talking: Town) -> None:
    """It has arrived; what was lost may have been its candidates, or her answer to his."""
    town = talking
    town.hers.send(town.offer(2, VOICE))
    await town.deliver()
    async with Watched(town.his).running() as his:
        his.links.lost(lost_by(town))
        await until(lambda: his.counted("reset") == 1)

    assert len(town.his.person.of("call.reset")) == 1


async def test_both_nodes_may_have_lost_something_and_one_reset_is_enough(connecting: Town) -> None:
    """They look at it at the same time; one leaves it to the other, and finds that it was done."""
    town = connecting
    async with Watched(town.his).running() as his, Watched(town.hers).running() as hers:
        his.links.lost(lost_by(town))
        hers.links.lost(Gap(town.hers.id, town.his.id, 1))
        await until(lambda: hers.counted("reset") == 1)
        await asyncio.sleep(0.6)

    assert his.counted("lost") == 1
    assert his.counted("reset") == 0
    assert town.call_at(town.his).view.resets == 1


async def test_a_process_that_goes_on_as_another_node_looks_at_its_calls(connecting: Town) -> None:
    """Nobody knows what was on its way to the node it was; its seats are its own again when the sessions are."""
    town = connecting
    old, new = town.his.id, NodeId("node-3")
    town.his.router.node_id = new
    async with Watched(town.his).running() as his:
        await his.links.reincarnated(old, new)
        await asyncio.sleep(0.3)
        too_early = his.counted("lost")
        call = town.call_at(town.his)
        seat = call.view.seat("b")
        attached = events.SeatAttached("b", seat.session_id, new, seat.device_id)
        await town.his.calls.decide(call, attached)
        await his.links.put_back()
        await until(lambda: his.counted("reset") == 1)
        await his.links.put_back()
        await asyncio.sleep(0.3)

    assert too_early == 0
    assert his.counted("lost") == 1


@pytest.mark.parametrize(
    ("sender", "asked", "concerned"),
    [
        ("hers", (), True),
        (ELSEWHERE, (), False),
        (None, (), True),
        (None, (ELSEWHERE,), True),
        (None, ("hers", ELSEWHERE), False),
    ],
)
async def test_only_calls_by_that_link_are_looked_at(
    connecting: Town, sender: str | None, asked: tuple[str, ...], concerned: bool
) -> None:
    """Where nobody knows whose frames were lost: all that have somebody elsewhere, but for nodes that were asked."""
    town = connecting
    named = {"hers": town.hers.id}
    whose = None if sender is None else named.get(sender, NodeId(sender))
    of = frozenset(named.get(name, NodeId(name)) for name in asked)
    async with Watched(town.his).running() as his:
        his.links.lost(Gap(town.his.id, whose, 1, asked=of))
        if concerned:
            await until(lambda: his.counted("lost") == 1)
        else:
            await asyncio.sleep(0.5)

    assert his.counted("lost") == concerned


async def test_while_the_store_is_away_the_news_waits(private_valkey: EmbeddedValkey) -> None:
    """What was lost with the store is looked up when it is back."""
    async with opened_town(private_valkey.url, IntentPolicy(), talking=False) as town:
        private_valkey.pause()
        async with Watched(town.his).running() as his:
            his.links.lost(lost_by(town))
            await until(lambda: his.counted("lost") >= 1)
            await asyncio.sleep(0.2)
            reset_meanwhile = his.counted("reset")
            private_valkey.resume()
            await until(lambda: his.counted("reset") == 1)

    assert reset_meanwhile == 0


class Loads:
    """Stands for the calls, and sees how many are loaded at a time."""

    def __init__(self) -> None:
        self.now = self.most = self.done = 0

    async def catch_up(self, call_id: CallId) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.01)
        self.now -= 1
        self.done += 1


async def test_a_lost_link_of_many_calls_is_no_stampede(talking: Town) -> None:
    """A few at a time; news that comes twice is one look."""
    his = talking.his
    record = talking.call_at(his).stored.call
    for number in range(200):
        another = msgspec.structs.replace(record, call_id=CallId(f"{record.call_id[:-3]}{number:03}"))
        his.local.keep(StoredCall(another, "rev"))
    loads = Loads()
    watched = Watched(his, loads)
    watched.links.lost(lost_by(talking))
    watched.links.lost(lost_by(talking))
    count = len(his.local)
    async with watched.running():
        await until(lambda: loads.done == count)
        await asyncio.sleep(0.1)

    assert count >= 200
    assert loads.done == count
    assert loads.most == AT_ONCE
