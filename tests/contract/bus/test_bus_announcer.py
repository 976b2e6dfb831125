"""Matches are announced to the nodes of both seats."""

from typing import Any

import pytest

from base.ids import CallId, DeviceId, NodeId, SessionId, TicketId, UserId
from base.policy import Gender
from matchmaker.matches import Match, MatchedSeat
from signaling.node_frames import MatchAnnounced, decode_frame
from storage.redis.announcer import BusAnnouncer


class KeptBus:
    """A bus that keeps what is published."""

    def __init__(self) -> None:
        self.published: list[tuple[NodeId, bytes]] = []

    def publish(self, node_id: NodeId, frame: bytes) -> None:
        self.published.append((node_id, frame))

    async def listen(self, node_id: NodeId, receive: Any) -> None:
        raise NotImplementedError


def seat(name: str, node: str) -> MatchedSeat:
    return MatchedSeat(
        user_id=UserId(name),
        device_id=DeviceId("phone"),
        session_id=SessionId(f"session of {name}"),
        node_id=NodeId(node),
        ticket_id=TicketId(f"ticket of {name}"),
        queued_at=1,
        gender=Gender.FEMALE,
        first_name=name,
        age=30,
        languages=("en",),
        verified=True,
    )


@pytest.mark.parametrize(("nodes", "expected"), [(("n1", "n2"), ["n1", "n2"]), (("n1", "n1"), ["n1"])])
async def test_each_node_with_a_seat_hears_of_the_match_once(
    nodes: tuple[str, str], expected: list[str]
) -> None:
    """Also where both people are on one node."""
    match = Match(
        call_id=CallId("c1"),
        intent="dating",
        claimed_at_ms=5,
        a=seat("ann", nodes[0]),
        b=seat("bob", nodes[1]),
    )
    bus = KeptBus()
    await BusAnnouncer(bus).announce(match)
    frames = [decode_frame(frame) for _, frame in bus.published]

    assert sorted(node_id for node_id, _ in bus.published) == expected
    assert frames == [MatchAnnounced(match)] * len(expected)
