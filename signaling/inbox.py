"""Frames from other processes: bus to hub.

Decides who takes a frame, and that a relay which was judged by a newer record than ours waits until we have it.
"""

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec
import structlog

from base.errors import Unavailable
from base.ids import CallId, ConnectionId, SessionId
from signaling.arrivals import Arrivals
from signaling.calls import CallService
from signaling.courier import Courier
from signaling.handover import Handovers
from signaling.local_call import LocalCalls
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
from signaling.relays import Relays
from signaling.sessions import Sessions
from signaling.watches import Watches

logger = structlog.get_logger(__name__)

_MAX_HELD: Final = 64


class Inbox:
    """Takes what the bus brings."""

    def __init__(
        self,
        arrivals: Arrivals,
        calls: CallService,
        local: LocalCalls,
        relays: Relays,
        sessions: Sessions,
        *,
        handovers: Handovers,
        courier: Courier,
        watches: Watches,
    ) -> None:
        self._arrivals = arrivals
        self._calls = calls
        self._local = local
        self._relays = relays
        self._sessions = sessions
        self._handovers = handovers
        handovers.receive = self.receive
        self._courier = courier
        self._watches = watches
        self._run_soon: Callable[[Coroutine[Any, Any, None]], None] = sessions.run_soon
        self._held: dict[CallId, deque[Relayed]] = {}

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
                    self._calls.acknowledged(frame)
                case Relayed():
                    self._relayed(frame)
                case SessionTaken(session_id, generation):
                    self._sessions.taken(SessionId(session_id), generation)
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

    def _relayed(self, frame: Relayed) -> None:
        call_id = CallId(frame.call_id)
        held = self._held.get(call_id)
        if held is not None:
            if len(held) < _MAX_HELD:
                held.append(frame)
            return
        call = self._local.get(call_id)
        if call is not None and frame.version <= call.stored.call.version:
            self._relays.arrived(frame)
            return
        self._held[call_id] = deque((frame,))
        self._run_soon(self._catch_up(call_id))

    async def _catch_up(self, call_id: CallId) -> None:
        try:
            await self._calls.catch_up(call_id)
        except (Unavailable, msgspec.MsgspecError) as error:
            # The record is out of reach, or of a release that this one cannot read. The next relay tries again.
            logger.warning("relays dropped: no record", call_id=call_id, error=type(error).__name__)
            return
        finally:
            # Whatever happened: nothing may wait for a load that is over.
            held = self._held.pop(call_id)
        for frame in held:
            self._relays.arrived(frame)
