"""Who is told of whose coming and going, look by look."""

import asyncio
from collections.abc import Callable, Collection, Mapping

import pytest
from prometheus_client import CollectorRegistry

from base.clock import ManualClock
from base.errors import Unavailable
from base.ids import ConnectionId, SessionId, UserId
from chat.metrics import ChatMetrics
from chat.rules import MAX_WATCHED, TooManyWatched
from signaling import watches
from signaling.hub import Hub
from signaling.metrics import SessionMetrics
from signaling.watches import Watches
from tests.unit.signaling.hub.live_scene import Scene

HIM = UserId("him")
ONE, TWO = (ConnectionId(f"01890000-0000-7000-8000-00000000000{n}") for n in (1, 2))


class Sky:
    """Who is there, who keeps apart, which connections stand: as the test says."""

    def __init__(self) -> None:
        self.there: set[UserId] = {HIM}
        self.blocked: set[tuple[UserId, UserId]] = set()
        self.gone: set[ConnectionId] = set()
        self.away = False
        self.asked: list[set[UserId]] = []
        self.database_hangs = False
        self.verified: list[int] = []
        """After how many looks the database was asked."""
        self.verified_ids: list[set[ConnectionId]] = []
        self.meanwhile: Callable[[], object] = lambda: None
        """What happens while a look is under way."""

    async def online(self, user_ids: Collection[UserId]) -> set[UserId]:
        if self.away:
            raise Unavailable
        self.asked.append(set(user_ids))
        self.meanwhile()
        return self.there & set(user_ids)

    async def apart(self, others: Mapping[UserId, Collection[UserId]]) -> set[tuple[UserId, UserId]]:
        return self.blocked

    async def still_open(self, connection_ids: Collection[ConnectionId]) -> set[ConnectionId]:
        self.verified.append(len(self.asked))
        self.verified_ids.append(set(connection_ids))
        if self.database_hangs:
            await asyncio.Event().wait()
        return set(connection_ids) - self.gone


class Place:
    """One session that watches, on a node of its own."""

    def __init__(self) -> None:
        self.scene, self.sky, self.registry = Scene(), Sky(), CollectorRegistry()
        self.live = self.scene.live
        self.hub = Hub(ManualClock(), SessionMetrics(CollectorRegistry()))
        self.hub.add(self.live)
        self.watches = Watches(self.hub, self.sky, self.sky.still_open, ChatMetrics(self.registry))

    def told(self) -> list[str]:
        return [message["data"]["presence"] for message in self.scene.wire.messages()]


@pytest.fixture
def place() -> Place:
    one = Place()
    one.watches.watch(one.live, {ONE: HIM})
    return one


async def test_only_changes_are_told(place: Place) -> None:
    """The first look tells how it is."""
    for there in (True, True, False, False, True):
        place.sky.there = {HIM} if there else set()
        await place.watches.look()

    assert place.told() == ["online", "offline", "online"]


async def test_watching_again_tells_again(place: Place) -> None:
    """A client that asks wants an answer."""
    await place.watches.look()
    place.watches.watch(place.live, {ONE: HIM})
    await place.watches.look()

    assert place.told() == ["online", "online"]


async def test_a_block_ends_the_watch_with_a_last_offline(place: Place) -> None:
    """As the store knows it at the next look, without anybody telling this node."""
    await place.watches.look()
    place.sky.blocked = {(place.live.user_id, HIM)}
    await place.watches.look()
    place.sky.blocked = set()
    await place.watches.look()

    assert place.told() == ["online", "offline"]
    assert place.registry.get_sample_value("minuet_presence_watched") == 0


async def test_whom_a_block_keeps_apart_is_never_shown_as_there(place: Place) -> None:
    """Not even at the first look."""
    place.sky.blocked = {(place.live.user_id, HIM)}
    await place.watches.look()

    assert place.told() == ["offline"]


async def test_a_connection_that_ended_elsewhere_is_found_out(place: Place) -> None:
    """The other node's word was lost."""
    await place.watches.look()
    place.sky.gone = {ONE}
    await place.watches.verify()
    await place.watches.look()

    assert place.told() == ["online", "offline"]


async def test_an_outage_tells_nothing_and_forgets_nothing(place: Place) -> None:
    """Not that everybody had left."""
    await place.watches.look()
    place.sky.away = True
    with pytest.raises(Unavailable):
        await place.watches.look()
    place.sky.away, place.sky.there = False, set()
    await place.watches.look()

    assert place.told() == ["online", "offline"]


async def test_a_database_that_hangs_costs_no_look(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it is asked comes after the look, and is given up."""
    monkeypatch.setattr(watches, "LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(watches, "VERIFY_TIMEOUT_S", 0.01)
    place.sky.database_hangs = True
    running = asyncio.ensure_future(place.watches.run())
    try:
        async with asyncio.timeout(10):
            while len(place.sky.asked) < 3 * watches.VERIFY_EVERY:
                await asyncio.sleep(0.001)
    finally:
        running.cancel()

    assert place.sky.verified[:2] == [watches.VERIFY_EVERY, 2 * watches.VERIFY_EVERY]


async def test_sessions_have_their_turns_where_more_is_watched_than_a_look_bears(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is left out, and nobody has two turns before all have had one."""
    monkeypatch.setattr(watches, "LOOKED_AT_MOST", 5)
    place.watches.unwatch(place.live, None)
    sessions = []
    for number in range(7):
        one = Scene().live
        one.session.id = SessionId(f"session-{number}")
        place.hub.add(one)
        peers = {ConnectionId(f"{number}-{n}"): UserId(f"{number}-{n}") for n in range(2)}
        place.watches.watch(one, peers)
        sessions.append(set(peers.values()))
    for _ in range(4):
        await place.watches.look()

    assert place.sky.asked == [
        sessions[0] | sessions[1],
        sessions[2] | sessions[3],
        sessions[4] | sessions[5],
        sessions[6] | sessions[0],
    ]


async def test_the_database_is_asked_in_shares(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """All connections have their turn; what was not asked for when it went away comes first afterwards."""
    monkeypatch.setattr(watches, "VERIFIED_MOST", 50)
    monkeypatch.setattr(watches, "VERIFIED_AT_ONCE", 20)
    many = {ConnectionId(str(n)) for n in range(MAX_WATCHED - 1)}
    place.watches.watch(place.live, dict.fromkeys(many, HIM))
    await place.watches.verify()
    first = set().union(*place.sky.verified_ids)
    monkeypatch.setattr(watches, "VERIFY_TIMEOUT_S", 0.01)
    place.sky.database_hangs = True
    with pytest.raises(Unavailable):
        await place.watches.verify()
    place.sky.database_hangs = False
    del place.sky.verified_ids[:]
    await place.watches.verify()
    second = set().union(*place.sky.verified_ids)

    assert [len(share) for share in place.sky.verified_ids] == [20, 20, 10]
    assert len(first) == len(second) == 50
    assert first | second == many | {ONE}


async def test_a_look_tells_nothing_of_whom_it_did_not_ask_for(place: Place) -> None:
    """Somebody else is watched while it is under way: they are there, and the next look says so."""
    her = UserId("her")
    place.sky.there.add(her)
    place.sky.meanwhile = lambda: place.watches.watch(place.live, {TWO: her})
    await place.watches.look()
    first = place.told()
    place.sky.meanwhile = lambda: None
    await place.watches.look()

    assert first == ["online"]
    assert place.told() == ["online", "online"]


async def test_a_look_tells_nothing_of_what_was_ended_meanwhile(place: Place) -> None:
    """The last that was told is `offline`."""
    place.sky.meanwhile = lambda: place.watches.end(ONE)
    await place.watches.look()

    assert place.told() == ["offline"]


async def test_a_session_that_is_over_watches_nobody(place: Place) -> None:
    """And nobody is asked for on its behalf."""
    place.hub.remove(place.live)
    await place.watches.look()

    assert place.sky.asked == []
    assert place.registry.get_sample_value("minuet_presence_watched") == 0


async def test_a_hundred_connections_may_be_watched_and_no_more(place: Place) -> None:
    """Those that are watched already do not count twice; a refusal changes nothing."""
    many = {ConnectionId(str(n)): HIM for n in range(MAX_WATCHED - 1)}

    assert len(place.watches.watch(place.live, many)) == MAX_WATCHED
    assert len(place.watches.watch(place.live, {ONE: HIM})) == MAX_WATCHED
    with pytest.raises(TooManyWatched):
        place.watches.watch(place.live, {TWO: HIM})
    assert len(place.watches.unwatch(place.live, ["0", "unknown"])) == MAX_WATCHED - 1
    assert place.watches.unwatch(place.live, None) == []
