"""How news reach all devices of somebody, and what becomes of what does not."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from base.clock import ManualClock
from base.errors import Unavailable
from base.ids import CallId, ConnectionId, DeviceId, NodeId, SessionId, UserId
from chat.metrics import ChatMetrics
from chat.model import Peer, Untold
from presence.sessions import SessionRow
from signaling.courier import ConnectionTeller, Courier
from signaling.hub import Hub
from signaling.metrics import SessionMetrics
from signaling.node_frames import SessionsTold, decode_frame, encode_frame
from signaling.protocol.messages.chat import ChatIsTyping, ConnectionEnded
from signaling.router import Router
from tests.unit.chat.greeted import greeting
from tests.unit.signaling.hub.live_scene import Scene

HERE, THERE = NodeId("here"), NodeId("there")
CONNECTION = ConnectionId("01890000-0000-7000-8000-000000000001")
NEWS = ConnectionEnded(connection_id=CONNECTION)


class Town:
    """This node with one session of `user`, and the store's and the bus's parts as the test says."""

    def __init__(self) -> None:
        self.scene, self.registry = Scene(), CollectorRegistry()
        self.scene.live.greet(greeting(), None)
        self.scene.wire.written.clear()
        hub = Hub(ManualClock(), SessionMetrics(CollectorRegistry()))
        hub.add(self.scene.live)
        self.rows: dict[str, list[SessionRow]] = {"user": [self.row("session", HERE)]}
        self.away: set[str] = set()
        self.sent: list[tuple[NodeId, Any]] = []
        self.courier = Courier(self, hub, Router(HERE, hub, self), ChatMetrics(self.registry))

    @staticmethod
    def row(session: str, node: NodeId) -> SessionRow:
        return SessionRow(DeviceId(f"device of {session}"), node, SessionId(session), 1)

    async def sessions(self, user_id: UserId) -> list[SessionRow]:
        if user_id in self.away:
            raise Unavailable
        return self.rows.get(user_id, [])

    def publish(self, node_id: NodeId, frame: bytes) -> None:
        self.sent.append((node_id, decode_frame(frame)))

    def heard(self) -> list[str]:
        return [message["type"] for message in self.scene.wire.messages()]


@pytest.fixture
def town() -> Town:
    return Town()


async def test_devices_of_a_node_are_told_in_one_frame(town: Town) -> None:
    """Those here at once; each node once, however many devices are there."""
    town.rows["user"] += [town.row("a", THERE), town.row("b", THERE), town.row("gone", HERE)]

    assert await town.courier.tell(UserId("user"), NEWS)
    assert town.heard() == ["connection.ended"]
    assert town.sent == [(THERE, SessionsTold(["a", "b"], "connection.ended", {"connection_id": CONNECTION}))]


async def test_the_device_that_asked_is_left_out(town: Town) -> None:
    """It has its answer."""
    town.rows["user"].append(town.row("a", THERE))
    await town.courier.tell(UserId("user"), NEWS, but=SessionId("session"))
    await town.courier.tell(UserId("user"), NEWS, but=SessionId("a"))

    assert len(town.sent) == 1
    assert town.heard() == ["connection.ended"]


async def test_what_arrives_from_another_node_is_told_as_it_was_meant(town: Town) -> None:
    """Reliable or not; to sessions that are gone by now nothing happens."""
    typing = ChatIsTyping(connection_id=CONNECTION, sender="peer")
    data = {"connection_id": CONNECTION, "from": "peer"}
    for frame in (
        SessionsTold(["session", "gone"], typing.TYPE, data, reliable=False),
        SessionsTold(["session"], NEWS.TYPE, {"connection_id": CONNECTION}),
    ):
        arrived = decode_frame(encode_frame(frame))
        assert isinstance(arrived, SessionsTold)
        town.courier.arrived(arrived)
    messages = town.scene.wire.messages()

    assert [(one["type"], one.get("seq")) for one in messages] == [
        ("chat.typing", None),
        ("connection.ended", 2),
    ]
    assert messages[0]["data"] == data


async def test_where_nobody_knows_the_devices_those_here_are_told(town: Town) -> None:
    """And whoever asked hears that it was not everywhere."""
    town.away.add("user")

    assert not await town.courier.tell(UserId("user"), NEWS)
    assert not await town.courier.tell(UserId("user"), NEWS, but=SessionId("session"))
    assert town.heard() == ["connection.ended"]
    assert town.registry.get_sample_value("minuet_chat_told_total", {"result": "here"}) == 2


class Book:
    """Connections that have still to be told."""

    def __init__(self) -> None:
        peer = Peer("Ada", 30, ("en",), False)
        peers = {UserId("user"): peer, UserId("other"): peer}
        self.waiting = [Untold(CONNECTION, CallId("01890000-0000-7000-8000-000000000002"), peers)]
        self.is_away = False

    async def untold(self, connection_ids: list[ConnectionId], now_ms: int) -> list[Untold]:
        if self.is_away:
            raise Unavailable
        return list(self.waiting)

    async def claim_untold(self, now_ms: int, *, limit: int) -> list[Untold]:
        return list(self.waiting)

    async def told(self, news: list[Untold]) -> None:
        self.waiting = [one for one in self.waiting if one not in news]


async def test_a_connection_is_told_when_both_could_be_told(town: Town) -> None:
    """Else it waits for the next look, and whoever has heard of it hears again."""
    book = Book()
    teller = ConnectionTeller(book, town.courier)  # type: ignore[arg-type]  # plays the store
    town.away.add("other")
    await teller.tell([CONNECTION], 1)
    after_first = len(book.waiting)
    town.away.clear()
    late = await teller.tell_due(1)

    assert (after_first, late, book.waiting) == (1, 1, [])
    assert town.heard() == ["connection.made", "connection.made"]


async def test_a_database_that_went_away_after_writing_fails_nobody(town: Town) -> None:
    """The connection is written; the sweep tells it."""
    book = Book()
    book.is_away = True
    await ConnectionTeller(book, town.courier).tell([CONNECTION], 1)  # type: ignore[arg-type]  # plays the store

    assert town.heard() == []
    assert len(book.waiting) == 1
