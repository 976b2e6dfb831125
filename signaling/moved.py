"""A session as it goes from one node to another: all that there is of it, and of its seat's call.

Decides only what belongs to it. Nodes of two releases may exchange it: what one does not know it ignores, and a new field
needs a default that means "not told". Pure.
"""

from typing import Any, Final, get_args

import msgspec

from base.ids import CallId, ConnectionId, DeviceId, SessionId, UserId
from matchmaker.ticket import Ticket
from signaling.budget import BudgetFacts
from signaling.call import events
from signaling.call.states import Seat
from signaling.negotiation import NegotiationFacts
from signaling.session.session import SessionFacts

_EVENTS: Final[dict[str, type[events.Event]]] = {event.__name__: event for event in get_args(events.Event)}


class OwedEvent(msgspec.Struct, frozen=True, array_like=True):
    """A restriction that its node holds to and has not stored yet."""

    name: str
    fields: dict[str, Any]
    told_at: int = 0
    told: bytes = b""
    """The call as it was told to be, at that Unix ms; empty where nobody was told yet."""


class MovedCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call as the node knew it that the session leaves."""

    call_id: CallId
    record: bytes
    rev: str
    shown: bytes = b""
    """The record that the session was told last; empty where it was that one."""
    seat: Seat
    budget: BudgetFacts
    negotiations: NegotiationFacts
    owed: list[OwedEvent] = []
    lost: bytes = b""
    """The record that was told, where the store has lost an end or a revocation that is in it; else empty."""
    lost_rev: str = ""
    revoked_at: int = 0
    """When somebody revoked last, as far as that node knew (Unix ms)."""


class MovedSession(msgspec.Struct, frozen=True, kw_only=True):
    """One session, between two nodes."""

    session_id: SessionId
    user_id: UserId
    device_id: DeviceId
    session: SessionFacts
    complete: bool = True
    """False where messages were lost: what else there is of it goes on in a new session of the device."""
    away: bool = False
    ticket: Ticket | None = None
    call_id: CallId | None = None
    last_call_id: CallId | None = None
    """The call that it was in before, over by now."""
    call: MovedCall | None = None
    """None also where its node did not know the call that it is in."""
    watched: dict[ConnectionId, UserId] = {}
    """By connection, whose presence is watched."""


def owed(event: events.Event, told_at: int = 0, told: bytes = b"") -> OwedEvent:
    return OwedEvent(type(event).__name__, msgspec.to_builtins(event), told_at, told)


def event_of(one: OwedEvent) -> events.Event | None:
    """The event; None for one that only a newer release knows."""
    kind = _EVENTS.get(one.name)
    if kind is None:
        return None
    try:
        return msgspec.convert(one.fields, kind)
    except msgspec.ValidationError:
        return None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(MovedSession)


def encode_session(moved: MovedSession) -> bytes:
    return _encoder.encode(moved)


def decode_session(data: bytes) -> MovedSession:
    """Raises: msgspec.MsgspecError for what this release cannot go on with."""
    return _decoder.decode(data)
