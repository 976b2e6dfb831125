"""Frames from other processes: bus to hub. Decides who takes a frame."""

from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import structlog

from base.ids import ConnectionId, SessionId
from signaling.arrivals import Arrivals
from signaling.calls import CallService
from signaling.courier import Courier
from signaling.departures import Departures
from signaling.early_relays import EarlyRelays
from signaling.handover import Handovers
from signaling.node_frames import (
    CallCommitted,
    CallHeard,
    MatchAnnounced,
    Relayed,
    SessionForwarded,
    SessionGone,
    SessionState,
    SessionsTold,
    SessionTaken,
    SessionWanted,
    WatchEnded,
    decode_frame,
)
from signaling.watches import Watches

logger = structlog.get_logger(__name__)


class Inbox:
    """Takes what the bus brings."""

    def __init__(
        self,
        arrivals: Arrivals,
        calls: CallService,
        relays: EarlyRelays,
        departures: Departures,
        *,
        handovers: Handovers,
        courier: Courier,
        watches: Watches,
    ) -> None:
        self._arrivals = arrivals
        self._calls = calls
        self._relays = relays
        self._departures = departures
        self._handovers = handovers
        handovers.receive = self.receive
        self._courier = courier
        self._watches = watches
        self._run_soon: Callable[[Coroutine[Any, Any, None]], None] = departures.run_soon

    def receive(self, payload: bytes) -> None:
        """Takes one frame; one that no known release sends is logged and dropped."""
        try:
            frame = decode_frame(payload)
            match frame:
                case MatchAnnounced(match):
                    self._run_soon(self._arrivals.announced(match))
                case CallCommitted():
                    self._calls.committed(frame)
                case CallHeard():
                    self._calls.telling.acknowledged(frame)
                case Relayed():
                    self._relays.arrived(frame)
                case SessionTaken(session_id, generation):
                    self._departures.taken(SessionId(session_id), generation)
                case SessionWanted():
                    self._handovers.wanted(frame)
                case SessionState():
                    self._handovers.arrived(frame)
                case SessionGone():
                    self._handovers.refused(frame)
                case SessionForwarded():
                    late = self._handovers.forwarded(frame)
                    if late is not None:
                        self.receive(late)
                case SessionsTold():
                    self._courier.arrived(frame)
                case WatchEnded(connection_id):
                    self._watches.end(ConnectionId(connection_id))
        except msgspec.MsgspecError as error:
            logger.warning("frame of another release", error=str(error))
