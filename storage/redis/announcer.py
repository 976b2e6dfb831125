"""Announces matches to hubs over the bus. Fits `matchmaker.ports.Announcer`."""

from matchmaker.matches import Match
from signaling.node_frames import MatchAnnounced, encode_frame
from signaling.ports import Bus


class BusAnnouncer:
    """One frame for each node that has a seat of the match."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def announce(self, match: Match) -> None:
        frame = encode_frame(MatchAnnounced(match))
        for node_id in {match.a.node_id, match.b.node_id}:
            self._bus.publish(node_id, frame)
