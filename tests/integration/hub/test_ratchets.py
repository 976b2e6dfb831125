"""What was told to be over stays over, though the store forgets that it was ever committed.

Two nodes over one real store that loses acknowledged commits: its record is replaced by an older one, or gone.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from base.errors import MinuetError, Unavailable
from base.ids import UserId
from base.policy import IntentPolicy
from signaling import vouching
from signaling.call import events
from signaling.call.record import Call, ConsentEvent, ConsentKind
from signaling.call.states import RELAYING, SEATS, Seat, State
from signaling.node_frames import CallCommitted
from signaling.ports import StoredCall
from storage.redis.keys import Keys, call_partition
from tests.contract.calls.call_records import new_id
from tests.integration.hub.town import Node, Town

SHE, HE = UserId("she"), UserId("he")
PEOPLE = {"a": SHE, "b": HE}


class Forgetful(Town):
    """A live call whose record the test can take back to what it was."""

    def __init__(self, redis_url: str) -> None:
        super().__init__(redis_url)
        self.past: list[bytes] = []

    @property
    def key(self) -> str:
        return Keys().call(self.call_id)

    @property
    def nodes(self) -> tuple[Node, Node]:
        return self.hers, self.his

    async def remember(self) -> None:
        record = await self.redis.dump(self.key)
        if record is not None and record not in self.past[-1:]:
            self.past.append(record)

    async def forget_last(self, how_many: int) -> None:
        """The store loses the last commits."""
        back = self.past[max(0, len(self.past) - 1 - how_many)]
        await self.redis.restore(self.key, 0, back, replace=True)

    async def stored(self) -> Call:
        record = await self.hers.store.load(self.call_id)
        assert record is not None
        return record.call

    async def until(self, fits: Callable[[Call], bool]) -> Call:
        async with asyncio.timeout(10):
            while True:
                record = await self.hers.store.load(self.call_id)
                if record is not None and fits(record.call):
                    return record.call
                await asyncio.sleep(0.01)
                await self.deliver()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes put back what they know without spreading it over time."""
    monkeypatch.setattr(vouching, "_WITHIN_S", 0.0)


async def built(redis_url: str) -> tuple[Forgetful, list[asyncio.Task[None]]]:
    town = Forgetful(redis_url)
    serving = [asyncio.create_task(node.calls.run()) for node in town.nodes]
    await asyncio.sleep(0)
    # Time for whoever renegotiates: what is tried here is not the window.
    await town.connecting_call(IntentPolicy(revoke_window_s=60))
    await town.go_live()
    await town.hers.calls.act(town.call_id, SHE, lambda seat: events.VideoApproved(seat, "both"))
    await town.deliver()
    await town.remember()
    return town, serving


async def torn_down(town: Forgetful, serving: list[asyncio.Task[None]]) -> None:
    for task in serving:
        task.cancel()
    await asyncio.gather(*serving, return_exceptions=True)
    await town.redis.aclose()


@pytest.fixture
async def town(redis_url: str) -> AsyncIterator[Forgetful]:
    town, serving = await built(redis_url)
    yield town
    await torn_down(town, serving)


def off(call: Call) -> bool:
    return not call.a.video_allowed and not call.b.video_allowed


async def test_a_revocation_that_the_store_forgot_is_stored_again_before_anything_else(
    town: Forgetful,
) -> None:
    """He asks for more time: on his node the record has video again, and hers never lets it through."""
    await town.hers.calls.act(town.call_id, SHE, events.VideoRevoked)
    await town.deliver()
    await town.forget_last(0)
    assert not off(await town.stored())

    await town.hers.calls.act(town.call_id, SHE, events.ExtensionRequested)

    record = await town.stored()
    assert off(record)
    assert record.extension_request is not None
    said = [event.kind for event in record.events if event.sender == "b"]
    assert said == [ConsentKind.VIDEO_ALLOWED, ConsentKind.VIDEO_REVOKED]
    assert town.hers.metrics.upheld._value.get() == 1


async def test_what_a_node_with_neither_of_them_took_away_is_said_again_after_a_loss(town: Forgetful) -> None:
    """Over REST; the store acknowledges and forgets before either's own node has heard: only that one node knows."""
    third = Node("node-3", "a", town.redis, town.bus)
    serving = asyncio.create_task(third.calls.run())
    await asyncio.sleep(0)
    await third.calls.act(town.call_id, SHE, events.VideoRevoked)
    was_off = off(await town.stored())
    town.bus.way.clear()
    await town.forget_last(0)
    forgotten = off(await town.stored())
    for node in town.nodes:
        await node.calls.vouching.reassert_all()
    still_forgotten = off(await town.stored())

    await third.calls.vouching.restrict_again()

    assert (was_off, forgotten, still_forgotten) == (True, False, False)
    assert off(await town.until(off))
    await town.deliver()
    assert all(off(town.call_at(node).view) for node in town.nodes)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def test_another_node_that_goes_on_without_it_is_put_right(town: Forgetful) -> None:
    """His node missed the revocation and commits on what the store still has; hers hears of that and takes it back again."""
    await town.hers.calls.act(town.call_id, SHE, events.VideoRevoked)
    town.bus.way.clear()
    await town.forget_last(0)
    await town.his.calls.act(town.call_id, HE, events.ExtensionRequested)
    assert town.call_at(town.his).allowance("b").send_video
    await town.deliver()

    assert not town.call_at(town.hers).allowance("a").send_video
    record = await town.until(off)
    assert record.extension_request is None, "a question that only one of the two records knows"
    await town.deliver()
    assert not town.call_at(town.his).allowance("b").send_video
    assert town.his.person.of("video.revoked")


async def test_what_was_given_anew_is_not_taken_back(town: Forgetful) -> None:
    """She revoked, it was forgotten, and put right; her next yes holds."""
    await town.hers.calls.act(town.call_id, SHE, events.VideoRevoked)
    await town.forget_last(0)
    await town.hers.calls.act(town.call_id, SHE, events.ExtensionRequested)
    await asyncio.sleep(0.01)
    await town.hers.calls.act(town.call_id, SHE, lambda seat: events.VideoApproved(seat, "both"))
    await town.deliver()
    for node in town.nodes:
        await node.calls.vouching.reassert_all()

    assert not off(await town.stored())
    assert all(town.call_at(node).allowance("a").send_video for node in town.nodes)


async def test_an_end_that_the_store_forgot_is_an_end(town: Forgetful) -> None:
    """He was blocked and told so; the record lives again until her node sees it."""
    await town.hers.calls.act(town.call_id, SHE, events.Blocked)
    await town.deliver()
    town.forget()
    await town.forget_last(0)
    assert (await town.stored()).state is State.LIVE

    await town.hers.calls.catch_up(town.call_id)

    assert town.call_at(town.hers).view.state is State.ENDED
    record = await town.until(lambda call: call.state is State.ENDED)
    assert record.reason == "hangup"
    assert town.hers.person.of("call.ended", "video.allowed") == []
    waits = await town.redis.zrange(Keys().calls_ended(call_partition(town.call_id)), 0, -1)
    assert town.call_id.encode() in waits


async def test_a_record_that_is_gone_is_put_back(town: Forgetful) -> None:
    """With its timer, its count and its rev: the next change goes on from it, as if nothing had been."""
    await town.redis.flushdb()
    doubts: list[None] = []
    town.hers.calls.upholding.doubt = lambda: doubts.append(None)

    reply = await town.hers.calls.act(town.call_id, SHE, events.ExtensionRequested)

    assert "until_at" in reply
    assert len(doubts) == 1
    assert (await town.stored()).extension_request is not None
    assert await town.hers.store.due(overdue_ms=-600_000, limit=5) == [town.call_id]
    assert (await town.hers.store.count_by_state())["live"] == 1
    assert town.hers.metrics.merges.labels("nothing")._value.get() == 1


async def test_nodes_that_put_back_different_records_end_with_one(town: Forgetful) -> None:
    """His is one change behind: whoever comes first, both know the newer one in the end, and he hears what he missed."""
    for first, second in ((0, 1), (1, 0)):
        await town.hers.calls.act(town.call_id, SHE, events.VideoRevoked)
        town.bus.way.clear()
        town.forget()
        await town.redis.flushdb()
        missing = [await town.nodes[each].calls.vouching.reassert_all() for each in (first, second)]
        await town.until(off)
        await town.deliver()

        assert missing[1] == 0
        assert town.call_at(town.hers).stored == town.call_at(town.his).stored
        assert off(town.call_at(town.his).view)
        assert town.his.person.of("video.revoked")
        await asyncio.sleep(0.01)
        await town.hers.calls.act(town.call_id, SHE, lambda seat: events.VideoApproved(seat, "both"))
        await town.deliver()


async def test_a_node_without_its_seat_vouches_for_nothing(town: Forgetful) -> None:
    """Her device has moved on: what its old node remembers is nobody's any more, until the call is over."""
    call = town.call_at(town.hers)
    hers = call.view.a
    await town.his.calls.decide(
        town.call_at(town.his),
        events.SeatAttached("a", hers.session_id, town.his.id, hers.device_id),
    )
    town.hers.router._hub.listener = None
    await town.redis.flushdb()

    assert await town.hers.calls.vouching.reassert_all() == 0
    assert await town.hers.store.load(town.call_id) is None
    assert await town.his.calls.vouching.reassert_all() == 1


async def test_a_try_that_failed_is_over_before_the_next_one(
    town: Forgetful, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that goes away in the middle of it is not asked for thousands of calls by each try at the same time."""
    known = town.call_at(town.hers).stored
    for _ in range(200):
        another = msgspec.structs.replace(known.call, call_id=new_id())
        town.hers.local.keep(replace(known, call=another))
    restore, under_way, begun = town.hers.store.restore, 0, 0

    async def away(stored: StoredCall) -> StoredCall | None:
        nonlocal under_way, begun
        under_way, begun = under_way + 1, begun + 1
        try:
            await restore(stored)
            await asyncio.sleep(0.05 if begun > 1 else 0)
            raise Unavailable("the store is away")
        finally:
            under_way -= 1

    monkeypatch.setattr(town.hers.store, "restore", away)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await town.hers.calls.vouching.reassert_all()
        assert under_way == 0
    assert begun == 3 * 201, "none is passed over: those of another primary may be put back"


async def test_a_record_that_cannot_be_read_keeps_no_other_from_being_put_back(
    town: Forgetful, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer release may have written it; and the lease does not begin anew for it again and again."""
    known = town.call_at(town.hers).stored
    newer = msgspec.structs.replace(known.call, call_id=new_id())
    town.hers.local.keep(replace(known, call=newer))
    restore = town.hers.store.restore

    async def unreadable(stored: StoredCall) -> StoredCall | None:
        if stored.call.call_id == newer.call_id:
            raise msgspec.ValidationError("a state of tomorrow")
        return await restore(stored)

    monkeypatch.setattr(town.hers.store, "restore", unreadable)
    await town.redis.flushdb()

    assert await town.hers.calls.vouching.reassert_all() == 1
    assert await town.hers.store.load(town.call_id) is not None


async def test_a_view_that_changes_keeps_no_session_that_relayed(town: Forgetful) -> None:
    """Sessions have outboxes, and calls are kept for an hour."""
    call = town.call_at(town.hers)
    relayed: Any = object()
    call.ways[relayed] = relayed
    await town.hers.calls.act(town.call_id, SHE, events.HungUp)

    assert call.ways == {}


async def test_while_the_store_is_put_right_nothing_is_permitted(town: Forgetful) -> None:
    """`unavailable`, with how long it takes; what only takes away goes on."""
    town.hers.calls.restoring = lambda: 1_234

    with pytest.raises(Unavailable) as caught:
        await town.hers.calls.act(town.call_id, SHE, events.ExtensionRequested)
    await town.hers.calls.act(town.call_id, SHE, events.VideoRevoked)

    assert caught.value.retry_after_ms == 1_234
    assert off(await town.stored())


# Whatever happens, in whatever order.


@dataclass
class Witness:
    """What one person was told, and may hold the server to."""

    node: Node
    seat: Seat
    heard: int = 0
    allowed: dict[str, bool] = field(default_factory=lambda: {"a": True, "b": True})
    revoked_at: dict[str, int] = field(default_factory=dict)
    over: bool = False

    def listen(self, town: Forgetful, approved_at: int) -> None:
        """`approved_at`: when she last said yes; all times in ms since the epoch."""
        news, self.heard = self.node.person.heard[self.heard :], len(self.node.person.heard)
        knew, now = dict(self.revoked_at), self.node.clock.now_ms()
        # When it was taken away, not when that was heard: a node may learn late of a no that was followed by a yes.
        events = town.call_at(self.node).view.events
        for type_, data in news:
            flags: dict[str, bool] | None = data.get("video_allowed")
            if type_ == "call.state" and data["state"] in ("deciding", "ended"):
                self.over = True
                continue
            self.over |= type_ == "call.ended"
            for seat, allowed in (flags or {}).items():
                if allowed and not self.allowed[seat]:
                    assert approved_at > knew.get(seat, -1), "nobody has given that anew"
                if not allowed and self.allowed[seat]:
                    self.revoked_at[seat] = max(
                        (event.at for event in events if event.sender == seat and is_no(event)), default=now
                    )
                self.allowed[seat] = allowed

    def check(self, town: Forgetful) -> None:
        call = town.call_at(self.node)
        if self.over:
            assert call.view.state not in RELAYING
            return
        for seat in SEATS:
            assert self.allowed[seat] or not call.allowance(seat).send_video


def is_no(event: ConsentEvent) -> bool:
    return event.kind is ConsentKind.VIDEO_REVOKED


whose = st.sampled_from([0, 1])
acts: dict[str, Any] = {
    "she revokes": (SHE, events.VideoRevoked),
    "he revokes": (HE, events.VideoRevoked),
    "she allows": (SHE, lambda seat: events.VideoApproved(seat, "both")),
    "she narrows": (SHE, lambda seat: events.VideoApproved(seat, "receive")),
    "he asks": (HE, events.ExtensionRequested),
    "she hangs up": (SHE, events.HungUp),
    "he blocks": (HE, events.Blocked),
}
likely = [*acts, *(name for name in acts for _ in range(3) if "hangs" not in name and "blocks" not in name)]
occurrences = st.one_of(
    st.tuples(st.sampled_from(likely), whose),
    st.tuples(st.just("forgets"), st.integers(1, 3)),
    st.tuples(st.sampled_from(["vanishes", "deliver", "deliver", "lose"]), whose),
    st.tuples(st.sampled_from(["reload", "reassert"]), whose),
)


async def happens(town: Forgetful, what: str, number: int) -> bool:
    """Lets something happen; whether it was a yes of hers, as far as it goes, that was taken."""
    match what:
        case "forgets":
            await town.forget_last(number)
        case "vanishes":
            await town.redis.delete(town.key)
        case "deliver":
            await town.deliver()
        case "lose":
            town.bus.way = type(town.bus.way)(
                item for item in town.bus.way if not isinstance(item[1], CallCommitted)
            )
        case "reload":
            await town.nodes[number].calls.catch_up(town.call_id)
        case "reassert":
            await town.nodes[number].calls.vouching.reassert_all()
        case act:
            who, event = acts[act]
            try:
                await town.nodes[number].calls.act(town.call_id, who, event)
            except MinuetError:
                return False
            return act in ("she allows", "she narrows")
    return False


async def play(redis_url: str, script: list[tuple[str, int]]) -> None:
    town, serving = await built(redis_url)
    witnesses = [Witness(node, node.seat) for node in town.nodes]
    approved_at = -1
    try:
        for what, number in script:
            if await happens(town, what, number):
                approved_at = town.hers.clock.now_ms()
            # Two things that people do lie more than a millisecond apart.
            await asyncio.sleep(0.003)
            for witness in witnesses:
                witness.listen(town, approved_at)
                witness.check(town)
            await town.remember()
        for _ in range(3):
            await town.deliver()
            await asyncio.gather(*(node.calls.vouching.reassert_all() for node in town.nodes))
            await asyncio.sleep(0.02)
        record = await town.stored()
        for witness in witnesses:
            witness.listen(town, approved_at)
            witness.check(town)
            assert not witness.over or record.state not in RELAYING
            for seat in SEATS:
                assert witness.allowed[seat] or not record.seat(seat).video_allowed
    finally:
        await torn_down(town, serving)


@example(script=[("she revokes", 1), ("she allows", 1), ("she revokes", 1), ("forgets", 2), ("reload", 0)])
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(script=st.lists(occurrences, min_size=4, max_size=16))
def test_nothing_that_was_told_to_be_over_is_ever_permitted_again(
    redis_url: str, script: list[tuple[str, int]]
) -> None:
    """On the node that told it, whatever is committed, lost and loaded; and in the end the store says so too."""
    asyncio.run(play(redis_url, script))
