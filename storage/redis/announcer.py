"""Announces matches to hubs over the bus, and to this very process without it. Fits `matchmaker.ports.Announcer`."""

from collections.abc import Callable

from base.ids import NodeId
from matchmaker.matches import Match
from signaling.node_frames import MatchAnnounced, encode_frame
from signaling.ports import Bus


class BusAnnouncer:
    """One frame for each node that has a seat of the match."""

    def __init__(self, bus: Bus, take: Callable[[NodeId, bytes], bool] = lambda _node, _frame: False) -> None:
        """`take` takes a frame for this process itself, if it is."""
        self._bus = bus
        self._take = take

    async def announce(self, match: Match) -> None:
        frame = encode_frame(MatchAnnounced(match))
        for node_id in {match.a.node_id, match.b.node_id}:
            if not self._take(node_id, frame):
                self._bus.publish(node_id, frame)
